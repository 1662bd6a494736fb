"""Voxels that are written out in letters: decimal or hexadecimal numbers (NRRD, MetaImage)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import ReadError
from medview.io.pixels import Doubtful, decode_direct
from medview.io.plan import PixelFormat, PlanePlan

SPELLED = frozenset(("text", "hex"))
_AGAIN = "Get the file again from its source"


def spelled_pictures(
    data: bytes, planes: Sequence[PlanePlan]
) -> Iterator[npt.NDArray[Any] | Doubtful | ReadError]:
    """Planes of a file whose voxels are written out; offsets count in what the letters mean."""
    form = planes[0].format
    try:
        raw = _meant(data[form.packed_at :], form)
    except (ValueError, OverflowError) as error:
        return iter([ReadError("The numbers of the image are damaged", _AGAIN, str(error))] *
                    len(planes))  # fmt: skip
    plain = [replace(plane, format=replace(form, encoding="raw")) for plane in planes]
    return (decode_direct(raw, plane) for plane in plain)


def _meant(letters: bytes, form: PixelFormat) -> bytes:
    if form.encoding == "hex":
        return bytes.fromhex(letters.decode("ascii"))
    dtype = np.dtype(form.dtype)
    words = letters.replace(b",", b" ").split()
    values = np.array(words, dtype=np.float64)
    if dtype.kind in "iu" and dtype.itemsize == 8:
        values = np.array([int(word) for word in words])
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ValueError(f"a number outside {dtype.name}")
    return values.astype(dtype).tobytes()
