"""Overlay planes and display shutters of DICOM objects (PS3.3 C.9.2, C.7.6.11)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.graphics import Bitmap, Graphics, Place, Shutter
from medview.core.study import Instance
from medview.io.header import EXPLICIT_BIG
from medview.io.multiframe import damage_refused, data_set
from medview.io.values import NATIVE

_GROUPS = range(0x6000, 0x6020, 2)
_LARGEST = 65535


def graphics_of(instance: Instance, frame: int = 0, password: str = "") -> Graphics:
    """What an image lays over one of its frames; ReadError if it cannot be read."""
    ds = data_set(instance, password, pixels=True)
    with damage_refused("The overlays of the image are damaged"):
        planes = dict(bitmaps_of(ds, frame, instance.transfer_syntax_uid))
        shutter, used = shutter_of(ds, planes)
    kept = tuple(plane for group, plane in planes.items() if group != used)
    return Graphics(tuple(plane for plane in kept if plane.mask.any()), shutter)


def bitmaps_of(ds: Dataset, frame: int = 0, syntax: str = "") -> Iterator[tuple[int, Bitmap]]:
    """Overlay planes of a frame by group; those without their data are left out."""
    for group in _GROUPS:
        rows, columns = _number(ds, group, 0x10), _number(ds, group, 0x11)
        if not rows or not columns or max(rows, columns) > _LARGEST or min(rows, columns) < 1:
            continue
        first = (_number(ds, group, 0x51) or 1) - 1
        count = _number(ds, group, 0x15) or 1
        if not first <= frame < first + count:
            continue
        bits = _bits(ds, group, (frame - first) * rows * columns, rows * columns, syntax)
        if bits is None:
            bits = _embedded(ds, group, frame, (rows, columns), syntax)
        if bits is None:
            continue
        origin = _value(ds, group, 0x50)
        top, left = (int(x) for x in origin) if origin and len(origin) == 2 else (1, 1)
        label = str(_value(ds, group, 0x1500) or _value(ds, group, 0x22) or "")
        is_region = str(_value(ds, group, 0x40) or "") == "R"
        mask = bits.reshape(rows, columns)
        yield group, Bitmap.of(mask, (top - 1, left - 1), label, is_region=is_region)


def _value(ds: Dataset, group: int, element: int) -> Any:
    return ds[group, element].value if (group, element) in ds else None


def _number(ds: Dataset, group: int, element: int) -> int | None:
    value = _value(ds, group, element)
    return int(value) if isinstance(value, int) else None


def _bits(
    ds: Dataset, group: int, start: int, count: int, syntax: str
) -> npt.NDArray[np.bool_] | None:
    """Bits [start, start + count) of Overlay Data, the lowest of each byte first (PS3.5 8.1.2)."""
    raw = _value(ds, group, 0x3000)
    if not isinstance(raw, bytes) or len(raw) * 8 < start + count:
        return None
    data = np.frombuffer(raw, np.uint8)
    if syntax == EXPLICIT_BIG and ds[(group, 0x3000)].VR == "OW" and data.size % 2 == 0:
        data = data.reshape(-1, 2)[:, ::-1].reshape(-1)
    part = data[start // 8 : (start + count + 7) // 8]
    bits = np.unpackbits(part, bitorder="little")[start % 8 : start % 8 + count]
    return bits.astype(np.bool_)


def _embedded(
    ds: Dataset, group: int, frame: int, shape: tuple[int, int], syntax: str
) -> npt.NDArray[np.bool_] | None:
    """An overlay in a bit of the pixels that the image does not use (retired; PS3.5 8.1.1)."""
    position, allocated = _number(ds, group, 0x102), ds.get("BitsAllocated")
    raw = ds.get("PixelData")
    usable = position is not None and allocated in (8, 16, 32) and isinstance(raw, bytes)
    if not usable or syntax not in NATIVE or shape != (ds.get("Rows"), ds.get("Columns")):
        return None
    high, stored = int(ds.get("HighBit", 0)), int(ds.get("BitsStored", allocated))
    if high - stored < int(position or 0) <= high or int(position or 0) >= allocated:
        return None
    order = ">" if syntax == EXPLICIT_BIG else "<"
    count = shape[0] * shape[1]
    words = np.frombuffer(raw, f"{order}u{allocated // 8}", count, frame * count * allocated // 8)
    return np.asarray(words >> int(position or 0) & 1, dtype=np.bool_)


def shutter_of(ds: Dataset, planes: dict[int, Bitmap]) -> tuple[Shutter | None, int]:
    """The display shutter, and the overlay group that is one (0: none)."""
    shapes = ds.get("ShutterShape")
    names = {shapes} if isinstance(shapes, str) else {str(one) for one in shapes or ()}
    if not names:
        return None, 0
    box = circle = None
    polygon: tuple[Place, ...] = ()
    used = 0
    if "RECTANGULAR" in names:
        box = _box(ds)
    if "CIRCULAR" in names:
        circle = _circle(ds)
    if "POLYGONAL" in names:
        polygon = _polygon(ds)
    if "BITMAP" in names:
        used = int(ds.get("ShutterOverlayGroup") or 0)
    bitmap = planes.get(used)
    if box is None and circle is None and not polygon and bitmap is None:
        return None, 0
    grey = min(max(float(ds.get("ShutterPresentationValue") or 0) / 65535, 0.0), 1.0)
    return Shutter(box, circle, polygon, bitmap, grey), used


def _box(ds: Dataset) -> tuple[int, int, int, int] | None:
    edges = [ds.get(f"Shutter{name}Edge") for name in
             ("UpperHorizontal", "LeftVertical", "LowerHorizontal", "RightVertical")]  # fmt: skip
    if any(edge is None for edge in edges):
        return None
    top, left, bottom, right = (int(edge) - 1 for edge in edges if edge is not None)
    return (top, left, bottom, right) if bottom > top and right > left else None


def _circle(ds: Dataset) -> tuple[float, float, float] | None:
    center, radius = ds.get("CenterOfCircularShutter"), ds.get("RadiusOfCircularShutter")
    if center is None or len(center) != 2 or radius is None or int(radius) <= 0:
        return None
    return float(center[0]) - 1, float(center[1]) - 1, float(radius)


def _polygon(ds: Dataset) -> tuple[Place, ...]:
    values = [float(x) - 1 for x in ds.get("VerticesOfThePolygonalShutter") or ()]
    if len(values) < 6 or len(values) % 2:
        return ()
    return tuple(zip(values[::2], values[1::2], strict=True))
