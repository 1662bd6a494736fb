"""Headers that lie about the picture, and values that mean nothing (lines B of the list)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tests.helpers.bad_inputs.case import Case, file_case
from tests.helpers.bad_inputs.seeds import element, part10, pixels, slice_elements


def _with(**changes: Any) -> Callable[[], bytes]:
    return lambda: part10(slice_elements(**changes))


def _palette() -> bytes:
    lut = {
        f"{color}PaletteColorLookupTable{part}": value
        for color in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [0, 0, 16]), ("Data", ("OW", b"\1\2" * 10)))
    }
    return part10(slice_elements(PhotometricInterpretation="PALETTE COLOR", **lut))


def _short_curve() -> bytes:
    """A VOI LUT of 65,535 entries in two bytes."""
    item = element(0x00283002, "US", struct.pack("<3H", 65535, 0, 16))
    item += element(0x00283006, "OW", b"\0\1")
    whole = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
    return part10(slice_elements(VOILUTSequence=("SQ", whole)))


def _short_table() -> bytes:
    """A Modality LUT of 65,535 entries in two bytes."""
    item = element(0x00283002, "US", struct.pack("<3H", 65535, 0, 16))
    item += element(0x00283004, "LO", b"HU")
    item += element(0x00283006, "OW", b"\0\1")
    whole = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
    changes = {"RescaleSlope": None, "RescaleIntercept": None}
    return part10(slice_elements(ModalityLUTSequence=("SQ", whole), **changes))


def _empty_pixels() -> bytes:
    return part10(slice_elements(PixelData=("OW", b"")))


_SEED = pixels().tobytes()

PICTURES: tuple[Case, ...] = (
    file_case("B01_rows_cols_65535.dcm", "R", _with(Rows=65535, Columns=65535)),
    file_case("B02_frames_2e9.dcm", "R", _with(NumberOfFrames=str(2**31 - 1))),
    file_case("B03_rows_0.dcm", "R", _with(Rows=0)),
    file_case("B04_rows_missing.dcm", "R", _with(Rows=None)),
    file_case("B05_bitsalloc_7.dcm", "R", _with(BitsAllocated=7)),
    file_case("B06_bitsstored_gt.dcm", "RW", _with(BitsStored=32)),
    file_case("B06_highbit_gt.dcm", "RWL", _with(HighBit=31)),
    file_case("B07_samples_5.dcm", "R", _with(SamplesPerPixel=5)),
    file_case("B08_photometric_bad.dcm", "RW", _with(PhotometricInterpretation="FOO")),
    file_case("B09_frames_neg.dcm", "RW", _with(NumberOfFrames="-3")),
    file_case("B10_frames_text.dcm", "RW", _with(NumberOfFrames="abc")),
    file_case("B11_rows_as_UL.dcm", "R", _with(Rows=("UL", struct.pack("<L", 0x80000002)))),
    file_case("B12_no_pixeldata.dcm", "R", _with(PixelData=None)),
    file_case("B12_empty_pixeldata.dcm", "R", _empty_pixels),
    file_case("B13_pixels_short.dcm", "R", _with(PixelData=("OW", b"\5\1" * 500))),
    file_case("B14_pixels_long.dcm", "W", _with(PixelData=("OW", _SEED + b"\3\3" * 2500))),
    file_case("B15_photometric_missing.dcm", "RW", _with(PhotometricInterpretation=None)),
    file_case("B16_palette_lies.dcm", "RW", _palette),
    file_case("B17_voilut_short.dcm", "W", _short_curve),
    file_case("B17_modality_lut_short.dcm", "WRU", _short_table),
    file_case("B18_window_0.dcm", "W", _with(WindowWidth="0")),
    file_case("B18_window_text.dcm", "LW", _with(WindowWidth="wide")),
    file_case("B19_slope_0.dcm", "U", _with(RescaleSlope="0"), twin=False),
    file_case("B20_slope_nan.dcm", "U", _with(RescaleSlope="NaN"), twin=False),
    file_case("B20_slope_text.dcm", "U", _with(RescaleSlope="one"), twin=False),
    file_case("B21_ds_1e400.dcm", "U", _with(RescaleIntercept="1e400"), twin=False),
)  # fmt: skip
