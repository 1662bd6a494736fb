"""DICOM series -> plans of volumes: frames placed, sorted, grouped, their values understood.

Two frames share a volume only if they agree in frame of reference, size, orientation, pixel
spacing, colour and unit, and lie on one regular grid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medview.core.codes import UNSPECIFIED
from medview.core.errors import ReadError
from medview.core.geometry import Calibration
from medview.core.study import Instance, Problem, Series, Severity
from medview.io.frames import (
    SLICED,
    Frame,
    Place,
    frames_of,
    lost_frame,
    needs_data_set,
    why_unplaced,
)
from medview.io.identity import PICTURED, kind_of
from medview.io.meaning import scale_name_of, scales_of, with_meaning, with_tables
from medview.io.multiframe import data_sets
from medview.io.phases import Phase, parameter_text, phases_of
from medview.io.plan import (
    ASK_AGAIN,
    Look,
    PixelFormat,
    PlanePlan,
    SeriesPlan,
    VolumePlan,
    unseen,
)
from medview.io.projection import pixel_size
from medview.io.stacking import Stack, normal_of, places_of, stacks_of
from medview.io.values import (
    Scale,
    common_scale,
    is_inverted,
    lost_windows,
    meaning_of,
    number,
    rescale_of,
    windows_of,
)

_SAME_DIRECTION = 1e-3
_SAME_SPACING_MM = 1e-4


@dataclass(frozen=True, eq=False)
class _Draft:
    """Frames in order on a grid, None where a place is empty. Without an affine: no grid."""

    frames: tuple[Frame | None, ...]
    affine: npt.NDArray[np.float64] | None = None
    calibration: Calibration = Calibration.NONE
    notes: tuple[str, ...] = ()
    time_index: int | None = None
    label: str = ""


def plan_dicom(
    series: Series,
    password: str = "",
    companions: Sequence[Series] = (),
    look: Look = unseen,
    lost: Collection[Instance] = (),
) -> SeriesPlan:
    """All volumes of a DICOM series, the one with most slices first.

    `companions` are series of the study that may say what its values mean. Slices that cannot be
    read are problems; where their place is known it stays empty. `look` is told each file before
    anything of it is worked out; those in `lost` are left alone, and their places empty.
    """
    if series.kind not in PICTURED:
        return SeriesPlan(series.uid, ())
    frames, problems = _all_frames(series, password, look, lost)
    frames = with_meaning(frames, companions, password, look)
    look(None)
    drafts = [*_placed(frames), *_unplaced(frames)]
    drafts.sort(key=lambda draft: -len(draft.frames))
    volumes = tuple(
        replace(_volume(draft, series, f"{series.uid}#{n}"), password=password)
        for n, draft in enumerate(drafts)
    )
    return SeriesPlan(series.uid, volumes, tuple(problems))


def _all_frames(
    series: Series, password: str, look: Look, lost: Collection[Instance]
) -> tuple[list[Frame], list[Problem]]:
    """Every frame of the series; instances that cannot be read are problems."""
    frames: list[Frame] = []
    problems = []
    pairs = [(one, {**series.headers, **one.headers}) for one in series.instances]
    # A report or the like that was filed under the images is no image.
    pairs = [(one, values) for one, values in pairs if kind_of(values) in PICTURED]
    wanted = [one for one, values in pairs if needs_data_set(values) and one not in lost]
    headers = data_sets(wanted, password, look)
    for instance, values in pairs:
        if lost and instance in lost:
            frames += lost_frame(instance, values)
            continue
        look(instance)
        header = headers.get((instance.file, instance.member)) if headers else None
        try:
            if isinstance(header, ReadError):
                raise header
            found = with_tables(frames_of(instance, values, header), header)
            frames += found
            problems += [_warning(instance, text) for one in found for text in one.tolerated]
        except ReadError as error:
            problems.append(_problem(instance, error))
            frames += lost_frame(instance, values)
    return frames, problems


def _problem(instance: Instance, error: ReadError) -> Problem:
    return Problem(instance.shown, error.user_text, Severity.REFUSED, error.hint or ASK_AGAIN)


def _warning(instance: Instance, text: str) -> Problem:
    return Problem(instance.shown, text, Severity.WARNING, "Check the clip against its source")


def _placed(frames: Sequence[Frame]) -> list[_Draft]:
    """Volumes of the frames whose place is known."""
    drafts = []
    for group in _alike([frame for frame in frames if frame.place is not None]):
        positions = np.array([frame.place.position for frame in group if frame.place])
        normal = normal_of(_place(group[0]).orientation)
        places = places_of(positions, normal)
        phases, told = phases_of(
            places, [frame.values for frame in group], [frame.acquired for frame in group]
        )
        # A few slices that are there twice make no second moment.
        last, first = len(phases[-1].members), len(phases[0].members)
        moments = len(phases) > 1 and (told or last == first)
        for moment, phase in enumerate(phases):
            members = [group[index] for index in phase.members]
            drafts += [
                replace(draft, time_index=moment if moments else None, label=phase.label)
                for draft in _drafts_of(
                    members,
                    positions[list(phase.members)],
                    normal,
                    _phase_notes(phase, len(phases), told),
                )
            ]
    return [draft for draft in drafts if any(frame and frame.form for frame in draft.frames)]


def _place(frame: Frame) -> Place:
    if frame.place is None:
        raise ReadError("The slice does not say where it lies")
    return frame.place


def _phase_notes(phase: Phase, count: int, told: Sequence[str]) -> tuple[str, ...]:
    if count == 1:
        return ()
    if told:
        names = " and ".join(told)
        return (phase.label, f"{count} volumes at the same places, told apart by {names}")
    return (f"{count} slices share a place and nothing says why: each is in a volume of its own",)


def _alike(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames gathered by everything that two slices of one volume must share."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        place, values = _place(frame), frame.values
        photometric = values.get("PhotometricInterpretation", "")
        key = (
            values.get("FrameOfReferenceUID", ""),
            values.get("Rows"),
            values.get("Columns"),
            "COLOR" if photometric.startswith(("RGB", "YBR", "PAL")) else photometric,
            values.get("RescaleType", ""),
            values.get("Units", ""),
            values.get("StackID", ""),
            "LOCALIZER" in values.get("ImageType", ""),
        )
        for group in groups.setdefault(key, []):
            if _same_plane(place, _place(group[0])):
                group.append(frame)
                break
        else:
            groups[key].append([frame])
    return [group for same_key in groups.values() for group in same_key]


def _same_plane(one: Place, other: Place) -> bool:
    if one.orientation == other.orientation and one.spacing == other.spacing:
        return True
    return bool(
        max(abs(a - b) for a, b in zip(one.orientation, other.orientation, strict=True))
        < _SAME_DIRECTION
        and max(abs(a - b) for a, b in zip(one.spacing, other.spacing, strict=True))
        < _SAME_SPACING_MM
    )


def _drafts_of(
    frames: Sequence[Frame],
    positions: npt.NDArray[np.float64],
    normal: npt.NDArray[np.float64],
    notes: tuple[str, ...],
) -> list[_Draft]:
    """The grids of frames that lie at different places."""
    stacks = stacks_of(positions, normal)
    if len(stacks) != 1 and (parts := _told_apart(frames, positions, normal)):
        return [
            draft
            for text, part in parts
            for draft in _drafts_of(
                [frames[n] for n in part], positions[part], normal, (*notes, text)
            )
        ]
    if not stacks:
        order = np.argsort(positions @ normal)
        note = "The slices lie at uneven distances: shown in order, without millimetres"
        return [_Draft(tuple(frames[n] for n in order), notes=(*notes, note))]
    drafts = []
    for stack in stacks:
        members = tuple(None if n is None else frames[n] for n in stack.order)
        first = next(frame for frame in members if frame is not None)
        affine, extent = _affine(stack, _place(first), normal, first)
        told = (*notes, *stack.notes, *extent)
        drafts.append(_Draft(members, affine, Calibration.PATIENT, told))
    return drafts


#: What slices that form no single grid may belong to: stations, passes, reconstructions.
_STATIONS = ("AcquisitionNumber", "ImageType", "ConvolutionKernel", "SliceThickness", "EchoTime",
             "TemporalPositionIdentifier", "AcquisitionTime")  # fmt: skip


def _told_apart(
    frames: Sequence[Frame], positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64]
) -> list[tuple[str, list[int]]]:
    """Parts of which each is one regular grid, by an attribute; empty if none parts them so."""
    for keyword in _STATIONS:
        parts: dict[str, list[int]] = {}
        for index, frame in enumerate(frames):
            parts.setdefault(frame.values.get(keyword, ""), []).append(index)
        few = 1 < len(parts) <= len(frames) / 3
        if few and all(len(stacks_of(positions[part], normal)) == 1 for part in parts.values()):
            return [(parameter_text(keyword, text), part) for text, part in parts.items()]
    return []


def _affine(
    stack: Stack, place: Place, normal: npt.NDArray[np.float64], first: Frame
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """(k, j, i, 1) to LPS mm (PS3.3 C.7.6.2.1.1), shear of a tilted gantry kept."""
    row, column = np.array(place.orientation[:3]), np.array(place.orientation[3:])
    affine = np.eye(4)
    affine[:3, 1] = column / np.linalg.norm(column) * place.spacing[0]
    affine[:3, 2] = row / np.linalg.norm(row) * place.spacing[1]
    affine[:3, 3] = stack.origin
    notes: tuple[str, ...] = ()
    if len(stack.order) == 1:
        thickness = number(first.values, "SliceThickness") or 0.0
        affine[:3, 0] = normal * (thickness if thickness > 0 else 1.0)
        known = f"its thickness is {thickness:g} mm" if thickness > 0 else "of unknown thickness"
        notes = (f"A single slice, {known}",)
    else:
        affine[:3, 0] = stack.step
        unit = stack.step / np.linalg.norm(stack.step)
        lean = np.degrees(np.arccos(min(1.0, abs(float(unit @ normal)))))
        if lean > 0.1:
            notes = (f"The slices are stacked askew by {lean:.1f} degrees (gantry tilt)",)
    return affine, notes


def _unplaced(frames: Sequence[Frame]) -> list[_Draft]:
    """Pictures without a place in the patient: each its own, or a stack to scroll through."""
    drafts = []
    stacks: dict[tuple[object, ...], list[Frame]] = {}
    for frame in sorted(frames, key=lambda frame: frame.acquired):
        if frame.place is not None or frame.form is None:
            continue
        if frame.times_s:
            drafts.append(_clip(frame))
        elif frame.values.get("Modality") in SLICED:
            form = frame.format
            key = (form.rows, form.columns, form.samples, form.photometric)
            stacks.setdefault(key, []).append(frame)
        else:
            drafts.append(_projection(frame))
    drafts += [_Draft(tuple(stack), notes=(_unplaced_note(stack),)) for stack in stacks.values()]
    return drafts


def _unplaced_note(frames: Sequence[Frame]) -> str:
    reasons = [text for one in frames for text in (one.notes or (why_unplaced(one.values),))]
    why = "; ".join(reason for reason in dict.fromkeys(reasons) if reason)
    return f"Orientation unknown, shown without millimetres or sides: {why}"


def _projection(frame: Frame) -> _Draft:
    size = pixel_size(frame.values)
    affine = np.diag([1.0, size.rows_mm, size.columns_mm, 1.0])
    return _Draft((frame,), affine, size.calibration, () if frame.regions else size.notes)


def _clip(frame: Frame) -> _Draft:
    """The frames of a clip, with the pixel size of a projection where they are shadows."""
    size = pixel_size(frame.values)
    affine = np.diag([1.0, size.rows_mm, size.columns_mm, 1.0])
    notes = (*frame.tolerated, *frame.notes, *(() if frame.regions else size.notes))
    return _Draft((frame,) * len(frame.times_s), affine, size.calibration, notes)


def _volume(draft: _Draft, series: Series, uid: str) -> VolumePlan:
    good = [frame for frame in draft.frames if frame is not None and frame.form is not None]
    middle = good[len(good) // 2]
    scale = common_scale([frame.format for frame in good], [frame.values for frame in good])
    quantity, unit, notes = meaning_of(middle.values)
    if not scale.trusted:
        quantity, unit = UNSPECIFIED, "1"
        notes = ("The rescale values of the file make no sense: stored values are shown",)
    notes = (*notes, *middle.notes, *lost_windows(middle.values))
    rows, columns = int(middle.values["Rows"]), int(middle.values["Columns"])
    affine = np.eye(4) if draft.affine is None else draft.affine
    trusted = draft.affine is not None and scale.trusted
    shape = (len(draft.frames), rows, columns)
    return VolumePlan(
        uid=uid,
        series_uid=series.uid,
        shape=shape if scale.channels == 1 else (*shape, scale.channels),
        dtype=scale.dtype,
        affine=tuple(tuple(float(x) for x in line) for line in affine),
        planes=_planes(draft, scale),
        frame_of_reference_uid=middle.values.get("FrameOfReferenceUID", ""),
        calibration=draft.calibration if trusted else Calibration.NONE,
        slope=scale.slope,
        intercept=scale.intercept,
        real_values=scale.real_values,
        time_index=draft.time_index,
        label=draft.label,
        quantity=quantity,
        unit=unit,
        windows=(*middle.curves, *windows_of(middle.values)) if scale.trusted else (),
        padding=scale.padding,
        blank=scale.blank,
        inverted=is_inverted(middle.values),
        scale_name=scale_name_of(middle),
        scales=scales_of(good, scale),
        frame_times_s=middle.times_s,
        regions=middle.regions,
        sweeps=middle.sweeps,
        notes=tuple(dict.fromkeys((*draft.notes, *_lost_note(draft), *notes))),
    )


def _planes(draft: _Draft, scale: Scale) -> tuple[PlanePlan, ...]:
    planes = []
    for k, frame in enumerate(draft.frames):
        if frame is None or frame.form is None:
            uid = "" if frame is None else frame.instance.sop_instance_uid
            planes.append(PlanePlan(None, PixelFormat("", 0, 0, scale.dtype), instance_uid=uid))
            continue
        rescale = rescale_of(frame.values)
        clip = bool(frame.times_s)
        picture = frame.pictures[k] if frame.pictures else k if clip else frame.number
        direct = frame.offset >= 0
        planes.append(
            PlanePlan(
                file=frame.instance.file,
                format=frame.form,
                member=frame.instance.member,
                frame=picture,
                offset=frame.offset + picture * frame.form.plane_bytes
                if clip and direct
                else frame.offset,
                slope=rescale.slope,
                intercept=rescale.intercept,
                tile=frame.tile,
                instance_uid=frame.instance.sop_instance_uid,
            )
        )
    return tuple(planes)


def _lost_note(draft: _Draft) -> tuple[str, ...]:
    lost = [k for k, frame in enumerate(draft.frames) if frame is not None and frame.form is None]
    if not lost:
        return ()
    names = ", ".join(str(k + 1) for k in lost[:5]) + (", ..." if len(lost) > 5 else "")
    verb = "is" if len(lost) == 1 else "are"
    noun = "Slice" if len(lost) == 1 else "Slices"
    return (f"{noun} {names} of {len(draft.frames)} {verb} unreadable and shown empty",)
