"""Places that are missing or impossible, and series that do not make one grid (lines E and S)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.helpers.bad_inputs.case import Case, file_case, write
from tests.helpers.bad_inputs.seeds import part10, pixels, slice_elements
from tests.helpers.dicom_phantoms import uid


def _case(name: str, **changes: Any) -> Case:
    return file_case(name, "U", lambda: part10(slice_elements(**changes)))


def _stack(
    name: str,
    expected: str,
    z_mm: Sequence[float],
    per_slice: dict[int, dict[str, Any]] | None = None,
    **changes: Any,
) -> Case:
    """A series with slices at these heights; `per_slice` changes single ones."""

    def make(folder: Path) -> None:
        for n, z in enumerate(z_mm):
            own = {**changes, **(per_slice or {}).get(n, {})}
            write(folder / name / f"{n}.dcm", part10(slice_elements(n + 1, z, **own)))

    return Case(name, expected, make)


def _one_cut(folder: Path) -> None:
    """Five slices, the third without the end of its pixels."""
    for n in range(5):
        data = part10(slice_elements(n + 1, 2.0 * n))
        write(folder / "S12_one_truncated" / f"{n}.dcm", data[: -9000 if n == 2 else None])


def _tilted(degrees: float) -> dict[int, dict[str, Any]]:
    """A gantry tilted about x: rows of the image lean, the table moves straight."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return {n: {"ImageOrientationPatient": f"1\\0\\0\\0\\{c:.9f}\\{-s:.9f}"} for n in range(5)}


_HALF = {"Rows": 64, "PixelData": ("OW", pixels()[:64].tobytes())}
_SCOUT = {
    "ImageOrientationPatient": "0\\1\\0\\0\\0\\-1",
    "ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER",
}
_EVEN = [0.0, 2.0, 4.0, 6.0, 8.0]
_B = {"PatientID": "BAD-2", "PatientName": "Second^Patient"}

PLACES: tuple[Case, ...] = (
    _case("E01_ps_zero.dcm", PixelSpacing="0\\0"),
    _case("E02_ps_neg.dcm", PixelSpacing="-1\\1"),
    _case("E03_ps_one.dcm", PixelSpacing="1"),
    _case("E04_ps_text.dcm", PixelSpacing="abc"),
    _case("E04_ps_missing.dcm", PixelSpacing=None),
    _case("E04_ps_huge.dcm", PixelSpacing="1e30\\1e30"),
    _case("E04_ps_nan.dcm", PixelSpacing="NaN\\NaN"),
    _case("E05_iop_zero.dcm", ImageOrientationPatient="0\\0\\0\\0\\0\\0"),
    _case("E06_iop_nonorth.dcm", ImageOrientationPatient="1\\0\\0\\1\\0\\0"),
    _case("E06_iop_skew.dcm", ImageOrientationPatient="1\\0\\0\\0.5\\0.866\\0"),
    _case("E06_iop_long.dcm", ImageOrientationPatient="2\\0\\0\\0\\2\\0"),
    _case("E07_iop_missing.dcm", ImageOrientationPatient=None),
    _case("E08_ipp_missing.dcm", ImagePositionPatient=None),
    _case("E08_ipp_two.dcm", ImagePositionPatient="1\\2"),
    _case("E09_ipp_nan.dcm", ImagePositionPatient="NaN\\0\\0"),
    _case("E09_ipp_huge.dcm", ImagePositionPatient="1e300\\0\\0"),
    _stack("S01_missing_slice", "W", [0, 2, 4, 8, 10]),
    _stack("S02_duplicate_pos", "WS", [0, 2, 2, 4, 6]),
    _stack("S03_nonuniform", "W", [0, 1, 3, 7, 15]),
    _stack("S04_thick_ne_spacing", "L", [0, 2.5, 5, 7.5, 10], SliceThickness="5"),
    _stack("S05_reversed", "L", [8, 6, 4, 2, 0]),
    _stack("S06_dup_sop", "W", [0, 2, 4], SOPInstanceUID=uid("bad inputs", "same")),
    _stack("S07_two_patients_one_study", "S", _EVEN, {1: _B, 3: _B}),
    _stack("S07_two_frames", "S", _EVEN,
           {n: {"FrameOfReferenceUID": uid("other frame")} for n in (1, 3)}),
    _stack("S07_two_orientations", "S", _EVEN,
           {n: {"ImageOrientationPatient": "0\\1\\0\\0\\0\\-1"} for n in (1, 3)}),
    _stack("S08_mixed_size", "S", _EVEN, {2: _HALF}),
    _stack("S09_scout_in_series", "S", _EVEN, {0: _SCOUT}),
    _stack("S10_gantry_tilt20", "W", _EVEN, _tilted(20)),
    _stack("S11_instnum_shuffled", "L", _EVEN,
           {n: {"InstanceNumber": str(number)} for n, number in enumerate((3, 1, 5, 2, 4))}),
    Case("S12_one_truncated", "W", _one_cut),
    _stack("S13_slope_per_slice", "L", _EVEN, {n: {"RescaleSlope": str(n + 1)} for n in range(5)}),
    _stack("S14_mixed_mono1", "SW", _EVEN, {2: {"PhotometricInterpretation": "MONOCHROME1"}}),
)  # fmt: skip
