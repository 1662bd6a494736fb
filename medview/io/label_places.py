"""Labels without overlap, made of voxels that may be marked more than once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Piece:
    """Voxels: an index of label arrays, and which of those there, all of them without `mask`.

    With a mask the index is made of slices and of whole numbers.
    """

    index: tuple[Any, ...]
    mask: npt.NDArray[np.bool_] | None = None

    def meets(self, labels: npt.NDArray[Any]) -> bool:
        """Whether any of them has a label already."""
        there = labels[self.index]
        return bool((there if self.mask is None else there[self.mask]).any())

    def mark(self, labels: npt.NDArray[Any], number: int) -> None:
        """Give them a label."""
        if self.mask is None:
            labels[self.index] = number
        else:
            np.copyto(labels[self.index], labels.dtype.type(number), where=self.mask)


def marked_part(plane: npt.NDArray[Any]) -> tuple[slice, slice]:
    """The rows and columns of a slice between which all lies that is not 0; empty where nothing.

    Looking there alone is much faster than looking at every pixel.
    """
    rows, columns = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def numbers_in(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The numbers that occur, 0 too, each once. By where they change, which is seldom."""
    flat = plane.reshape(-1)
    return np.unique(np.append(flat[1:][flat[1:] != flat[:-1]], flat[:1]))


class Parts:
    """Label arrays without overlap; a segment stays whole in one of them."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._shape = shape
        self._dtype = dtype
        self._pieces: dict[int, list[Piece]] = {}

    def mark(self, number: int, piece: Piece) -> None:
        """Note that voxels belong to a segment."""
        self._pieces.setdefault(number, []).append(piece)

    @property
    def done(self) -> list[tuple[npt.NDArray[Any], list[int]]]:
        """The arrays, each with the numbers of the segments in it."""
        parts: list[tuple[npt.NDArray[Any], list[int]]] = []
        for number in sorted(self._pieces):
            pieces = self._pieces[number]
            free = [part for part in parts if not any(piece.meets(part[0]) for piece in pieces)]
            if not free:
                free = [(np.zeros(self._shape, self._dtype), [])]
                parts += free
            labels, members = free[0]
            for piece in pieces:
                piece.mark(labels, number)
            members.append(number)
        return parts
