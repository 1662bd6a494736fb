"""RT Dose: planes of a dose grid, each at its own place along the normal (PS3.3 C.8.8.3)."""

from __future__ import annotations

import numpy as np

from medview.core.errors import ReadError
from medview.io.stacking import is_orientation, normal_of
from medview.io.values import Values, number, numbers

#: Relative doses have no unit; absolute ones are in gray.
UNITS = {"GY": "Gy", "RELATIVE": "1"}

#: How near the first offset is to the axial position that it repeats; how straight an axial plane.
_SAME_MM, _AXIAL = 1e-2, 1e-6


def is_dose(values: Values) -> bool:
    """Whether an object is an RT Dose."""
    return values.get("SOPClassUID") == "1.2.840.10008.5.1.4.1.1.481.2"


def dose_values(values: Values, count: int) -> list[dict[str, str]]:
    """Place and scaling of each plane of a dose grid.

    Offsets count along the normal from the first plane, or are positions on the axis of the
    patient where the first of them is that of Image Position (PS3.3 C.8.8.3.2). ReadError without
    Dose Grid Scaling, which turns stored values into doses.
    """
    scaling = number(values, "DoseGridScaling")
    if scaling is None or scaling <= 0:
        raise ReadError("The dose does not say what its numbers mean (no Dose Grid Scaling)")
    unit = UNITS.get(values.get("DoseUnits", "").strip().upper(), "1")
    scale = {
        "RescaleSlope": values["DoseGridScaling"],
        "RescaleIntercept": "0",
        "RescaleType": unit,
    }
    places = _positions(values, count)
    return [scale | {"ImagePositionPatient": place} for place in places]


def _positions(values: Values, count: int) -> list[str]:
    """Where each plane lies; empty texts where the file does not say it in full."""
    origin = numbers(values, "ImagePositionPatient")
    cosines = numbers(values, "ImageOrientationPatient")
    offsets = numbers(values, "GridFrameOffsetVector")
    if count == 1:
        offsets = (0.0,)
    if len(offsets) != count or len(origin) != 3 or not is_orientation(cosines):
        return [""] * count
    normal = normal_of(cosines)
    axial = abs(abs(normal[2]) - 1) < _AXIAL
    if offsets[0] and axial and abs(offsets[0] - origin[2]) < _SAME_MM:
        normal = np.array([0.0, 0.0, 1.0])
    return [
        "\\".join(repr(float(x)) for x in np.array(origin) + (offset - offsets[0]) * normal)
        for offset in offsets
    ]
