"""What the pixels of an ultrasound picture measure, in words."""

from __future__ import annotations

from medview.core.clip import Region, fitting, region_at
from medview.core.volume import Volume

#: Units of regions as they are written.
UNIT_TEXT = {"cm2": "cm²", "cm2/s": "cm²/s", "cm3": "cm³", "cm3/s": "cm³/s", "deg": "°"}
#: Along these an offset from the region's edge means something without an origin.
_RUNNING = ("cm", "s")


def region_of(volume: Volume, pixel: tuple[float, float] | None) -> Region | None:
    """The region that holds at a pixel (x, y), else the largest plane of the picture.

    None where nothing is calibrated there: in a picture without regions, or with regions that do
    not lie in it.
    """
    rows, columns = volume.geometry.shape[1:]
    regions = fitting(volume.regions, rows, columns)
    found = None if pixel is None else region_at(regions, *pixel)
    if found is not None:
        return found
    planes = [region for region in regions if region.spacing_mm is not None]
    return max(planes, key=_width, default=None)


def _width(region: Region) -> int:
    return region.box_px[2] - region.box_px[0]


def region_line(volume: Volume, x_px: float, y_px: float) -> str:
    """The physical values at a pixel, "" beside all regions.

    Along an axis without an origin it is the way from the left or upper edge of the region.
    """
    rows, columns = volume.geometry.shape[1:]
    region = region_at(fitting(volume.regions, rows, columns), x_px, y_px)
    if region is None:
        return ""
    parts = []
    for axis, value in enumerate(region.value_at(x_px, y_px)):
        unit, step = region.unit[axis], region.spacing[axis]
        if value is not None:
            parts.append(f"{'xy'[axis]} {_amount(value, unit)}")
        elif unit in _RUNNING and step:
            way = ((x_px, y_px)[axis] - region.box_px[axis]) * abs(step)
            parts.append(f"{'→↓'[axis]} {_amount(way, unit)}")
    return "   ".join(parts)


def _amount(value: float, unit: str) -> str:
    return f"{value:.2f} {UNIT_TEXT.get(unit, unit)}"
