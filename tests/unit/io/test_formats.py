"""NIfTI, NRRD, MetaImage and pictures against nibabel, SimpleITK and Pillow."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medview.core.errors import ExportError
from medview.core.geometry import Calibration, Geometry
from medview.core.study import Series, SeriesKind
from medview.core.volume import Volume
from medview.io.grid_write import write_grid
from medview.io.nifti import parse_header
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import CtOptions, write_ct
from tests.helpers.phantoms import Phantom, oblique

RNG = np.random.default_rng(5)
SHAPE = (5, 7, 9)


def series_of(path: Path) -> Series:
    (study,) = scan([path]).studies
    return study.series[0]


def loaded(path: Path) -> LoadedSeries:
    return load(series_of(path))


def rotated(degrees: float, spacing: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = (10, -20, 30)
    return affine


def ras_point(volume: Volume, k: int, j: int, i: int) -> npt.NDArray[np.float64]:
    x, y, z = volume.geometry.to_lps_mm((k, j, i))
    return np.array([-x, -y, z])


def agrees_with_nibabel(volume: Volume, image: nib.Nifti1Image, time: int | None = None) -> None:
    data = image.get_fdata(dtype=np.float32)
    truth = data if time is None else data[..., time]
    assert np.allclose(volume.values(), truth.transpose(2, 1, 0), rtol=1e-6)
    for k, j, i in ((0, 0, 0), (2, 3, 4), (4, 6, 8)):
        expected = image.affine @ (i, j, k, 1)
        assert ras_point(volume, k, j, i) == pytest.approx(expected[:3], abs=1e-4)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nifti_types(tmp_path: Path, dtype: str, ending: str) -> None:
    data = (RNG.random(SHAPE[::-1]) * 100).astype(dtype)
    image = nib.Nifti1Image(data, rotated(30, (1, 2, 3)), dtype=np.dtype(dtype))
    nib.save(image, tmp_path / f"x{ending}")
    (volume,) = loaded(tmp_path / f"x{ending}").volumes
    agrees_with_nibabel(volume, nib.load(tmp_path / f"x{ending}"))
    assert volume.time_index is None


@settings(max_examples=30, deadline=None)
@given(degrees=st.floats(-180, 180), flip=st.sampled_from([1, -1]), code=st.booleans())
def test_nifti_qform_and_sform(
    tmp_path_factory: pytest.TempPathFactory, degrees: float, flip: int, *, code: bool
) -> None:
    path = tmp_path_factory.mktemp("q") / "x.nii"
    image = nib.Nifti1Image(np.zeros(SHAPE[::-1], np.int16), None)
    affine = rotated(degrees, (1.5, 2, flip * 2.5))
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=2 if code else 0)
    nib.save(image, path)
    (volume,) = loaded(path).volumes
    agrees_with_nibabel(volume, nib.load(path))


def patched(path: Path, at: int, values: Any) -> Path:
    """A small NIfTI file with a qform, and numbers of its header put in place."""
    image = nib.Nifti1Image(np.ones(SHAPE[::-1], np.int16), None)
    image.set_qform(rotated(0, (1.5, 2, 2.5)), code=1)
    image.set_sform(None, code=0)
    nib.save(image, path)
    data = bytearray(path.read_bytes())
    raw = np.asarray(values).tobytes()
    data[at : at + len(raw)] = raw
    path.write_bytes(data)
    return path


def test_a_nifti_quaternion_longer_than_one_makes_no_voxel_larger(tmp_path: Path) -> None:
    path = patched(tmp_path / "x.nii", 256, np.array([0.8, 0.8, 0.3], "<f4"))
    geometry = loaded(path).volumes[0].geometry
    assert geometry.spacing_mm == pytest.approx((2.5, 2, 1.5))
    truth = sitk.ReadImage(path)
    steps = np.array(truth.GetDirection()).reshape(3, 3) * truth.GetSpacing()
    assert np.allclose(geometry.affine[:3, [2, 1, 0]], steps, atol=1e-5)


def test_a_negative_nifti_voxel_size_turns_nothing(tmp_path: Path) -> None:
    path = patched(tmp_path / "x.nii", 80, np.array([-1.5], "<f4"))
    (volume,) = loaded(path).volumes
    agrees_with_nibabel(volume, nib.load(path))


def test_a_nifti_that_counts_no_further_volumes_has_one(tmp_path: Path) -> None:
    path = patched(tmp_path / "x.nii", 40, np.array([4, *SHAPE[::-1], 0], "<i2"))
    (volume,) = loaded(path).volumes
    assert np.array_equal(volume.values(), np.ones(SHAPE))


def test_nifti_2_and_big_endian_and_scaling(tmp_path: Path) -> None:
    data = (RNG.random(SHAPE[::-1]) * 100).astype(np.int16)
    second = nib.Nifti2Image(data, rotated(10, (1, 1, 2)))
    nib.save(second, tmp_path / "second.nii")
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    header.set_slope_inter(0.25, -3)
    nib.save(nib.Nifti1Image(data, rotated(10, (1, 1, 2)), header), tmp_path / "big.nii")
    for name in ("second.nii", "big.nii"):
        (volume,) = loaded(tmp_path / name).volumes
        agrees_with_nibabel(volume, nib.load(tmp_path / name))


def test_nifti_over_time(tmp_path: Path) -> None:
    data = (RNG.random((*SHAPE[::-1], 3)) * 100).astype(np.float32)
    nib.save(nib.Nifti1Image(data, rotated(0, (1, 1, 1))), tmp_path / "x.nii.gz")
    volumes = loaded(tmp_path / "x.nii.gz").volumes
    assert [volume.time_index for volume in volumes] == [0, 1, 2]
    for time, volume in enumerate(volumes):
        agrees_with_nibabel(volume, nib.load(tmp_path / "x.nii.gz"), time)


def test_nifti_units_are_turned_into_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros(SHAPE[::-1], np.uint8), rotated(0, (1, 1, 1)) * 1000)
    image.affine[3, 3] = 1
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "x.nii")
    assert loaded(tmp_path / "x.nii").volumes[0].geometry.spacing_mm == pytest.approx((1, 1, 1))


def test_nifti_without_orientation_has_no_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros(SHAPE[::-1], np.uint8), None)
    image.header["sform_code"] = image.header["qform_code"] = 0
    nib.save(image, tmp_path / "x.nii")
    (volume,) = loaded(tmp_path / "x.nii").volumes
    assert volume.geometry.calibration is Calibration.NONE
    assert "no orientation" in volume.notes[0]


def test_nifti_pair(tmp_path: Path) -> None:
    data = RNG.integers(0, 99, SHAPE[::-1]).astype(np.int16)
    nib.save(nib.Nifti1Pair(data, rotated(0, (1, 2, 3))), tmp_path / "x.hdr")
    (volume,) = loaded(tmp_path / "x.hdr").volumes
    agrees_with_nibabel(volume, nib.load(tmp_path / "x.hdr"))
    (tmp_path / "x.img").unlink()
    assert "not beside" in loaded(tmp_path / "x.hdr").problems[0].reason


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_cut_nifti_shows_nothing_invented(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x{ending}"
    data = RNG.integers(0, 30000, SHAPE[::-1]).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    result = loaded(path)
    assert result.problems
    for volume in result.volumes:
        good = (volume.voxels == data.transpose(2, 1, 0)) | (volume.voxels == 0)
        assert good.all()


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "x.nii")
    data = bytearray((tmp_path / "x.nii").read_bytes())
    data[40:56] = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1], "<i2").tobytes()
    (tmp_path / "x.nii").write_bytes(data)
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(bytes(data)))
    for name in ("x.nii", "y.nii.gz"):
        result = loaded(tmp_path / name)
        assert result.volumes == ()
        assert result.problems


@given(st.binary(min_size=352, max_size=560))
def test_nonsense_after_the_magic_is_refused_or_read(data: bytes) -> None:
    from medview.core.errors import ReadError

    head = b"\x5c\x01\0\0" + data[4:344] + b"n+1\0" + data[348:]
    try:
        header = parse_header(head)
    except ReadError:
        return
    assert min(header.shape) >= 1


def itk_image(dtype: type, channels: int = 1) -> sitk.Image:
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    array = (RNG.random(shape) * 200).astype(dtype)
    image = sitk.GetImageFromArray(array, isVector=channels > 1)
    a = np.radians(20)
    image.SetDirection((np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 0, 0, 0, 1))
    image.SetSpacing((1.1, 1.2, 2.5))
    image.SetOrigin((5, 6, -7))
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_itk_formats(tmp_path: Path, dtype: type, ending: str, *, packed: bool) -> None:
    image = itk_image(dtype)
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(image, str(path), useCompression=packed)
    (volume,) = loaded(path).volumes
    truth = sitk.GetArrayFromImage(image)
    assert np.array_equal(volume.values(), truth.astype(np.float32))
    for k, j, i in ((0, 0, 0), (1, 2, 3), (4, 6, 8)):
        place = image.TransformIndexToPhysicalPoint((i, j, k))
        assert volume.geometry.to_lps_mm((k, j, i)) == pytest.approx(place, abs=1e-4)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_itk_colour(tmp_path: Path, ending: str) -> None:
    image = itk_image(np.uint8, channels=3)
    sitk.WriteImage(image, str(tmp_path / f"x{ending}"))
    (volume,) = loaded(tmp_path / f"x{ending}").volumes
    assert volume.channels == 3
    assert np.array_equal(volume.voxels, sitk.GetArrayFromImage(image))


@pytest.mark.parametrize(
    "other", ["/etc/passwd", "../secret.raw", "LIST\n../secret.raw", "../s%03d.raw 1 9 1"]
)
def test_voxels_elsewhere_are_not_read(tmp_path: Path, other: str) -> None:
    (tmp_path / "secret.raw").write_bytes(b"\7" * 1000)
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "x.nhdr").write_text(
        f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: raw\ndata file: {other}\n"
    )
    (folder / "x.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
        f"ElementDataFile = {other}\n"
    )
    for name in ("x.nhdr", "x.mhd"):
        result = loaded(folder / name)
        assert result.volumes == ()
        assert "outside its own folder" in result.problems[0].reason


def test_nrrd_without_space_has_no_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    text = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nspacings: 1 1 2\nencoding: raw\n\n"
    path.write_bytes(text.encode() + bytes(range(24)))
    (volume,) = loaded(path).volumes
    assert volume.geometry.calibration is Calibration.NONE
    assert np.array_equal(volume.voxels.ravel(), np.arange(24))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "RGBA", "P", "1"])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_pictures(tmp_path: Path, mode: str, ending: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(RNG.integers(0, 65535, (6, 8)).astype(np.uint16))
    else:
        image = Image.fromarray(RNG.integers(0, 255, (6, 8, 3)).astype(np.uint8)).convert(mode)
    path = tmp_path / f"x{ending}"
    image.save(path)
    series = series_of(path)
    (volume,) = load(series).volumes
    assert series.kind is SeriesKind.IMAGES
    assert volume.geometry.calibration is Calibration.NONE
    if mode in ("L", "I;16"):
        truth = np.asarray(image)
    else:
        truth = np.asarray(image.convert("L" if mode == "1" else "RGB"))
    assert np.array_equal(volume.voxels[0], truth)


def test_a_cut_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(RNG.integers(0, 255, (64, 64)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    result = loaded(path)
    assert result.volumes == ()
    assert "damaged or cut short" in result.problems[0].reason


def test_pages_of_a_tiff_are_a_stack(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((5, 6), n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    (volume,) = loaded(tmp_path / "x.tif").volumes
    assert volume.voxels[:, 0, 0].tolist() == [0, 1, 2]


PHANTOM = Phantom(shape=(6, 20, 16), radius_mm=5).turned(oblique(20, 35))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_written_series_keeps_place_and_value(tmp_path: Path, ending: str) -> None:
    write_ct(tmp_path / "in", PHANTOM, CtOptions(shuffled=True))
    out = tmp_path / f"out{ending}"
    (volume,) = load(series_of(tmp_path / "in")).volumes
    write_grid(volume, out)
    if ending.startswith(".nii"):
        image = nib.load(out)
        assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), PHANTOM.values())
        far = image.affine @ (15, 19, 5, 1)
        expected = PHANTOM.geometry.to_lps_mm((5, 19, 15)) * (-1, -1, 1)
        assert far[:3] == pytest.approx(expected, abs=1e-4)
    else:
        image = sitk.ReadImage(str(out))
        assert np.array_equal(sitk.GetArrayFromImage(image), PHANTOM.values())
        place = image.TransformIndexToPhysicalPoint((15, 19, 5))
        assert place == pytest.approx(PHANTOM.geometry.to_lps_mm((5, 19, 15)), abs=1e-4)


def test_a_tilted_stack_keeps_its_shear_or_is_refused(tmp_path: Path) -> None:
    tilted = Phantom(shape=(6, 20, 16), radius_mm=5, tilt_deg=15)
    write_grid(tilted.volume(), tmp_path / "x.nii.gz")
    again = loaded(tmp_path / "x.nii.gz").volumes[0]
    assert again.geometry.agrees_with(Geometry(tilted.shape, tilted.affine), 1e-3)
    with pytest.raises(ExportError, match="askew"):
        write_grid(tilted.volume(), tmp_path / "x.mha")
    with pytest.raises(ExportError, match="end in"):
        write_grid(tilted.volume(), tmp_path / "x.doc")


@settings(max_examples=25, deadline=None)
@given(slope=st.sampled_from([1.0, 0.5, 2.0]), intercept=st.sampled_from([0.0, -1024.0, 0.5]))
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, slope: float, intercept: float
) -> None:
    folder = tmp_path_factory.mktemp("back")
    stored = RNG.integers(0, 60000, PHANTOM.shape).astype(np.uint16)
    volume = Volume("v", "s", PHANTOM.geometry, stored, slope, intercept)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        write_grid(volume, folder / f"x{ending}")
        again = loaded(folder / f"x{ending}").volumes[0]
        assert np.array_equal(again.values(), volume.values())
        assert again.geometry.agrees_with(volume.geometry, 1e-3)
