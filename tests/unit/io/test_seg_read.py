"""Label maps read back onto the grid of their image, however their frames lie on it."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
)

from medview.core.errors import ReadError
from medview.core.geometry import Geometry
from medview.core.study import SeriesKind
from medview.io.request import gather
from medview.io.seg_read import read_segmentations
from medview.io.seg_write import SegOptions, write_segmentation
from medview.io.sources import read_sources
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import (
    AT,
    random_labels,
    segment,
    segmentation_of,
    study_of,
    volume_of,
)
from tests.helpers.phantoms import Phantom, oblique

SHAPE = (5, 9, 7)
ROW, COLUMN = oblique(20, 30)
PHANTOM = Phantom(shape=SHAPE, spacing_mm=(2.5, 0.8, 0.7), row=ROW, column=COLUMN)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A label map of three segments as a file, and its labels."""
    study = study_of(write_ct(tmp_path / "ct", PHANTOM))
    volume = volume_of(study.series[0], PHANTOM.geometry)
    labels = random_labels(SHAPE, 3)
    segments = [segment(n, f"Part {n}") for n in (1, 2, 3)]
    (export,) = gather([segmentation_of(volume, labels, segments)], {volume.uid: volume}, study)
    path = tmp_path / "map.dcm"
    write_segmentation(export, read_sources(study.series[0]), path, SegOptions(AT, label_map=True))
    return path, labels


def read(path: Path, geometry: Geometry = PHANTOM.geometry) -> list[np.ndarray]:
    series = replace(study_of([path]).series[0], kind=SeriesKind.SEGMENTATION)
    return [found.labels for found in read_segmentations(series, geometry)]


def pixels_of(ds: Dataset) -> np.ndarray:
    stored = np.frombuffer(ds.PixelData, np.uint8)[: ds.NumberOfFrames * 63]
    return stored.reshape(-1, 9, 7).copy()


def save(ds: Dataset, pixels: np.ndarray, path: Path) -> None:
    data = pixels.astype(np.uint8).tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
    ds.save_as(path)


def test_frames_go_to_their_slices_in_whatever_order(written: tuple[Path, np.ndarray]) -> None:
    path, labels = written
    ds = dcmread(path)
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    order = np.random.default_rng(3).permutation(len(groups))
    ds.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    save(ds, pixels_of(ds)[order], path)
    (seen,) = read(path)
    assert np.array_equal(seen, labels)


def test_a_number_that_no_segment_has_is_left_out(written: tuple[Path, np.ndarray]) -> None:
    path, labels = written
    ds = dcmread(path)
    pixels = pixels_of(ds)
    place = np.argwhere(pixels[1] == 2)[0]
    pixels[1, place[0], place[1]] = 9
    save(ds, pixels, path)
    (seen,) = read(path)
    wrong = np.argwhere(seen != labels)
    assert len(wrong) == 1
    assert seen[tuple(wrong[0])] == 0


def test_frames_that_are_a_part_of_a_slice_lie_on_that_part(
    written: tuple[Path, np.ndarray],
) -> None:
    path, labels = written
    ds = dcmread(path)
    for group in ds.PerFrameFunctionalGroupsSequence:
        item = group.PlanePositionSequence[0]
        index = PHANTOM.geometry.to_index([float(v) for v in item.ImagePositionPatient])
        item.ImagePositionPatient = list(PHANTOM.geometry.to_lps_mm(index + np.array([0, 2, 1])))
    save(ds, pixels_of(ds)[:, 2:8, 1:6], path)
    (seen,) = read(path)
    cut = np.zeros_like(labels)
    cut[:, 2:8, 1:6] = labels[:, 2:8, 1:6]
    assert np.array_equal(seen, cut)


def test_two_frames_on_one_slice_are_two_segmentations(written: tuple[Path, np.ndarray]) -> None:
    path, labels = written
    ds = dcmread(path)
    groups, pixels = list(ds.PerFrameFunctionalGroupsSequence), pixels_of(ds)
    ds.PerFrameFunctionalGroupsSequence = [*groups, groups[0]]
    flipped = np.where(pixels[:1] > 0, 4 - pixels[:1], 0)  # 1 and 3 change places
    save(ds, np.concatenate([pixels, flipped]), path)
    found = read(path)
    assert len(found) > 1
    for number in (1, 2, 3):
        seen = np.any([one == number for one in found], axis=0)
        wanted = labels == number
        wanted[0] |= labels[0] == 4 - number
        assert np.array_equal(seen, wanted)


def test_frames_between_the_voxels_are_refused(written: tuple[Path, np.ndarray]) -> None:
    path, _ = written
    affine = PHANTOM.geometry.affine.copy()
    affine[:3, 3] += affine[:3, 2] * 0.4
    frame = PHANTOM.geometry.frame_of_reference_uid
    with pytest.raises(ReadError, match="another grid"):
        read(path, Geometry(SHAPE, affine, frame_of_reference_uid=frame))


def test_frames_deflated_one_by_one_and_ones_cut_short(written: tuple[Path, np.ndarray]) -> None:
    """PS3.5 A.4.11; the library knows no such transfer syntax."""
    path, labels = written
    ds = dcmread(path)
    packed = []
    for frame in pixels_of(ds):
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed.append(packer.compress(frame.tobytes()) + packer.flush())
    ds.PixelData = encapsulate(packed)
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.8.1")
    dcmwrite(path, ds, implicit_vr=False, little_endian=True, force_encoding=True)
    (seen,) = read(path)
    assert np.array_equal(seen, labels)
    ds.PixelData = encapsulate([*packed[:-1], packed[-1][:3]])
    dcmwrite(path, ds, implicit_vr=False, little_endian=True, force_encoding=True)
    with pytest.raises(ReadError):
        read(path)


def test_a_deflated_file_that_ends_early_is_refused(written: tuple[Path, np.ndarray]) -> None:
    path, _ = written
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path)
    series = replace(study_of([path]).series[0], kind=SeriesKind.SEGMENTATION)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReadError):
        read_segmentations(series, PHANTOM.geometry)


@pytest.mark.parametrize(
    ("kind", "bits", "stored", "little"),
    [("<u2", 16, 16, True), ("<u2", 16, 9, True), (">u2", 16, 16, False), ("u1", 8, 5, True)],
)
def test_numbers_of_every_width_and_order_are_read(
    written: tuple[Path, np.ndarray], kind: str, bits: int, stored: int, little: bool
) -> None:
    path, labels = written
    ds = dcmread(path)
    pixels = pixels_of(ds).astype(kind)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, stored, stored - 1
    data = pixels.tobytes()
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dcmwrite(path, ds, implicit_vr=False, little_endian=little, force_encoding=True)
    (seen,) = read(path)
    assert np.array_equal(seen, labels)
