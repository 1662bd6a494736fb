"""What tracks measure: displacement, length, area and strain, frame by frame, with their units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medview.core.clip import Clip, fitting, region_at
from medview.core.geometry import Calibration
from medview.core.timeline import FrameCurve, FrameEvent, Track, TrackShape

#: (n, 2) rows and columns in pixels, the middle of the first pixel at (0, 0).
Places = npt.NDArray[np.float64]
#: Pixels where nothing is calibrated (an annotation of UCUM: a unit of one).
PIXELS = "{px}"
#: An area must swing by this share of its mean before its turns are told.
_SWING = 0.04
#: The words for the turns of a curve, upper and lower.
_TURNS = {"Area": ("largest area", "smallest area"), "Length": ("longest", "shortest")}
_RESTS_ON = {
    Calibration.DETECTOR: ", in millimetres at the detector",
    Calibration.MAGNIFIED: ", by the estimated magnification",
    Calibration.FIDUCIAL: ", by a fiducial",
}


@dataclass(frozen=True)
class Scale:
    """How much one row and one column are in `unit`, and what that rests on, in words."""

    spacing: tuple[float, float]
    unit: str
    note: str = ""


def scale_at(clip: Clip, places: Places) -> Scale:
    """The scale that holds at places of a clip: (n, 2) rows and columns.

    Millimetres of the ultrasound region that all places lie in, else of the picture where it is
    calibrated; else pixels, each as high as it is to its width.
    """
    rows, columns = clip.frames.shape[1:3]
    regions = fitting(clip.regions, rows, columns)
    found = {region_at(regions, float(column), float(row)) for row, column in places}
    region = found.pop() if len(found) == 1 else None
    if region is not None and region.spacing_mm is not None:
        right, down = region.spacing_mm
        return Scale((down, right), "mm")
    geometry = clip.pictures.geometry
    _, row_mm, column_mm = geometry.spacing_mm
    if geometry.calibration is not Calibration.NONE and not regions:
        return Scale((row_mm, column_mm), "mm", _RESTS_ON.get(geometry.calibration, ""))
    return Scale((row_mm / column_mm, 1.0), PIXELS)


def origin_of(track: Track) -> int:
    """The frame that a track is measured against: its first key frame that has places."""
    seen = [frame for frame in track.key_frames if track.places[frame]]
    return min(seen, default=next((n for n, one in enumerate(track.places) if one), 0))


def curves_of(track: Track, clip: Clip) -> tuple[FrameCurve, ...]:
    """What a track measures on every frame, None where it is not seen; the telling one first.

    A point: how far it moved. A line: its length, strain and how far its middle moved. A contour:
    its area, the strain of its outline, and how far its middle moved.
    """
    frames = [n for n, places in enumerate(track.places) if places]
    if not frames:
        return ()
    places = [np.array(track.places[n], np.float64) for n in frames]
    first = frames.index(origin_of(track))
    scale = scale_at(clip, places[first])
    since = f"since frame {frames[first] + 1}{scale.note}"
    rows: list[tuple[str, str, list[float], str]] = []
    closed = track.shape is TrackShape.CONTOUR
    if closed:
        areas = [area_of(one, scale.spacing) for one in places]
        rows.append(("Area", f"{scale.unit}2", areas, f"Shoelace formula{scale.note}"))
    if track.shape is not TrackShape.POINT:
        lengths = [length_of(one, scale.spacing, closed=closed) for one in places]
        if not closed:
            rows.append(("Length", scale.unit, lengths, f"Sum of its parts{scale.note}"))
        strain = strain_percent(lengths, first)
        rows.append(("Strain", "%", strain, f"Lagrangian, of its length {since}"))
    away = displacement_of(places, scale.spacing, first)
    rows.append(("Displacement", scale.unit, away, f"Of its middle, {since}"))
    return tuple(
        FrameCurve(name, unit, _spread(frames, values, len(track.places)), method, track.uid)
        for name, unit, values, method in rows
    )


@dataclass(frozen=True)
class Figure:
    """One number that a whole track comes to, in its unit, and how it was found."""

    name: str
    value: float
    unit: str
    method: str


def figures_of(track: Track, clip: Clip) -> tuple[Figure, ...]:
    """What a track comes to over the whole clip; empty where it is seen on one frame only.

    A point: how far it moved at most. A line: longest, shortest, and its largest strain. A contour:
    its largest and smallest area, and by which share of the largest it shrinks.
    """
    rows = {curve.name: curve for curve in curves_of(track, clip)}
    seen = {name: [v for v in curve.values if v is not None] for name, curve in rows.items()}
    if len(seen.get("Displacement", ())) < 2:
        return ()
    found: list[Figure] = []

    def tell(name: str, curve: str, value: float, unit: str = "", how: str = "") -> None:
        one = rows[curve]
        found.append(Figure(name, value, unit or one.unit, how or one.method))

    match track.shape:
        case TrackShape.LINE:
            tell("Largest length", "Length", max(seen["Length"]))
            tell("Smallest length", "Length", min(seen["Length"]))
            tell("Largest strain", "Strain", max(seen["Strain"], key=abs))
        case TrackShape.CONTOUR:
            largest, smallest = max(seen["Area"]), min(seen["Area"])
            tell("Largest area", "Area", largest)
            tell("Smallest area", "Area", smallest)
            if largest > 0:
                share = 100 * (largest - smallest) / largest
                how = "Largest less smallest area, by the largest"
                tell("Fractional area change", "Area", share, "%", how)
    tell("Largest displacement", "Displacement", max(seen["Displacement"]))
    return tuple(found)


def _spread(frames: list[int], values: list[float], count: int) -> tuple[float | None, ...]:
    row: list[float | None] = [None] * count
    for frame, value in zip(frames, values, strict=True):
        row[frame] = value
    return tuple(row)


def events_of(track: Track, curves: tuple[FrameCurve, ...]) -> tuple[FrameEvent, ...]:
    """Where the area of a contour, or the length of a line, is largest and smallest in turn.

    Of a ventricle these are about end diastole and end systole. Swings below 4 % of the mean, or
    below half of the whole swing, are none.
    """
    curve = next((one for one in curves if one.name in _TURNS), None)
    if curve is None or any(value is None for value in curve.values):
        return ()
    values = [value for value in curve.values if value is not None]
    span = max(values) - min(values)
    least = max(span / 2, _SWING * sum(values) / len(values))
    high_word, low_word = _TURNS[curve.name]
    return tuple(
        FrameEvent(frame, f"{track.name}: {high_word if high else low_word}")
        for frame, high in extremes(values, least)
    )


def length_of(places: Places, spacing: tuple[float, float], *, closed: bool) -> float:
    """The length of a line through places, in units of `spacing` (of a row, of a column)."""
    scaled = places * np.asarray(spacing)
    if closed:
        scaled = np.concatenate([scaled, scaled[:1]])
    return float(np.linalg.norm(np.diff(scaled, axis=0), axis=1).sum())


def area_of(places: Places, spacing: tuple[float, float]) -> float:
    """The area inside a contour, in squares of the unit of `spacing` (shoelace formula)."""
    rows, columns = (places * np.asarray(spacing)).T
    return float(abs(np.dot(rows, np.roll(columns, -1)) - np.dot(columns, np.roll(rows, -1))) / 2)


def displacement_of(
    places: Sequence[Places], spacing: tuple[float, float], origin: int
) -> list[float]:
    """How far the middle of the places is from where it was on frame `origin`, on every frame."""
    middles = np.stack([one.mean(axis=0) for one in places]) * np.asarray(spacing)
    away: npt.NDArray[np.float64] = np.linalg.norm(middles - middles[origin], axis=1)
    return [float(value) for value in away]


def strain_percent(lengths: Sequence[float], origin: int) -> list[float]:
    """Lagrangian strain, 100 (L - L0) / L0, of lengths against that on frame `origin`.

    (D'hooge et al., Eur. J. Echocardiography 1, 154 (2000).) Zeros where L0 is none.
    """
    first = lengths[origin]
    return [100 * (length - first) / first if first > 0 else 0.0 for length in lengths]


def extremes(values: Sequence[float], least_swing: float) -> list[tuple[int, bool]]:
    """Frames at which a curve turns, and whether it is highest there.

    Between two neighbours of the list it swings by at least `least_swing`; smaller wiggles are
    none. The ends of the curve are no turns.
    """
    turns: list[tuple[int, bool]] = []
    low = high = 0
    rising: bool | None = None
    for frame, value in enumerate(values):
        if value > values[high]:
            high = frame
        if value < values[low]:
            low = frame
        if rising is not False and values[high] - value >= least_swing:
            turns.append((high, True))
            rising, low = False, frame
        elif rising is not True and value - values[low] >= least_swing:
            turns.append((low, False))
            rising, high = True, frame
        if rising is True and value >= values[high]:
            high = frame
        if rising is False and value <= values[low]:
            low = frame
    return [turn for turn in turns if 0 < turn[0] < len(values) - 1]
