"""PNG, JPEG and TIFF files: the pixels they hold, and nothing where they are damaged."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, ImageOps

from medview.core.errors import ReadError
from medview.core.study import Series
from medview.io.raster import decode_picture, plan_raster
from medview.io.scan import scan
from tests.unit.io.test_codecs import colours, picture

Pixels = npt.NDArray[Any]


def series_of(path: Path) -> Series:
    (study,) = scan([path]).studies
    return study.series[0]


def pages(data: bytes, folder: Path) -> list[Pixels]:
    """All pages of a picture file, in the order of its volumes; raises what the first came to."""
    path = folder / "picture"
    path.write_bytes(data)
    found = []
    for volume in plan_raster(series_of(path)).volumes:
        for page in decode_picture(data, volume.planes):
            if isinstance(page, ReadError):
                raise page
            found.append(page)
    return found


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    with io.BytesIO() as stream:
        image.save(stream, kind, **options)
        return stream.getvalue()


TIFF = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")


@pytest.mark.parametrize("packing", TIFF)
@pytest.mark.parametrize("kind", ["grey", "deep", "real", "colour"])
def test_tiff_in_every_packing(tmp_path: Path, packing: str, kind: str) -> None:
    truth = {
        "grey": picture(),
        "deep": picture(bits=16),
        "real": picture().astype(np.float32) / 3,
        "colour": colours(),
    }[kind]
    (found,) = pages(saved(Image.fromarray(truth), "TIFF", compression=packing), tmp_path)
    assert np.array_equal(found, truth)


def test_black_and_white(tmp_path: Path) -> None:
    truth = picture() > 128
    for data in (
        saved(Image.fromarray(truth), "PNG"),
        saved(Image.fromarray(truth), "TIFF", compression="group4"),
    ):
        (found,) = pages(data, tmp_path)
        assert np.array_equal(found > 0, truth)


def test_colour_of_sixteen_bits_keeps_its_upper_eight(tmp_path: Path) -> None:
    data = imagecodecs.tiff_encode(colours().astype(np.uint16) * 257, photometric="rgb")
    (found,) = pages(bytes(data), tmp_path)
    assert np.array_equal(found, colours())


DEEP = np.random.default_rng(4)


@pytest.mark.parametrize(
    "truth",
    [
        DEEP.integers(0, 2**32, (9, 7), dtype=np.uint32),
        DEEP.integers(-128, 128, (9, 7)).astype(np.int8),
        DEEP.integers(-30000, 30000, (9, 7)).astype(np.int16),
        DEEP.integers(0, 2**40, (9, 7)).astype(np.uint64),
        DEEP.normal(size=(9, 7)),
    ],
    ids=lambda truth: str(truth.dtype),
)
@pytest.mark.parametrize("packing", ["none", "deflate"])
@pytest.mark.parametrize("big", [False, True], ids=["", "big"])
def test_numbers_of_every_width(
    tmp_path: Path, truth: np.ndarray[Any, Any], packing: str, *, big: bool
) -> None:
    data = bytes(imagecodecs.tiff_encode(truth, compression=packing, bigtiff=big))
    (found,) = pages(data, tmp_path)
    assert np.array_equal(found, truth if truth.itemsize < 8 else truth.astype(np.float32))


def test_white_is_zero_in_sixteen_bits_as_in_eight(tmp_path: Path) -> None:
    for truth in (picture(), picture(bits=16)):
        data = imagecodecs.tiff_encode(truth, photometric="miniswhite")
        (found,) = pages(bytes(data), tmp_path)
        assert np.array_equal(found, np.iinfo(truth.dtype).max - truth)


def test_planes_of_colour_in_sixteen_bits(tmp_path: Path) -> None:
    truth = np.moveaxis(colours(), -1, 0).astype(np.uint16) * 257
    data = imagecodecs.tiff_encode(truth, photometric="rgb", planarconfig="separate")
    (found,) = pages(bytes(data), tmp_path)
    assert np.array_equal(found, colours())


def test_grey_of_sixteen_bits_keeps_them_beside_opacity(tmp_path: Path) -> None:
    layers = np.dstack([picture(bits=16), np.full((61, 46), 999, np.uint16)])
    (found,) = pages(bytes(imagecodecs.png_encode(layers)), tmp_path)
    assert np.array_equal(found, layers[..., 0])


@pytest.mark.parametrize("packing", ["none", "deflate"])
def test_wide_numbers_that_are_cut_are_refused(tmp_path: Path, packing: str) -> None:
    whole = bytes(imagecodecs.tiff_encode(DEEP.normal(size=(90, 70)), compression=packing))
    at = whole.find(struct.pack("<HH", 273, 4)) + 8
    assert at > 8
    beyond = whole[:at] + struct.pack("<L", len(whole) - 40) + whole[at + 4 :]
    with pytest.raises(ReadError):
        pages(beyond, tmp_path)


def test_transparency_is_left_out(tmp_path: Path) -> None:
    grey, alpha = picture(), np.full((61, 46), 7, np.uint8)
    for layers, truth in (
        (np.dstack([grey, alpha]), grey),
        (np.dstack([colours(), alpha]), colours()),
    ):
        (found,) = pages(saved(Image.fromarray(layers), "PNG"), tmp_path)
        assert np.array_equal(found, truth)


def test_palettes_and_print_colours(tmp_path: Path) -> None:
    few = Image.fromarray(colours()).quantize(32)
    (found,) = pages(saved(few, "PNG"), tmp_path)
    assert np.array_equal(found, np.asarray(few.convert("RGB")))
    data = saved(Image.fromarray(colours()).convert("CMYK"), "JPEG", quality=95)
    (found,) = pages(data, tmp_path)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(found, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_camera_held_sideways(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    data = saved(Image.fromarray(colours()), "JPEG", exif=exif.tobytes())
    (found,) = pages(data, tmp_path)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    assert np.array_equal(found, np.asarray(upright))
    assert found.shape[:2] == ((46, 61) if turn > 4 else (61, 46))


def test_pages_of_one_size_and_kind_lie_together(tmp_path: Path) -> None:
    sheets = [Image.fromarray(a) for a in (picture(), colours(), picture()[::-1].copy())]
    data = saved(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
    (tmp_path / "x.tif").write_bytes(data)
    volumes = plan_raster(series_of(tmp_path / "x.tif")).volumes
    assert [volume.shape for volume in volumes] == [(2, 61, 46), (1, 61, 46, 3)]


KINDS = {
    "PNG": lambda: saved(Image.fromarray(colours()), "PNG"),
    "JPEG": lambda: saved(Image.fromarray(colours()), "JPEG"),
    "JPEG, progressive": lambda: saved(Image.fromarray(colours()), "JPEG", progressive=True),
    **{
        f"TIFF, {packing}": lambda packing=packing: saved(
            Image.fromarray(colours()), "TIFF", compression=packing
        )
        for packing in (*TIFF, "jpeg")
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_picture_is_never_filled_up(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind]()
    planned = pages(data, tmp_path)
    assert len(planned) == 1
    plane = plan_raster(series_of(tmp_path / "picture")).volumes[0].planes[0]
    for share in (10, 30, 50, 70, 90, 99):
        (found,) = decode_picture(data[: len(data) * share // 100], [plane])
        assert isinstance(found, ReadError), share


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "JPEG, progressive", "TIFF, jpeg", "TIFF, tiff_deflate"]
)
def test_a_hole_in_a_picture_is_found(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind]()
    pages(data, tmp_path)
    plane = plan_raster(series_of(tmp_path / "picture")).volumes[0].planes[0]
    for at in range(len(data) // 2, len(data) // 2 + 300, 60):
        holed = data[:at] + bytes(200) + data[at + 200 :]
        (found,) = decode_picture(holed, [plane])
        assert isinstance(found, ReadError), at


def test_a_huge_picture_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    small = bytearray(saved(Image.fromarray(picture()), "PNG"))
    small[16:24] = (60000).to_bytes(4, "big") * 2
    with pytest.raises(ReadError):
        pages(bytes(small), tmp_path)
    tiff = bytes(imagecodecs.tiff_encode(colours().astype(np.uint16), photometric="rgb"))
    width = (46).to_bytes(2, "little")
    at = tiff.index(b"\x00\x01\x03\x00\x01\x00\x00\x00" + width)
    with pytest.raises(ReadError):
        pages(tiff[: at + 8] + (60000).to_bytes(4, "little") + tiff[at + 12 :], tmp_path)
