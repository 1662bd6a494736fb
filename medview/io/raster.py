"""PNG, JPEG and TIFF pictures: no place in a patient, no millimetres."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from medview.core.errors import ReadError
from medview.core.geometry import Calibration
from medview.core.study import Series
from medview.io.archives import read_all
from medview.io.codecs import check_jpeg
from medview.io.plan import PixelFormat, PlanePlan, SeriesPlan, VolumePlan

_FORMATS = ("PNG", "JPEG", "TIFF")
_MAX_PIXELS = 1 << 28
_GREY = {
    "1": "|u1",
    "L": "|u1",
    "LA": "|u1",
    "La": "|u1",
    "I;16": "<u2",
    "I;16L": "<u2",
    "I;16B": "<u2",
    "I": "<i4",
    "F": "<f4",
}
_FAILURES = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError,
             TypeError, KeyError, IndexError, RuntimeError, zlib.error)  # fmt: skip
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_PAGES = 10_000
#: Tags and values of TIFF: compression, tables for JPEG strips, places and lengths of the data.
_COMPRESSION, _JPEG_TABLES, _STRIPS, _TILES = 259, 347, (273, 279), (324, 325)
_DEFLATE, _JPEG = (8, 32946), 7
_PNG = b"\x89PNG\r\n\x1a\n"
_NOTE = "A picture without a pixel size: lengths are in pixels"


def plan_raster(series: Series, password: str = "") -> SeriesPlan:
    """One volume of one plane for each page of the picture; pages of one size form one stack."""
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    pages = _pages(entry.data)
    stacks: dict[PixelFormat, list[int]] = {}
    for number, form in enumerate(pages):
        stacks.setdefault(form, []).append(number)
    volumes = []
    for count, (form, numbers) in enumerate(stacks.items()):
        planes = [PlanePlan(instance.path, form, instance.member, frame=n) for n in numbers]
        shape = (len(numbers), form.rows, form.columns)
        volumes.append(
            VolumePlan(
                uid=f"{series.uid}#{count}",
                series_uid=series.uid,
                shape=shape if form.samples == 1 else (*shape, 3),
                dtype=form.dtype,
                affine=tuple(tuple(float(r == c) for c in range(4)) for r in range(4)),
                planes=tuple(planes),
                calibration=Calibration.NONE,
                notes=(_NOTE,),
                password=password,
            )
        )
    return SeriesPlan(series.uid, tuple(volumes))


def _pages(data: bytes) -> list[PixelFormat]:
    try:
        with _opened(data) as image:
            count = getattr(image, "n_frames", 1)
            if count > _MAX_PAGES:
                raise ReadError(f"A picture of {count:,} pages is too long to be shown")
            pages = []
            for number in range(count):
                image.seek(number)
                pages.append(_format(image))
            return pages
    except Image.DecompressionBombError as error:
        raise ReadError("The picture is too large to be shown", detail=str(error)) from error
    except UnidentifiedImageError as error:
        if data.startswith(_TIFF):
            return [_deep_format(_deep_page(data))]
        raise ReadError("The picture is damaged or cut short", detail=str(error)) from error
    except _FAILURES as error:
        raise ReadError("The picture is damaged or cut short", detail=str(error)) from error


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture; what Pillow warns of is found here by other means, or does not matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            yield image


def _format(image: Image.Image) -> PixelFormat:
    columns, rows = image.size
    if rows * columns > _MAX_PIXELS:
        raise ReadError(f"A picture of {columns} x {rows} pixels is too large to be shown")
    if image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        rows, columns = columns, rows
    dtype = _GREY.get(image.mode)
    if dtype is not None:
        return PixelFormat("picture", rows, columns, dtype)
    return PixelFormat("picture", rows, columns, "|u1", samples=3, photometric="RGB")


def _deep_format(picture: npt.NDArray[Any]) -> PixelFormat:
    rows, columns = picture.shape[:2]
    if picture.ndim == 3:
        return PixelFormat("picture", rows, columns, "|u1", samples=3, photometric="RGB")
    return PixelFormat("picture", rows, columns, picture.dtype.str)


def _deep_page(data: bytes) -> npt.NDArray[Any]:
    """The first page of a TIFF that Pillow does not know, as colour of 16 bits: colour in 8 bits.

    ReadError where it is damaged, too large, or of a kind that is not shown.
    """
    try:
        directory = _directory(data)
        columns, rows = int(directory[256]), int(directory[257])
        if rows * columns > min(_MAX_PIXELS, 2000 * len(data)):
            raise ReadError(f"A picture of {columns} x {rows} pixels is too large to be shown")
        page = np.asarray(imagecodecs.tiff_decode(data, index=0))
    except _FAILURES as error:
        raise ReadError("The picture is damaged or cut short", detail=str(error)) from error
    if page.ndim == 3 and page.shape[2] >= 3 and page.dtype in (np.uint16, np.uint8):
        return (page[..., :3] >> (8 * (page.dtype.itemsize - 1))).astype(np.uint8)
    if page.ndim == 2 and page.dtype.kind in "iuf" and page.dtype.itemsize <= 4:
        return page
    raise ReadError("Pictures of this kind are not known", detail=f"{page.dtype} {page.shape}")


def _directory(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of the first page of a TIFF."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(directory.next)
        directory.load(stream)
        return directory


def _check_whole(data: bytes) -> None:
    """Raise ReadError for a picture that a decoder would fill up or read past damage.

    PNG has a checksum for each part (W3C PNG 5.5); JPEG is walked to its end.
    """
    if data.startswith(b"\xff\xd8"):
        check_jpeg(data)
    if not data.startswith(_PNG):
        return
    pos = len(_PNG)
    while pos + 12 <= len(data):
        length = int.from_bytes(data[pos : pos + 4], "big")
        kind, end = data[pos + 4 : pos + 8], pos + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(data[pos + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ReadError("The picture is damaged", detail=f"checksum of {kind!r}")
        if kind == b"IEND":
            return
        pos = end + 4
    raise ReadError("The picture is cut short")


def _check_strips(image: Image.Image, data: bytes) -> None:
    """Raise ReadError for a strip or tile of a TIFF page that its decoder would fill up.

    Deflated ones end with a checksum (TIFF 6 supplement 2), JPEG ones are walked to their end.
    """
    tags = getattr(image, "tag_v2", {})
    packing = tags.get(_COMPRESSION, 1)
    if packing not in (*_DEFLATE, _JPEG):
        return
    limit = 1024 + 64 * image.size[0] * image.size[1]
    tables = bytes(tags.get(_JPEG_TABLES, b""))[:-2]
    places = tags.get(_TILES[0]) or tags.get(_STRIPS[0]) or ()
    lengths = tags.get(_TILES[1]) or tags.get(_STRIPS[1]) or ()
    for begin, length in zip(places, lengths, strict=True):
        strip = data[begin : begin + length]
        if packing == _JPEG:
            check_jpeg(tables + strip[2:] if tables else strip)
            continue
        unpacker = zlib.decompressobj()
        unpacker.decompress(strip, limit)
        if not unpacker.eof:
            raise ReadError("The picture is damaged or cut short")


def decode_picture(
    data: bytes, planes: Sequence[PlanePlan]
) -> Iterator[npt.NDArray[Any] | ReadError]:
    """Pages of a picture as they are stored, in grey or RGB; transparency is left out."""
    try:
        _check_whole(data)
        with _opened(data) as image:
            yield from [_page(image, plane, data) for plane in planes]
    except UnidentifiedImageError:
        yield from [_deep(data, plane) for plane in planes]
    except ReadError as error:
        yield from [error] * len(planes)
    except (*_FAILURES, Image.DecompressionBombError) as error:
        yield from [ReadError("The picture is damaged or cut short", detail=str(error))] * len(
            planes
        )


def _deep(data: bytes, plane: PlanePlan) -> npt.NDArray[Any] | ReadError:
    try:
        page = _deep_page(data)
    except ReadError as error:
        return error
    if _deep_format(page) != plane.format:
        return ReadError("The picture has changed since it was opened")
    return page


def _page(image: Image.Image, plane: PlanePlan, data: bytes) -> npt.NDArray[Any] | ReadError:
    try:
        image.seek(plane.frame)
        if _format(image) != plane.format:
            return ReadError("The picture has changed since it was opened")
        _check_strips(image, data)
        page = ImageOps.exif_transpose(image)
        if plane.format.samples == 3:
            page = page.convert("RGB")
        elif page.mode in ("1", "LA", "La"):
            page = page.convert("L")
        return np.asarray(page).astype(plane.format.dtype)
    except ReadError as error:
        return error
    except _FAILURES as error:
        return ReadError("The picture is damaged or cut short", detail=str(error))


def shrunk(picture: npt.NDArray[np.uint8], rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """A smaller or larger copy of a grey picture, averaged."""
    resized = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(resized)
