"""All of the real data beside the checkout, compared with independent readers, in one table.

`pytest -s tests/end2end/test_shared_data.py` prints, for each file or series: format or transfer
syntax, the other reader, how far apart the voxels lie in mm, how far apart the values.
"""

from __future__ import annotations

import itertools
import tarfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from medview.core.study import Series
from medview.core.volume import Volume
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.witness import Apart, apart, dcm2niix

pytestmark = pytest.mark.shared

EXACT = 1e-3
#: dcm2niix takes the step from the first two slices, medview from first and last: files round
#: positions, and at the far corner of long stacks that adds up.
FAR_CORNER_MM = 3e-3
#: Lossy syntaxes and the most that two right decoders differ by, in stored values.
LOSSY = {"1.2.840.10008.1.2.4.50": 2, "1.2.840.10008.1.2.4.51": 2, "1.2.840.10008.1.2.4.81": 1,
         "1.2.840.10008.1.2.4.91": 2, "1.2.840.10008.1.2.4.203": 2}  # fmt: skip
SERIES = (
    "geometry/dcm_qa_orientation.tar.xz",
    "geometry/dcm_qa_xa30_enhanced.tar.xz",
    "geometry/dcm_qa_enh.tar.xz",
    "geometry/decubitus_HFDL_t1_sag.tar.xz",
    "mr/brain_tumor_multiseq_study3.tar.xz",
    "mr/sag_mprage_192.tar.xz",
    "ct/chest_covid_P002",
    "ct_seg/totalsegmentator/example_ct_dicom",
    "ct_timepoints",
    "pet_ct_mr_rtstruct/STS_012/dicom",
    "seg_sr/dcmqi/segmentations/ct-3slice",
    "seg_sr/dcmqi/segmentations/24x38x3/image",
    "seg_sr/dcmqi/segmentations/23x38x3/image",
)


@dataclass(frozen=True)
class Row:
    """One comparison."""

    kind: str
    name: str
    reader: str
    found: Apart

    def __str__(self) -> str:
        """As a line of the table."""
        mm = f"{self.found.mm:10.6f}" if self.found.mm >= 0 else "         -"
        return (
            f"{self.kind:24.24} {self.name[-58:]:58} {self.reader:10} {mm} {self.found.value:12.6g}"
        )


@pytest.fixture(scope="module")
def data(shared: Path) -> Path:
    return shared / "data"


def volumes_of(path: Path) -> Iterator[tuple[Series, Volume]]:
    """Every volume at a place, with its series."""
    for study in scan([path]).studies:
        for series in study.series:
            for volume in load(series).volumes:
                yield series, volume


def told(rows: list[Row]) -> None:
    """Print the rows as a table."""
    print(f"\n{'format':24} {'what':58} {'reader':10} {'mm apart':>10} {'values apart':>12}")  # noqa: T201
    print("\n".join(map(str, rows)))  # noqa: T201


def unpacked(path: Path, folder: Path) -> Path:
    """The folder, or what is in the archive."""
    if path.is_dir():
        return path
    with tarfile.open(path) as packed:
        packed.extractall(folder / path.name, filter="data")
    return folder / path.name


@pytest.mark.parametrize("name", SERIES)
def test_series_beside_dcm2niix(data: Path, tmp_path: Path, name: str) -> None:
    """Each volume has its twin among the images dcm2niix makes of the same files."""
    folder = unpacked(data / name, tmp_path)
    images = dcm2niix(folder, tmp_path / "out")
    theirs = [(image, step) for image in images for step in _steps(image)]
    rows = []
    for series, volume in volumes_of(folder):
        if not series.is_dicom or not volume.geometry.in_patient_space:
            continue
        found = [_beside(volume, image, step) for image, step in theirs]
        best = min(found, key=lambda one: (one.value, one.mm))
        kind = " ".join(sorted({one.transfer_syntax_uid[-10:] for one in series.instances}))
        what = f"{name} {series.description} {volume.time_index or ''}"
        rows.append(Row(kind, what, "dcm2niix", best))
    told(rows)
    assert rows
    for row in rows:
        assert row.found.mm < FAR_CORNER_MM, row
        assert row.found.value < EXACT, row


def _steps(image: Any) -> list[int | None]:
    return list(range(image.shape[3])) if len(image.shape) > 3 else [None]


def _beside(volume: Volume, image: Any, step: int | None) -> Apart:
    shape = image.shape[:3]
    if sorted(shape) != sorted(volume.geometry.shape):
        return Apart(float("inf"), float("inf"))
    values = np.asanyarray(image.dataobj)
    values = values if step is None else values[..., step]
    return apart(volume.geometry.affine, volume.values(), image.affine, values)


def test_brain_formats_beside_nibabel(data: Path) -> None:
    """NIfTI of both versions, packed or not, MGH, PAR/REC, AFNI: affine and every value."""
    rows = []
    endings = (".nii", ".nii.gz", ".mgz", ".PAR", ".HEAD")
    folders = ("formats", "ct_seg", "mr_timepoints", "pet_ct_mr_rtstruct/STS_012/nifti")
    for path in sorted(path for one in folders for path in (data / one).rglob("*")):
        if not path.name.endswith(endings):
            continue
        image = nib.load(path)
        steps = _steps(image)
        volumes = [volume for _, volume in volumes_of(path)]
        assert len(volumes) == len(steps), path
        for step, volume in zip(steps, volumes, strict=True):
            found = _beside(volume, image, step)
            rows.append(Row("".join(path.suffixes)[-12:], path.name, "nibabel", found))
        if path.suffix == ".PAR":
            image.dataobj.file_like.close()
    told(rows)
    assert len(rows) > 40
    for row in rows:
        assert row.found.mm < EXACT, row
        assert row.found.value < 1e-3, row


def test_nrrd_beside_simpleitk(data: Path) -> None:
    rows = []
    for path in sorted(data.rglob("*.nrrd")):
        ((_, volume),) = volumes_of(path)
        rows.append(Row("NRRD", path.name, "SimpleITK", _beside_itk(volume, sitk.ReadImage(path))))
    told(rows)
    assert len(rows) > 10
    for row in rows:
        assert row.found.mm < EXACT, row
        assert row.found.value == 0, row


def _beside_itk(volume: Volume, image: Any) -> Apart:
    affine = np.eye(4)
    directions = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, :3], affine[:3, 3] = directions, image.GetOrigin()
    values = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return apart(
        volume.geometry.affine, volume.values(), np.diag([-1.0, -1, 1, 1]) @ affine, values
    )


def test_still_pictures_beside_simpleitk(data: Path) -> None:
    """Every grey DICOM picture of one frame that SimpleITK can read has the same values."""
    rows = []
    folders = ("codecs", "projection", "charset", "rt/rt_utils", "deid", "seg_sr/highdicom")
    for path in sorted(path for one in folders for path in (data / one).rglob("*")):
        if not path.is_file() or path.suffix in (".txt", ".json", ".md", ".jpeg"):
            continue
        found = [(series, volume) for series, volume in volumes_of(path) if series.is_dicom]
        if len(found) != 1 or found[0][1].voxels.shape[0] != 1 or found[0][1].channels != 1:
            continue
        series, volume = found[0]
        # SimpleITK does not apply the tables of the Modality LUT Sequence, does not turn PET into
        # SUV, and hands out MONOCHROME1 inverted.
        other = series.headers.get("ModalityLUTSequence") or "SUV" in volume.unit or volume.inverted
        theirs = None if other else _itk_values(path)
        if theirs is None or theirs.shape != volume.voxels.shape[1:]:
            continue
        values = volume.values()[0]
        kind = series.instances[0].transfer_syntax_uid
        scale = abs(volume.slope) or 1.0
        difference = float(np.abs(values - theirs).max()) / scale
        rows.append(Row(kind, str(path.relative_to(data)), "SimpleITK", Apart(-1, difference)))
    told(rows)
    assert len(rows) > 30
    for row in rows:
        assert row.found.value <= LOSSY.get(row.kind, 0.01), row


def _itk_values(path: Path) -> npt.NDArray[np.float64] | None:
    """What SimpleITK makes of a file; None where it refuses it."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        image = reader.Execute()
    except RuntimeError:
        return None
    values = sitk.GetArrayFromImage(image).astype(np.float64)
    return values[0] if values.ndim == 3 and values.shape[0] == 1 else None


def test_pictures_beside_pillow(data: Path) -> None:
    rows = []
    for path in sorted(itertools.chain(data.rglob("*.png"), data.rglob("*.jp*g"))):
        ((_, volume),) = volumes_of(path)
        with Image.open(path) as image:
            theirs = np.asarray(image.convert("L" if volume.channels == 1 else "RGB"))
        difference = float(np.abs(volume.voxels[0].astype(int) - theirs).max())
        rows.append(Row(path.suffix, path.name, "Pillow", Apart(-1, difference)))
    told(rows)
    assert len(rows) > 15
    for row in rows:
        assert row.found.value <= (2 if row.kind.startswith(".jp") else 0), row


def test_doses_beside_their_formula(data: Path) -> None:
    """Stored values times Dose Grid Scaling; planes at the offsets the file lists."""
    rows = []
    for path in sorted((data / "rt" / "pydicom").glob("rtdose*.dcm")):
        ds = pydicom.dcmread(path)
        ((series, volume),) = volumes_of(path)
        frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
        truth = frames * float(ds.DoseGridScaling)
        difference = float(np.abs(volume.values() - truth).max())
        last = np.array(ds.ImagePositionPatient, float)
        last[2] += float(ds.GridFrameOffsetVector[len(frames) - 1])
        mm = float(np.linalg.norm(volume.geometry.to_lps_mm((len(frames) - 1, 0, 0)) - last))
        kind = series.instances[0].transfer_syntax_uid
        rows.append(Row(kind, path.name, "pydicom", Apart(mm, difference)))
        assert series.kind.value == "dose"
    told(rows)
    assert len(rows) == 6
    for row in rows:
        assert row.found.mm < EXACT, row
        assert row.found.value < 1e-5, row


def test_twins_of_one_patient(data: Path) -> None:
    """CT, PET and MR as DICOM and as NIfTI: the same grid and the same values."""
    root = data / "pet_ct_mr_rtstruct" / "STS_012"
    rows = []
    for name in ("CT", "PET", "MR_T1"):
        folder = root / "dicom" / "STS_012" / name / "image"
        ((_, volume),) = volumes_of(folder)
        image = nib.load(root / "nifti" / "STS_012" / f"{name}_image.nii.gz")
        rows.append(Row("DICOM and NIfTI", name, "nibabel", _beside(volume, image, None)))
    told(rows)
    for row in rows:
        assert row.found.mm < FAR_CORNER_MM, row
        assert row.found.value < 1e-5, row


def test_names_beside_pydicom(data: Path) -> None:
    """Every letter of the patients' names, in three groups where there are three."""
    compared = 0
    for path in sorted((data / "charset").glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = pydicom.dcmread(path).get("PatientName")
        (study,) = scan([path]).studies
        if name is None:
            assert study.patient.name == ""
            continue
        letters = {c for c in str(name) if c not in "^= \\"}
        assert letters <= set(study.patient.name), path.name
        groups = [group for group in str(name).rstrip("=").split("=") if group.strip("^ ")]
        assert len(study.patient.name.split(" = ")) == len(dict.fromkeys(groups)), path.name
        compared += 1
    assert compared > 12
