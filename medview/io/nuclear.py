"""Frames of nuclear medicine objects: slices of a reconstruction, or pictures that follow in time.

Their vectors say for each frame which slice, window, detector or moment it is (PS3.3 C.8.4.8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from pydicom.dataset import Dataset

from medview.io.phases import DIMENSION, parameter_text
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
    vectors = _vectors(ds, tuple(_VECTORS), count)
    return [{name: str(vector[n]) for name, vector in vectors.items()} for n in range(count)]


def _vectors(ds: Dataset, keywords: Sequence[str], count: int) -> dict[str, list[int]]:
    """The vectors that the object has, by the name of what they number."""
    vectors = {_VECTORS[keyword]: _vector(ds, keyword, count) for keyword in keywords}
    return {name: vector for name, vector in vectors.items() if vector}


def _vector(ds: Dataset, keyword: str, count: int) -> list[int]:
    value = ds.get(keyword)
    listed = [value] if isinstance(value, int) else list(value or ())
    return [int(one) for one in listed] if len(listed) == count else []


def _joined(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return "\\".join(repr(float(value)) for value in values)


#: What parts the frames of a moving picture: each part is a clip of its own.
_PARTING = ("EnergyWindowVector", "DetectorVector", "RRIntervalVector", "RotationVector")


@dataclass(frozen=True)
class Run:
    """Frames that follow each other: their numbers from 0, what tells them from other runs."""

    frames: tuple[int, ...]
    label: str = ""


def runs_of(values: Values, ds: Dataset, count: int) -> list[Run]:
    """The frames of an object by energy window, detector, heartbeat interval and rotation.

    Detectors count at the same time: their frames do not follow each other (PS3.3 C.8.4.8).
    """
    moving = _vectors(ds, _PARTING, count) if is_moving(values) else {}
    parts: dict[str, list[int]] = {}
    for n in range(count):
        words = (
            parameter_text(name, str(vector[n]))
            for name, vector in moving.items()
            if len(set(vector)) > 1
        )
        parts.setdefault(", ".join(words), []).append(n)
    return [Run(tuple(frames), label) for label, frames in parts.items()]


def moments_s(ds: Dataset, count: int, frames: Sequence[int]) -> tuple[float, ...]:
    """When each of these frames of a gated or dynamic picture begins, the first of them at 0.

    Empty where the file does not say.
    """
    spans = _dynamic_ms(ds, count, frames) or _gated_ms(ds, len(frames))
    if not spans or min(span for span, _ in spans) <= 0:
        return ()
    begins, end = [], 0.0
    for span, before in spans:
        begins.append(end + before)
        end = begins[-1] + span
    return tuple((begin - begins[0]) / 1000 for begin in begins)


def _dynamic_ms(ds: Dataset, count: int, frames: Sequence[int]) -> list[tuple[float, float]]:
    """How long each frame counts, and the pause before it (PS3.3 C.8.4.14).

    Phase Delay comes before the first frame of a phase, Pause Between Frames before the others.
    """
    phases = ds.get("PhaseInformationSequence") or ()
    numbers = _vector(ds, "PhaseVector", count) or ([1] * count if len(phases) == 1 else [])
    if not numbers or not phases or not 1 <= min(numbers) <= max(numbers) <= len(phases):
        return []
    spans, last = [], 0
    for n in frames:
        phase = phases[numbers[n] - 1]
        pause = "PauseBetweenFrames" if numbers[n] == last else "PhaseDelay"
        spans.append((_ms(phase, "ActualFrameDuration"), max(0.0, _ms(phase, pause))))
        last = numbers[n]
    return spans


def _ms(item: Dataset, keyword: str) -> float:
    return float(item.get(keyword) or 0)


def _gated_ms(ds: Dataset, count: int) -> list[tuple[float, float]]:
    """Frame Time of the heartbeat, the same for all frames (PS3.3 C.8.4.12)."""
    gated = (ds.get("GatedInformationSequence") or [None])[0]
    data = (gated.get("DataInformationSequence") or [None])[0] if gated is not None else None
    return [] if data is None else [(_ms(data, "FrameTime"), 0.0)] * count
