"""Large folders as they come from a scanner: many slices with full headers, among other files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from tests.helpers.dicom_phantoms import uid

#: What a CT of the trade writes into every slice, beside what tells the slices apart.
_CT_FIXED = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "StudyDate": "20240311",
    "SeriesDate": "20240311",
    "AcquisitionDate": "20240311",
    "ContentDate": "20240311",
    "StudyTime": "101502.312000",
    "SeriesTime": "101733.101000",
    "AccessionNumber": "A-4471",
    "Modality": "CT",
    "Manufacturer": "Phantom Imaging",
    "InstitutionName": "Hospital of the Phantoms",
    "InstitutionAddress": "1 Example Street",
    "ReferringPhysicianName": "Referring^Doctor",
    "StationName": "CT02",
    "StudyDescription": "Thorax^Routine (Adult)",
    "SeriesDescription": "Thorax 1.0 B40f",
    "ManufacturerModelName": "Phantom 64",
    "PatientName": "Phantom^Large",
    "PatientID": "PHANTOM-600",
    "PatientBirthDate": "19610704",
    "PatientSex": "F",
    "PatientAge": "062Y",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "SPI",
    "SliceThickness": "1",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "DeviceSerialNumber": "60411",
    "SoftwareVersions": "VC40",
    "ProtocolName": "ThoraxRoutine",
    "ReconstructionDiameter": "358",
    "DistanceSourceToDetector": "1040",
    "DistanceSourceToPatient": "570",
    "GantryDetectorTilt": "0",
    "TableHeight": "139",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "FilterType": "0",
    "GeneratorPower": "42",
    "FocalSpots": "1.2",
    "ConvolutionKernel": "B40f",
    "PatientPosition": "HFS",
    "StudyID": "4471",
    "SeriesNumber": "3",
    "AcquisitionNumber": "2",
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "PositionReferenceIndicator": "SN",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelSpacing": ["0.69921875", "0.69921875"],
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "WindowCenter": ["50", "-600"],
    "WindowWidth": ["350", "1200"],
    "WindowCenterWidthExplanation": ["WINDOW1", "WINDOW2"],
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "RequestedProcedureDescription": "CT Thorax",
    "PerformedProcedureStepDescription": "CT Thorax routine",
    "LossyImageCompression": "00",
}


@dataclass(frozen=True)
class Batch:
    """A series to write: how many slices of which size, and whose it is."""

    slices: int = 600
    side_px: int = 512
    study: str = "large"
    series: str = "thin"
    modality: str = "CT"


def headers(batch: Batch) -> Iterator[Dataset]:
    """The data sets of a series, without pixels, in order."""
    rng = random.Random(batch.series)  # noqa: S311  (the same files on every run)
    for k in range(batch.slices):
        ds = Dataset()
        for keyword, value in _CT_FIXED.items():
            setattr(ds, keyword, value)
        ds.Modality = batch.modality
        ds.SOPClassUID = CTImageStorage if batch.modality == "CT" else MRImageStorage
        ds.PatientID = f"PHANTOM-{batch.study}"
        ds.StudyInstanceUID = uid(batch.study)
        ds.SeriesInstanceUID = uid(batch.study, batch.series)
        ds.SeriesDescription = batch.series
        ds.FrameOfReferenceUID = uid(batch.study, "frame")
        ds.SOPInstanceUID = uid(batch.study, batch.series, k)
        ds.InstanceNumber = str(k + 1)
        z_mm = 0.5 * k - 312.75
        ds.ImagePositionPatient = ["-178.65", "-301.2", f"{z_mm:g}"]
        ds.SliceLocation = f"{z_mm:g}"
        ds.AcquisitionTime = ds.ContentTime = f"1017{30 + k // 25:02d}.{k * 1000 % 1000000:06d}"
        ds.XRayTubeCurrent = str(rng.randint(90, 320))
        ds.Exposure = str(rng.randint(40, 160))
        ds.Rows = ds.Columns = batch.side_px
        ds.SmallestImagePixelValue, ds.LargestImagePixelValue = 0, rng.randint(1500, 3000)
        reference = Dataset()
        reference.ReferencedSOPClassUID = CTImageStorage
        reference.ReferencedSOPInstanceUID = uid(batch.study, "scout")
        ds.ReferencedImageSequence = [reference]
        private = ds.private_block(0x0029, "PHANTOM MEDCOM HEADER", create=True)
        private.add_new(0x10, "OB", rng.randbytes(1536))
        private.add_new(0x40, "LO", "SOM 5 TPOS")
        yield ds


def write_batch(folder: Path, batch: Batch, voxels: npt.NDArray[np.int16]) -> list[Path]:
    """Write a series under shuffled names without extension; gives the paths in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(range(batch.slices))
    random.Random(repr(batch)).shuffle(names)  # noqa: S311
    paths = []
    for name, ds, plane in zip(names, headers(batch), voxels, strict=True):
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.PixelData = np.ascontiguousarray(plane).tobytes()
        path = folder / f"{batch.modality}{batch.series}{name:05d}"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def voxels_of(batch: Batch, seed: int = 0) -> npt.NDArray[np.int16]:
    """A noisy body, other in every slice."""
    rng = np.random.default_rng(seed)
    side = batch.side_px
    y, x = np.mgrid[:side, :side] / side - 0.5
    body = np.where(x**2 * 1.3 + y**2 * 2 < 0.18, 1040, 20).astype(np.int16)
    noise = rng.integers(-12, 13, (8, side, side), dtype=np.int16)
    return np.stack([np.roll(noise[k % 8], k, axis=0) + body for k in range(batch.slices)])


def write_mix(folder: Path, slices: int = 600) -> tuple[list[Path], npt.NDArray[np.int16]]:
    """A thin CT among 40 MR and 5 CT slices and 8 other files; the paths and voxels of the CT."""
    thin = Batch(slices=slices)
    voxels = voxels_of(thin)
    paths = write_batch(folder, thin, voxels)
    for other in (
        Batch(40, 256, "head", "t1", "MR"),
        Batch(5, 512, "large", "scouts"),
    ):
        write_batch(folder, other, voxels_of(other, 1))
    for n in range(8):
        (folder / f"letter{n}.txt").write_text("Dear colleague,\n" * 50)
    return paths, voxels


def write_copies(folder: Path, batch: Batch) -> None:
    """A series whose files differ in identifier, number and place only, written quickly."""
    folder.mkdir(parents=True, exist_ok=True)
    first = next(headers(batch))
    first.file_meta = FileMetaDataset()
    first.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    mark = uid(batch.study, batch.series)[:56]
    first.SOPInstanceUID, first.InstanceNumber = f"{mark}.10000", "10000"
    first.ImagePositionPatient = ["-178.65", "-301.2", "10000"]
    first.PixelData = bytes(2 * batch.side_px**2)
    path = folder / "10000"
    first.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    path.unlink()
    for number in range(10000, 10000 + batch.slices):
        (folder / str(number)).write_bytes(data.replace(b"10000", str(number).encode()))
