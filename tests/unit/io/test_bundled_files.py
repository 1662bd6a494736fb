"""Every picture among the files that pydicom carries for its own tests, against pydicom's reading.

They come from many vendors and toolkits, and several are odd on purpose.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

from medview.core.study import Severity
from medview.io.reading import load
from medview.io.scan import scan

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
#: Decoders of lossy JPEG with 12 bits differ; dcmtk's is what is compared elsewhere.
LOSSY = frozenset(("JPGExtended.dcm",))
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def as_pydicom_reads(ds: Dataset) -> npt.NDArray[Any] | None:
    """Real-world values, or colours in 8 bits; None where pydicom finds no picture."""
    try:
        stored = pixel_array(ds) if ds.SamplesPerPixel == 3 else ds.pixel_array
    except (AttributeError, ValueError, RuntimeError, NotImplementedError, KeyError):
        return None
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, ds)
    elif ds.SamplesPerPixel == 1 and "DoseGridScaling" in ds:
        return np.asarray(stored * float(ds.DoseGridScaling))
    elif ds.SamplesPerPixel == 1:
        return np.asarray(apply_modality_lut(stored, ds))
    return np.asarray(stored >> (8 * (stored.dtype.itemsize - 1))).astype(np.uint8)


def pictured() -> list[Path]:
    """The files with pixel data that are not segmentations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        headers = {path: dcmread(path, force=True) for path in sorted(FOLDER.glob("*.dcm"))}
    return [
        path
        for path, ds in headers.items()
        if "PixelData" in ds and ds.get("SOPClassUID") != SEGMENTATION and path.name not in LOSSY
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", pictured(), ids=lambda path: path.stem)
def test_pixels_are_those_that_pydicom_reads(path: Path) -> None:
    truth = as_pydicom_reads(dcmread(path, force=True))
    if truth is None:
        pytest.skip("pydicom does not decode this one")
    (study,) = scan([path]).studies
    (series,) = study.series
    loaded = load(series)
    pictures = [clip.pictures for clip in loaded.clips] or list(loaded.volumes)
    assert not [one for one in loaded.problems if one.severity is Severity.REFUSED]
    (picture,) = pictures
    assert np.array_equal(np.squeeze(picture.values()), truth.astype(np.float32))
