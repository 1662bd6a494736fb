"""MINC 1 and 2: computed files with known places and values; what leads elsewhere is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from scipy.io import netcdf_file

from medview.core.study import Series
from medview.core.volume import Volume
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.phantoms import oblique

RNG = np.random.default_rng(3)
SHAPE = {"xspace": 6, "yspace": 7, "zspace": 5}
STARTS = {"xspace": -20.0, "yspace": 12.5, "zspace": -3.0}
STEPS = {"xspace": 0.7, "yspace": -1.1, "zspace": 2.5}
ROW, COLUMN = (np.array(axis) for axis in oblique(20, 35))
COSINES = {"xspace": ROW, "yspace": COLUMN, "zspace": np.cross(ROW, COLUMN)}
ORDERS = [("zspace", "yspace", "xspace"), ("xspace", "zspace", "yspace")]


def world_ras(place: dict[str, int]) -> npt.NDArray[np.float64]:
    """The world coordinate of a voxel: along each axis, start plus steps in its direction."""
    total = np.zeros(3)
    for name, index in place.items():
        total += COSINES[name] * (STARTS[name] + STEPS[name] * index)
    return total


def write_minc2(path: Path, axes: tuple[str, ...], stored: npt.NDArray[np.int16]) -> Path:
    with h5py.File(path, "w") as file:
        for name in axes:
            one = file.require_group("minc-2.0/dimensions").create_dataset(name, data=0)
            one.attrs["spacing"] = np.bytes_("regular__")
            if name in COSINES:
                one.attrs["start"], one.attrs["step"] = STARTS[name], STEPS[name]
                one.attrs["direction_cosines"] = COSINES[name]
        image = file.create_dataset("minc-2.0/image/0/image", data=stored)
        image.attrs["dimorder"] = np.bytes_(",".join(axes))
        image.attrs["valid_range"] = np.array([-1000.0, 1000.0])
        file["minc-2.0/image/0/image-min"] = -50.0
        file["minc-2.0/image/0/image-max"] = 150.0
    return path


def write_minc1(path: Path, axes: tuple[str, ...], stored: npt.NDArray[np.int16]) -> Path:
    with netcdf_file(path, "w") as file:
        for name, count in zip(axes, stored.shape, strict=True):
            file.createDimension(name, count)
            one = file.createVariable(name, "i", ())
            one.spacing = b"regular__"
            if name in COSINES:
                one.start, one.step = STARTS[name], STEPS[name]
                one.direction_cosines = COSINES[name]
        image = file.createVariable("image", "h", axes)
        image[:] = stored
        image.signtype = b"signed__"
        image.valid_range = np.array([-1000.0, 1000.0])
        for name, value in (("image-min", -50.0), ("image-max", 150.0)):
            file.createVariable(name, "d", ())
            file.variables[name].data[...] = value
    return path


def real(stored: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
    """Stored values of the valid range lie evenly between image-min and image-max."""
    return (stored.astype(np.float64) + 1000.0) / 2000.0 * 200.0 - 50.0


def series_of(path: Path) -> Series:
    (study,) = scan([path]).studies
    return study.series[0]


def check(volume: Volume, axes: tuple[str, ...], truth: npt.NDArray[np.float64]) -> None:
    """Every voxel: the volume counts the three axes backwards."""
    values = volume.values()
    for index in np.ndindex(*truth.shape):
        place = dict(zip(axes, index, strict=True))
        found = volume.geometry.to_lps_mm(index[::-1])
        assert found == pytest.approx(world_ras(place) * (-1, -1, 1), abs=1e-4)
    assert np.allclose(values.transpose(2, 1, 0), truth, atol=1e-3)


@pytest.mark.parametrize("write", [write_minc1, write_minc2])
@pytest.mark.parametrize("axes", ORDERS)
def test_place_and_value(tmp_path: Path, write: object, axes: tuple[str, ...]) -> None:
    stored = RNG.integers(-1000, 1001, [SHAPE[name] for name in axes]).astype(np.int16)
    assert callable(write)
    loaded = load(series_of(write(tmp_path / "x.mnc", axes, stored)))
    assert loaded.problems == ()
    (volume,) = loaded.volumes
    check(volume, axes, real(stored))


@pytest.mark.parametrize("write", [write_minc1, write_minc2])
def test_moments_come_first_in_the_file(tmp_path: Path, write: object) -> None:
    axes = ORDERS[0]
    stored = RNG.integers(-1000, 1001, [3, *(SHAPE[name] for name in axes)]).astype(np.int16)
    assert callable(write)
    volumes = load(series_of(write(tmp_path / "x.mnc", ("time", *axes), stored))).volumes
    assert [volume.time_index for volume in volumes] == [0, 1, 2]
    for volume, moment in zip(volumes, stored, strict=True):
        check(volume, axes, real(moment))


def refusal(path: Path) -> str:
    loaded = load(series_of(path))
    assert not loaded.volumes
    (problem,) = loaded.problems
    return problem.reason


def test_what_lies_in_another_file_is_not_read(tmp_path: Path) -> None:
    stored = np.zeros([SHAPE[name] for name in ORDERS[0]], np.int16)
    (tmp_path / "secret").write_bytes(b"root:x:0:0:" * 100)
    stores = write_minc2(tmp_path / "stores.mnc", ORDERS[0], stored)
    with h5py.File(stores, "a") as file:
        attributes = dict(file["minc-2.0/image/0/image"].attrs)
        del file["minc-2.0/image/0/image"]
        outside = [(str(tmp_path / "secret"), 0, stored.nbytes)]
        image = file["minc-2.0/image/0"].create_dataset(
            "image", stored.shape, np.int16, external=outside
        )
        image.attrs.update(attributes)
    links = write_minc2(tmp_path / "links.mnc", ORDERS[0], stored)
    other = write_minc2(tmp_path / "other.mnc", ORDERS[0], stored + 1)
    with h5py.File(links, "a") as file:
        del file["minc-2.0/image/0/image"]
        file["minc-2.0/image/0/image"] = h5py.ExternalLink(str(other), "minc-2.0/image/0/image")
    for path in (stores, links):
        assert "another file" in refusal(path)


def test_other_axes_and_damage_are_refused_in_words(tmp_path: Path) -> None:
    stored = np.zeros([SHAPE[name] for name in ORDERS[0]], np.int16)
    axes = ("vector_dimension", "yspace", "xspace")
    assert "vector_dimension" in refusal(write_minc2(tmp_path / "v.mnc", axes, stored))
    whole = write_minc2(tmp_path / "x.mnc", ORDERS[0], stored).read_bytes()
    (tmp_path / "x.mnc").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refusal(tmp_path / "x.mnc")
