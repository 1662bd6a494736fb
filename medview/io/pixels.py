"""Planes out of files: every transfer syntax, checked before and after decoding.

Each syntax has one decoder that was measured fastest and right for it. A stream that declares
another size than the header, or lacks its end, is refused before any decoder sees it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import UID

from medview.core.errors import ReadError
from medview.io.codestream import inspect
from medview.io.header import DEFLATED, EXPLICIT_BIG, deflated_start, inflate
from medview.io.multiframe import damage_refused
from medview.io.plan import PixelFormat, PlanePlan
from medview.io.values import NATIVE

Plane = npt.NDArray[Any]

_JPEG = "1.2.840.10008.1.2.4."
_RLE = "1.2.840.10008.1.2.5"
_DECODERS = {
    **dict.fromkeys((_JPEG + "50", _JPEG + "51"), "pylibjpeg"),
    **dict.fromkeys((_JPEG + "57", _JPEG + "70"), "gdcm"),
    **dict.fromkeys((_JPEG + "80", _JPEG + "81"), "pyjpegls"),
    **dict.fromkeys((_JPEG + n for n in ("90", "91", "201", "202", "203")), "pylibjpeg"),
    _RLE: "pylibjpeg",
}
_AGAIN = "Get the file again from its source"


def unpacked(data: bytes, encoding: str) -> bytes:
    """The bytes that offsets of a file count in: a deflated one is inflated first."""
    return inflate(data, deflated_start(data)) if encoding == DEFLATED else data


def decode(data: bytes, planes: Sequence[PlanePlan]) -> Iterator[Plane | ReadError]:
    """Stored values of planes of one file, in their order; an error in the place of a bad one.

    `data` is the whole file. A plane is (rows, columns), or (rows, columns, 3) uint8 for colour.
    """
    parsed: Dataset | ReadError | None = None
    for plane in planes:
        form = plane.format
        if plane.offset >= 0:
            yield decode_direct(data, plane)
            continue
        if parsed is None:
            parsed = _parsed(data)
        if isinstance(parsed, ReadError):
            yield parsed
            continue
        try:
            picture = _decoded(parsed, form, plane.frame)
            yield _tile(cleaned(picture, form), plane)
        except ReadError as error:
            yield error


def decode_direct(data: bytes, plane: PlanePlan) -> Plane | ReadError:
    """Stored values of an uncompressed plane that begins at its offset in `data`."""
    form = plane.format
    dtype = np.dtype(form.dtype)
    if form.encoding == EXPLICIT_BIG:
        dtype = dtype.newbyteorder(">")
    count = form.rows * form.columns * form.samples
    if len(data) < plane.offset + count * dtype.itemsize:
        return ReadError("The pixel data are cut short", _AGAIN)
    flat = np.frombuffer(data, dtype, count, plane.offset)
    shape = (form.rows, form.columns, form.samples) if form.samples > 1 else (form.rows, -1)
    picture = flat.reshape(shape)
    if plane.component is not None:
        picture = picture[..., plane.component]
    picture = picture.astype(dtype.newbyteorder("<"))
    return _tile(cleaned(picture, form), plane)


def _tile(picture: Plane, plane: PlanePlan) -> Plane:
    """The plane's own part of a mosaic."""
    if plane.tile is None:
        return picture
    top, left, rows, columns = plane.tile
    return picture[top : top + rows, left : left + columns]


def cleaned(picture: Plane, form: PixelFormat) -> Plane:
    """Stored values without the bits that are none (PS3.5 8.1.1): masked or sign-extended."""
    dtype = picture.dtype
    bits = dtype.itemsize * 8
    if dtype.kind not in "iu" or picture.ndim > 2 or form.bits_stored in (0, bits):
        return picture
    # A codec delivers values; only uncompressed pixels are bit fields.
    shift_right = form.high_bit + 1 - form.bits_stored if form.encoding in NATIVE else 0
    spare = bits - form.bits_stored
    shifted = np.left_shift(np.right_shift(picture, shift_right), spare)
    return np.right_shift(shifted, spare)


def _parsed(data: bytes) -> Dataset | ReadError:
    try:
        with damage_refused("The header of the file is damaged"):
            ds = dcmread(io.BytesIO(data), force=True)
            ds.get("PixelData")
    except ReadError as error:
        return error
    return ds


@contextmanager
def _panic_refused() -> Iterator[None]:
    """A decoder written in Rust panics at damaged data, in an exception of no importable type."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ReadError("The picture cannot be decoded", _AGAIN, str(error)) from error


def _decoded(ds: Dataset, form: PixelFormat, frame: int) -> Plane:
    """One frame through the decoder of its transfer syntax, as RGB where it is in colour."""
    with damage_refused("The picture cannot be decoded"), _panic_refused():
        if form.encoding not in NATIVE:
            _check_stream(ds, form, frame)
        decoder = get_decoder(UID(form.encoding))
        picture, meta = decoder.as_array(
            ds, index=frame, decoding_plugin=_DECODERS.get(form.encoding, "")
        )
        if form.photometric == "PALETTE COLOR":
            picture = apply_color_lut(picture, ds)
    expected = (form.rows, form.columns)
    if picture.shape[:2] != expected:
        raise ReadError(f"The picture decodes to {picture.shape}, not {expected}", _AGAIN)
    if form.photometric == "PALETTE COLOR":
        return _eight_bits(picture[..., :3], picture.dtype.itemsize * 8)
    if form.samples == 3:
        return _eight_bits(picture, int(meta["bits_stored"]))
    if picture.dtype != np.dtype(form.dtype):
        return picture.astype(form.dtype, casting="unsafe")
    return picture


def _eight_bits(picture: Plane, bits: int) -> npt.NDArray[np.uint8]:
    if bits > 8:
        picture = picture >> (bits - 8)
    return picture.astype(np.uint8)


def _check_stream(ds: Dataset, form: PixelFormat, frame: int) -> None:
    """Compare what a compressed frame says of itself with the header."""
    stream = get_frame(ds.PixelData, frame, number_of_frames=form.frames)
    if form.encoding == _RLE:
        segments = int.from_bytes(stream[:4], "little")
        if segments != form.samples * np.dtype(form.dtype).itemsize:
            raise ReadError(f"The picture has {segments} run-length segments", _AGAIN)
        return
    found = inspect(stream)
    declared = (form.rows, form.columns, form.samples)
    if (found.rows, found.columns, found.samples) != declared:
        raise ReadError(
            f"The compressed picture is {found.columns} x {found.rows} in {found.samples} "
            f"samples, the header says {form.columns} x {form.rows} in {form.samples}",
            _AGAIN,
        )
    if found.bits > np.dtype(form.dtype).itemsize * 8:
        raise ReadError(f"The compressed picture has {found.bits} bits, more than fit", _AGAIN)
