"""Frames of nuclear medicine objects: slices of a reconstruction, or pictures that follow in time.

Their vectors say for each frame which slice, window, detector or moment it is (PS3.3 C.8.4.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from pydicom.dataset import Dataset

from medview.io.phases import DIMENSION
from medview.io.values import Values

#: Vectors that number frames, and what the number is called.
_VECTORS: Mapping[str, str] = MappingProxyType({
    "EnergyWindowVector": "EnergyWindowNumber",
    "DetectorVector": DIMENSION + "Detector",
    "PhaseVector": DIMENSION + "Phase",
    "RotationVector": DIMENSION + "Rotation",
    "RRIntervalVector": DIMENSION + "Heartbeat interval",
    "TimeSlotVector": "TimeSlotNumber",
    "TimeSliceVector": DIMENSION + "Time slice",
})  # fmt: skip
#: Types of pictures (third value of Image Type) that follow each other in time or around a patient.
_MOVING = frozenset(("DYNAMIC", "GATED", "TOMO", "GATED TOMO", "REPROJECTION"))


def is_reconstruction(values: Values) -> bool:
    """Whether the frames are slices through the patient (PS3.3 C.8.4.9.1.1)."""
    return values.get("Modality") == "NM" and "RECON" in values.get("ImageType", "")


def is_moving(values: Values) -> bool:
    """Whether the frames are moments or views, to be played one after the other."""
    kinds = values.get("ImageType", "").split("\\")
    return values.get("Modality") == "NM" and len(kinds) > 2 and kinds[2].strip() in _MOVING


def slice_values(ds: Dataset, count: int) -> list[dict[str, str]]:
    """Place and number of each frame of a reconstruction; empty if it does not say where it lies.

    Position and orientation stand once, for the first slice. Spacing Between Slices is the defined
    distance between slices here, and its sign their direction (PS3.3 C.8.4.15).
    """
    detector = (ds.get("DetectorInformationSequence") or [None])[0]
    step = ds.get("SpacingBetweenSlices")
    if detector is None or step is None:
        return []
    cosines = detector.get("ImageOrientationPatient")
    origin = detector.get("ImagePositionPatient")
    if not cosines or not origin or len(cosines) != 6 or len(origin) != 3:
        return []
    normal = np.cross(np.array(cosines[:3], float), np.array(cosines[3:], float))
    start, away = np.array(origin, float), float(step) * normal
    numbers = _vector(ds, "SliceVector", count) or list(range(1, count + 1))
    told = _told(ds, count)
    return [
        told[n]
        | {
            "ImagePositionPatient": _joined(start + (numbers[n] - 1) * away),
            "ImageOrientationPatient": _joined(np.array(cosines, float)),
        }
        for n in range(count)
    ]


def _told(ds: Dataset, count: int) -> list[dict[str, str]]:
    """What the vectors say of each frame besides its slice."""
    vectors = {name: _vector(ds, keyword, count) for keyword, name in _VECTORS.items()}
    return [
        {name: str(vector[n]) for name, vector in vectors.items() if vector} for n in range(count)
    ]


def _vector(ds: Dataset, keyword: str, count: int) -> list[int]:
    value = ds.get(keyword)
    listed = [value] if isinstance(value, int) else list(value or ())
    return [int(one) for one in listed] if len(listed) == count else []


def _joined(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return "\\".join(repr(float(value)) for value in values)


def moments_s(ds: Dataset, count: int) -> tuple[float, ...]:
    """When each frame of a gated or dynamic picture begins; empty where the file does not say."""
    durations = _dynamic_ms(ds, count) or _gated_ms(ds, count)
    if not durations or min(durations) <= 0:
        return ()
    return tuple(float(t) for t in np.cumsum([0.0, *durations[:-1]]) / 1000)


def _dynamic_ms(ds: Dataset, count: int) -> list[float]:
    """Actual Frame Duration of the phase each frame belongs to (PS3.3 C.8.4.14)."""
    phases = ds.get("PhaseInformationSequence") or ()
    lengths = [float(item.get("ActualFrameDuration") or 0) for item in phases]
    numbers = _vector(ds, "PhaseVector", count) or ([1] * count if len(lengths) == 1 else [])
    if not numbers or not lengths or not 1 <= min(numbers) <= max(numbers) <= len(lengths):
        return []
    return [lengths[number - 1] for number in numbers]


def _gated_ms(ds: Dataset, count: int) -> list[float]:
    """Frame Time of the heartbeat, the same for all frames (PS3.3 C.8.4.12)."""
    gated = (ds.get("GatedInformationSequence") or [None])[0]
    data = (gated.get("DataInformationSequence") or [None])[0] if gated is not None else None
    return [] if data is None else [float(data.get("FrameTime") or 0)] * count
