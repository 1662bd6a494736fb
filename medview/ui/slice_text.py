"""The words on a picture: whose it is, what it is, and what must never be hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from medview.core.clip import Clip
from medview.core.codes import UNIT_TEXT
from medview.core.findings import ModelAuthor, Point, ReviewState
from medview.core.geometry import Calibration, Geometry
from medview.core.segmentation import Segment
from medview.core.study import Patient, Series, Study
from medview.core.views import Plane
from medview.core.volume import Volume, Window
from medview.imaging.reslice import EdgeLetters, PlaneFrame, letters_from_patient_orientation
from medview.ui import text
from medview.ui.region_text import region_line
from medview.ui.viewport import Viewport


class TextAmount(StrEnum):
    """How much is written; what a reader must not miss stays in all three."""

    FULL = "full"
    MINIMAL = "minimal"
    NONE = "none"


@dataclass(frozen=True)
class Corners:
    """Lines of text in the four corners."""

    top_left: tuple[str, ...] = ()
    top_right: tuple[str, ...] = ()
    bottom_left: tuple[str, ...] = ()
    bottom_right: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """What a view shows at a moment, as far as words are concerned."""

    study: Study
    series: Series
    volume: Volume
    port: Viewport
    window: Window
    hover_lps_mm: Point | None
    volume_count: int = 1
    volume_place: int = 1
    clip: Clip | None = None
    speed: float = 1.0

    def pixel_at(self, point_lps_mm: Point) -> tuple[float, float]:
        """The place (x, y) of a point in the picture, counted in pixels."""
        _, row, column = self.volume.geometry.to_index(point_lps_mm)
        return float(column), float(row)


_PLANE_NAMES = {
    Plane.AXIAL: "Axial",
    Plane.CORONAL: "Coronal",
    Plane.SAGITTAL: "Sagittal",
    Plane.ACQUIRED: "",
}

_RULER_NOTES = {
    Calibration.PATIENT: "",
    Calibration.DETECTOR: "at detector",
    Calibration.MAGNIFIED: "magnification estimated",
    Calibration.FIDUCIAL: "calibrated by fiducial",
    Calibration.NONE: "px only",
}


def corners(shown: Shown, amount: TextAmount) -> Corners:
    """The corner texts: patient, study, image, series."""
    if amount is TextAmount.NONE:
        return Corners()
    minimal = amount is TextAmount.MINIMAL
    image = _image_lines(shown)
    return Corners(
        top_left=_clean(_patient_lines(shown.study.patient)),
        top_right=() if minimal else _clean(_study_lines(shown.study, shown.series)),
        bottom_left=_clean(image[:2] if minimal else image),
        bottom_right=() if minimal else _clean(_series_lines(shown.series)),
    )


def _clean(lines: tuple[str, ...]) -> tuple[str, ...]:
    """Texts of files without what controls or reverses; empty ones left out."""
    return tuple(line for line in map(text.shown, lines) if line)


def edge_letters(shown: Shown) -> EdgeLetters:
    """Directions at the edges: from the grid, or of a projection from its header."""
    frame, state = shown.port.frame, shown.port.state
    if frame.geometry.in_patient_space:
        return frame.letters
    header = shown.series.headers.get("PatientOrientation", "")
    return (
        letters_from_patient_orientation(header)
        .turned(state.quarter_turns)
        .flipped(horizontal=state.flipped_horizontally, vertical=state.flipped_vertically)
    )


def ruler_note(geometry: Geometry) -> str:
    """What the millimetres of the ruler rest on; "" for those of the patient."""
    return _RULER_NOTES[geometry.calibration]


def warnings(shown: Shown, letters: EdgeLetters) -> tuple[str, ...]:
    """What may never be hidden, besides the letters."""
    lines = []
    laterality = _laterality(shown.series)
    if laterality:
        lines.append(laterality)
    if not letters.left:
        lines.append("Orientation unknown")
    if shown.series.headers.get("LossyImageCompression", "") == "01":
        ratio = shown.series.headers.get("LossyImageCompressionRatio", "").split("\\")[-1]
        lines.append(f"Lossy compression {ratio}:1" if ratio else "Lossy compression")
    notes = text.reading_notes(shown.series, [shown.volume])
    if notes:
        lines.append(_noted(notes))
    lines.append("Not for diagnosis")
    return tuple(lines)


def loading_words(fraction: float) -> str:
    """How much of a series is there."""
    return f"Loading {fraction * 100:.0f} %"


def reading_words(scanned: tuple[int, int] | None) -> str:
    """How many files of how many were looked at."""
    if scanned is None or not scanned[1]:
        return "Reading files"
    return f"Reading {scanned[0]:,} of {scanned[1]:,} files"


def _noted(notes: Sequence[str]) -> str:
    """The first of the notes of reading, cut to a line, and how many more there are."""
    first = notes[0] if len(notes[0]) <= _NOTE_LETTERS else notes[0][:_NOTE_LETTERS] + "…"
    return f"Note: {first}" + (f" (+{len(notes) - 1})" if len(notes) > 1 else "")


_NOTE_LETTERS = 70


def ai_notice(segments: Sequence[Segment], *, overlay_shown: bool, any_proposed: bool) -> str:
    """What of a model's is in the picture; "" for nothing."""
    proposed = [s for s in segments if s.review.state is ReviewState.PROPOSED]
    if proposed:
        return "AI proposal shown"
    if any_proposed and not overlay_shown:
        return "AI proposal hidden"
    if any(isinstance(segment.provenance.author, ModelAuthor) for segment in segments):
        return "AI result, reviewed"
    return ""


def time_of(value: str) -> str:
    """A DICOM time (HHMMSS.FFFFFF) as HH:MM; anything else as it is."""
    whole = len(value) >= 4 and value[:4].isdigit()
    return f"{value[:2]}:{value[2:4]}" if whole else value


def _patient_lines(patient: Patient) -> tuple[str, ...]:
    birth = f"* {text.date(patient.birth_date) or 'unknown'}"
    return (
        text.person_name(patient.name),
        f"{birth}  {patient.sex}".strip(),
        f"ID {patient.id or 'unknown'}",
    )


def _study_lines(study: Study, series: Series) -> tuple[str, ...]:
    when = " ".join(part for part in (text.date(study.date), time_of(study.time)) if part)
    accession = f"Acc {study.accession}" if study.accession else ""
    institution = series.headers.get("InstitutionName", "")
    return institution, study.description, when, accession


def _series_lines(series: Series) -> tuple[str, ...]:
    head = " ".join(
        part
        for part in (series.modality, "" if series.number is None else f"S{series.number}")
        if part
    )
    lines = [
        series.headers.get("ContrastBolusAgent", ""),
        " ".join(p for p in (series.body_part, series.headers.get("ViewPosition", "")) if p),
        series.description,
        head,
    ]
    return tuple(lines)


def _place_line(series: Series, port: Viewport) -> str:
    """Thickness of the slice, and where it lies along the axis it is nearest to."""
    frame = port.frame
    if not frame.geometry.in_patient_space:
        return ""
    axis = frame.patient_axis
    place = frame.to_lps_mm(*port.center_mm, port.number)[axis]
    thickness = series.headers.get("SliceThickness", "") if frame.normal == 0 else ""
    try:
        words = f"{float(thickness):g} mm · "
    except ValueError:
        words = f"{frame.step_mm:.2g} mm · "
    return words + _coordinate(axis, place) + " mm"


def _coordinate(axis: int, value: float) -> str:
    """A patient coordinate with the letter of its side: L/R, P/A, H/F."""
    letter = ("LR", "PA", "HF")[axis][0 if value >= 0 else 1]
    return f"{letter} {abs(value):.1f}"


def _image_lines(shown: Shown) -> tuple[str, ...]:
    port, window = shown.port, shown.window
    first = _number_line(shown)
    label = f"  {window.explanation}" if window.explanation else ""
    label = f"  VOI LUT{label}" if window.curve is not None else label
    lines = [first]
    if shown.volume.channels == 1:
        unit = UNIT_TEXT.get(shown.volume.unit, shown.volume.unit) if shown.volume.scales else ""
        ends = f"W {_short(window.width)}  L {_short(window.center)}  {unit}".rstrip()
        lines.append(ends + label)
    if shown.volume_count > 1:
        lines.append(shown.volume.label[:_NOTE_LETTERS])
    lines.append(f"Zoom {port.state.zoom * 100:.0f} %")
    lines.append(_place_line(shown.series, port))
    if shown.hover_lps_mm is not None:
        lines.append(value_line(shown.volume, port.frame, shown.hover_lps_mm))
        if not port.frame.geometry.in_patient_space:
            lines.append(region_line(shown.volume, *shown.pixel_at(shown.hover_lps_mm)))
    return tuple(lines)


def _number_line(shown: Shown) -> str:
    """Which image of how many; of a clip also the frame's time, and how fast it is played."""
    number, count, given = image_number(shown.volume, shown.series, shown.port)
    clip, several = shown.clip, f"  {shown.volume_place}/{shown.volume_count}"
    if clip is not None:
        number = shown.port.number + 1
        line = f"Frame {number}/{count}  {clip.frame_times_s[number - 1]:.3f} s"
        rate = f"  {clip.rate_hz * shown.speed:.3g}/s" if clip.rate_hz else ""
        slowed = f" (×{shown.speed:g})" if shown.speed != 1 else ""
        return line + rate + slowed + (f"  Clip{several}" if shown.volume_count > 1 else "")
    name = _PLANE_NAMES[shown.port.frame.plane]
    line = f"{name}  {number}/{count}" if name else f"Image {number}/{count}"
    line += f"  Im {given}" if given not in (None, number) else ""
    return line + (f"  Volume{several}" if shown.volume_count > 1 else "")


def image_number(volume: Volume, series: Series, port: Viewport) -> tuple[int, int, int | None]:
    """The number of the image on show, how many there are, and the number its file gives it.

    Acquired images are counted by their Instance Number (0020,0013), so that "image 45" means the
    same in every program, unless it goes beyond their count: the series was divided, or is part of
    a longer one. Then, as in other planes, they are counted in scrolling order.
    """
    frame = port.frame
    given = None
    if frame.normal == 0 and len(volume.instance_uids) == frame.count > 1:
        wanted = volume.instance_uids[port.number]
        numbers = (one.number for one in series.instances if one.sop_instance_uid == wanted)
        given = next(numbers, None)
    if given is not None and 1 <= given <= frame.count:
        return given, frame.count, given
    place = port.number if frame.next_sign > 0 else frame.count - 1 - port.number
    return place + 1, frame.count, given


def value_line(volume: Volume, frame: PlaneFrame, point_lps_mm: Point) -> str:
    """The value under the pointer with its unit, and where that is; "" beside the image."""
    geometry = volume.geometry
    if not geometry.contains(point_lps_mm):
        return ""
    k, j, i = (int(n) for n in np.floor(geometry.to_index(point_lps_mm) + 0.5))
    stored = volume.voxels[k, j, i]
    if volume.channels > 1:
        value = "RGB " + " ".join(str(int(v)) for v in stored[:3])
    elif bool(volume.is_padding(np.asarray(stored)).any()):
        value = "no image"
    else:
        unit = UNIT_TEXT.get(volume.unit, volume.unit)
        value = f"{_short(float(volume.value_of(stored)))} {unit}".strip()
    if geometry.in_patient_space:
        place = "  ".join(_coordinate(axis, v) for axis, v in enumerate(point_lps_mm))
        return f"{value}   {place}"
    down, right = (j, i) if frame.normal == 0 else (k, i)
    return f"{value}   row {down + 1}, column {right + 1}"


def _short(value: float) -> str:
    """A number with as many digits as its size deserves."""
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100 or value == round(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def _laterality(series: Series) -> str:
    side = series.laterality or series.headers.get("ImageLaterality", "")
    return {"L": "Left", "R": "Right", "B": "Both sides"}.get(side.strip().upper(), "")
