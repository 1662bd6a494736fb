"""Real files in every transfer syntax, beside what other programs make of them; prints a table."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.pixels import apply_color_lut, pixel_array

from tests.helpers.codec_files import pixels_of

Pixels = npt.NDArray[Any]

_JPEG = "1.2.840.10008.1.2.4."
_LOSSY = tuple(_JPEG + n for n in ("50", "51", "53", "55"))
_DCMTK = {
    "1.2.840.10008.1.2.5": "dcmdrle",
    **{_JPEG + n: "dcmdjpeg" for n in ("50", "51", "53", "55", "57", "70")},
    **{_JPEG + n: "dcmdjpls" for n in ("80", "81")},
    **{f"1.2.840.10008.1.2{end}": "dcmconv" for end in ("", ".1", ".2", ".1.99")},
}
#: The same picture, packed and not, and how far they may be apart.
_PAIRS = [
    ("pydicom_core/MR_small*.dcm", "pydicom_core/MR_small.dcm", 0),
    ("pydicom/emri_small_*.dcm", "pydicom/emri_small.dcm", 0),
    ("pydicom/693_J2KR.dcm", "pydicom/693_UNCR.dcm", 0),
    ("pydicom/US1_J2KR.dcm", "pydicom/US1_UNCR.dcm", 0),
    ("ct_all_syntaxes/CTImage.dcm_*10008.1.2.[125]*.dcm", "ct_all_syntaxes/CTImage.dcm", 0),
    ("ct_all_syntaxes/CTImage.dcm_*.4.[57]7*.dcm", "ct_all_syntaxes/CTImage.dcm", 0),
    ("ct_all_syntaxes/CTImage.dcm_*.4.70.dcm", "ct_all_syntaxes/CTImage.dcm", 0),
    ("ct_all_syntaxes/CTImage.dcm_*.4.[89]0.dcm", "ct_all_syntaxes/CTImage.dcm", 0),
    ("ct_all_syntaxes/CTImage.dcm_*.4.81.dcm", "ct_all_syntaxes/CTImage.dcm", 1),
    ("ct_all_syntaxes/CTImage.dcm_*.4.91.dcm", "ct_all_syntaxes/CTImage.dcm", 5),
    ("ct_all_syntaxes/TestPattern_*Lossless*.dcm", "ct_all_syntaxes/TestPattern_RGB.dcm", 8),
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One comparison: a file, a reader, the largest difference, and whether that is fine."""

    syntax: str
    file: str
    reader: str
    apart: int
    fine: bool


def by_dcmtk(path: Path, ds: pydicom.Dataset, folder: Path) -> Pixels | None:
    """What dcmtk's decoders make of it; RGB in colour."""
    program = _DCMTK.get(ds.file_meta.TransferSyntaxUID, "")
    if not shutil.which(program or "none"):
        return None
    target = folder / "dcmtk.dcm"
    extra = ["+te"] if program == "dcmconv" else []
    done = subprocess.run([program, *extra, path, target], capture_output=True, check=False)
    return None if done.returncode else _shown(pydicom.dcmread(target))


def by_simpleitk(path: Path, ds: pydicom.Dataset, folder: Path) -> Pixels | None:
    """What SimpleITK reads, without the rescaling it applies.

    Its masks of one bit are 0 and 255, and its colour of more than 8 bits is none: left out.
    """
    del folder
    if ds.BitsAllocated == 1 or (ds.SamplesPerPixel == 3 and ds.BitsAllocated > 8):
        return None
    try:
        image = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    except RuntimeError:
        return None
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        image = image >> 8 if image.dtype == np.uint16 else image
    elif ds.SamplesPerPixel == 1:
        groups = ds.get("PerFrameFunctionalGroupsSequence") or [pydicom.Dataset()]
        shared = ds.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()]
        keyword = "PixelValueTransformationSequence"
        (scale, *_) = groups[0].get(keyword) or shared[0].get(keyword) or [ds]
        slope = float(scale.get("RescaleSlope") or 1)
        shifted = image - float(scale.get("RescaleIntercept") or 0)
        image = np.rint(shifted / slope).astype(np.int64)
    return image[0] if len(image) == 1 else image


def by_pydicom(path: Path, ds: pydicom.Dataset, folder: Path) -> Pixels | None:
    """What pydicom and its plug-ins make of it."""
    del path, folder
    try:
        return _shown(ds)
    except (RuntimeError, NotImplementedError, AttributeError, ValueError):
        return None


def by_pillow(path: Path, ds: pydicom.Dataset, folder: Path) -> Pixels | None:
    """What Pillow makes of the first compressed frame on its own."""
    del path, folder
    if ds.file_meta.TransferSyntaxUID not in (_JPEG + "50", _JPEG + "90", _JPEG + "91"):
        return None
    stream = get_frame(ds.PixelData, 0, number_of_frames=int(ds.get("NumberOfFrames", 1)))
    if ds.BitsAllocated > 8:
        return None
    with Image.open(io.BytesIO(stream)) as image:
        return np.asarray(image.convert("L" if ds.SamplesPerPixel == 1 else "RGB"))


def _shown(ds: pydicom.Dataset) -> Pixels:
    """Pixels in 8 bits where they are in colour, as stored otherwise."""
    stored = pixel_array(ds)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        painted = apply_color_lut(stored, ds)
        return painted >> 8 if painted.dtype == np.uint16 else painted
    return stored >> (ds.BitsStored - 8) if ds.SamplesPerPixel == 3 else stored


READERS: dict[str, Callable[[Path, pydicom.Dataset, Path], Pixels | None]] = {
    "dcmtk": by_dcmtk,
    "SimpleITK": by_simpleitk,
    "pydicom": by_pydicom,
    "Pillow": by_pillow,
}


def apart(ours: Pixels, other: Pixels) -> int:
    """The largest difference; of the first frame where the other has only that."""
    if other.ndim < ours.ndim:
        ours = ours[0]
    if ours.shape != other.shape:
        return -1
    return int(np.abs(ours.astype(np.int64) - other.astype(np.int64)).max())


def compared(path: Path, folder: Path) -> list[Line]:
    """A file beside each reader that can read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path)
            syntax = str(ds.file_meta.TransferSyntaxUID)
            if "Rows" not in ds or "PixelData" not in ds:
                return []
            found = [(name, read(path, ds, folder)) for name, read in READERS.items()]
        except (pydicom.errors.InvalidDicomError, AttributeError, OSError):
            return []
        ours = pixels_of(path)
    lines = []
    for name, other in found:
        if other is not None:
            far = apart(ours, other)
            most = 1 if syntax in _LOSSY or ds.PhotometricInterpretation.startswith("YBR") else 0
            lines.append(Line(syntax, path.name, name, far, 0 <= far <= most))
    return lines


def _print(lines: list[Line], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print("\nsyntax | file | reader | max difference")  # noqa: T201
        for line in sorted(lines, key=lambda one: (one.syntax, one.file)):
            name = line.file if len(line.file) < 48 else f"{line.file[:20]}…{line.file[-27:]}"
            note = "" if line.fine else "  *"
            print(f"{line.syntax[14:]:9}| {name:49}| {line.reader:10}| {line.apart}{note}")  # noqa: T201


@pytest.mark.shared
def test_other_programs_see_the_same(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        line
        for path in sorted((shared / "data" / "codecs").glob("*/*.dcm"))
        for line in compared(path, tmp_path)
    ]
    _print(lines, capsys)
    readers = {line.reader for line in lines}
    assert readers >= {"SimpleITK", "pydicom", "Pillow"}
    assert not [line for line in lines if not line.fine]


@pytest.mark.shared
@pytest.mark.parametrize(("packed", "plain", "most"), _PAIRS)
def test_packed_and_not(shared: Path, packed: str, plain: str, most: int) -> None:
    folder = shared / "data" / "codecs"
    truth = pixels_of(folder / plain)
    paths = sorted(folder.glob(packed))
    assert paths
    for path in paths:
        assert 0 <= apart(pixels_of(path), truth) <= most, path.name
