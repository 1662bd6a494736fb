"""Pixels of DICOM files as the decoders see them: one file, no series, no window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.io.header import read_header
from medview.io.pixels import Doubtful, decode
from medview.io.plan import PixelFormat, PlanePlan
from medview.io.unpacking import MemoryBytes
from medview.io.values import pixel_format


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
    planes = [PlanePlan(Path("x.dcm"), form, frame=n) for n in range(form.frames)]
    return list(decode(data, planes))


def pixels_of(path: Path) -> npt.NDArray[Any]:
    """All frames of a file, stacked where there are several; raises what a frame came to."""
    frames = []
    for frame in decoded(path.read_bytes()):
        if isinstance(frame, ReadError):
            raise frame
        frames.append(frame.pixels if isinstance(frame, Doubtful) else frame)
    return frames[0] if len(frames) == 1 else np.stack(frames)
