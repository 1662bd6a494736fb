"""Frames in one object: mosaics, nuclear medicine stacks, clips; and the order of repeats."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import MRImageStorage, NuclearMedicineImageStorage, XRayAngiographicImageStorage

from medview.core.geometry import Calibration
from medview.io.phases import phases_of
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan
from medview.io.stacking import stacks_of
from tests.helpers.dicom_phantoms import Who, new_dataset, save, set_pixels, uid
from tests.helpers.phantoms import Phantom, oblique

SMALL = Phantom(shape=(5, 12, 10), radius_mm=4).turned(oblique(15, 30))


def loaded(path: Path) -> LoadedSeries:
    (study,) = scan([path]).studies
    return load(study.series[0])


def csa_header(fields: dict[str, list[str]]) -> bytes:
    """A Siemens CSA header, format SV10: fields of 84 bytes, items of 16 and their text."""
    data = b"SV10\4\3\2\1" + struct.pack("<LL", len(fields), 77)
    for name, texts in fields.items():
        data += struct.pack("<64sL4sLLL", name.encode(), len(texts), b"FD", 0, len(texts), 77)
        for text in texts:
            raw = text.encode() + b"\0"
            data += struct.pack("<4L", len(raw), len(raw), 77, len(raw))
            data += raw.ljust(math.ceil(len(raw) / 4) * 4, b"\0")
    return data


def write_mosaic(
    path: Path, phantom: Phantom, *, normal: bool = True, block: int = 0x10, counted: bool = True
) -> np.ndarray:
    slices, rows, columns = phantom.shape
    across = math.ceil(math.sqrt(slices))
    stored = (phantom.values() + 1000).astype(np.uint16)
    picture = np.zeros((across * rows, across * columns), np.uint16)
    for k in range(slices):
        top, left = k // across * rows, k % across * columns
        picture[top : top + rows, left : left + columns] = stored[k]
    ds = new_dataset(Who(), MRImageStorage, uid("mosaic"), "MR", uid("mosaic series"))
    set_pixels(ds, picture)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    ds.Manufacturer = "SIEMENS"
    ds.FrameOfReferenceUID = uid("frame")
    # The scanner centres the large picture where the small one would lie.
    _, row_mm, column_mm = phantom.spacing_mm
    shift = np.array(phantom.row) * (across - 1) * columns / 2 * column_mm
    shift = shift + np.array(phantom.column) * (across - 1) * rows / 2 * row_mm
    ds.ImagePositionPatient = [f"{x:.10g}" for x in phantom.position(0) - shift]
    ds.ImageOrientationPatient = [f"{x:.10g}" for x in (*phantom.row, *phantom.column)]
    ds.PixelSpacing = [row_mm, column_mm]
    ds.SpacingBetweenSlices, ds.SliceThickness = phantom.spacing_mm[0], 9
    fields: dict[str, list[str]] = {"NumberOfImagesInMosaic": [str(slices)] if counted else []}
    if not counted:
        ds.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
        ds.add_new(0x0019100A, "US", slices)
    if normal:
        fields["SliceNormalVector"] = [f"{x:.8f}" for x in phantom.normal]
    ds.add_new(0x00290000 + block, "LO", "SIEMENS CSA HEADER")
    ds.add_new(0x00290010 + (block << 8), "OB", csa_header(fields))
    save(ds, path)
    return stored


@pytest.mark.parametrize(
    "written", [{}, {"block": 0x13}, {"counted": False}], ids=["plain", "other block", "no count"]
)
def test_mosaic_tiles_lie_where_the_slices_were(tmp_path: Path, written: dict[str, Any]) -> None:
    stored = write_mosaic(tmp_path / "a", SMALL, **written)
    (volume,) = loaded(tmp_path).volumes
    assert np.array_equal(volume.voxels, stored)
    assert volume.geometry.agrees_with(SMALL.geometry, 1e-4)


def test_a_mosaic_that_does_not_say_where_is_one_picture(tmp_path: Path) -> None:
    stored = write_mosaic(tmp_path / "a", SMALL, normal=False)
    (study,) = scan([tmp_path]).studies
    (volume,) = load(study.series[0]).volumes
    rows, columns = stored.shape[1:]
    assert np.array_equal(volume.voxels[0, :rows, :columns], stored[0])
    assert volume.geometry.calibration is Calibration.NONE
    assert "mosaic" in volume.notes[0]


def nuclear(path: Path, *, placed: bool) -> np.ndarray:
    frames = np.arange(4 * 6 * 5, dtype=np.uint16).reshape(4, 6, 5)
    ds = new_dataset(Who(), NuclearMedicineImageStorage, uid("nm"), "NM", uid("nm series"))
    set_pixels(ds, frames)
    ds.NumberOfFrames, ds.ImageType = 4, ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.PixelSpacing, ds.SpacingBetweenSlices, ds.SliceThickness = [3, 2], 5, 7
    detector = Dataset()
    if placed:
        detector.ImagePositionPatient = [1, 2, 3]
        detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.DetectorInformationSequence = DicomSequence([detector])
    save(ds, path)
    return frames


def test_nuclear_stack_by_its_detector(tmp_path: Path) -> None:
    frames = nuclear(tmp_path / "a", placed=True)
    (volume,) = loaded(tmp_path).volumes
    assert np.array_equal(volume.voxels, frames)
    assert volume.geometry.spacing_mm == pytest.approx((5, 3, 2))
    assert volume.geometry.to_lps_mm((2, 0, 0)) == pytest.approx((1, 2, 13))


def test_nuclear_stack_without_position_has_no_millimetres(tmp_path: Path) -> None:
    frames = nuclear(tmp_path / "a", placed=False)
    (volume,) = loaded(tmp_path).volumes
    assert np.array_equal(volume.voxels, frames)
    assert volume.geometry.calibration is Calibration.NONE


def test_angiography_is_a_clip_in_order(tmp_path: Path) -> None:
    frames = np.arange(5 * 6 * 4, dtype=np.uint8).reshape(5, 6, 4)
    ds = new_dataset(Who(), XRayAngiographicImageStorage, uid("xa"), "XA", uid("xa series"))
    set_pixels(ds, frames)
    ds.NumberOfFrames, ds.FrameTimeVector = 5, ["0", "100", "100", "50", "50"]
    ds.FrameIncrementPointer = 0x00181065
    save(ds, tmp_path / "a")
    (clip,) = loaded(tmp_path).clips
    assert np.array_equal(clip.frames, frames)
    assert clip.frame_times_s == pytest.approx((0, 0.1, 0.2, 0.25, 0.3))


def test_repeats_by_two_attributes() -> None:
    values = [{"EchoTime": str(e), "TemporalPositionIdentifier": str(t)}
              for e in (10, 9) for t in (2, 1) for _ in range(3)]  # fmt: skip
    places = [[p + 3 * n for n in range(4)] for p in range(3)]
    phases, told = phases_of(places, values, range(12))
    assert told == ("Echo time", "Time point")
    assert phases[0].label == "Echo time 9 ms, Time point 1"
    parts = [phase.members for phase in phases]
    expected = [("9", "1"), ("9", "2"), ("10", "1"), ("10", "2")]
    assert [
        (values[part[0]]["EchoTime"], values[part[0]]["TemporalPositionIdentifier"])
        for part in parts
    ] == expected
    for part in parts:
        assert len({index % 3 for index in part}) == 3


def test_repeats_that_nothing_tells_apart_go_by_their_order() -> None:
    places = [[0, 1], [2, 3]]
    phases, told = phases_of(places, [{}] * 4, [7, 3, 1, 2])
    assert told == ()
    assert [phase.members for phase in phases] == [(1, 2), (0, 3)]
    assert {phase.label for phase in phases} == {""}


def test_small_unevenness_is_told_and_large_is_split() -> None:
    normal = np.array([0.0, 0, 1])
    jitter = np.array([[0, 0, z] for z in (0, 2.0, 4.04, 6.0, 8.0)], dtype=np.float64)
    (stack,) = stacks_of(jitter, normal)
    assert stack.order == (0, 1, 2, 3, 4)
    assert "deviate" in stack.notes[0]
    far = np.array([[0, 0, z] for z in (0, 2, 4, 6, 50, 52, 54, 56)], dtype=np.float64)
    assert [stack.order for stack in stacks_of(far, normal)] == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_two_slices_by_chance_are_no_stack() -> None:
    normal = np.array([0.0, 0, 1])
    positions = np.array([[0, 0, z] for z in (0, 200.0, 300, 301.25)], dtype=np.float64)
    assert [stack.order for stack in stacks_of(positions, normal)] == [(0,), (1,), (2, 3)]
