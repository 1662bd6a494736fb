"""Frames of DICOM instances: one picture each, with what the headers say of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.clip import Region
from medview.core.errors import ReadError
from medview.core.study import Instance
from medview.core.volume import ValueScale, Window
from medview.io.cine import UNTIMED, Timing, is_paged, regions_of, timing_of
from medview.io.dose import dose_values, is_dose
from medview.io.header import EXPLICIT_BIG
from medview.io.mosaic import Tile, mosaic_tiles
from medview.io.multiframe import damage_refused, frame_values
from medview.io.nuclear import (
    Run,
    is_moving,
    is_reconstruction,
    moments_s,
    runs_of,
    slice_values,
)
from medview.io.plan import VIDEO_SYNTAXES, PixelFormat
from medview.io.real_world import Mapping
from medview.io.stacking import is_orientation
from medview.io.values import NATIVE, Values, number, numbers, pixel_format
from medview.io.video_files import shortfall, survey_dicom, times_of

_STORAGE = "1.2.840.10008.5.1.4.1.1."
#: SOP classes of pictures that are shadows or photographs: headers may carry positions, but a
#: pixel is not at a place in the patient (PS3.3 A.8, A.14, A.16, A.26, A.27, A.32, A.47, A.48).
_FLAT = frozenset(
    _STORAGE + suffix
    for suffix in (
        "1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "3", "3.1", "6", "6.1",
        "12.1", "12.1.1", "12.2", "12.2.1", "12.3", "481.1",
    )
)  # fmt: skip


#: Pixels smaller or larger than these, or this far away, are misprints.
_SMALLEST_MM, _LARGEST_MM, _FARTHEST_MM = 1e-4, 1e3, 1e5
#: Modalities whose pictures are slices: without positions they are still no moments of a clip.
SLICED = frozenset(("CT", "MR", "PT", "NM", "RTDOSE"))


@dataclass(frozen=True, eq=False)
class Place:
    """Where a plane lies: its first pixel in LPS mm, its direction cosines, its pixel size."""

    position: npt.NDArray[np.float64]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of an instance. Without `form` its pixels cannot be read.

    A clip is one frame with `times_s`, for all its pictures, or for those that `pictures` numbers
    where an object holds several clips. `tolerated` is what the reader should hear of, `notes` what
    else there is to say. `curves` are its VOI LUTs, `mappings` its real-world value maps, `offered`
    other scales of its values.
    """

    instance: Instance
    values: Values
    form: PixelFormat | None
    place: Place | None
    number: int = 0
    offset: int = -1
    tile: tuple[int, int, int, int] | None = None
    pictures: tuple[int, ...] = ()
    times_s: tuple[float, ...] = ()
    regions: tuple[Region, ...] = ()
    sweeps: bool = False
    notes: tuple[str, ...] = ()
    tolerated: tuple[str, ...] = ()
    curves: tuple[Window, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    offered: tuple[ValueScale, ...] = ()

    @property
    def format(self) -> PixelFormat:
        """The format of a frame whose pixels can be read."""
        if self.form is None:
            raise ReadError("The picture cannot be read")
        return self.form

    @property
    def acquired(self) -> int:
        """A number that follows the order of acquisition."""
        return (self.instance.number or 0) * 100_000 + self.number


def place_of(values: Values) -> Place | None:
    """The plane's place, or None where position, orientation or spacing are missing or nonsense."""
    if values.get("SOPClassUID") in _FLAT:
        return None
    position = numbers(values, "ImagePositionPatient")
    cosines = numbers(values, "ImageOrientationPatient")
    spacing = numbers(values, "PixelSpacing")
    if not _is_plane(cosines, spacing) or len(position) != 3:
        return None
    if max(map(abs, position)) > _FARTHEST_MM:
        return None
    return Place(np.array(position), cosines, (spacing[0], spacing[1]))


@lru_cache(maxsize=1024)
def _is_plane(cosines: tuple[float, ...], spacing: tuple[float, ...]) -> bool:
    """Whether both make sense; slice after slice repeats them."""
    return len(spacing) == 2 and is_orientation(cosines) and _is_spacing(spacing)


def why_unplaced(values: Values) -> str:
    """Which attribute keeps a slice from having a place, in words; "" if it has one."""
    if place_of(values) is not None:
        return ""
    position = numbers(values, "ImagePositionPatient")
    cosines = numbers(values, "ImageOrientationPatient")
    spacing = numbers(values, "PixelSpacing")
    near = len(position) == 3 and max(abs(x) for x in position) <= _FARTHEST_MM
    stated = {
        "Image Orientation": ("ImageOrientationPatient", is_orientation(cosines)),
        "Image Position": ("ImagePositionPatient", near),
        "Pixel Spacing": ("PixelSpacing", len(spacing) == 2 and _is_spacing(spacing)),
    }
    for name, (keyword, good) in stated.items():
        if not good:
            return f"{name} {'makes no sense' if values.get(keyword) else 'is missing'}"
    return "The file does not say where it lies"


def _is_spacing(spacing: tuple[float, ...]) -> bool:
    return _SMALLEST_MM < min(spacing) <= max(spacing) < _LARGEST_MM


def lost_frame(instance: Instance, values: Values) -> list[Frame]:
    """The place of a slice whose pixels cannot be read, if it has one."""
    place = place_of(values)
    return [] if place is None else [Frame(instance, values, None, place)]


#: Sequences whose content the scan did not keep, and which matter for values and lengths.
_TABLES = ("ModalityLUTSequence", "VOILUTSequence", "RealWorldValueMappingSequence",
           "SequenceOfUltrasoundRegions")  # fmt: skip


def needs_data_set(values: Values) -> bool:
    """Whether the few header values kept by the scan are not enough to know the frames."""
    several = values.get("NumberOfFrames", "").strip() not in ("", "0", "1")
    groups = values.get("PerFrameFunctionalGroupsSequence")
    video = values.get("_TransferSyntax") in VIDEO_SYNTAXES
    tables = any(values.get(keyword) for keyword in _TABLES)
    return bool(several or groups or video or tables or _is_mosaic(values))


def _is_mosaic(values: Values) -> bool:
    siemens = values.get("Manufacturer", "").upper().startswith("SIEMENS")
    several = siemens and (number(values, "MosaicImages") or 0) > 1
    return "MOSAIC" in values.get("ImageType", "") or several


def frames_of(instance: Instance, values: Values, ds: Dataset | None) -> list[Frame]:
    """The pictures of an instance; `ds` is its header where `needs_data_set` says so.

    ReadError where it holds none that can be shown.
    """
    form = pixel_format(values)
    if ds is None:
        if is_dose(values):
            values = {**values, **dose_values(values, 1)[0]}
        offset = int(values["_PixelOffset"]) if _is_direct(form) else -1
        return [Frame(instance, values, form, place_of(values), offset=offset)]
    with damage_refused("The header of the file is damaged"):
        if form.encoding in VIDEO_SYNTAXES:
            return [_video(instance, values, form, ds)]
        if _is_mosaic(values):
            return _mosaic(instance, values, form, ds)
        return _many(instance, values, form, ds)


def _is_direct(form: PixelFormat) -> bool:
    """Whether planes stand in the file as they will in memory, but for the order of bytes.

    Bytes of a big endian file may stand in words, two and two exchanged (PS3.5 7.3).
    """
    in_words = form.encoding == EXPLICIT_BIG and np.dtype(form.dtype).itemsize == 1
    return (
        form.encoding in NATIVE
        and not in_words
        and form.samples == 1
        and form.photometric != "PALETTE COLOR"
        and form.bits_stored > 1
    )


def _many(instance: Instance, values: Values, form: PixelFormat, ds: Dataset) -> list[Frame]:
    merged = [{**values, **text} for text in _texts(values, form, ds)]
    places = [place_of(one) for one in merged]
    start = int(values["_PixelOffset"])
    moving = is_moving(values) or values.get("Modality") not in SLICED
    if form.frames > 1 and moving and not is_paged(ds) and not any(places):
        runs = runs_of(values, ds, form.frames)
        return [
            _clip(instance, _agreed([merged[n] for n in run.frames]), form, ds, run) for run in runs
        ]
    direct = _is_direct(form)
    return [
        Frame(
            instance,
            one,
            form,
            place,
            number,
            start + number * form.plane_bytes if direct else -1,
        )
        for number, (one, place) in enumerate(zip(merged, places, strict=True))
    ]


def _agreed(merged: Sequence[Values]) -> Values:
    """What is said of all frames alike."""
    first, *others = merged
    return {key: text for key, text in first.items() if all(one.get(key) == text for one in others)}


def _texts(values: Values, form: PixelFormat, ds: Dataset) -> list[dict[str, str]]:
    """What the header says of each frame, wherever this kind of object says it."""
    if is_dose(values):
        return dose_values(values, form.frames)
    texts = frame_values(ds, form.frames)
    if is_reconstruction(values) and not any("ImagePositionPatient" in text for text in texts):
        return slice_values(ds, form.frames) or texts
    return texts


def _clip(
    instance: Instance, values: Values, form: PixelFormat, ds: Dataset, run: Run | None = None
) -> Frame:
    run = run or Run(tuple(range(form.frames)))
    moments = moments_s(ds, form.frames, run.frames)
    timing = Timing(moments) if moments else timing_of(values, ds, len(run.frames))
    regions, astray = regions_of(ds, form.rows, form.columns)
    return Frame(
        instance,
        values,
        form,
        None,
        offset=int(values["_PixelOffset"]) if _is_direct(form) else -1,
        pictures=run.frames if len(run.frames) < form.frames else (),
        times_s=timing.times_s,
        regions=regions,
        sweeps=timing.sweeps,
        notes=(*((run.label,) if run.label else ()), *timing.notes),
        tolerated=(*timing.tolerated, *astray),
    )


def _video(instance: Instance, values: Values, form: PixelFormat, ds: Dataset) -> Frame:
    """A video stream: the header's times, or else its own, for as many frames as there are."""
    found = survey_dicom(ds, form)
    stated = form.frames if form.frames > 1 else found.count
    samples = 3 if len(found.shape) == 3 else 1
    form = replace(form, frames=min(stated, found.count), samples=samples, dtype="|u1",
                   bits_stored=8, high_bit=7)  # fmt: skip
    clip = _clip(instance, values, form, ds)
    tolerated = clip.tolerated
    if UNTIMED in tolerated and any(found.times_s):
        times = times_of(found)[: form.frames]
        clip = replace(clip, times_s=times)
        tolerated = tuple(text for text in tolerated if text != UNTIMED)
    tolerated += shortfall(found, stated)
    return replace(clip, offset=-1, notes=(*clip.notes, *found.notes), tolerated=tolerated)


def _mosaic(instance: Instance, values: Values, form: PixelFormat, ds: Dataset) -> list[Frame]:
    """The slices of a mosaic; the whole picture, without a place, where it hides how it lies."""
    try:
        return _tiles(instance, values, form, mosaic_tiles(ds, values))
    except ReadError as error:
        offset = int(values["_PixelOffset"]) if _is_direct(form) else -1
        return [Frame(instance, values, form, None, offset=offset, notes=(error.user_text,))]


def _tiles(
    instance: Instance,
    values: Values,
    form: PixelFormat,
    tiles: list[Tile],
) -> list[Frame]:
    start = int(values["_PixelOffset"]) if _is_direct(form) else -1
    frames = []
    for corner, texts in tiles:
        merged = {**values, **texts}
        frames.append(Frame(instance, merged, form, place_of(merged), 0, start, corner))
    return frames
