"""Outlines of flat masks as closed polygons, and the mask that polygons enclose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Polygon = npt.NDArray[np.float64]

#: Steps along the border, by the four corners of a cell (bits: top left, top right, bottom right,
#: bottom left): from which side to which, the mask on the right hand. Sides: 0 top, 1 right,
#: 2 bottom, 3 left. Where two corners face each other across, they are kept apart.
_STEPS: tuple[tuple[tuple[int, int], ...], ...] = (
    (), ((0, 3),), ((1, 0),), ((1, 3),), ((2, 1),), ((0, 3), (2, 1)), ((2, 0),), ((2, 3),),
    ((3, 2),), ((0, 2),), ((1, 0), (3, 2)), ((1, 2),), ((3, 1),), ((0, 1),), ((3, 0),), (),
)  # fmt: skip
#: Where the middle of a side lies, in half pixels (row, column) from the cell's first corner.
_MIDDLES = np.array([(0, 1), (1, 2), (2, 1), (1, 0)])


def outlines(mask: npt.NDArray[np.bool_]) -> list[Polygon]:
    """Closed polygons (n, 2) of (row, column) between the pixels of a mask and the others.

    Marching squares (Lorensen and Cline 1987, in the plane) halfway between pixel centres: the
    centre of each marked pixel lies inside, that of each other pixel outside, by the even-odd
    rule. Outer outlines and those of holes run in opposite directions; the first point is not
    repeated. Pixels that touch at a corner alone are outlined apart.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    kinds = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, 1:] << 2 | padded[1:, :-1] << 3
    border = np.argwhere((kinds > 0) & (kinds < 15))
    kind_of = kinds[tuple(border.T)]
    following: dict[tuple[int, int], tuple[int, int]] = {}
    for kind, steps in enumerate(_STEPS):
        cells = border[kind_of == kind] * 2
        for start, end in steps:
            here, there = cells + _MIDDLES[start], cells + _MIDDLES[end]
            following.update(
                zip(map(tuple, here.tolist()), map(tuple, there.tolist()), strict=True)
            )
    found = []
    while following:
        place = first = next(iter(following))
        ring = []
        while True:
            ring.append(place)
            place = following.pop(place)
            if place == first:
                break
        found.append(_straightened(np.array(ring, dtype=np.float64) / 2 - 1))
    return found


def _straightened(ring: Polygon) -> Polygon:
    """Without the points between others on one line."""
    before, after = np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0)
    a, b = ring - before, after - ring
    return ring[np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) > 1e-9]


def signed_area(ring: Polygon) -> float:
    """Twice the enclosed area; its sign says which way round the ring runs."""
    after = np.roll(ring, -1, axis=0)
    return float(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]))


def keyholed(rings: Sequence[Polygon]) -> list[Polygon]:
    """Rings with each hole joined to the ring around it by a channel without width.

    PS3.3 C.8.8.6.3: this is how a closed contour has holes. Even-odd filling gives the same mask:
    both sides of a channel cancel out.
    """
    outer = [ring for ring in rings if signed_area(ring) * _OUTER > 0]
    holes = [ring for ring in rings if signed_area(ring) * _OUTER < 0]
    joined = list(outer)
    for hole in sorted(holes, key=lambda ring: float(ring[:, 1].min())):
        around = [n for n, ring in enumerate(outer) if encloses(ring, hole[0])]
        # Of rings within each other the smallest is the one whose hole it is.
        home = min(around, key=lambda n: abs(signed_area(outer[n])))
        joined[home] = _joined(joined[home], hole)
    return joined


def _joined(ring: Polygon, hole: Polygon) -> Polygon:
    apart = ((ring[:, None] - hole[None]) ** 2).sum(axis=2)
    a, b = np.unravel_index(int(apart.argmin()), apart.shape)
    around = np.concatenate([hole[b:], hole[: b + 1]])
    return np.concatenate([ring[: a + 1], around, ring[a:]])


def encloses(ring: Polygon, place: npt.ArrayLike) -> bool:
    """Whether a place lies inside a ring, by the even-odd rule."""
    row, column = np.asarray(place, dtype=np.float64)
    after = np.roll(ring, -1, axis=0)
    crossing = (ring[:, 0] > row) != (after[:, 0] > row)
    a, b = ring[crossing], after[crossing]
    at = a[:, 1] + (row - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    return bool(np.count_nonzero(at > column) % 2)


def filled(ring: Polygon, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The pixels of a picture whose centres lie inside a closed polygon (even-odd rule).

    Row by row: where the polygon crosses the line of pixel centres, the mask turns over. Costs
    grow with the rows that each edge crosses, not with the picture.
    """
    rows, columns = shape
    after = np.roll(ring, -1, axis=0)
    low = np.minimum(ring[:, 0], after[:, 0])
    high = np.maximum(ring[:, 0], after[:, 0])
    # An edge crosses the rows from its lower end (without it) to its upper end (with it).
    first = np.clip(np.floor(low) + 1, 0, rows).astype(np.intp)
    last = np.clip(np.floor(high) + 1, 0, rows).astype(np.intp)
    counts = np.maximum(last - first, 0)
    edges = np.repeat(np.arange(len(ring)), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    row = first[edges] + np.arange(counts.sum()) - starts
    a, b = ring[edges], after[edges]
    at = a[:, 1] + (row - a[:, 0]) / (b[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    turns = np.zeros((rows, columns + 1), dtype=np.uint8)
    np.bitwise_xor.at(turns, (row, np.clip(np.ceil(at), 0, columns).astype(np.intp)), 1)
    inside: npt.NDArray[np.bool_] = np.bitwise_xor.accumulate(turns, axis=1)[:, :-1] > 0
    return inside


#: Sign of the area of outlines that run around marked pixels.
_OUTER = -1
