"""Pixels of DICOM files as the decoders see them: one file, no series, no window."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    UID_dictionary,
)

from medview.core.errors import ReadError
from medview.io.header import read_header
from medview.io.pixels import Doubtful, decode
from medview.io.plan import PixelFormat, PlanePlan
from medview.io.unpacking import MemoryBytes
from medview.io.values import pixel_format
from tests.helpers.dicom_phantoms import Who, new_dataset, set_pixels, uid


def format_of(data: bytes) -> PixelFormat:
    """The pixel format of a file in memory, as planning finds it."""
    header = read_header(MemoryBytes(data))
    return pixel_format(
        header.values
        | {
            "_TransferSyntax": header.transfer_syntax,
            "_PixelOffset": str(header.pixel_offset),
            "_PixelLength": str(header.pixel_length),
            "_PixelKind": header.pixel_kind,
            "_FileSize": str(header.file_size),
        }
    )


def decoded(data: bytes) -> list[npt.NDArray[Any] | Doubtful | ReadError]:
    """Every frame of a file in memory, or why it is none; ReadError where nothing is planned."""
    form = format_of(data)
    planes = [PlanePlan("x.dcm", form, frame=n) for n in range(form.frames)]
    return list(decode(data, planes))


def pixels_of(path: Path) -> npt.NDArray[Any]:
    """All frames of a file, stacked where there are several; raises what a frame came to."""
    frames = []
    for frame in decoded(path.read_bytes()):
        if isinstance(frame, ReadError):
            raise frame
        frames.append(frame.pixels if isinstance(frame, Doubtful) else frame)
    return frames[0] if len(frames) == 1 else np.stack(frames)


def dicom_bytes(
    pixels: npt.NDArray[Any],
    syntax: str = ExplicitVRLittleEndian,
    value: bytes | None = None,
    **attributes: Any,
) -> bytes:
    """A file with these stored values, or with `value` as its pixel data in another syntax.

    `pixels` is (rows, columns), (frames, rows, columns), or either with a last axis of 3;
    `attributes` are set by keyword, and left out where they are None.
    """
    ds = new_dataset(Who(), SecondaryCaptureImageStorage, uid("codec"), "OT", uid("codecs"))
    set_pixels(ds, pixels)
    frames = pixels.shape[0] if pixels.ndim - (pixels.shape[-1] == 3) == 3 else 1
    if frames > 1:
        ds.NumberOfFrames = frames
    if value is not None:
        ds.PixelData = value
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = value[:4] == _ITEM
    for keyword, content in attributes.items():
        if content is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, content)
    ds.file_meta.TransferSyntaxUID = _stand_in(syntax)
    with io.BytesIO() as stream:
        dcmwrite(stream, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
        written = stream.getvalue()
    return written.replace(_padded(_stand_in(syntax)), _padded(syntax), 1)


def _padded(uid_text: str) -> bytes:
    return uid_text.encode() + b"\0" * (len(uid_text) % 2)


def _stand_in(syntax: str) -> str:
    """A syntax of the same length that the DICOM library writes, for those it does not know."""
    if syntax not in UID_dictionary:
        return JPEGBaseline8Bit if len(_padded(syntax)) == 22 else HTJ2KLossless
    return syntax


_ITEM = b"\xfe\xff\x00\xe0"


def item(data: bytes) -> bytes:
    """One item of encapsulated pixel data (PS3.5 A.4)."""
    return _ITEM + struct.pack("<L", len(data)) + data


def fragments(*pieces: bytes, offsets: Sequence[int] = ()) -> bytes:
    """Pixel data in these pieces behind an offset table; writing adds the delimiter (8 bytes)."""
    table = item(struct.pack(f"<{len(offsets)}L", *offsets))
    return table + b"".join(item(piece + b"\0" * (len(piece) % 2)) for piece in pieces)


def run_lengths(pixels: npt.NDArray[Any]) -> bytes:
    """One frame in run lengths, as the DICOM library encodes it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.SOPInstanceUID = uid("run lengths")
    set_pixels(ds, pixels)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return get_frame(ds.PixelData, 0, number_of_frames=1)
