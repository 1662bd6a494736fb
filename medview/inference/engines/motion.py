"""The engine of motion: points and contours of a reader followed through a clip.

`parameters["tracks"]` are the tracks to follow, as `core.plain` writes them; those of their places
that lie on key frames are the reader's and stay. `parameters["changed"]`, a list of key frames,
limits the work to what lies between them and their neighbours; the other places are taken as they
are. Without tracks the whole clip is looked at: how much moves when, and where scenes change.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from torch import nn

from medview.core.clip import Clip
from medview.core.errors import ModelError
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.plain import PlainError, from_plain, to_plain
from medview.core.study import Series, Study
from medview.core.timeline import FrameCurve, FrameEvent, FramePoint, Timeline, Track
from medview.imaging.motion import (
    Picture,
    Places,
    blended,
    displaced,
    grey,
    scene_changes,
    small,
)
from medview.imaging.tracks import curves_of, events_of, scale_at
from medview.inference.adapter import Context, loaded
from medview.inference.engines.network import load_trained, read_metadata
from medview.inference.networks.readings import flat_recipe, motion_between

#: Pixels around what is followed that the network sees: it moves less from frame to frame.
_MARGIN_PX = 48
#: The network needs this many pixels a side.
_LEAST_PX = 64
#: The side of the copies that the motion of whole pictures is measured on.
_OVERVIEW_PX = 160
SCENE_CHANGE = "Scene change"

#: Places on each frame of a part of the clip; None where nothing could be followed to.
_Passage = list[Places | None]


class Engine:
    """Follows what a reader placed, or gives the motion of a whole clip."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._network: nn.Module | None = None

    def load(self, device: str) -> None:
        """Read the network and how pictures come to it."""
        self._network = load_trained(self._folder, device)
        self._recipe = flat_recipe(read_metadata(self._folder))

    def unload(self) -> None:
        """Let go of the weights."""
        self._network = None

    def run(
        self,
        clip: Clip,
        series: Series | None,  # noqa: ARG002  (motion is in the pictures alone)
        study: Study | None,  # noqa: ARG002
        context: Context,
    ) -> InferenceResult:
        """Give a timeline; ModelError where nothing can move or the tracks make no sense."""
        if len(clip.frames) < 2:
            raise ModelError("The clip has one frame only: nothing moves.")
        tracks = wanted_tracks(context, len(clip.frames))
        cuts = self._cuts(clip, context)
        if tracks:
            return self._follow(clip, tracks, cuts, context)
        return self._overview(clip, cuts, context)

    def _between(self, first: Picture, second: Picture) -> npt.NDArray[np.float32]:
        network = loaded(self._network, self.card)
        return motion_between(network, first, second, self._recipe)

    def _cuts(self, clip: Clip, context: Context) -> list[int]:
        copies = []
        for number, frame in enumerate(clip.frames):
            context.progress("Looking for scenes", 0.1 * number / len(clip.frames))
            copies.append(small(grey(frame)))
        return scene_changes(copies)

    # The reader's tracks

    def _follow(
        self, clip: Clip, tracks: Sequence[Track], cuts: list[int], context: Context
    ) -> InferenceResult:
        changed = context.parameters.get("changed")
        followers = [Follower(clip, track, cuts, self._between) for track in tracks]
        total = sum(one.steps(changed) for one in followers) or 1
        done, followed = 0, []
        for follower in followers:
            for _ in follower.follow(changed):
                done += 1
                stage = f"Following {follower.track.name}"
                context.progress(stage, 0.1 + 0.9 * min(done / total, 1.0))
            followed.append(follower.track)
        curves = [curves_of(track, clip) for track in followed]
        events = [
            event
            for track, own in zip(followed, curves, strict=True)
            for event in events_of(track, own)
        ]
        timeline = Timeline(
            clip_uid=clip.uid,
            frame_times_s=clip.frame_times_s,
            provenance=context.provenance,
            curves=tuple(curve for own in curves for curve in own),
            tracks=tuple(followed),
            events=tuple(_cut_events(cuts) + events),
            title=self.card.title,
        )
        return InferenceResult(context.job_uid, timeline=timeline)

    # The whole clip

    def _overview(self, clip: Clip, cuts: list[int], context: Context) -> InferenceResult:
        rows, columns = clip.frames.shape[1:3]
        step = max(1, round(max(rows, columns) / _OVERVIEW_PX))
        scale = scale_at(clip, np.array([[(rows - 1) / 2, (columns - 1) / 2]]))
        times = clip.frame_times_s
        values: list[float | None] = []
        before = small(grey(clip.frames[0]), _OVERVIEW_PX)
        for frame in range(1, len(clip.frames)):
            context.progress("Measuring motion", 0.1 + 0.9 * frame / len(clip.frames))
            now = small(grey(clip.frames[frame]), _OVERVIEW_PX)
            lasted_s = times[frame] - times[frame - 1]
            if frame in cuts or lasted_s <= 0 or min(now.shape) < _LEAST_PX // 2:
                values.append(None)
            else:
                motion = self._between(before, now) * step
                way = _mean_way(before, motion, scale.spacing)
                values.append(way / lasted_s)
            before = now
        curve = FrameCurve(
            "Motion", f"{scale.unit}/s", (*values, None),
            "Mean speed to the next frame, over the half of the picture with the most texture",
        )  # fmt: skip
        timeline = Timeline(
            clip_uid=clip.uid,
            frame_times_s=times,
            provenance=context.provenance,
            curves=(curve,),
            events=tuple(_cut_events(cuts)),
            title=self.card.title,
        )
        return InferenceResult(context.job_uid, timeline=timeline)


class Follower:
    """One track and the way it is followed: from key frame to key frame, else to the end.

    `between` gives the motion between two pictures. Between two key frames the track is followed
    from both and changes over from one to the other. At a change of scene it ends.
    """

    def __init__(
        self,
        clip: Clip,
        track: Track,
        cuts: Sequence[int],
        between: Callable[[Picture, Picture], npt.NDArray[np.float32]],
    ) -> None:
        self.track = track
        self._cuts = frozenset(cuts)
        self._between = between
        self._last = len(clip.frames) - 1
        self._picture = lru_cache(maxsize=4)(lambda frame: grey(clip.frames[frame]))

    def steps(self, changed: Sequence[int] | None) -> int:
        """How many steps from frame to frame there are to go."""
        keys = self.track.key_frames
        return sum(
            (stop - start) * ((start in keys) + (stop in keys))
            for start, stop in self._parts(changed)
        )

    def follow(self, changed: Sequence[int] | None) -> Iterator[int]:
        """Follow the track, telling each frame that was reached; then `track` is the new one."""
        places = list(self.track.places)
        keys = self.track.key_frames
        for start, stop in self._parts(changed):
            forth = back = None
            if start in keys:
                forth = yield from self._pass(start, stop)
            if stop in keys:
                back = yield from self._pass(stop, start)
            for frame, found in zip(range(start, stop + 1), _joined(forth, back), strict=True):
                if frame not in keys:
                    places[frame] = _points(found)
        self.track = replace(self.track, places=tuple(places))

    def _parts(self, changed: Sequence[int] | None) -> list[tuple[int, int]]:
        """First and last frame between neighbouring key frames, and from them to the ends."""
        ends = sorted({0, *self.track.key_frames, self._last})
        return [
            (start, stop)
            for start, stop in pairwise(ends)
            if changed is None or start in changed or stop in changed
        ]

    def _pass(self, start: int, stop: int) -> Generator[int, None, _Passage]:
        """Follow from the key frame `start` to `stop`; gives places for every frame on the way."""
        way = 1 if stop > start else -1
        at: Places | None = np.array(self.track.places[start], np.float64)
        passed: _Passage = [at]
        for frame in range(start + way, stop + way, way):
            if at is not None and max(frame, frame - way) in self._cuts:
                at = None
            if at is not None:
                at = self._inside(self._step(frame - way, frame, at))
            passed.append(at)
            yield frame
        return passed

    def _step(self, before: int, after: int, at: Places) -> Places:
        """One frame on, by the motion of what lies around."""
        first, second = self._picture(before), self._picture(after)
        window = _around(at, first.shape)
        corner = np.array([window[0].start, window[1].start])
        motion = self._between(first[window], second[window])
        moved: Places = displaced(at - corner, motion) + corner
        return moved

    def _inside(self, at: Places) -> Places | None:
        """Held inside the picture; None when all of it has left."""
        rows, columns = self._picture(0).shape
        held = np.clip(at, 0, [rows - 1, columns - 1])
        return None if (np.abs(held - at).max(axis=1) > 1).all() else held


def wanted_tracks(context: Context, frames: int) -> tuple[Track, ...]:
    """The tracks to follow: `parameters["tracks"]`; ModelError for what is none.

    Each has a key frame with places on it, and as many places on every key frame.
    """
    try:
        tracks = tuple(
            from_plain(Track, to_plain(one)) for one in context.parameters.get("tracks", ())
        )
    except (PlainError, ValueError, TypeError) as error:
        raise ModelError("What is to be followed cannot be understood.", detail=str(error)) from (
            error
        )
    for track in tracks:
        if len(track.places) != frames or not all(0 <= n < frames for n in track.key_frames):
            raise ModelError(f"{track.name} belongs to another clip.")
        counts = {len(track.places[frame]) for frame in track.key_frames}
        if len(counts) != 1 or counts == {0}:
            raise ModelError(f"{track.name} has no place on a key frame to follow it from.")
    return tracks


def _joined(forth: _Passage | None, back: _Passage | None) -> _Passage:
    """Both ways as one, from the first frame to the last; where one was lost, the other."""
    if forth is None:
        return list(reversed(back or []))
    if back is None:
        return forth
    other = list(reversed(back))
    if all(one is not None for one in (*forth, *other)):
        return list(blended([one for one in forth if one is not None],
                            [one for one in other if one is not None]))  # fmt: skip
    return [one if one is not None else two for one, two in zip(forth, other, strict=True)]


def _points(places: Places | None) -> tuple[FramePoint, ...]:
    if places is None:
        return ()
    return tuple((float(row), float(column)) for row, column in places)


def _around(places: Places, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The window around places, within a picture of that shape."""
    low = np.floor(places.min(axis=0)).astype(int) - _MARGIN_PX
    high = np.ceil(places.max(axis=0)).astype(int) + _MARGIN_PX + 1
    window = []
    for axis in range(2):
        start = int(np.clip(low[axis], 0, max(shape[axis] - _LEAST_PX, 0)))
        stop = int(np.clip(high[axis], min(start + _LEAST_PX, shape[axis]), shape[axis]))
        window.append(slice(start, stop))
    return window[0], window[1]


def _mean_way(
    picture: Picture, motion: npt.NDArray[np.float32], spacing: tuple[float, float]
) -> float:
    """The mean length of a motion over the half of a picture that has the most texture."""
    texture = ndimage.gaussian_gradient_magnitude(picture, 1.0)
    chosen = texture >= np.median(texture)
    way = np.hypot(motion[0] * spacing[1], motion[1] * spacing[0])
    return float(way[chosen].mean())


def _cut_events(cuts: Sequence[int]) -> list[FrameEvent]:
    return [FrameEvent(frame, SCENE_CHANGE) for frame in cuts]
