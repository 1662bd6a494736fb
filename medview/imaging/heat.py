"""Scalar maps as colours over a slice: sampled where the slice lies, strong where they speak."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.geometry import Geometry
from medview.core.maps import MapKind, ScalarMap
from medview.imaging.reslice import PlaneFrame

Values = npt.NDArray[np.float32]
#: Red, green, blue (0-255) at equal steps of the range, from its low end to its high end.
Ramp = tuple[tuple[int, int, int], ...]


def _ramp(codes: str) -> Ramp:
    """Colours written as hexadecimal red, green, blue."""
    colors = (bytes.fromhex(code) for code in codes.split())
    return tuple((red, green, blue) for red, green, blue in colors)


#: Saliency speaks against its subject in blue, for it in orange, and is silent in between; the
#: others grow from dark to light. None of them has a grey, the colour of the picture.
RAMPS: Mapping[MapKind, Ramp] = MappingProxyType(
    {
        MapKind.SALIENCY: _ramp("46a0ff 1e4696 141414 be500a ffc83c"),
        MapKind.UNCERTAINTY: _ramp("280046 821478 d73c5a fa8c3c ffeb82"),
        MapKind.PROBABILITY: _ramp("001e46 005a78 0a9678 6ecd50 f0f546"),
        MapKind.QUANTITY: _ramp("1e003c 5a1482 b42896 f06e78 ffd28c"),
    }
)

#: A slice is sampled at no more points than this along a side.
_MOST = 320


def slice_values(
    one: ScalarMap, frame: PlaneFrame, number: int, most: int = _MOST
) -> tuple[Values, int]:
    """The map on slice `number` of a frame: values (down, right) and the step between them.

    Trilinear between the map's places; NaN outside its grid. A step of n means every n-th pixel
    of the slice in both directions, beginning with the first.
    """
    rows, columns = frame.pixel_shape
    step = max(1, -(-max(rows, columns) // most))
    to_map = _index_to_index(frame.geometry, one.geometry)
    down = np.arange(0, rows, step, dtype=np.float64)[:, None]
    right = np.arange(0, columns, step, dtype=np.float64)[None, :]
    place = [
        to_map[axis, 3]
        + to_map[axis, frame.normal] * number
        + to_map[axis, frame.down_axis] * down
        + to_map[axis, frame.right_axis] * right
        for axis in range(3)
    ]
    return _trilinear(np.asarray(one.values), place), step


def colors(values: Values, kind: MapKind, value_range: tuple[float, float]) -> npt.NDArray[Any]:
    """Values (n, m) as premultiplied colours (n, m, 4), uint8: blue, green, red, opacity.

    Opacity grows with what a value says: from the low end of the range, for saliency from 0 to
    both sides. NaN is clear. Values beyond the range have the colour of its end.
    """
    low, high = value_range
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    strength = share
    if kind is MapKind.SALIENCY:
        zero = min(max(-low / (high - low), 0.0), 1.0)
        share = _about(share, zero)
        strength = np.abs(share - 0.5) * 2
    stops = np.array(RAMPS[kind], np.float64)
    at = np.linspace(0, 1, len(stops))
    alpha = np.where(np.isnan(values), 0, np.sqrt(strength))
    out = np.empty((*values.shape, 4), np.uint8)
    for channel, source in enumerate((2, 1, 0)):
        out[..., channel] = np.rint(np.interp(share, at, stops[:, source]) * alpha)
    out[..., 3] = np.rint(255 * alpha)
    return out


def _about(share: npt.NDArray[Any], zero: float) -> npt.NDArray[Any]:
    """Shares of a range with its zero at `zero`, as shares of one with its zero in the middle."""
    ends = (0.5 if zero == 0 else 0, 0.5, 0.5 if zero == 1 else 1)
    return np.asarray(np.interp(share, (0, zero, 1), ends))


def _index_to_index(source: Geometry, target: Geometry) -> npt.NDArray[np.float64]:
    """The affine from indices of one grid to those of another, 4x4."""
    return np.asarray(np.linalg.inv(target.affine) @ source.affine, np.float64)


def _trilinear(values: npt.NDArray[Any], place: list[npt.NDArray[np.float64]]) -> Values:
    """Values at places (k, j, i), each broadcast to one shape; NaN beyond the outer faces."""
    shape = np.broadcast_shapes(*(axis.shape for axis in place))
    inside = np.ones(shape, np.bool_)
    corners = []
    for axis, size in zip(place, values.shape, strict=True):
        inside &= (axis >= -0.5) & (axis <= size - 0.5)
        held = np.clip(axis, 0, size - 1)
        low = np.minimum(held.astype(np.intp), max(size - 2, 0))
        corners.append(((low, 1 - (held - low)), (np.minimum(low + 1, size - 1), held - low)))
    total = np.zeros(shape, np.float64)
    for k, weight_k in corners[0]:
        for j, weight_j in corners[1]:
            for i, weight_i in corners[2]:
                weight = weight_k * weight_j * weight_i
                if np.any(weight):
                    total += weight * values[k, j, i]
    return np.where(inside, total, np.nan).astype(np.float32)
