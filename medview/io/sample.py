"""The sample study: a real image that is there on every installation.

An MR series written from the MNI152 template that nilearn carries (an average of 152 brains,
without skull), beside the small real CT, MR and ultrasound files that pydicom carries. Nothing is
downloaded, and nilearn itself is never imported: only its file is read.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import uuid
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from medview import __version__
from medview.core.errors import ReadError
from medview.core.geometry import lps_from_ras
from medview.io.dicom_write import MANUFACTURER, UTF8

_TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_SMALL_FILES = {
    "ct/CT_small.dcm": "CT_small.dcm",
    "mr/MR_small.dcm": "MR_small.dcm",
    "ultrasound/parasternal_view.dcm": "examples_ybr_color.dcm",
}
_SERIES_FOLDER = "mni152"
#: The template has 8 bits; scanners give 12.
_GAIN = 16
_COMMENT = (
    "MNI152 average brain (ICBM 152 nonlinear symmetric 2009a), McConnell Brain Imaging Centre, "
    "Montreal Neurological Institute. No patient. Shows the workflow, not accuracy."
)


def write_sample(folder: Path) -> Path:
    """Write the sample into a folder, unless it is there already, and give the folder back.

    `mni152/` holds the series (sagittal, 1 mm), `ct/`, `mr/` and `ultrasound/` one small file
    each. Every part appears whole or not at all. ReadError if a package lacks its file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in _SMALL_FILES.items():
        _copy(_inside("pydicom", f"data/test_files/{source}"), folder / name)
    template = _inside("nilearn", _TEMPLATE)
    series = folder / _SERIES_FOLDER
    if not _is_complete(series, template):
        _write_series(template, series)
    return folder


def _inside(package: str, file: str) -> Path:
    """A file that a package carries, found without importing the package."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations if spec is not None else None) or ():
        path = Path(place) / file
        if path.is_file():
            return path
    raise ReadError(
        f"The sample study needs a file of the package {package} that is not there",
        f"Install {package} again.",
        file,
    )


def _copy(source: Path, target: Path) -> None:
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing-", dir=target.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(source.read_bytes())
    Path(name).replace(target)


def _is_complete(series: Path, template: Path) -> bool:
    """The folder is renamed into place when full; a file missing since then is noticed."""
    wanted = {_file_name(number + 1) for number in range(nib.load(template).shape[0])}
    return wanted == {path.name for path in series.glob("*")}


def _file_name(number: int) -> str:
    return f"IM{number:04d}.dcm"


def _write_series(template: Path, series: Path) -> None:
    voxels, affine = _sagittal(template)
    partial = Path(tempfile.mkdtemp(prefix=".writing-", dir=series.parent))
    try:
        for number, image in enumerate(voxels, start=1):
            dataset = _slice(image, affine, number)
            with (partial / _file_name(number)).open("wb") as file:
                dcmwrite(file, dataset, enforce_file_format=True)
        partial.chmod(0o755)
        if series.exists():
            shutil.rmtree(series)
        partial.replace(series)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sagittal(template: Path) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """Slices from left to right, rows downwards, columns to the back; (k, j, i) to LPS mm."""
    image = nib.load(template)
    grid = nib.as_closest_canonical(image)
    stored = np.asanyarray(grid.dataobj)
    # Canonical axes run to right, front, head; ours to right, foot, back.
    voxels = stored.transpose(0, 2, 1)[:, ::-1, ::-1].astype(np.uint16) * np.uint16(_GAIN)
    lps = lps_from_ras(grid.affine)
    _, y, z = stored.shape
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = lps[:3, 0], -lps[:3, 2], -lps[:3, 1]
    affine[:3, 3] = lps[:3] @ (0, y - 1, z - 1, 1)
    return np.ascontiguousarray(voxels), affine


def _slice(image: npt.NDArray[np.uint16], affine: npt.NDArray[np.float64], number: int) -> Dataset:
    dataset = _identity(number)
    position = affine[:3] @ (number - 1, 0, 0, 1)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    down, across = affine[:3, 1] / spacing[1], affine[:3, 2] / spacing[2]
    dataset.ImagePositionPatient = [float(v) for v in position]
    dataset.ImageOrientationPatient = [float(v) for v in (*across, *down)]
    dataset.PixelSpacing = [float(spacing[1]), float(spacing[2])]
    dataset.SliceThickness = float(spacing[0])
    dataset.SpacingBetweenSlices = float(spacing[0])
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.WindowCenter, dataset.WindowWidth = 2000, 4000
    dataset.PixelData = image.astype("<u2").tobytes()
    return dataset


def _identity(number: int) -> Dataset:
    """Whose image it is, and what kind: nobody's, and an average."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = UTF8
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, _uid(f"image {number}")
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20090101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "000000"
    dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.StudyID = "", "", "SAMPLE"
    dataset.Modality = "MR"
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, "sample"
    dataset.SoftwareVersions = __version__
    dataset.StudyDescription = "Sample: MNI152 average of 152 brains"
    dataset.SeriesDescription = "T1 average brain: shows the workflow, not accuracy"
    dataset.PatientName, dataset.PatientID = "Sample^MNI152 average brain", "SAMPLE-MNI152"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.BodyPartExamined, dataset.PatientPosition = "BRAIN", "HFS"
    dataset.ScanningSequence, dataset.SequenceVariant = "GR", ["SP", "MP"]
    dataset.ScanOptions, dataset.MRAcquisitionType = "", "3D"
    dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    dataset.DerivationDescription = "Average of 152 registered T1-weighted brains, without skull"
    dataset.ImageComments = _COMMENT
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("study"), _uid("series")
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 1, number, 1
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = _uid("frame"), ""
    dataset.BurnedInAnnotation = "NO"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _uid(part: str) -> UID:
    """The same on every machine, so that a sample written twice is the same study."""
    name = f"medview sample 1, MNI152 average brain, {part}"
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")
