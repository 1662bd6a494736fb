"""Real files beside the checkout against other programs' readings of them."""

from __future__ import annotations

import csv
import itertools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from medview.core.geometry import lps_from_ras, reorder_kji
from medview.core.volume import Volume
from medview.io.describe import info
from medview.io.reading import load, load_segmentations
from medview.io.scan import scan

pytestmark = pytest.mark.shared

#: What is listed or refused on purpose: a stack in two parts, no patient position, no image,
#: one series under several studies.
NOT_COMPARED = ("ge_gantry_tilt", "multiframe", "rt/pydicom", "oriented_data")


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"


def volumes_in(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for patient in described["patients"]:
        for study in patient["studies"]:
            for series in study["series"]:
                if series["transfer_syntaxes"]:
                    yield from series["volumes"]


def corners(affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    ends = np.array(list(itertools.product(*[(0, n - 1) for n in shape])), dtype=np.float64)
    return ends @ affine[:3, :3].T + affine[:3, 3]


def farthest(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """How far the corners of two boxes lie apart, whatever the order of their axes."""
    apart = np.linalg.norm(one[:, None] - other[None], axis=2)
    return float(max(apart.min(axis=0).max(), apart.min(axis=1).max()))


def test_dcm2niix_finds_the_same_places_and_values(data: Path, tmp_path: Path) -> None:
    """Corners within the rounding of its table (5 decimals times 512 columns), values alike."""
    described: dict[str, list[dict[str, Any]]] = {}
    lines = []
    for row in csv.DictReader((data / "truth_dcm2niix.csv").read_text().splitlines()):
        name = row["folder_or_archive"]
        if any(part in name for part in NOT_COMPARED):
            continue
        if name not in described:
            described[name] = list(volumes_in(info([unpacked(data / name, tmp_path)])))
        shape = tuple(int(n) for n in row["shape"].split("x"))[:3]
        affine = np.eye(4)
        numbers = [float(part) for part in row["affine_RAS_3x4_rowmajor"].split()]
        affine[:3] = np.array(numbers).reshape(3, 4)
        truth = corners(affine, shape)
        found = [
            (farthest(truth, _ras_corners(volume)), volume)
            for volume in described[name]
            if sorted(volume["shape"]) == sorted(shape) and volume["affine_lps"]
        ]
        assert found, f"{name}: nothing of shape {shape}"
        apart, volume = min(
            found, key=lambda pair: (round(pair[0], 2), abs(pair[1]["max"] - float(row["max"])))
        )
        lines.append(f"{name:60} {row['shape']:14} {apart:.5f} mm")
        assert apart < 0.006, lines[-1]
        if volume["min"] > float(row["min"]) + 1e-5:
            continue  # dcm2niix counts padding, which is no value of the patient
        assert volume["min"] == pytest.approx(float(row["min"]), abs=1e-5)
        if volume["time_index"] is None:
            assert volume["max"] == pytest.approx(float(row["max"]), abs=1e-5)
            assert volume["mean"] == pytest.approx(float(row["mean"]), abs=1e-4)
    print("\n".join(lines))  # noqa: T201
    assert len(lines) > 18


def unpacked(path: Path, folder: Path) -> Path:
    """The folder, or what is in the archive: other tests read archives as they are."""
    if path.is_dir():
        return path
    with tarfile.open(path) as packed:
        packed.extractall(folder / path.name, filter="data")
    return folder / path.name


def _ras_corners(volume: dict[str, Any]) -> npt.NDArray[np.float64]:
    affine = lps_from_ras(reorder_kji(np.array(volume["affine_lps"])))
    return corners(affine, tuple(volume["shape"][::-1]))


def canonical(volume: Volume) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    affine = lps_from_ras(reorder_kji(volume.geometry.affine))
    image = nib.Nifti1Image(np.ascontiguousarray(volume.values().transpose(2, 1, 0)), affine)
    turned = nib.as_closest_canonical(image)
    return np.asarray(turned.dataobj), turned.affine


@pytest.mark.parametrize(
    ("archive", "reference", "series_number"),
    [
        ("dcm_qa_orientation.tar.xz", "sag_asc_36sl_19.nii", 19),
        ("dcm_qa_orientation.tar.xz", "sag_int_35sl_24.nii", 24),
        ("dcm_qa_xa30_enhanced.tar.xz", "5_anat-T1w_acq-tfl.nii", 5),
        ("dcm_qa_enh.tar.xz", "Siemens_REST1_w_SMS_PF7-8_6.nii", 6),
    ],
)
def test_reference_niftis_voxel_for_voxel(
    data: Path, tmp_path: Path, archive: str, reference: str, series_number: int
) -> None:
    path = data / "geometry" / archive
    with tarfile.open(path) as packed:
        member = next(m for m in packed.getmembers() if m.name.endswith("/" + reference))
        member.name = reference
        packed.extract(member, tmp_path, filter="data")
    image = nib.load(tmp_path / reference)
    every = [series for study in scan([path]).studies for series in study.series]
    (series,) = [one for one in every if one.is_dicom and one.number == series_number]
    volumes = load(series).volumes
    voxels = np.asarray(image.dataobj)
    voxels = voxels[..., None] if voxels.ndim == 3 else voxels
    assert len(volumes) == voxels.shape[3]
    for time, volume in enumerate(volumes):
        truth = nib.as_closest_canonical(nib.Nifti1Image(voxels[..., time], image.affine))
        ours, affine = canonical(volume)
        assert np.array_equal(ours, np.asarray(truth.dataobj))
        assert np.abs(affine - truth.affine).max() < 1e-3


def test_a_leaning_stack_with_two_steps_is_two_true_stacks(data: Path) -> None:
    volumes = list(volumes_in(info([data / "geometry" / "ge_gantry_tilt_18.5.tar.xz"])))
    assert sorted(volume["shape"][0] for volume in volumes) == [14, 14]
    assert sorted(volume["spacing_mm"][0] for volume in volumes) == pytest.approx(
        [4.002, 6.999], abs=2e-3
    )
    assert all(any("18.5 degrees" in note for note in volume["notes"]) for volume in volumes)


def test_the_whole_mprage(data: Path) -> None:
    (volume,) = volumes_in(info([data / "mr" / "sag_mprage_192.tar.xz"]))
    assert volume["shape"] == [192, 256, 256]
    assert volume["spacing_mm"] == pytest.approx([0.9, 0.859375, 0.859375], abs=1e-3)


def test_one_slice_in_every_syntax(data: Path) -> None:
    folder = data / "codecs" / "ct_all_syntaxes"
    truth = _voxels(folder / "CTImage.dcm")
    lossless = ("1.2.840.10008.1.2", "1.2.1", "1.2.2", "1.2.1.99", "1.2.5", "4.57", "4.70", "4.80",
                "4.90")  # fmt: skip
    close = {"4.81": 1, "4.91": 5}
    seen = set()
    for path in sorted(folder.glob("CTImage.dcm_*")):
        syntax = path.stem.rsplit("_", 1)[-1].removeprefix("1.2.840.10008.")
        seen.add(syntax)
        if syntax in lossless:
            assert np.array_equal(_voxels(path), truth), path.name
        elif syntax in close:
            apart = np.abs(_voxels(path).astype(int) - truth).max()
            assert apart <= close[syntax], path.name
    assert len(seen) > 10


def _voxels(path: Path) -> npt.NDArray[np.float32]:
    (study,) = scan([path]).studies
    (volume,) = load(study.series[0]).volumes
    return volume.values()


@pytest.mark.parametrize(
    ("plain", "packed"),
    [
        ("codecs/pydicom_core/MR_small.dcm", "codecs/pydicom_core/MR_small_RLE.dcm"),
        ("codecs/pydicom_core/MR_small.dcm", "codecs/pydicom_core/MR_small_bigendian.dcm"),
        ("codecs/pydicom_core/MR_small.dcm", "codecs/pydicom_core/MR_small_jp2klossless.dcm"),
        ("codecs/pydicom_core/MR_small.dcm", "codecs/pydicom_core/MR_small_jpeg_ls_lossless.dcm"),
        ("codecs/pydicom/emri_small.dcm", "codecs/pydicom/emri_small_RLE.dcm"),
        ("codecs/pydicom/emri_small.dcm", "codecs/pydicom/emri_small_jpeg_2k_lossless.dcm"),
        ("codecs/pydicom/emri_small.dcm", "codecs/pydicom/emri_small_big_endian.dcm"),
        ("codecs/pydicom/693_UNCR.dcm", "codecs/pydicom/693_J2KR.dcm"),
        ("codecs/pydicom/US1_UNCR.dcm", "codecs/pydicom/US1_J2KR.dcm"),
    ],
)
def test_pairs_of_the_same_pixels(data: Path, plain: str, packed: str) -> None:
    assert np.array_equal(_voxels(data / plain), _voxels(data / packed))


def test_dicom_and_nifti_of_one_patient_agree(data: Path) -> None:
    folder = data / "pet_ct_mr_rtstruct" / "STS_012"
    niftis = {path.name: path for path in folder.rglob("*_image.nii.gz")}
    units = {"CT": "[hnsf'U]", "PET": "g/ml{SUVbw}", "MR_T1": "1"}
    for name, unit in units.items():
        (source,) = folder.rglob(f"{name}/image")
        (study,) = scan([source]).studies
        (volume,) = load(study.series[0]).volumes
        (reference,) = load(scan([niftis[f"{name}_image.nii.gz"]]).studies[0].series[0]).volumes
        assert volume.geometry.agrees_with(reference.geometry, 0.02)
        assert np.abs(volume.values() - reference.values()).max() < 1e-5
        assert volume.unit == unit


def test_names_in_many_scripts(data: Path) -> None:
    names = {
        "chrFren.dcm": "Buc, Jérôme",
        "chrGerm.dcm": "Äneas, Rüdiger",
        "chrX2.dcm": "Wang, XiaoDong = 王, 小东",
        "chrI2.dcm": "Hong, Gildong = 洪, 吉洞 = 홍, 길동",
        "chrH31.dcm": "Yamada, Tarou = 山田, 太郎 = やまだ, たろう",
        "chrGreek.dcm": "Διονυσιος",
        "chrRuss.dcm": "Люкceмбypг",
        "chrHbrw.dcm": "שרון, דבורה",
        "chrArab.dcm": "قباني, لنزار",
    }
    for file, name in names.items():
        assert scan([data / "charset" / file]).studies[0].patient.name == name


def test_segmentations_as_dcmqi_reads_them(data: Path) -> None:
    folder = data / "seg_sr" / "dcmqi"
    ct = next(
        volume
        for study in scan([folder]).studies
        for series in study.series
        if series.is_dicom and series.modality == "CT"
        for volume in load(series).volumes
        if volume.geometry.shape == (3, 512, 512)
    )
    for name, parts in (("liver", ["liver_seg"]), ("partial_overlaps", [f"partial_overlaps-{n}"
                        for n in (1, 2, 3)])):  # fmt: skip
        (path,) = folder.rglob(f"{name}.dcm")
        (study,) = scan([path]).studies
        found = load_segmentations(study.series[0], ct.geometry, ct.uid)
        assert len(found) == len(parts)
        for part in parts:
            (reference,) = folder.rglob(f"{part}.nrrd")
            truth = _voxels(reference)
            assert any(np.array_equal(one.labels, truth) for one in found), part


@pytest.mark.parametrize(
    "folder",
    ["bad", "charset", "codecs", "cxr", "deid", "dicomdir", "formats", "multiframe", "projection",
     "rt", "seg_sr", "video", "wsi"],
)  # fmt: skip
def test_every_file_gives_an_image_or_a_reason(data: Path, folder: str) -> None:
    described = info([data / folder])
    assert described["patients"] or described["problems"]
    for problem in described["problems"]:
        assert problem["path"]
        assert problem["reason"]
        assert problem["hint"], problem
        assert "Error" not in problem["reason"]
