"""Lengths on projection images and ultrasound: their value, and the words that stand beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    XRayAngiographicImageStorage,
)

from medview.core.clip import region_at
from medview.core.volume import Volume
from medview.io.describe import info
from medview.io.reading import load
from medview.io.scan import scan
from medview.ui.slice_text import ruler_note
from tests.helpers.dicom_phantoms import Who, new_dataset, save, set_pixels, uid, write_projection

IMAGER = {"ImagerPixelSpacing": [0.2, 0.2]}
DISTANCES = {"DistanceSourceToDetector": "1800", "DistanceSourceToPatient": "1500"}


def opened(path: Path) -> Volume:
    (study,) = scan([path]).studies
    (volume,) = load(study.series[0]).volumes
    return volume


#: Attributes, then what has to come of them: calibration, millimetres (rows, columns), words.
CASES: dict[str, tuple[dict[str, Any], str, tuple[float, float] | None, str]] = {
    "nothing": ({}, "none", None, "px only"),
    "imager": (IMAGER, "detector", (0.2, 0.2), "at detector"),
    "imager, not square": (
        {"ImagerPixelSpacing": [0.2, 0.1]}, "detector", (0.2, 0.1), "at detector"
    ),
    "imager and magnification": (
        {**IMAGER, "EstimatedRadiographicMagnificationFactor": "1.25"},
        "magnified", (0.16, 0.16), "magnification estimated",
    ),
    "imager and distances": (
        {**IMAGER, **DISTANCES}, "magnified", (0.2 / 1.2, 0.2 / 1.2), "magnification estimated"
    ),
    "magnification before distances": (
        {**IMAGER, **DISTANCES, "EstimatedRadiographicMagnificationFactor": "1.6"},
        "magnified", (0.125, 0.125), "magnification estimated",
    ),
    "magnification that cannot be": (
        {**IMAGER, "EstimatedRadiographicMagnificationFactor": "0.5"},
        "detector", (0.2, 0.2), "at detector",
    ),
    "calibrated by geometry": (
        {"PixelSpacing": [0.15, 0.15], "PixelSpacingCalibrationType": "GEOMETRY"},
        "magnified", (0.15, 0.15), "magnification estimated",
    ),
    "calibrated by fiducial": (
        {**IMAGER, "PixelSpacing": [0.143, 0.143], "PixelSpacingCalibrationType": "FIDUCIAL"},
        "fiducial", (0.143, 0.143), "calibrated by fiducial",
    ),
    "both differ and nobody says why": (
        {**IMAGER, "PixelSpacing": [0.15, 0.15]}, "magnified", (0.15, 0.15),
        "magnification estimated",
    ),
    "both the same": (
        {**IMAGER, "PixelSpacing": [0.2, 0.2]}, "detector", (0.2, 0.2), "at detector"
    ),
    "pixel spacing alone": ({"PixelSpacing": [0.3, 0.3]}, "detector", (0.3, 0.3), "at detector"),
    "aspect ratio alone": ({"PixelAspectRatio": ["3", "2"]}, "none", None, "px only"),
    "spacing of zero": ({"PixelSpacing": [0, 0]}, "none", None, "px only"),
    "negative spacing": ({"PixelSpacing": [-1, 1]}, "none", None, "px only"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_length_has_its_value_and_its_words(tmp_path: Path, name: str) -> None:
    attributes, calibration, spacing_mm, words = CASES[name]
    write_projection(tmp_path / "dx", attributes=attributes)
    (study,) = info([tmp_path])["patients"][0]["studies"]
    (described,) = study["series"][0]["volumes"]
    assert described["calibration"] == calibration
    assert described["affine_lps"] is None
    found = described["spacing_mm"]
    if spacing_mm is None:
        assert found is None
    else:
        assert found[0] is None
        assert found[1:] == pytest.approx(spacing_mm, rel=1e-9)
    assert ruler_note(opened(tmp_path).geometry) == words


def test_pixels_that_are_not_square_keep_their_shape(tmp_path: Path) -> None:
    write_projection(tmp_path / "dx", attributes={"PixelAspectRatio": ["3", "2"]})
    _, row, column = opened(tmp_path).geometry.spacing_mm
    assert row / column == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("modality", "sop_class"),
    [
        ("MG", DigitalMammographyXRayImageStorageForPresentation),
        ("CR", ComputedRadiographyImageStorage),
        ("XA", XRayAngiographicImageStorage),
    ],
)
def test_magnification_of_other_projections(tmp_path: Path, modality: str, sop_class: str) -> None:
    factor = {**IMAGER, "EstimatedRadiographicMagnificationFactor": "1.8"}
    write_projection(tmp_path / "x", modality=modality, sop_class=sop_class, attributes=factor)
    volume = opened(tmp_path)
    assert volume.geometry.spacing_mm[1:] == pytest.approx((0.2 / 1.8, 0.2 / 1.8))
    assert any("1.8" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("attributes", "calibration"),
    [
        ({"PixelSpacing": [0.3, 0.3]}, "none"),
        ({"NominalScannedPixelSpacing": [0.3, 0.3]}, "none"),
        ({"PixelSpacing": [0.3, 0.3], "PixelSpacingCalibrationType": "FIDUCIAL"}, "fiducial"),
    ],
)
@pytest.mark.parametrize("modality", ["OT", "DX", "US"])
def test_a_captured_picture_counts_only_where_it_was_calibrated(
    tmp_path: Path, modality: str, attributes: dict[str, Any], calibration: str
) -> None:
    write_projection(
        tmp_path / "sc", modality=modality, sop_class=SecondaryCaptureImageStorage,
        attributes=attributes,
    )  # fmt: skip
    assert opened(tmp_path).geometry.calibration.value == calibration


def region(box: tuple[int, int, int, int], units: tuple[int, int], steps: tuple[float, float],
           layout: int = 1) -> Dataset:  # fmt: skip
    item = Dataset()
    names = ("MinX0", "MinY0", "MaxX1", "MaxY1")
    for name, value in zip(names, box, strict=True):
        setattr(item, f"RegionLocation{name}", value)
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = steps
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = layout, 1, 0
    item.ReferencePixelX0, item.ReferencePixelY0 = 0, 10
    return item


def test_a_still_ultrasound_picture_measures_by_its_regions(tmp_path: Path) -> None:
    """Centimetres in one part, seconds and centimetres a second in another; beside them nothing."""
    ds = new_dataset(Who(), UltrasoundImageStorage, uid("us"), "US", uid("us series"))
    set_pixels(ds, np.zeros((60, 80), dtype=np.uint8))
    ds.PixelSpacing = [0.5, 0.5]
    ds.SequenceOfUltrasoundRegions = DicomSequence(
        [
            region((0, 0, 39, 39), (3, 3), (0.02, 0.03)),
            region((40, 0, 79, 59), (4, 7), (0.01, -2.0), layout=3),
        ]
    )
    save(ds, tmp_path / "us")
    volume = opened(tmp_path)
    assert volume.geometry.calibration.value == "none"
    plane, spectrum = volume.regions
    assert plane.spacing_mm == pytest.approx((0.2, 0.3))
    assert (spectrum.unit, spectrum.spacing_mm) == (("s", "cm/s"), None)
    assert region_at(volume.regions, 5, 5) is plane
    assert region_at(volume.regions, 5, 50) is None
    assert spectrum.value_at(60, 5) == pytest.approx((0.2, 10.0))
    (described,) = info([tmp_path])["patients"][0]["studies"][0]["series"][0]["volumes"]
    assert [one["unit"] for one in described["regions"]] == [["cm", "cm"], ["s", "cm/s"]]
