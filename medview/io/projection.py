"""Pixel size of projection images, and what it rests on.

Imager Pixel Spacing is measured at the detector, Pixel Spacing may be corrected for
magnification or against an object of known size; taking one for the other shifts every length
(PS3.3 10.7.1.3, C.8.11.2, C.8.7.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from medview.core.geometry import Calibration
from medview.io.values import Values, number, numbers

#: Modalities whose images are shadows, not slices, whatever else their headers say.
PROJECTIONS = frozenset(("CR", "DX", "MG", "XA", "RF", "PX", "IO", "RG", "RTIMAGE"))

_LARGEST_FACTOR = 10.0


@dataclass(frozen=True)
class PixelSize:
    """Millimetres between rows and between columns; without calibration only their ratio counts."""

    rows_mm: float
    columns_mm: float
    calibration: Calibration
    notes: tuple[str, ...] = ()


_UNKNOWN = "No pixel size: lengths are in pixels"
_UNCHECKED = "The pixel size of the picture is not calibrated: lengths are in pixels"
#: Secondary captures: pictures of pictures, whose spacing counts only where it was calibrated.
_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"


def pixel_size(values: Values) -> PixelSize:
    """The size of a projection image's pixels and the kind of its calibration."""
    spacing, imager = _pair(values, "PixelSpacing"), _pair(values, "ImagerPixelSpacing")
    kind = values.get("PixelSpacingCalibrationType", "")
    if spacing and kind == "FIDUCIAL":
        return PixelSize(*spacing, Calibration.FIDUCIAL)
    if spacing and kind == "GEOMETRY":
        return PixelSize(*spacing, Calibration.MAGNIFIED)
    captured = values.get("SOPClassUID", "").startswith(_CAPTURES)
    if captured or values.get("Modality") not in PROJECTIONS:
        # Pictures of the screen and photographs: their spacing, if any, says nothing checkable.
        return _unknown(values)
    if spacing and imager and spacing != imager:
        note = "Pixel Spacing differs from the detector's and does not say how it was calibrated"
        return PixelSize(*spacing, Calibration.MAGNIFIED, (note,))
    if spacing and not imager:
        note = "Pixel Spacing does not say whether it holds at the detector; taken so"
        return PixelSize(*spacing, Calibration.DETECTOR, (note,))
    if imager:
        return _at_detector(imager, values)
    return _unknown(values)


def _unknown(values: Values) -> PixelSize:
    """No size, but perhaps a shape: Pixel Aspect Ratio is vertical to horizontal (C.7.6.3.1.7)."""
    spacing = _pair(values, "PixelSpacing")
    ratio = _pair(values, "PixelAspectRatio") or spacing or (1.0, 1.0)
    note = _UNKNOWN if spacing is None else _UNCHECKED
    return PixelSize(ratio[0] / ratio[1], 1.0, Calibration.NONE, (note,))


def _at_detector(imager: tuple[float, float], values: Values) -> PixelSize:
    factor = number(values, "EstimatedRadiographicMagnificationFactor")
    how = "the estimated magnification"
    if factor is None:
        to_detector = number(values, "DistanceSourceToDetector")
        to_patient = number(values, "DistanceSourceToPatient")
        if to_detector and to_patient and to_detector > to_patient > 0:
            factor, how = to_detector / to_patient, "the distances of source, patient and detector"
    if factor is None or factor == 1:
        return PixelSize(*imager, Calibration.DETECTOR)
    if not 1.0 < factor < _LARGEST_FACTOR:
        note = f"A magnification of {factor:g} cannot be: lengths are those at the detector"
        return PixelSize(*imager, Calibration.DETECTOR, (note,))
    rows, columns = imager
    note = f"Lengths are corrected by {how}: {factor:.3g}"
    return PixelSize(rows / factor, columns / factor, Calibration.MAGNIFIED, (note,))


def _pair(values: Values, keyword: str) -> tuple[float, float] | None:
    found = numbers(values, keyword)
    if len(found) != 2 or min(found) <= 0:
        return None
    return found[0], found[1]
