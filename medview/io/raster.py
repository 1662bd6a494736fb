"""PNG, JPEG and TIFF pictures: no place in a patient, no millimetres."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
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
             TypeError, KeyError, IndexError, RuntimeError, zlib.error, struct.error)  # fmt: skip
_BIG_TIFF = (b"II+\0", b"MM\0+")
_TIFF = (b"II*\0", b"MM\0*", *_BIG_TIFF)
_MAX_PAGES = 10_000
#: Tags and values of TIFF: compression, tables for JPEG strips, places and lengths of the data.
_COMPRESSION, _JPEG_TABLES, _STRIPS, _TILES = 259, 347, (273, 279), (324, 325)
_DEFLATE, _JPEG = (8, 32946), 7
_BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 262, 277, 284, 339
_WHITE_IS_ZERO, _BY_PLANE = 0, 2
_PNG = b"\x89PNG\r\n\x1a\n"
#: Bits and colour type of PNG (W3C PNG 11.2.1).
_GREY_16_AND_OPACITY = b"\x10\x04"
_Directory = TiffImagePlugin.ImageFileDirectory_v2
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
        planes = [PlanePlan(instance.file, form, instance.member, frame=n) for n in numbers]
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
        if _is_deep(data):
            return _deep_formats(data)
        return _shallow_formats(data)
    except Image.DecompressionBombError as error:
        raise ReadError("The picture is too large to be shown", detail=str(error)) from error
    except _FAILURES as error:
        raise ReadError("The picture is damaged or cut short", detail=str(error)) from error


def _shallow_formats(data: bytes) -> list[PixelFormat]:
    """The format of each page that Pillow finds; of all pages where it knows none of a TIFF."""
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
    except UnidentifiedImageError:
        if not data.startswith(_TIFF):
            raise
        return _deep_formats(data)


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


def _is_deep(data: bytes) -> bool:
    """Whether the picture has values that Pillow would wrap, cut to 8 bits or turn around.

    Grey of 16 bits with opacity in PNG; in TIFF values of 64 bits, unsigned ones of 32 and signed
    ones of 8, colour of 16 bits plane by plane, and 16 bits of which 0 is white.
    """
    if data.startswith(_PNG):
        return data[24:26] == _GREY_16_AND_OPACITY
    return data.startswith(_TIFF) and any(map(_is_deep_page, _directories(data)))


def _is_deep_page(directory: _Directory) -> bool:
    kind, bits, samples = _values_of(directory)
    if samples == 1 and bits == 16:
        return directory.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if samples == 1:
        return bits == 64 or (kind, bits) in (("u", 32), ("i", 8))
    return bits == 16 and directory.get(_PLANAR) == _BY_PLANE


def _values_of(directory: _Directory) -> tuple[str, int, int]:
    """Kind (u, i, f), bits and number of the values of a pixel (TIFF 6, sections 8 and 19)."""
    kind = {1: "u", 2: "i", 3: "f"}.get(int(directory.get(_SAMPLE_FORMAT, (1,))[0]), "")
    return kind, int(directory.get(_BITS, (1,))[0]), int(directory.get(_SAMPLES, 1))


def _deep_formats(data: bytes) -> list[PixelFormat]:
    """The format of each page; colour of 16 bits becomes 8, numbers of 64 bits float."""
    if data.startswith(_PNG):
        columns, rows = struct.unpack_from(">2L", data, 16)
        return [_deep_format(data, rows, columns, "<u2")]
    formats = []
    for directory in _directories(data):
        kind, bits, samples = _values_of(directory)
        columns, rows = int(directory[256]), int(directory[257])
        if kind == "u" and samples in (3, 4) and bits in (8, 16):
            formats.append(_deep_format(data, rows, columns, "|u1", 3))
        elif kind and samples == 1 and bits in (8, 16, 32, 64):
            dtype = np.dtype("f4" if bits == 64 else f"{kind}{bits // 8}")
            formats.append(_deep_format(data, rows, columns, dtype.str))
        else:
            raise ReadError("Pictures of this kind are not known", detail=f"{samples} x {bits}")
    return formats


def _deep_format(data: bytes, rows: int, columns: int, dtype: str, samples: int = 1) -> PixelFormat:
    if rows * columns > min(_MAX_PIXELS, 2000 * len(data)):
        raise ReadError(f"A picture of {columns} x {rows} pixels is too large to be shown")
    colour = "RGB" if samples == 3 else "MONOCHROME2"
    return PixelFormat("picture", rows, columns, dtype, samples=samples, photometric=colour)


def _deep_page(data: bytes, number: int, form: PixelFormat) -> npt.NDArray[Any]:
    """One page in its format; ReadError where it is damaged."""
    if data.startswith(_PNG):
        return np.asarray(imagecodecs.png_decode(data))[..., 0]
    directory = _directories(data)[number]
    _check_strips(directory, (form.columns, form.rows), data)
    page = np.asarray(imagecodecs.tiff_decode(data, index=number))
    if form.samples == 3:
        page = np.moveaxis(page, 0, -1) if directory.get(_PLANAR) == _BY_PLANE else page
        page = page[..., :3] >> (8 * (page.dtype.itemsize - 1))
    elif page.dtype.kind == "u" and directory.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        page = np.iinfo(page.dtype).max - page
    return page.astype(form.dtype)


def _directories(data: bytes) -> list[_Directory]:
    """The tags of each page of a TIFF."""
    found: list[_Directory] = []
    head = data[: 16 if data.startswith(_BIG_TIFF) else 8]
    directory = TiffImagePlugin.ImageFileDirectory_v2(head)
    stream, seen = io.BytesIO(data), set[int]()
    while directory.next and directory.next not in seen:
        if len(found) >= _MAX_PAGES:
            raise ReadError("A picture of so many pages is too long to be shown")
        seen.add(directory.next)
        stream.seek(directory.next)
        page = TiffImagePlugin.ImageFileDirectory_v2(head)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            page.load(stream)
        found.append(page)
        directory = page
    return found


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


def _check_strips(tags: Mapping[int, Any], size: tuple[int, int], data: bytes) -> None:
    """Raise ReadError for a strip or tile of a TIFF page that its decoder would fill up.

    Deflated ones end with a checksum (TIFF 6 supplement 2), JPEG ones are walked to their end.
    """
    packing = tags.get(_COMPRESSION, 1)
    if packing not in (*_DEFLATE, _JPEG):
        return
    limit = 1024 + 64 * size[0] * size[1]
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
        if _is_deep(data):
            yield from _deep_pages(data, planes)
            return
        with _opened(data) as image:
            yield from [_page(image, plane, data) for plane in planes]
    except UnidentifiedImageError:
        yield from _deep_pages(data, planes)
    except ReadError as error:
        yield from [error] * len(planes)
    except (*_FAILURES, Image.DecompressionBombError) as error:
        yield from [ReadError("The picture is damaged or cut short", detail=str(error))] * len(
            planes
        )


def _deep_pages(data: bytes, planes: Sequence[PlanePlan]) -> Iterator[npt.NDArray[Any] | ReadError]:
    formats: list[PixelFormat] = []
    for plane in planes:
        try:
            formats = formats or _deep_formats(data)
            if plane.frame >= len(formats) or formats[plane.frame] != plane.format:
                yield ReadError("The picture has changed since it was opened")
            else:
                yield _deep_page(data, plane.frame, plane.format)
        except ReadError as error:
            yield error
        except _FAILURES as error:
            yield ReadError("The picture is damaged or cut short", detail=str(error))


def _page(image: Image.Image, plane: PlanePlan, data: bytes) -> npt.NDArray[Any] | ReadError:
    try:
        image.seek(plane.frame)
        if _format(image) != plane.format:
            return ReadError("The picture has changed since it was opened")
        _check_strips(getattr(image, "tag_v2", {}), image.size, data)
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
