"""Videos as clips: files of their own, and streams inside DICOM objects (PS3.5 8.2.5 to 8.2.8)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets

from medview.core.errors import ReadError
from medview.core.geometry import Calibration
from medview.core.study import Problem, Series, Severity
from medview.io.archives import read_all
from medview.io.multiframe import damage_refused
from medview.io.plan import HEVC_SYNTAXES, PixelFormat, PlanePlan, SeriesPlan, VolumePlan
from medview.io.video import Survey, bare_stream_of, container_of, pictures, survey

#: How pixels of a video file are encoded (see PixelFormat).
VIDEO = "video"
#: What the head of a file is looked at for.
_HEAD = 1024
_AGAIN = "Get the video again from its source"
_UNTIMED = "The video does not say when its frames were taken: 25 a second are assumed"
_ASSUMED_S = 0.04
#: For how long a frame that stands alone is shown, as animated pictures without a time are.
_LONE_S = 0.1
#: Lengths in headers are rounded, and rarely exact.
_WHOLE = 0.95


def plan_video(series: Series, password: str = "") -> SeriesPlan:
    """One clip, or one picture where the video has one frame only."""
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    found = survey(entry.data, container_of(entry.data[:_HEAD]))
    tolerated = list(shortfall(found, found.declared) or _breaks_off(found))
    if not all(found.times_s[1:]):
        tolerated.append(_UNTIMED)
    rows, columns = found.shape[:2]
    form = PixelFormat(VIDEO, rows, columns, "|u1", samples=3 if len(found.shape) == 3 else 1,
                       photometric="RGB", frames=found.count)  # fmt: skip
    first = PlanePlan(instance.file, form, instance.member, instance_uid="")
    volume = VolumePlan(
        uid=f"{series.uid}#0",
        series_uid=series.uid,
        shape=(found.count, *found.shape),
        dtype="|u1",
        affine=_flat(found.pixel_width),
        planes=tuple(replace(first, frame=n) for n in range(found.count)),
        calibration=Calibration.NONE,
        frame_times_s=times_of(found) if found.count > 1 else (),
        notes=(*tolerated, *found.notes),
        password=password,
    )
    problems = tuple(Problem(instance.shown, one, Severity.WARNING, _AGAIN) for one in tolerated)
    return SeriesPlan(series.uid, (volume,), problems)


def shortfall(found: Survey, stated: int) -> tuple[str, ...]:
    """What to say where not all frames that are stated can be shown."""
    total = found.count + found.left_out
    notes = []
    if found.left_out:
        gigabytes = total * math.prod(found.shape) / 1e9
        notes.append(
            f"The first {found.count:,} of {total:,} frames are shown: "
            f"all of them would need {gigabytes:.1f} GB of memory"
        )
    if stated > total:
        notes.append(f"{total:,} of {stated:,} frames are in the file")
    return tuple(notes)


def _breaks_off(found: Survey) -> tuple[str, ...]:
    """What to say where the last frame stands far before the end that the container states."""
    last_s = found.times_s[-1]
    rest_s = last_s / (found.count - 1) if found.count > 1 else _LONE_S
    if found.left_out or not found.has_times or last_s + 2 * rest_s > _WHOLE * found.length_s:
        return ()
    return (f"The video breaks off after {last_s:.1f} s of {found.length_s:.1f} s",)


def times_of(found: Survey) -> tuple[float, ...]:
    """The times of the frames in seconds; evenly, 25 a second, where the stream gives none."""
    if all(found.times_s[1:]):
        return found.times_s
    return tuple(n * _ASSUMED_S for n in range(found.count))


def _flat(pixel_width: float) -> tuple[tuple[float, ...], ...]:
    """A grid without millimetres whose pixels have the right shape."""
    grid = np.diag([1.0, 1.0, pixel_width, 1.0])
    return tuple(tuple(float(x) for x in line) for line in grid)


def survey_dicom(ds: Dataset, form: PixelFormat) -> Survey:
    """What the video of a DICOM object holds; ReadError where it contradicts the header."""
    stream, container = _stream_of(ds, form)
    found = survey(stream, container)
    if found.shape[:2] != (form.rows, form.columns):
        raise ReadError(
            f"The video is {found.shape[1]} x {found.shape[0]}, "
            f"the header says {form.columns} x {form.rows}",
            _AGAIN,
        )
    return found


def _stream_of(ds: Dataset, form: PixelFormat) -> tuple[bytes, str]:
    """The video as it would be a file, and its container."""
    with damage_refused("The video in the file is damaged"):
        packed = ds.PixelData
        skipped = 8 + 4 * len(parse_basic_offsets(packed))
        stream = b"".join(generate_fragments(packed[skipped:]))
    container = bare_stream_of(stream[:_HEAD], hevc=form.encoding in HEVC_SYNTAXES)
    if not container:
        raise ReadError("The video in the file is not what its transfer syntax says", _AGAIN)
    return stream, container


def video_pictures(
    data: bytes, planes: Sequence[PlanePlan]
) -> Iterator[npt.NDArray[np.uint8] | ReadError]:
    """Frames of a file in memory, in ascending order; an error in the place of a damaged one."""
    form = planes[0].format
    shape = (form.rows, form.columns) if form.samples == 1 else (form.rows, form.columns, 3)
    try:
        if form.encoding == VIDEO:
            stream, container = data, container_of(data[:_HEAD])
        else:
            with damage_refused("The header of the file is damaged"):
                ds = dcmread(io.BytesIO(data), force=True)
            stream, container = _stream_of(ds, form)
    except ReadError as error:
        return iter([error] * len(planes))
    return pictures(stream, container, [plane.frame for plane in planes], shape)
