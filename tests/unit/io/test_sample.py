"""The sample study: the template in its true place, nobody's image, there at once when asked."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from medview.core.errors import ReadError
from medview.io import sample
from medview.io.sample import write_sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sample") / "study")


def template() -> nib.Nifti1Image:
    spec = importlib.util.find_spec("nilearn")
    assert spec is not None
    (place,) = spec.submodule_search_locations or ()
    return nib.load(next(Path(place).rglob("mni_icbm152_t1_tal*.nii.gz")))


def test_every_voxel_lies_where_the_template_has_it(folder: Path) -> None:
    grid = template()
    voxels = np.asanyarray(grid.dataobj)
    files = sorted((folder / "mni152").iterdir())
    assert len(files) == voxels.shape[0]
    for path in files[::28]:
        dataset = dcmread(path)
        row = np.array(dataset.ImageOrientationPatient[:3], dtype=float)
        column = np.array(dataset.ImageOrientationPatient[3:], dtype=float)
        down, right = dataset.PixelSpacing
        r, c = np.ogrid[: dataset.Rows, : dataset.Columns]
        lps = (
            np.array(dataset.ImagePositionPatient, dtype=float)
            + c[..., None] * right * row
            + r[..., None] * down * column
        )
        ras = lps * (-1, -1, 1)
        inverse = np.linalg.inv(grid.affine)
        index = np.rint(ras @ inverse[:3, :3].T + inverse[:3, 3]).astype(int)
        expected = voxels[tuple(np.moveaxis(index, -1, 0))].astype(int)
        assert np.array_equal(dataset.pixel_array, expected * 16)


def test_it_says_what_it_is(folder: Path) -> None:
    dataset = dcmread(next((folder / "mni152").iterdir()))
    assert "workflow, not accuracy" in dataset.SeriesDescription
    assert "MNI152" in str(dataset.PatientName)
    assert dataset.PatientID.startswith("SAMPLE")
    assert "No patient" in dataset.ImageComments


def test_small_real_files_lie_beside_it(folder: Path) -> None:
    found = {
        path.parent.name: dcmread(path).Modality
        for name in ("ct", "mr", "ultrasound")
        for path in (folder / name).iterdir()
    }
    assert found == {"ct": "CT", "mr": "MR", "ultrasound": "US"}


def test_a_second_call_leaves_it_alone_and_mends_what_is_missing(folder: Path) -> None:
    files = sorted((folder / "mni152").iterdir())
    before = files[0].stat().st_mtime_ns
    write_sample(folder)
    assert files[0].stat().st_mtime_ns == before
    identity = dcmread(files[7]).SOPInstanceUID
    files[7].unlink()
    write_sample(folder)
    assert dcmread(files[7]).SOPInstanceUID == identity
    assert sorted((folder / "mni152").iterdir()) == files


def test_a_failure_leaves_no_half_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "dcmwrite", full)
    with pytest.raises(OSError, match="No space"):
        write_sample(tmp_path)
    assert not (tmp_path / "mni152").exists()
    assert not list(tmp_path.glob(".writing-*"))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ReadError, match="package pydicom"):
        write_sample(tmp_path)


def test_nilearn_is_never_imported(folder: Path) -> None:
    code = (
        "import sys, pathlib; from medview.io.sample import write_sample;"
        f"write_sample(pathlib.Path({str(folder)!r}));"
        "assert 'nilearn' not in sys.modules and 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(folder: Path) -> None:
    path = folder / "mni152" / "IM0100.dcm"
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert "Error" not in told.stderr
    assert "MRImage" in told.stderr
