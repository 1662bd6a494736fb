"""Filling shared memory in parts, as import workers do, and reading segmentations back."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from medview.core.errors import ReadError
from medview.core.shared_array import SharedArray
from medview.core.study import SeriesKind
from medview.core.volume import Volume
from medview.io.plan import VolumePlan, volume_of
from medview.io.reading import fill, load, load_segmentations, plan
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import CtOptions, ct_datasets, uid, write_ct, write_enhanced
from tests.helpers.phantoms import PLANES, Phantom, oblique
from tests.helpers.seg_objects import segmentation_object

SMALL = Phantom(shape=(7, 20, 16), radius_mm=5)


def filled(one: VolumePlan, parts: int) -> Volume:
    with SharedArray.create(one.shape, one.dtype) as shared:
        edges = np.linspace(0, one.shape[0], parts + 1).astype(int)
        for start, stop in pairwise(edges):
            part = replace(one, planes=one.planes[start:stop])
            told = list(fill(lambda _: None, part, int(start), shared.key))
            assert [k for filled in told for k in filled.planes] == list(range(start, stop))
            assert not any(filled.lost or filled.problems for filled in told)
        return volume_of(one, shared.array.copy())


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", DeflatedExplicitVRLittleEndian,
                                    RLELossless])  # fmt: skip
def test_parts_make_the_whole(tmp_path: Path, parts: int, syntax: str) -> None:
    write_ct(tmp_path, SMALL, CtOptions(transfer_syntax=syntax))
    (study,) = scan([tmp_path]).studies
    (one,) = plan(study.series[0]).volumes
    one = pickle.loads(pickle.dumps(one))  # noqa: S301  (it crosses to a worker this way)
    volume = filled(one, parts)
    assert np.array_equal(volume.values(), SMALL.values())
    assert volume.geometry.agrees_with(SMALL.geometry)


def test_parts_of_a_multiframe_file(tmp_path: Path) -> None:
    truth = write_enhanced(tmp_path / "mf", SMALL, times=2, shuffled=True)
    (study,) = scan([tmp_path]).studies
    for time, one in enumerate(plan(study.series[0]).volumes):
        assert np.array_equal(filled(one, 2).voxels, truth[time])


def test_planning_decodes_nothing(tmp_path: Path) -> None:
    paths = write_ct(tmp_path, SMALL)
    (study,) = scan([tmp_path]).studies
    for path in paths:
        path.unlink()
    assert plan(study.series[0]).volumes[0].shape == SMALL.shape


@pytest.mark.parametrize("plane", [*PLANES.values(), oblique(25, 70)])
def test_segments_lie_where_they_were_drawn(
    tmp_path: Path, plane: tuple[tuple[float, float, float], tuple[float, float, float]]
) -> None:
    phantom = SMALL.turned(plane)
    write_ct(tmp_path, phantom, CtOptions(shuffled=True))
    bar = phantom.values() >= 300
    sphere = phantom.sphere()
    overlapping = np.zeros_like(sphere)
    overlapping[2:5, 5:15, 4:12] = True
    masks = np.stack([sphere, bar, overlapping], axis=-1)
    segmentation_object(ct_datasets(phantom), masks, tmp_path)
    (study,) = scan([tmp_path]).studies
    image, seg = study.series
    assert seg.kind is SeriesKind.SEGMENTATION
    (volume,) = load(image).volumes
    first, second = load_segmentations(seg, volume.geometry, volume.uid)
    assert np.array_equal(first.labels == 1, sphere)
    assert np.array_equal(first.labels == 2, bar)
    assert np.array_equal(second.labels == 3, overlapping)
    segment = first.find_segment(1)
    assert segment.label == "Part 1"
    assert segment.type.value == codes.SCT.Liver.value
    assert np.abs(np.array(segment.color_rgb) - (200, 30, 90)).max() <= 2
    assert first.uid == uid("seg")


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_other_kinds_of_segmentations(tmp_path: Path, kind: str) -> None:
    write_ct(tmp_path, SMALL)
    sphere, bar = SMALL.sphere(), SMALL.values() >= 300
    masks = np.stack([sphere, bar], axis=-1)
    if kind == "FRACTIONAL":
        masks = masks * 0.75 + 0.25 * np.roll(masks, 1, axis=2)  # a quarter is not in it
    segmentation_object(ct_datasets(SMALL), masks, tmp_path, kind)
    (study,) = scan([tmp_path]).studies
    image, seg = study.series
    (volume,) = load(image).volumes
    (found,) = load_segmentations(seg, volume.geometry, volume.uid)
    assert np.array_equal(found.labels == 1, sphere)
    assert np.array_equal(found.labels == 2, bar)


def test_segments_of_another_image_are_refused(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL)
    segmentation_object(ct_datasets(SMALL), SMALL.sphere()[..., None], tmp_path)
    (study,) = scan([tmp_path]).studies
    image, seg = study.series
    (volume,) = load(image).volumes
    elsewhere = replace(volume, geometry=replace(volume.geometry, frame_of_reference_uid="1.2.3.4"))
    with pytest.raises(ReadError, match="another frame of reference"):
        load_segmentations(seg, elsewhere.geometry)
    affine = volume.geometry.affine.copy()
    affine[0, 3] += 0.3
    with pytest.raises(ReadError, match="another grid"):
        load_segmentations(seg, replace(volume.geometry, affine=affine))
