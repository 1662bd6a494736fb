"""DICOM files computed from phantoms: what a scanner would have written, and its oddities."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from tests.helpers.phantoms import Phantom

#: Any fixed text makes the same UIDs on every run.
_ROOT = "1.2.826.0.1.3680043.8.498."


def uid(*parts: object) -> str:
    """The same UID for the same parts, always."""
    return generate_uid(prefix=_ROOT, entropy_srcs=[repr(part) for part in parts])


@dataclass(frozen=True)
class Who:
    """Patient and study of a written series. `name` separates two made for one test."""

    patient_id: str = "PHANTOM-1"
    patient_name: str = "Phantom^Sphere"
    birth_date: str = "19700131"
    sex: str = "O"
    study: str = "study"

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return uid(self.patient_id, self.study)

    @property
    def frame_of_reference_uid(self) -> str:
        """One frame of reference for the whole study."""
        return uid(self.patient_id, self.study, "frame")


@dataclass(frozen=True)
class CtOptions:
    """How a CT series is written; the defaults give an ordinary one.

    `missing` slices are left out, `shuffled` numbers and names the files in another order,
    `slopes` gives each slice its Rescale Slope, `extra` sets attributes by keyword in every file,
    `per_slice` in one file each.
    """

    who: Who = field(default_factory=Who)
    series: str = "ct"
    modality: str = "CT"
    slope: float = 1.0
    intercept: float = -1024.0
    slopes: Sequence[float] = ()
    missing: Collection[int] = ()
    shuffled: bool = False
    monochrome1: bool = False
    transfer_syntax: str = ExplicitVRLittleEndian
    extra: Mapping[str, Any] = field(default_factory=dict)
    per_slice: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return uid(self.who.study_uid, self.series)


def new_dataset(who: Who, sop_class: str, sop_uid: str, modality: str, series_uid: str) -> Dataset:
    """The attributes that every object carries, with its file meta information."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = sop_uid
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, sop_uid
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID = who.patient_name, who.patient_id
    ds.PatientBirthDate, ds.PatientSex = who.birth_date, who.sex
    ds.StudyInstanceUID, ds.SeriesInstanceUID = who.study_uid, series_uid
    ds.StudyDate, ds.StudyTime = "20240501", "101500"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "A1", ""
    ds.StudyDescription, ds.SeriesDescription = "Phantom study", "Phantom"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = modality, 1, 1
    ds.Manufacturer = "medview tests"
    return ds


def set_pixels(ds: Dataset, stored: npt.NDArray[Any], bits_stored: int | None = None) -> None:
    """Stored values (rows, columns) or (frames, rows, columns), or RGB with a last axis of 3."""
    color = stored.ndim >= 3 and stored.shape[-1] == 3
    plane = stored.shape[-3:-1] if color else stored.shape[-2:]
    ds.Rows, ds.Columns = (int(n) for n in plane)
    ds.SamplesPerPixel = 3 if color else 1
    ds.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = stored.dtype.itemsize * 8
    ds.BitsStored = bits_stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    data = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<")).tobytes()
    ds.add_new("PixelData", "OB" if ds.BitsAllocated == 8 else "OW", data + b"\0" * (len(data) % 2))


def set_plane(ds: Dataset, phantom: Phantom, k: int) -> None:
    """Where slice k lies (PS3.3 C.7.6.2)."""
    ds.ImagePositionPatient = [_ds(x) for x in phantom.position(k)]
    ds.ImageOrientationPatient = [_ds(x) for x in (*phantom.row, *phantom.column)]
    ds.PixelSpacing = [_ds(phantom.spacing_mm[1]), _ds(phantom.spacing_mm[2])]
    ds.SliceThickness = "5"


def ct_datasets(phantom: Phantom, options: CtOptions | None = None) -> list[Dataset]:
    """One data set per slice that is not missing, in the order of the slices.

    Slice Thickness is 5 whatever the spacing: who computes with it is found out.
    """
    opt = options or CtOptions()
    values = phantom.values().astype(np.float64)
    kept = [k for k in range(phantom.shape[0]) if k not in opt.missing]
    numbers = np.random.default_rng(7).permutation(len(kept)) if opt.shuffled else range(len(kept))
    datasets = []
    for k, number in zip(kept, numbers, strict=True):
        sop_uid = uid(opt.series_uid, k)
        ds = new_dataset(opt.who, CTImageStorage, sop_uid, opt.modality, opt.series_uid)
        ds.InstanceNumber = int(number) + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.FrameOfReferenceUID = opt.who.frame_of_reference_uid
        ds.PatientPosition = "HFS"
        set_plane(ds, phantom, k)
        slope = opt.slopes[k] if opt.slopes else opt.slope
        set_pixels(ds, np.rint((values[k] - opt.intercept) / slope).astype(np.uint16), 16)
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = _ds(slope), _ds(opt.intercept), "HU"
        ds.WindowCenter, ds.WindowWidth = ["40", "-600"], ["400", "1500"]
        ds.WindowCenterWidthExplanation = ["SOFT", "LUNG"]
        if opt.monochrome1:
            ds.PhotometricInterpretation = "MONOCHROME1"
        for keyword, value in {**opt.extra, **opt.per_slice.get(k, {})}.items():
            setattr(ds, keyword, value)
        datasets.append(ds)
    return datasets


def write_ct(folder: Path, phantom: Phantom, options: CtOptions | None = None) -> list[Path]:
    """The series as files with names that say nothing; their paths in the order of slices."""
    opt = options or CtOptions()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for ds in ct_datasets(phantom, opt):
        path = folder / f"{opt.series}{ds.InstanceNumber:05d}"
        save(ds, path, opt.transfer_syntax)
        paths.append(path)
    return paths


def save(ds: Dataset, path: Path, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file; compressed syntaxes are encoded by pydicom."""
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    syntax = type(ds.file_meta.TransferSyntaxUID)(transfer_syntax)
    if syntax.is_compressed and not syntax.is_deflated:
        ds.compress(syntax)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


def write_projection(
    path: Path,
    *,
    shape: tuple[int, int] = (60, 50),
    modality: str = "DX",
    sop_class: str = DigitalXRayImageStorageForPresentation,
    monochrome1: bool = False,
    attributes: Mapping[str, Any] | None = None,
    who: Who | None = None,
) -> npt.NDArray[np.uint16]:
    """A projection radiograph; gives its stored values (rows, columns).

    It carries no spacing unless `attributes` (by keyword) say so: PixelSpacing,
    ImagerPixelSpacing, EstimatedRadiographicMagnificationFactor, PixelSpacingCalibrationType, ...
    """
    owner = who or Who()
    series_uid = uid(owner.study_uid, path.name)
    ds = new_dataset(owner, sop_class, uid(series_uid, 0), modality, series_uid)
    rows, columns = shape
    stored = (np.arange(rows)[:, None] * 40 + np.arange(columns)[None, :]).astype(np.uint16)
    set_pixels(ds, stored, 12)
    ds.PatientOrientation = ["L", "F"]
    ds.ViewPosition, ds.ImageLaterality, ds.BodyPartExamined = "PA", "U", "CHEST"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    if monochrome1:
        ds.PhotometricInterpretation = "MONOCHROME1"
    for keyword, value in (attributes or {}).items():
        setattr(ds, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(ds, path)
    return stored


def write_enhanced(
    path: Path,
    phantom: Phantom,
    *,
    times: int = 1,
    shuffled: bool = False,
    who: Who | None = None,
) -> npt.NDArray[np.uint16]:
    """An enhanced MR multi-frame object; gives its stored values (times, slices, rows, columns).

    Frames carry their position, spacing and orientation in functional groups (PS3.3 C.7.6.16.2),
    the stored value is the phantom's plus 1000 plus 10 per time point.
    """
    owner = who or Who()
    series_uid = uid(owner.study_uid, path.name)
    ds = new_dataset(owner, EnhancedMRImageStorage, uid(series_uid, 0), "MR", series_uid)
    base = (phantom.values().astype(np.int32) + 1000).astype(np.uint16)
    truth = np.stack([base + 10 * t for t in range(times)]).astype(np.uint16)
    order = [(t, k) for t in range(times) for k in range(phantom.shape[0])]
    if shuffled:
        order = [order[n] for n in np.random.default_rng(3).permutation(len(order))]
    set_pixels(ds, np.stack([truth[t, k] for t, k in order]), 16)
    ds.NumberOfFrames = len(order)
    ds.FrameOfReferenceUID = owner.frame_of_reference_uid
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    ds.SharedFunctionalGroupsSequence = DicomSequence([_shared_group(phantom)])
    groups = [_frame_group(phantom, t, k) for t, k in order]
    ds.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(ds, path)
    return truth


def _item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _shared_group(phantom: Phantom) -> Dataset:
    spacing = [_ds(phantom.spacing_mm[1]), _ds(phantom.spacing_mm[2])]
    orientation = [_ds(x) for x in (*phantom.row, *phantom.column)]
    return _item(
        PixelMeasuresSequence=[_item(PixelSpacing=spacing, SliceThickness="5")],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=orientation)],
        PixelValueTransformationSequence=[
            _item(RescaleSlope="2", RescaleIntercept="-7", RescaleType="US")
        ],
    )


def _frame_group(phantom: Phantom, time: int, k: int) -> Dataset:
    position = [_ds(x) for x in phantom.position(k)]
    content = _item(
        StackID="1",
        InStackPositionNumber=k + 1,
        TemporalPositionIndex=time + 1,
        DimensionIndexValues=[1, k + 1, time + 1],
    )
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[_item(ImagePositionPatient=position)],
    )


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    text = repr(float(value))
    return text if len(text) <= 16 else f"{value:.9f}"[:16]
