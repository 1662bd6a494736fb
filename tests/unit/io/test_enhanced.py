"""Multi-frame objects beside highdicom: enhanced ones, and legacy ones made of classic slices."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from highdicom.legacy import (
    LegacyConvertedEnhancedCTImage,
    LegacyConvertedEnhancedMRImage,
    LegacyConvertedEnhancedPETImage,
)
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medview.core.volume import Volume
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import CtOptions, ct_datasets, save, uid, write_enhanced
from tests.helpers.phantoms import PLANES, Phantom, oblique

SMALL = Phantom(shape=(7, 20, 26), spacing_mm=(3.1, 0.9, 0.7), radius_mm=6)
CLASSES = {
    "CT": ("1.2.840.10008.5.1.4.1.1.2", LegacyConvertedEnhancedCTImage),
    "MR": ("1.2.840.10008.5.1.4.1.1.4", LegacyConvertedEnhancedMRImage),
    "PT": ("1.2.840.10008.5.1.4.1.1.128", LegacyConvertedEnhancedPETImage),
}


def volumes_of(path: Path) -> list[Volume]:
    """Every volume at a place."""
    studies = scan([path]).studies
    return [v for study in studies for series in study.series for v in load(series).volumes]


@pytest.mark.parametrize("plane", [*PLANES.values(), oblique(25, -15)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_enhanced_objects_as_highdicom_places_them(
    tmp_path: Path, plane: tuple[tuple[float, float, float], ...], *, shuffled: bool
) -> None:
    write_enhanced(tmp_path / "x", SMALL.turned((plane[0], plane[1])), shuffled=shuffled)
    (volume,) = volumes_of(tmp_path / "x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = hd.imread(tmp_path / "x").get_volume()
    # highdicom may run through the slices the other way.
    flip = np.eye(4)
    if theirs.affine[:3, 0] @ volume.geometry.affine[:3, 0] < 0:
        flip[0, 0], flip[0, 3] = -1, volume.geometry.shape[0] - 1
    assert np.allclose(theirs.affine @ flip, volume.geometry.affine, atol=1e-3)
    values = theirs.array[::-1] if flip[0, 0] < 0 else theirs.array
    assert np.allclose(values, volume.values(), atol=1e-3)


@pytest.mark.parametrize("modality", CLASSES)
@pytest.mark.parametrize("tilt_deg", [0.0, 18.5])
def test_legacy_converted_objects_are_their_slices(
    tmp_path: Path, modality: str, tilt_deg: float
) -> None:
    sop_class, converted = CLASSES[modality]
    extra: dict[str, Any] = {"SOPClassUID": sop_class, "PatientPosition": "HFS"}
    slopes = (1, 2, 1, 4, 1, 2, 1) if modality == "PT" else ()
    if modality == "PT":
        extra |= {"Units": "BQML", "RescaleType": "BQML"}
    phantom = replace(SMALL.turned(oblique(10, 20)), tilt_deg=tilt_deg)
    options = CtOptions(modality=modality, slopes=slopes, extra=extra)
    slices = ct_datasets(phantom, options)
    (tmp_path / "classic").mkdir()
    for number, ds in enumerate(slices):
        ds.file_meta.MediaStorageSOPClassUID = sop_class
        save(ds, tmp_path / "classic" / str(number))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = converted(slices, uid("legacy"), 2, uid("legacy", 1), 1)
        made.save_as(tmp_path / "legacy")
    (classic,) = volumes_of(tmp_path / "classic")
    (legacy,) = volumes_of(tmp_path / "legacy")
    assert legacy.geometry.agrees_with(classic.geometry, 1e-6)
    assert np.array_equal(legacy.values(), classic.values())
    # A slope of four stores a value to within two.
    assert np.allclose(classic.values(), phantom.values(), atol=2 if slopes else 0)
    assert (legacy.unit, legacy.quantity) == (classic.unit, classic.quantity)


def test_dimensions_that_an_object_names_itself(tmp_path: Path) -> None:
    """Two frames at each place that only the object's own dimension tells apart."""
    path = tmp_path / "x"
    truth = write_enhanced(path, SMALL, times=2)
    ds = dcmread(path)
    pointers = ((0x0020, 0x9056), (0x0020, 0x9057), (0x0018, 0x9098))
    labels = ("Stack", "Position", "Energy level")
    ds.DimensionIndexSequence = Sequence(
        [_dimension(*pair) for pair in zip(pointers, labels, strict=True)]
    )
    for item in ds.PerFrameFunctionalGroupsSequence:
        del item.FrameContentSequence[0].TemporalPositionIndex
    ds.save_as(path)
    volumes = volumes_of(path)
    assert [volume.notes[0] for volume in volumes] == ["Energy level 1", "Energy level 2"]
    for time, volume in enumerate(volumes):
        assert volume.time_index == time
        assert np.array_equal(volume.values(), truth[time] * 2.0 - 7)


def _dimension(pointer: tuple[int, int], label: str) -> Dataset:
    item = Dataset()
    item.DimensionIndexPointer = pointer
    item.DimensionDescriptionLabel = label
    return item
