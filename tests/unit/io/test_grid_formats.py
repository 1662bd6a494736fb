"""Rarer writings of grid files: every way NRRD, MetaImage, NIfTI and Analyze may say the same."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from medview.core.geometry import Calibration
from medview.core.study import Problem
from medview.core.volume import Volume
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.witness import apart

RNG = np.random.default_rng(11)
SHAPE = (4, 5, 6)
VALUES = RNG.integers(-300, 3000, SHAPE).astype("<i2")
#: Steps along i, j and k, and the origin, in LPS.
STEPS = ((0.9, 0.1, 0), (-0.1, 1.1, 0.2), (0, -0.3, 2.5))
ORIGIN = (-40.0, 12.5, 7.0)
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.array(STEPS).T[:, ::-1]
AFFINE[:3, 3] = ORIGIN


def volumes_of(path: Path) -> list[Volume]:
    """Every volume at a place; anything refused fails the test."""
    found = scan([path])
    assert found.problems == ()
    loaded = [load(series) for study in found.studies for series in study.series]
    assert not [problem for one in loaded for problem in one.problems]
    return [volume for one in loaded for volume in one.volumes]


def refused(path: Path) -> Problem:
    """The one reason why a path gives no volume."""
    found = scan([path])
    problems = list(found.problems)
    for study in found.studies:
        for series in study.series:
            result = load(series)
            assert result.volumes == ()
            problems += result.problems
    (problem,) = problems
    return problem


def nrrd(path: Path, data: bytes, **fields: str) -> Path:
    """A NRRD file of VALUES; `fields` replace or add lines, their names with _ for spaces."""
    lines = {
        "type": "int16", "dimension": "3", "sizes": "6 5 4", "endian": "little",
        "encoding": "raw", "space": "left-posterior-superior",
        "space directions": " ".join(_vector(step) for step in STEPS),
        "space origin": _vector(ORIGIN),
    }  # fmt: skip
    lines |= {key.replace("_", " "): value for key, value in fields.items()}
    text = "".join(f"{key}: {value}\n" for key, value in lines.items() if value)
    gap = "" if "LIST" in text else "\n"
    path.write_bytes(b"NRRD0005\n# a comment\n" + text.encode() + gap.encode() + data)
    return path


def _vector(values: tuple[float, ...]) -> str:
    return "(" + ",".join(str(value) for value in values) + ")"


def is_the_phantom(volume: Volume) -> bool:
    """Whether a volume has VALUES under AFFINE."""
    return bool(
        np.array_equal(volume.values(), VALUES)
        and np.allclose(volume.geometry.affine, AFFINE)
        and volume.geometry.in_patient_space
    )


RAW = VALUES.tobytes()
SPELLED = " ".join(map(str, VALUES.ravel())).encode()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("raw", RAW),
        ("gzip", gzip.compress(RAW)),
        ("gz", gzip.compress(RAW)),
        ("bzip2", bz2.compress(RAW)),
        ("text", SPELLED),
        ("ascii", SPELLED.replace(b" ", b"\n")),
        ("hex", RAW.hex().encode()),
    ],
)
@pytest.mark.parametrize("detached", [False, True])
def test_nrrd_encodings(tmp_path: Path, encoding: str, data: bytes, *, detached: bool) -> None:
    if detached:
        (tmp_path / "x.raw").write_bytes(data)
        path = nrrd(tmp_path / "x.nhdr", b"", encoding=encoding, data_file="./x.raw")
    else:
        path = nrrd(tmp_path / "x.nrrd", data, encoding=encoding)
    (volume,) = volumes_of(path)
    assert is_the_phantom(volume)


def test_nrrd_words_of_the_writer_are_no_fields(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "x.nrrd", RAW)
    own = b"type:=T1\nsizes:=large\nspace:=of the mind\nendian:=big\n\n"
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\n" + own, 1))
    (volume,) = volumes_of(path)
    assert is_the_phantom(volume)


def test_nrrd_big_endian_and_skips(tmp_path: Path) -> None:
    big = VALUES.astype(">i2").tobytes()
    (volume,) = volumes_of(nrrd(tmp_path / "a.nrrd", big, endian="big"))
    assert is_the_phantom(volume)
    (tmp_path / "x.raw").write_bytes(b"one line\nanother\nfour" + RAW)
    for fields in (
        {"line_skip": "2", "byte_skip": "4"},
        {"byte_skip": "21"},
        {"byte_skip": "-1"},
    ):
        (volume,) = volumes_of(nrrd(tmp_path / "x.nhdr", b"", data_file="x.raw", **fields))
        assert is_the_phantom(volume)


@pytest.mark.parametrize("listed", ["LIST\ns1.raw\ns2.raw\ns3.raw\ns4.raw", "s%d.raw 1 4 1"])
def test_nrrd_slices_in_files_of_their_own(tmp_path: Path, listed: str) -> None:
    for number, plane in enumerate(VALUES, start=1):
        (tmp_path / f"s{number}.raw").write_bytes(plane.tobytes())
    path = nrrd(tmp_path / "x.nhdr", b"", data_file=listed)
    (volume,) = volumes_of(path)
    assert is_the_phantom(volume)


@pytest.mark.parametrize(
    ("space", "signs"),
    [("right-anterior-superior", (-1, -1, 1)), ("LAS", (1, -1, 1)), ("LPS", (1, 1, 1))],
)
def test_nrrd_spaces(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    turned = [tuple(a * b for a, b in zip(step, signs, strict=True)) for step in STEPS]
    path = nrrd(
        tmp_path / "x.nrrd", RAW, space=space,
        space_directions=" ".join(map(_vector, turned)),
        space_origin=_vector(tuple(a * b for a, b in zip(ORIGIN, signs, strict=True))),
    )  # fmt: skip
    (volume,) = volumes_of(path)
    assert is_the_phantom(volume)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-left-handed", ""])
def test_nrrd_spaces_that_are_no_patient(tmp_path: Path, space: str) -> None:
    (volume,) = volumes_of(nrrd(tmp_path / "x.nrrd", RAW, space=space))
    assert volume.geometry.calibration is Calibration.NONE
    assert "does not say how it lies" in volume.notes[0]


@pytest.mark.parametrize("kind", ["list", "vector", "time"])
@pytest.mark.parametrize("first", [False, True])
def test_nrrd_axes_that_lead_nowhere(tmp_path: Path, kind: str, *, first: bool) -> None:
    """Several values a voxel, beside each other or volume after volume, are volumes."""
    several = np.stack([VALUES, VALUES + 1, VALUES + 2])
    data = np.moveaxis(several, 0, -1).tobytes() if first else several.tobytes()
    vectors = " ".join(map(_vector, STEPS))
    path = nrrd(
        tmp_path / "x.nrrd", data, dimension="4",
        sizes="3 6 5 4" if first else "6 5 4 3",
        kinds=f"{kind} domain domain domain" if first else f"domain domain domain {kind}",
        space_directions=f"none {vectors}" if first else f"{vectors} none",
    )  # fmt: skip
    volumes = volumes_of(path)
    assert [volume.time_index for volume in volumes] == [0, 1, 2]
    for step, volume in enumerate(volumes):
        assert np.array_equal(volume.values(), VALUES + step)
        assert np.allclose(volume.geometry.affine, AFFINE)


def test_numbers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "x.nrrd", SPELLED, type="uchar", encoding="text")
    assert "damaged" in refused(path).reason


def mhd(path: Path, data: bytes = b"", **fields: str) -> Path:
    """A MetaImage file of VALUES; `fields` replace or add lines, None leaves one out."""
    lengths = [float(np.linalg.norm(step)) for step in STEPS]
    unit = [a / n for step, n in zip(STEPS, lengths, strict=True) for a in step]
    lines = {
        "ObjectType": "Image", "NDims": "3", "DimSize": "6 5 4", "ElementType": "MET_SHORT",
        "ElementSpacing": " ".join(map(str, lengths)), "Offset": " ".join(map(str, ORIGIN)),
        "TransformMatrix": " ".join(map(str, unit)), "BinaryDataByteOrderMSB": "False",
    } | fields  # fmt: skip
    last = lines.pop("ElementDataFile", "LOCAL")
    text = "".join(f"{key} = {value}\n" for key, value in lines.items() if value)
    path.write_bytes(f"{text}ElementDataFile = {last}\n".encode() + data)
    return path


def test_meta_image_writings(tmp_path: Path) -> None:
    assert is_the_phantom(*volumes_of(mhd(tmp_path / "a.mha", RAW)))
    assert is_the_phantom(*volumes_of(mhd(tmp_path / "b.mha", SPELLED, BinaryData="False")))
    big = VALUES.astype(">i2").tobytes()
    assert is_the_phantom(*volumes_of(mhd(tmp_path / "c.mha", big, BinaryDataByteOrderMSB="True")))
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, plane in enumerate(VALUES):
        (folder / f"s{number}.raw").write_bytes(b"head" + plane.tobytes())
    (folder / "all.raw").write_bytes(b"any header" + RAW)
    for fields in (
        {"ElementDataFile": "LIST\ns0.raw\ns1.raw\ns2.raw\ns3.raw", "HeaderSize": "4"},
        {"ElementDataFile": "s%01d.raw 0 3 1", "HeaderSize": "4"},
        {"ElementDataFile": "all.raw", "HeaderSize": "-1"},
    ):
        assert is_the_phantom(*volumes_of(mhd(folder / "x.mhd", **fields)))


def test_meta_image_letters_instead_of_a_matrix(tmp_path: Path) -> None:
    path = mhd(
        tmp_path / "x.mha", RAW, TransformMatrix="", AnatomicalOrientation="LPI",
        ElementSpacing="1 2 3",
    )  # fmt: skip
    (volume,) = volumes_of(path)
    assert volume.geometry.orientation == "HAR"
    nothing = mhd(tmp_path / "y.mha", RAW, TransformMatrix="", ElementSpacing="1 2 3")
    assert volumes_of(nothing)[0].geometry.calibration is Calibration.NONE


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_vectors_are_volumes(tmp_path: Path, ending: str) -> None:
    values = RNG.random((*SHAPE, 5)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=True), str(tmp_path / f"x{ending}"))
    volumes = volumes_of(tmp_path / f"x{ending}")
    assert len(volumes) == 5
    for part, volume in enumerate(volumes):
        assert np.array_equal(volume.values(), values[..., part])
        assert volume.label == f"Value {part + 1} of 5 per voxel"


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<i4", "<f4", "<f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_analyze_beside_nibabel(tmp_path: Path, dtype: str, *, packed: bool) -> None:
    values = (RNG.random((6, 5, 4)) * 200).astype(dtype)
    header = nib.AnalyzeHeader(endianness=">" if dtype[0] == ">" else "<")
    nib.AnalyzeImage(values, None, header).to_filename(tmp_path / "x.img")
    if packed:
        for ending in (".hdr", ".img"):
            path = tmp_path / f"x{ending}"
            (tmp_path / f"x{ending}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    (volume,) = volumes_of(tmp_path)
    assert np.array_equal(volume.values().transpose(2, 1, 0), values.astype(np.float32))
    assert volume.geometry.calibration is Calibration.NONE
    assert "which side is left" in volume.notes[0]


def test_analyze_without_its_voxels(tmp_path: Path) -> None:
    nib.AnalyzeImage(np.zeros((6, 5, 4), np.int16), None).to_filename(tmp_path / "x.img")
    assert "Open the header" in refused(tmp_path / "x.img").hint
    (tmp_path / "x.hdr").rename(tmp_path / "kept")
    assert ".hdr" in refused(tmp_path / "x.img").reason
    (tmp_path / "kept").rename(tmp_path / "x.hdr")
    (tmp_path / "x.img").unlink()
    assert ".img" in refused(tmp_path / "x.hdr").reason


def test_orientations_that_disagree_are_told(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([1.0, 1, 2, 1]))
    image.set_qform(np.diag([-1.0, 1, 2, 1]), 1)
    image.set_sform(np.diag([1.0, 1, 2, 1]), 1)
    nib.save(image, tmp_path / "x.nii")
    (volume,) = volumes_of(tmp_path / "x.nii")
    assert "two orientations" in volume.notes[0]
    image = nib.load(tmp_path / "x.nii")
    found = apart(
        volume.geometry.affine, volume.values(), image.affine, np.asanyarray(image.dataobj)
    )
    assert found.mm < 1e-6


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_numbers_are_refused_in_words(tmp_path: Path, dtype: Any) -> None:
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), dtype), np.eye(4)), tmp_path / "x.nii")
    assert "complex numbers" in refused(tmp_path / "x.nii").reason


def test_whole_numbers_of_64_bits(tmp_path: Path) -> None:
    values = RNG.integers(-1000, 1000, (6, 5, 4))
    nib.save(nib.Nifti1Image(values, np.eye(4), dtype=np.int64), tmp_path / "x.nii.gz")
    (volume,) = volumes_of(tmp_path / "x.nii.gz")
    assert np.array_equal(volume.values().transpose(2, 1, 0), values)


def test_five_dimensions(tmp_path: Path) -> None:
    values = RNG.random((6, 5, 4, 2, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "x.nii")
    volumes = volumes_of(tmp_path / "x.nii")
    assert len(volumes) == 6
    for number, volume in enumerate(volumes):
        truth = values[..., number % 2, number // 2]
        assert np.array_equal(volume.values().transpose(2, 1, 0), truth)


def rotated() -> npt.NDArray[np.float64]:
    """An oblique affine to RAS with three spacings."""
    a = np.radians(20)
    affine = np.eye(4)
    affine[:3, :3] = np.array(
        [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    ) @ np.diag([1.5, 2.0, 3.0])
    affine[:3, 3] = (-20, 30, 40)
    return affine


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
@pytest.mark.parametrize("ending", [".mgh", ".mgz"])
def test_mgh_beside_nibabel(tmp_path: Path, dtype: Any, ending: str) -> None:
    values = (RNG.random((6, 5, 4, 2)) * 200).astype(dtype)
    nib.save(nib.MGHImage(values, rotated()), tmp_path / f"x{ending}")
    volumes = volumes_of(tmp_path / f"x{ending}")
    assert len(volumes) == 2
    for step, volume in enumerate(volumes):
        found = apart(volume.geometry.affine, volume.values(), rotated(), values[..., step])
        assert found.mm < 1e-4
        assert found.value == 0


def test_guests_that_are_damaged_are_refused(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(np.zeros((6, 5, 4), np.int16), np.eye(4)), tmp_path / "x.mgh")
    whole = (tmp_path / "x.mgh").read_bytes()
    (tmp_path / "x.mgh").write_bytes(whole[:300])
    assert "damaged" in refused(tmp_path / "x.mgh").reason
    (tmp_path / "x.mgh").write_bytes(b"not this at all" * 40)
    assert refused(tmp_path / "x.mgh").reason
    (tmp_path / "x.mgh").unlink()
    (tmp_path / "x.mnc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200))
    assert "damaged" in refused(tmp_path / "x.mnc").reason
