"""Files that carry the identifier of an image that is open: the same pixels, or others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medview.core.errors import ReadError
from medview.core.study import Instance
from medview.io.archives import read_all
from medview.io.header import DEFLATED

#: What must agree before pixels are compared.
_FORM = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "_TransferSyntax")

#: An image with all its header values.
Image = tuple[Instance, Mapping[str, str]]


def differing(pairs: Sequence[tuple[Image, Image]], password: str = "") -> list[int]:
    """Numbers of the pairs whose pixels are not the same; one that cannot be read is no twin."""
    return [n for n, (one, other) in enumerate(pairs) if not _same(one, other, password)]


def _same(one: Image, other: Image, password: str) -> bool:
    first, second = one[1], other[1]
    if first.get("_PixelKind", "") == second.get("_PixelKind", "") == "":
        return True
    if any(first.get(key, "") != second.get(key, "") for key in _FORM):
        # The same pixels packed otherwise are not told apart from others.
        return False
    try:
        return _pixels(*one, password) == _pixels(*other, password)
    except (ReadError, StopIteration):
        return False


def _pixels(instance: Instance, values: Mapping[str, str], password: str) -> bytes:
    """The bytes of the pixel data as they lie in the file."""
    data = next(read_all(instance.path, [instance.member], password)).data
    if values.get("_TransferSyntax") == DEFLATED:
        return data
    offset, length = int(values.get("_PixelOffset", "0")), int(values.get("_PixelLength", "-1"))
    return data[offset:] if length < 0 else data[offset : offset + length]
