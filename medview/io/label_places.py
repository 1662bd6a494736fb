"""Labels without overlap, made of voxels that may be marked more than once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Index = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]


def marked_part(plane: npt.NDArray[Any]) -> tuple[slice, slice]:
    """The rows and columns of a slice between which all lies that is not 0; empty where nothing.

    Looking there alone is much faster than looking at every pixel.
    """
    rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


class Parts:
    """Label arrays without overlap; a segment stays whole in one of them."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._shape = shape
        self._dtype = dtype
        self._pieces: dict[int, list[Index]] = {}

    def mark(self, number: int, index: Index) -> None:
        """Note that the voxels of an index belong to a segment."""
        self._pieces.setdefault(number, []).append(index)

    @property
    def done(self) -> list[tuple[npt.NDArray[Any], list[int]]]:
        """The arrays, each with the numbers of the segments in it."""
        parts: list[tuple[npt.NDArray[Any], list[int]]] = []
        for number in sorted(self._pieces):
            pieces = self._pieces[number]
            free = [part for part in parts if not any(part[0][piece].any() for piece in pieces)]
            if not free:
                free = [(np.zeros(self._shape, self._dtype), [])]
                parts += free
            labels, members = free[0]
            for piece in pieces:
                labels[piece] = number
            members.append(number)
        return parts
