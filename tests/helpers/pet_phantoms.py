"""A digital reference object for PET: uniform slices whose uptake is known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedPETImageStorage, PositronEmissionTomographyImageStorage

from tests.helpers.dicom_phantoms import Who, new_dataset, save, set_pixels, set_plane, uid
from tests.helpers.phantoms import Phantom

HALF_LIFE_S = 6586.2
DOSE_BQ = 370e6
WEIGHT_KG = 70.0
SIZE_M = 1.75
STARTED = datetime(2024, 5, 1, 10, 15)  # noqa: DTZ001  (DICOM times are local)
SLICES = Phantom(shape=(3, 8, 8), radius_mm=2)


@dataclass(frozen=True)
class Pet:
    """How the reference object is written; the defaults give SUVbw 1 in every voxel.

    `activity_bq_ml` is the true concentration at the moment the values refer to; None stands for
    the one that makes SUVbw 1 when `waited_s` passed since the injection. `slopes` gives each
    slice its own, `item` and `extra` set attributes of the injection and of every file (None takes
    one away), `private` adds (group, creator, element, VR, value).
    """

    waited_s: float = 3600.0
    decay: str = "START"
    units: str = "BQML"
    slopes: Sequence[float] = (0.5, 0.5, 0.5)
    activity_bq_ml: float | None = None
    started: datetime = STARTED
    item: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    per_slice: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    private: Sequence[tuple[int, str, int, str, Any]] = ()


def activity_for_one(waited_s: float) -> float:
    """Bq/ml of a body that took up the whole dose evenly, a while after the injection."""
    return DOSE_BQ * float(np.exp(-np.log(2) * waited_s / HALF_LIFE_S)) / (WEIGHT_KG * 1000)


def dicom_time(at: datetime) -> str:
    """HHMMSS.FF"""
    return at.strftime("%H%M%S.%f")[:9]


def write_pet(folder: Path, pet: Pet | None = None) -> Path:
    """The series in a folder of its own."""
    pet = pet or Pet()
    folder.mkdir(parents=True, exist_ok=True)
    waited = 0.0 if pet.decay == "ADMIN" else pet.waited_s
    activity = activity_for_one(waited) if pet.activity_bq_ml is None else pet.activity_bq_ml
    for k in range(SLICES.shape[0]):
        ds = _slice(pet, k, activity)
        save(ds, folder / f"{k}.dcm")
    return folder


def _slice(pet: Pet, k: int, activity: float) -> Dataset:
    who, series = Who(sex="M"), uid("pet")
    ds = new_dataset(who, PositronEmissionTomographyImageStorage, uid("pet", k), "PT", series)
    ds.InstanceNumber, ds.FrameOfReferenceUID = k + 1, who.frame_of_reference_uid
    set_plane(ds, SLICES, k)
    # Bright enough that rounding to whole numbers stays below a hundredth of a percent.
    slope = activity / 20000 * pet.slopes[k]
    stored = np.full(SLICES.shape[1:], round(activity / slope), dtype=np.uint16)
    set_pixels(ds, stored, 16)
    ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.10g}", "0"
    ds.PatientWeight, ds.PatientSize = str(WEIGHT_KG), str(SIZE_M)
    ds.SeriesDate = ds.AcquisitionDate = pet.started.strftime("%Y%m%d")
    ds.SeriesTime = ds.AcquisitionTime = dicom_time(pet.started)
    ds.Units, ds.DecayCorrection = pet.units, pet.decay
    ds.CorrectedImage = ["ATTN"] if pet.decay == "NONE" else ["DECY", "ATTN"]
    ds.FrameReferenceTime, ds.ActualFrameDuration = "0", "120000"
    injected = pet.started - timedelta(seconds=pet.waited_s)
    item = Dataset()
    item.RadionuclideTotalDose = str(DOSE_BQ)
    item.RadionuclideHalfLife = str(HALF_LIFE_S)
    item.RadiopharmaceuticalStartTime = dicom_time(injected)
    item.RadiopharmaceuticalStartDateTime = injected.strftime("%Y%m%d%H%M%S.%f")
    _set(item, pet.item)
    ds.RadiopharmaceuticalInformationSequence = DicomSequence([item])
    _set(ds, {**pet.extra, **pet.per_slice.get(k, {})})
    for group, creator, element, vr, value in pet.private:
        ds.private_block(group, creator, create=True).add_new(element, vr, value)
    return ds


def write_enhanced_pet(
    path: Path, *, activity_bq_ml: float, extra: Mapping[str, Any], scale: float = 1.0
) -> Path:
    """The reference object as one enhanced PET object (PS3.3 A.56): no Units, but a map to Bq/ml.

    Times and corrections are what `extra` says. The frames are rescaled to `scale` times Bq/ml.
    """
    who = Who(sex="M")
    ds = new_dataset(who, EnhancedPETImageStorage, uid("enhanced pet"), "PT", uid("epet"))
    ds.FrameOfReferenceUID, ds.NumberOfFrames = who.frame_of_reference_uid, SLICES.shape[0]
    slope = activity_bq_ml / 20000
    set_pixels(ds, np.full(SLICES.shape, 20000, dtype=np.uint16), 16)
    ds.PatientWeight, ds.PatientSize = str(WEIGHT_KG), str(SIZE_M)
    ds.SeriesDate = STARTED.strftime("%Y%m%d")
    ds.SeriesTime = dicom_time(STARTED + timedelta(hours=5))
    unit = _group(CodeValue="Bq/ml", CodingSchemeDesignator="UCUM", CodeMeaning="Bq/ml")
    real = _group(RealWorldValueSlope=slope, RealWorldValueIntercept=0.0, LUTLabel="activity",
                  RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=65535,
                  MeasurementUnitsCodeSequence=DicomSequence([unit]))  # fmt: skip
    rescale = _group(RescaleSlope=f"{slope * scale:.10g}", RescaleIntercept="0", RescaleType="US")
    spacing = [str(x) for x in SLICES.spacing_mm[1:]]
    shared = _group(
        PixelMeasuresSequence=DicomSequence([_group(PixelSpacing=spacing, SliceThickness="2.5")]),
        PlaneOrientationSequence=DicomSequence(
            [_group(ImageOrientationPatient=[str(x) for x in (*SLICES.row, *SLICES.column)])]
        ),
        PixelValueTransformationSequence=DicomSequence([rescale]),
        RealWorldValueMappingSequence=DicomSequence([real]),
    )
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    taken = (STARTED + timedelta(minutes=20)).strftime("%Y%m%d%H%M%S.%f")
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(
        _group(
            PlanePositionSequence=DicomSequence(
                [_group(ImagePositionPatient=[str(float(x)) for x in _corner(k)])]
            ),
            FrameContentSequence=DicomSequence(
                [_group(FrameAcquisitionDateTime=taken, FrameAcquisitionDuration=120000.0)]
            ),
        )
        for k in range(SLICES.shape[0])
    )
    item = _group(RadionuclideTotalDose=str(DOSE_BQ), RadionuclideHalfLife=str(HALF_LIFE_S))
    injected = STARTED - timedelta(hours=1)
    item.RadiopharmaceuticalStartDateTime = injected.strftime("%Y%m%d%H%M%S.%f")
    ds.RadiopharmaceuticalInformationSequence = DicomSequence([item])
    _set(ds, extra)
    return save(ds, path)


def _corner(k: int) -> np.ndarray:
    return SLICES.geometry.to_lps_mm((k, 0, 0))


def _group(**attributes: Any) -> Dataset:
    ds = Dataset()
    _set(ds, attributes)
    return ds


def _set(ds: Dataset, values: Mapping[str, Any]) -> None:
    for keyword, value in values.items():
        if value is None:
            if keyword in ds:
                del ds[keyword]
        else:
            setattr(ds, keyword, value)
