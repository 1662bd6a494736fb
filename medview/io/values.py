"""What stored numbers mean: their format, rescaling, unit, windows and padding."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from medview.core.codes import (
    ABSORBED_DOSE,
    ACTIVITY,
    ATTENUATION,
    SIGNAL,
    SUV,
    SUV_BSA,
    SUV_BW,
    SUV_OF_UNIT,
    UNSPECIFIED,
    Code,
)
from medview.core.errors import ReadError
from medview.core.volume import Window
from medview.io.header import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from medview.io.plan import VIDEO_SYNTAXES, PixelFormat

Values = Mapping[str, str]

#: What turns the rescaled values of a PET image into SUVbw, worked out by `io.pet`.
SUV_FACTOR = "_SuvFactor"

NATIVE = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))
_JPEG = "1.2.840.10008.1.2.4."
_STILL = ("50", "51", "53", "55", "57", "70", "80", "81", "90", "91", "110", "111", "112",
          "201", "202", "203")  # fmt: skip
#: Pictures in fragments: run lengths, JPEG families, uncompressed, deflated (PS3.5 A.4).
ENCAPSULATED = frozenset(
    ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1",
     *(_JPEG + n for n in _STILL))
)  # fmt: skip
_KNOWN = NATIVE | ENCAPSULATED | VIDEO_SYNTAXES
_AGAIN = "Get the file again from its source"
#: Compressed pictures above this many bytes must not claim to shrink beyond this factor.
_BIG, _BEYOND_BELIEF = 256 << 20, 2000

_PET_UNITS = {
    "BQML": "Bq/ml",
    "CNTS": "{counts}",
    "CM2ML": "cm2/ml{SUVbsa}",
    "PROPCPS": "{propcounts}/s",
    "PERCENT": "%",
    "HU": "[hnsf'U]",
}
_SUV_UNITS = {
    "": "g/ml{SUVbw}",
    "BW": "g/ml{SUVbw}",
    "LBM": "g/ml{SUVlbm}",
    "LBMJANMA": "g/ml{SUVlbm(Janma)}",
    "LBMJAMES128": "g/ml{SUVlbm(James128)}",
    "BSA": "cm2/ml{SUVbsa}",
    "IBW": "g/ml{SUVibw}",
}
#: Units that Rescale Type and Modality LUT Type name (PS3.3 C.11.1.1.2), beside HU.
_LUT_UNITS = {"OD": "{OD}.10*-3", "MGML": "mg/ml", "PCT": "%", "ED": "10*23/ml", "DVPX": "1"}


def numbers(values: Values, keyword: str) -> tuple[float, ...]:
    """The finite numbers of a header value; empty if any of them is none."""
    return _finite(values.get(keyword, ""))


@lru_cache(maxsize=4096)
def _finite(text: str) -> tuple[float, ...]:
    """The numbers in a text; slice after slice repeats most of them."""
    try:
        result = tuple([float(part) for part in text.split("\\") if part])
    except ValueError:
        return ()
    return result if all(map(math.isfinite, result)) else ()


def number(values: Values, keyword: str) -> float | None:
    """The first number of a header value."""
    found = numbers(values, keyword)
    return found[0] if found else None


def whole_number(values: Values, keyword: str, default: int) -> int:
    """A count; `default` where the value is absent. ReadError where it is nonsense."""
    text = values.get(keyword, "")
    if not text.strip():
        return default
    try:
        return int(text) if text.isdigit() else int(float(text.split("\\")[0]))
    except (ValueError, OverflowError) as error:
        raise ReadError(f"{keyword} is no number", _AGAIN) from error


#: All that the format of pixels is made of; slice after slice has the same.
_FORMAT = ("_TransferSyntax", "_PixelOffset", "_PixelLength", "_PixelKind", "_FileSize", "Rows",
           "Columns", "SamplesPerPixel", "NumberOfFrames", "PlanarConfiguration",
           "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit",
           "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
           "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit",
           "DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit")  # fmt: skip


def pixel_format(values: Values) -> PixelFormat:
    """How the pixels lie in the file, checked against what the file holds.

    Raises ReadError, in plain words, for anything that cannot be a picture.
    """
    return _format_of(tuple(map(values.get, _FORMAT)))


@lru_cache(maxsize=1024)
def _format_of(texts: tuple[str | None, ...]) -> PixelFormat:
    """The format that the values of `_FORMAT` give, one object for all slices that agree."""
    values = {name: text for name, text in zip(_FORMAT, texts, strict=True) if text is not None}
    form = _stated_format(values)
    _check_length(form, values)
    return form


def _stated_format(values: Values) -> PixelFormat:
    syntax = values.get("_TransferSyntax", "")
    if int(values.get("_PixelOffset", "-1")) < 0:
        raise ReadError("The file holds no image")
    if syntax not in _KNOWN:
        raise ReadError(f"The transfer syntax {syntax or 'of the file'} is not known")
    rows, columns = (whole_number(values, name, 0) for name in ("Rows", "Columns"))
    samples = whole_number(values, "SamplesPerPixel", 1)
    if not (0 < rows <= 65535 and 0 < columns <= 65535):
        raise ReadError("Rows or columns of the image are missing")
    if samples not in (1, 3):
        raise ReadError(f"An image with {samples} values per pixel is not known")
    dtype, stored, high = _bits(values)
    frames = whole_number(values, "NumberOfFrames", 1)
    if frames < 0:
        raise ReadError(f"The file claims {frames} frames", _AGAIN)
    return PixelFormat(
        encoding=syntax,
        rows=rows,
        columns=columns,
        dtype=dtype,
        samples=samples,
        photometric=_photometric(values, samples),
        planar=whole_number(values, "PlanarConfiguration", 0),
        bits_stored=stored,
        high_bit=high,
        frames=max(1, frames),
        padding=padding_of(values, np.dtype(dtype), stored),
    )


def _photometric(values: Values, samples: int) -> str:
    name = values.get("PhotometricInterpretation", "")
    if not name:
        return "MONOCHROME2" if samples == 1 else "RGB"
    known = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") if samples == 1 else ("RGB", "YBR_")
    if not name.startswith(known):
        raise ReadError(f"Pictures of the kind “{name[:30]}” are not known")
    return name


def _bits(values: Values) -> tuple[str, int, int]:
    """Stored type, bits stored and high bit (PS3.5 8.1.1)."""
    kind = values.get("_PixelKind", "integer")
    if kind != "integer":
        return ("<f4", 32, 31) if kind == "float" else ("<f8", 64, 63)
    allocated = whole_number(values, "BitsAllocated", 0)
    stored = whole_number(values, "BitsStored", allocated)
    high = whole_number(values, "HighBit", stored - 1)
    if allocated not in (1, 8, 16, 32):
        raise ReadError(f"Pixels of {allocated} bits are not known")
    if not 0 < stored <= high + 1 <= allocated:
        raise ReadError(f"{stored} bits of a pixel cannot lie in {allocated}", _AGAIN)
    letter = "i" if values.get("PixelRepresentation") == "1" else "u"
    return f"<{letter}{max(1, allocated // 8)}", stored, high


def _check_length(form: PixelFormat, values: Values) -> None:
    """Refuse pixel data shorter than the picture they claim to be, before any allocation."""
    declared = int(values.get("_PixelLength", "0"))
    held = int(values.get("_FileSize", "0")) - int(values.get("_PixelOffset", "0"))
    expected = form.plane_bytes * form.frames
    if form.encoding in NATIVE:
        if declared < 0:
            raise ReadError("The pixel data are packed otherwise than the file says", _AGAIN)
        if form.photometric.endswith("_422"):
            expected = expected * 2 // 3
        if values.get("BitsAllocated") == "1":
            expected = (form.rows * form.columns * form.frames + 7) // 8
        # A file that lacks no more than its last row is read; what is missing is shown empty.
        row = form.plane_bytes // max(1, form.rows)
        if min(declared, held) < expected and (declared < expected or expected - held > row):
            raise ReadError(
                f"The pixel data are cut short: {min(declared, held):,} of {expected:,} bytes",
                _AGAIN,
            )
    elif expected > _BIG and expected > _BEYOND_BELIEF * max(1, held):
        raise ReadError("The file claims a picture far larger than its data can hold", _AGAIN)


@dataclass(frozen=True)
class Rescale:
    """Stored to real-world values; `trusted` is False where the header gives nonsense."""

    slope: float = 1.0
    intercept: float = 0.0
    trusted: bool = True


def rescale_of(values: Values) -> Rescale:
    """Rescale Slope and Intercept (PS3.3 C.11.1); absent ones are 1 and 0."""
    return _rescale(
        values.get("RescaleSlope", ""),
        values.get("RescaleIntercept", ""),
        float(values.get(SUV_FACTOR) or 1),
    )


@lru_cache(maxsize=1024)
def _rescale(slope_text: str, intercept_text: str, factor: float) -> Rescale:
    """What the texts of both say; most slices of a series have the same."""
    slope, intercept = (next(iter(_finite(text)), None) for text in (slope_text, intercept_text))
    wrong = (slope is None and slope_text) or (intercept is None and intercept_text)
    if wrong or slope == 0:
        return Rescale(trusted=False)
    slope, intercept = (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)
    return Rescale(slope * factor, intercept * factor)


def meaning_of(values: Values) -> tuple[Code, str, tuple[str, ...]]:
    """Quantity, UCUM unit and notes of the rescaled values."""
    modality, kind = values.get("Modality", ""), values.get("RescaleType", "")
    if values.get(SUV_FACTOR):
        return SUV_BW, "g/ml{SUVbw}", ()
    if modality == "CT" and kind in ("HU", ""):
        if values.get("RescaleIntercept", "") == "" and kind != "HU":
            return UNSPECIFIED, "1", ("No rescale values: the numbers are not Hounsfield units",)
        return ATTENUATION, "[hnsf'U]", ()
    if modality == "PT":
        units = values.get("Units", "")
        if units == "GML":
            unit = _SUV_UNITS.get(values.get("SUVType", ""), "1")
            return SUV_OF_UNIT.get(unit, SUV), unit, ()
        unit = _PET_UNITS.get(units, "1")
        quantity = {"BQML": ACTIVITY, "CM2ML": SUV_BSA, "HU": ATTENUATION}.get(units, UNSPECIFIED)
        return quantity, unit, ()
    if kind in _LUT_UNITS:
        return UNSPECIFIED, _LUT_UNITS[kind], ()
    if modality == "RTDOSE":
        return (ABSORBED_DOSE if kind == "Gy" else UNSPECIFIED), kind or "1", ()
    return (SIGNAL if modality == "MR" else UNSPECIFIED), "1", ()


def windows_of(values: Values) -> tuple[Window, ...]:
    """The windows the file asks for, in real-world values (PS3.3 C.11.2).

    One whose width makes no sense for its function is left out (see `lost_windows`).
    """
    function = values.get("VOILUTFunction", "") or "LINEAR"
    smallest = 1.0 if function == "LINEAR" else 1e-12
    names = values.get("WindowCenterWidthExplanation", "").split("\\")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    factor = float(values.get(SUV_FACTOR) or 1)
    return tuple(
        Window(center, width, names[n].strip() if n < len(names) else "", function).rescaled(
            factor, 0.0
        )
        if factor != 1
        else Window(center, width, names[n].strip() if n < len(names) else "", function)
        for n, (center, width) in enumerate(_window_pairs(values))
        if width >= smallest
    )


def _window_pairs(values: Values) -> list[tuple[float, float]]:
    centers, widths = numbers(values, "WindowCenter"), numbers(values, "WindowWidth")
    return list(zip(centers, widths, strict=False))


def lost_windows(values: Values) -> tuple[str, ...]:
    """A note where the file asks for a window that cannot be: without a width, say."""
    asked = bool(values.get("WindowCenter") or values.get("WindowWidth"))
    pairs = _window_pairs(values)
    function = values.get("VOILUTFunction", "") or "LINEAR"
    if asked and len(windows_of(values)) < max(1, len(pairs)):
        return ("A window of the file makes no sense (its width, say): not used",)
    if asked and function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        return (f"The display function “{function[:16]}” is not known: taken as linear",)
    return ()


def is_inverted(values: Values) -> bool:
    """Whether low values are shown bright (PS3.3 C.7.6.3.1.2, C.8.11.3.1.2).

    MONOCHROME1 and a Presentation LUT Shape INVERSE say the same thing, once.
    """
    if values.get("PhotometricInterpretation") == "MONOCHROME1":
        return True
    return values.get("PresentationLUTShape") == "INVERSE"


#: Where padding stands for whole numbers, for float and for double pixels (PS3.3 C.7.6.24, 25).
_PADDING = {"integer": "PixelPadding", "float": "FloatPixelPadding",
            "double": "DoubleFloatPixelPadding"}  # fmt: skip


def padding_of(
    values: Values, dtype: np.dtype[Any], bits_stored: int = 0
) -> tuple[float, float] | None:
    """Padding Value and Range Limit as a closed range of stored values (PS3.3 C.7.5.1.1.2)."""
    name = _PADDING[values.get("_PixelKind") or "integer"]
    value = number(values, name + "Value")
    if value is None:
        return None
    limit = number(values, name + "RangeLimit")
    both = (value, value if limit is None else limit)
    ends = [_as_stored(end, dtype, bits_stored) for end in both]
    return min(ends), max(ends)


def _as_stored(value: float, dtype: np.dtype[Any], bits_stored: int) -> float:
    """A padding value as the pixels have it: of their sign, within the bits they store."""
    if dtype.kind not in "iu":
        return float(np.float32(value)) if dtype.itemsize == 4 else value
    bits = dtype.itemsize * 8
    stored = bits_stored or bits
    low = -(1 << (stored - 1)) if dtype.kind == "i" else 0
    if low <= value < low + (1 << stored):
        return value
    return float((int(value) - low) % (1 << stored) + low)


#: What padding becomes where every slice has its own scale.
_PADDED = -32768.0


@dataclass(frozen=True)
class Scale:
    """How the voxels of one volume are kept: as stored, or as real values in float32.

    `padding` is in the values that are kept, `blank` the value of a plane without pixels.
    """

    dtype: str
    slope: float = 1.0
    intercept: float = 0.0
    channels: int = 1
    real_values: bool = False
    trusted: bool = True
    padding: tuple[float, float] | None = None
    blank: float = 0.0


def common_scale(forms: Sequence[PixelFormat], values: Sequence[Values]) -> Scale:
    """One way to keep the voxels of frames that form a volume.

    Frames that agree in type and rescaling stay as stored; otherwise each is rescaled to float32.
    """
    form = forms[0]
    if form.samples == 3 or form.photometric == "PALETTE COLOR":
        return Scale("|u1", channels=3)
    rescales = {rescale_of(one) for one in values}
    trusted = all(rescale.trusted for rescale in rescales)
    paddings = {one.padding for one in forms}
    if any(one.lut is not None for one in forms):
        return _lut_scale(forms, paddings)
    dtype = np.dtype(form.dtype)
    one_type = len({one.dtype for one in forms}) == 1 and dtype.itemsize <= 4
    padding = form.padding
    if one_type and len(paddings) == 1 and (len(rescales) == 1 or not trusted):
        rescale = rescales.pop() if trusted else Rescale()
        scale = Scale(dtype.str, rescale.slope, rescale.intercept, trusted=trusted, padding=padding)
    else:
        padding = None if paddings == {None} else (_PADDED, _PADDED)
        scale = Scale("<f4", real_values=True, trusted=trusted, padding=padding)
    return replace(scale, blank=_blank(scale, meaning_of(values[0])[1]))


def _lut_scale(
    forms: Sequence[PixelFormat], paddings: Collection[tuple[float, float] | None]
) -> Scale:
    """Outputs of Modality LUTs; padding, which is in stored values, must not become one of them.

    Rescale Slope and Intercept have no say where a Modality LUT stands (PS3.3 C.11.1).
    """
    every = all(one.lut is not None for one in forms)
    if every and set(paddings) == {None}:
        return Scale("<u2")
    padding = None if set(paddings) == {None} else (_PADDED, _PADDED)
    blank = 0.0 if padding is None else _PADDED
    return Scale("<f4", real_values=True, padding=padding, blank=blank)


def _blank(scale: Scale, unit: str) -> float:
    """What an empty plane holds: padding where the file has it, air in Hounsfield units, else 0."""
    if scale.padding is not None:
        return scale.padding[0]
    value = -1024.0 if unit == "[hnsf'U]" else 0.0
    stored = round((value - scale.intercept) / scale.slope)
    dtype = np.dtype(scale.dtype)
    if dtype.kind == "f":
        return value
    limits = np.iinfo(dtype)
    return float(min(max(stored, int(limits.min)), int(limits.max)))
