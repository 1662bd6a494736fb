"""Maps as Parametric Maps and fractional segmentations: written, read back, read from others."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread

from medview.core.errors import ReadError
from medview.core.geometry import Geometry
from medview.core.maps import MapKind, ScalarMap
from medview.core.study import Instance, Series, SeriesKind
from medview.io.map_read import read_maps
from medview.io.map_write import MapOptions, write_map, write_probabilities
from medview.io.request import MapExport
from medview.io.seg_read import read_segmentations
from medview.io.sources import Sources, read_sources
from tests.helpers.dicom_phantoms import ct_datasets, write_ct
from tests.helpers.exports import AT, MODEL, study_of
from tests.helpers.phantoms import Phantom
from tests.helpers.seg_objects import segmentation_object
from tests.helpers.validators import dciodvfy

SMALL = Phantom(shape=(5, 12, 10), radius_mm=5)
OPTIONS = MapOptions(AT, "2.25.99", 9909)


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return study_of(write_ct(tmp_path / "ct", SMALL)).series[0]


@pytest.fixture
def sources(series: Series) -> Sources:
    return read_sources(series)


def made(kind: MapKind = MapKind.PROBABILITY, geometry: Geometry = SMALL.geometry) -> ScalarMap:
    values = np.random.default_rng(3).random(geometry.shape).astype(np.float32)
    limits = (0.0, 1.0)
    if kind is MapKind.SALIENCY:
        values, limits = values * 6 - 3, (-2.0, 2.0)
    return ScalarMap("volume", kind, geometry, values, limits, "Hippocampus", method="by test")


def export_of(one: ScalarMap, series: Series) -> MapExport:
    uids = tuple(instance.sop_instance_uid for instance in series.instances)
    return MapExport(one, series, uids, MODEL)


def as_series(path: Path, kind: SeriesKind = SeriesKind.VOLUME) -> Series:
    header = dcmread(path, stop_before_pixels=True)
    instance = Instance(
        str(header.SOPInstanceUID), str(header.SOPClassUID), str(path),
        transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
    )  # fmt: skip
    uid = str(header.SeriesInstanceUID)
    return Series(uid, str(header.StudyInstanceUID), "MR", "", (instance,), kind=kind)


@pytest.mark.parametrize("kind", [MapKind.PROBABILITY, MapKind.SALIENCY, MapKind.UNCERTAINTY])
def test_a_parametric_map_keeps_every_value_and_its_colours(
    series: Series, sources: Sources, tmp_path: Path, kind: MapKind
) -> None:
    one, path = made(kind), tmp_path / "map.dcm"
    write_map(export_of(one, series), sources, path, OPTIONS)
    assert dciodvfy(path) == []
    (back,) = read_maps(as_series(path), SMALL.geometry, "v")
    assert (back.kind, back.subject, back.method) == (kind, "Hippocampus", "by test")
    assert np.array_equal(back.values, one.values)
    assert back.geometry.agrees_with(SMALL.geometry)
    assert back.value_range == pytest.approx(one.value_range)


def test_a_coarser_map_stays_where_it_lies(
    series: Series, sources: Sources, tmp_path: Path
) -> None:
    coarse = made().coarser(100)
    assert coarse.values.shape != SMALL.shape
    path = tmp_path / "map.dcm"
    write_map(export_of(coarse, series), sources, path, OPTIONS)
    (back,) = read_maps(as_series(path), SMALL.geometry)
    assert back.values.shape == coarse.values.shape
    assert np.allclose(back.geometry.affine, coarse.geometry.affine, atol=1e-4)
    assert np.array_equal(back.values, coarse.values)


def test_another_library_reads_the_map(series: Series, sources: Sources, tmp_path: Path) -> None:
    one, path = made(), tmp_path / "map.dcm"
    write_map(export_of(one, series), sources, path, OPTIONS)
    seen = highdicom.imread(path).get_volume()
    assert np.array_equal(np.sort(seen.array.ravel()), np.sort(one.values.ravel()))
    place = SMALL.geometry.to_lps_mm((0, 0, 0))
    corners = [seen.map_indices_to_reference(np.array([[k, 0, 0]]))[0]
               for k in (0, seen.shape[0] - 1)]  # fmt: skip
    assert min(np.linalg.norm(corner - place) for corner in corners) < 1e-3


def test_probabilities_become_a_segment_at_one_half_and_a_map(
    series: Series, sources: Sources, tmp_path: Path
) -> None:
    one, path = made(), tmp_path / "p.dcm"
    write_probabilities(export_of(one, series), sources, path, OPTIONS)
    assert dciodvfy(path) == []
    written = as_series(path, SeriesKind.SEGMENTATION)
    (back,) = read_maps(written, SMALL.geometry)
    assert np.abs(back.values - one.values).max() <= 0.5 / 255 + 1e-6
    assert (back.kind, back.subject) == (MapKind.PROBABILITY, "Hippocampus")
    (segmentation,) = read_segmentations(written, SMALL.geometry)
    assert np.array_equal(segmentation.labels == 1, np.rint(one.values * 255) >= 128)
    assert segmentation.segments[0].provenance.author == MODEL


def test_a_map_of_another_frame_of_reference_is_refused(
    series: Series, sources: Sources, tmp_path: Path
) -> None:
    path = tmp_path / "map.dcm"
    write_map(export_of(made(), series), sources, path, OPTIONS)
    elsewhere = replace(SMALL.geometry, frame_of_reference_uid="1.2.3.4")
    with pytest.raises(ReadError, match="frame of reference"):
        read_maps(as_series(path), elsewhere)


def test_bits_give_no_map(tmp_path: Path) -> None:
    segmentation_object(ct_datasets(SMALL), SMALL.sphere()[..., None], tmp_path)
    assert read_maps(as_series(tmp_path / "seg.dcm"), SMALL.geometry) == ()


def test_positions_count_and_not_the_spacing_that_is_stated(tmp_path: Path) -> None:
    """T11: Spacing Between Slices says 5 mm, the positions are those of the images."""
    segmentation_object(ct_datasets(SMALL), SMALL.sphere()[..., None], tmp_path)
    path = tmp_path / "seg.dcm"
    ds = dcmread(path)
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = 5 * float(measures.SpacingBetweenSlices)
    ds.save_as(path)
    (found,) = read_segmentations(as_series(path), SMALL.geometry)
    assert np.array_equal(found.labels == 1, SMALL.sphere())


def test_numbers_of_segments_may_have_gaps_and_reach_the_end(tmp_path: Path) -> None:
    """T12: 16-bit numbers far apart, and many segments that mark nothing."""
    segmentation_object(ct_datasets(SMALL), SMALL.sphere()[..., None], tmp_path)
    path = tmp_path / "seg.dcm"
    ds = dcmread(path)
    (pattern,) = ds.SegmentSequence
    pattern.SegmentNumber = 65535
    shared = ds.SharedFunctionalGroupsSequence
    for group in (*shared, *ds.PerFrameFunctionalGroupsSequence):
        for item in group.get("SegmentIdentificationSequence", ()):
            item.ReferencedSegmentNumber = 65535
    for number in range(7, 2007, 2):
        idle = deepcopy(pattern)
        idle.SegmentNumber = number
        ds.SegmentSequence.append(idle)
    ds.save_as(path)
    (found,) = read_segmentations(as_series(path), SMALL.geometry)
    assert [one.number for one in found.segments] == [65535]
    assert np.array_equal(found.labels == 65535, SMALL.sphere())


def test_a_fractional_segmentation_of_highdicom(shared: Path) -> None:
    path = shared / "data" / "seg_sr" / "highdicom" / "seg_image_ct_true_fractional.dcm"
    seen = highdicom.seg.segread(path)
    volume = seen.get_volume(combine_segments=False, rescale_fractional=True)
    affine = volume.affine
    geometry = Geometry(volume.spatial_shape, affine, str(seen.FrameOfReferenceUID))
    maps = read_maps(as_series(path), geometry)
    assert len(maps) == seen.number_of_segments
    for number, one in enumerate(maps):
        assert np.allclose(one.values, volume.array[..., number], atol=1e-6)
