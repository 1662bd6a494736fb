"""Cine: which frame of a clip is on show, and when the next one is due."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

from medview.core.clip import Clip
from medview.core.errors import CommandError
from medview.core.events import FrameChanged, StudyClosed
from medview.services.settings import Settings
from medview.services.workspace import Workspace

#: How much slower and faster than it was taken a clip can be played.
SLOWEST, FASTEST = 0.25, 4.0


@dataclass(frozen=True)
class Playback:
    """How one clip is played: its frame, and the moment of the clip at a time of the clock.

    While it plays, `began_s` is the time of the clock at which it was at `from_s` of its own time.
    None until the first tick after it was told to play.
    """

    frame: int = 0
    is_playing: bool = False
    speed: float = 1.0
    sweeps: bool = False
    from_s: float = 0.0
    began_s: float | None = None


class Cine:
    """Plays the clip on show at the times its frames were taken.

    It has no clock: whoever shows the clip calls `tick` with the time, and again after the seconds
    it answers. A late call finds the frame that is due then; those in between are skipped, so that
    a clip never runs slow. What is remembered belongs to a clip and comes back with it. A frame
    that changes sends FrameChanged, other changes call `changed`.
    """

    def __init__(
        self,
        workspace: Workspace,
        settings: Settings,
        shown: Callable[[], Clip | None],
        changed: Callable[[], None],
    ) -> None:
        self._workspace = workspace
        self._settings = settings
        self._shown = shown
        self._changed = changed
        self._states: dict[str, Playback] = {}
        workspace.events.study_closed.connect(self._forget)

    @property
    def state(self) -> Playback:
        """How the clip on show is played; a fresh one begins by itself if the settings say so."""
        clip = self._require()
        known = self._states.get(clip.uid)
        if known is None:
            playing = self._settings.flag("view.autoplay") and len(clip.frames) > 1
            known = Playback(is_playing=playing, sweeps=clip.sweeps)
            self._states[clip.uid] = known
        return known

    @property
    def is_playing(self) -> bool:
        """Whether a clip is on show and plays."""
        return self._shown() is not None and self.state.is_playing

    def play(self) -> None:
        """Go on from the frame on show, from the first if that is the last one."""
        clip, state = self._require(), self.state
        if len(clip.frames) < 2:
            raise CommandError("The clip has one frame only")
        frame = 0 if state.frame == len(clip.frames) - 1 and not state.sweeps else state.frame
        self._put(replace(state, is_playing=True), frame)

    def pause(self) -> None:
        """Stop at the frame on show."""
        self._put(replace(self.state, is_playing=False), self.state.frame)

    def toggle(self) -> None:
        """Play, or pause."""
        if self.state.is_playing:
            self.pause()
        else:
            self.play()

    def step(self, frames: int) -> None:
        """Pause, that many frames on (back when negative), round the ends of the clip."""
        count = len(self._require().frames)
        self._put(replace(self.state, is_playing=False), (self.state.frame + frames) % count)

    def go_to(self, frame: int) -> None:
        """Show a frame, held to the first and last, and go on from there if it plays."""
        last = len(self._require().frames) - 1
        self._put(self.state, min(max(frame, 0), last))

    def set_speed(self, speed: float) -> None:
        """Play slower or faster than it was taken; CommandError outside 0.25 to 4."""
        if not SLOWEST <= speed <= FASTEST:
            raise CommandError(
                f"Clips are not played at {speed:g} times their speed",
                f"The factor lies between {SLOWEST:g} and {FASTEST:g}.",
            )
        self._put(replace(self.state, speed=speed), self.state.frame)

    def toggle_sweep(self) -> None:
        """Go forth and back, or begin anew at the end."""
        self._put(replace(self.state, sweeps=not self.state.sweeps), self.state.frame)

    def tick(self, now_s: float) -> float | None:
        """Show the frame that is due at a time of the clock; seconds to the next, None if paused.

        Any clock will do that never runs backwards.
        """
        if not self.is_playing:
            return None
        clip, state = self._require(), self.state
        began_s = now_s if state.began_s is None else state.began_s
        moment_s = state.from_s + (now_s - began_s) * state.speed
        frame, rest_s = _due(clip, moment_s, sweeps=state.sweeps)
        self._states[clip.uid] = replace(state, frame=frame, began_s=began_s)
        if frame != state.frame:
            self._workspace.emit(FrameChanged(clip.uid))
        return rest_s / state.speed

    def _put(self, state: Playback, frame: int) -> None:
        """Another state, from a frame on."""
        clip = self._require()
        before = self.state
        from_s = clip.frame_times_s[frame] - clip.frame_times_s[0]
        self._states[clip.uid] = replace(state, frame=frame, from_s=from_s, began_s=None)
        if frame != before.frame:
            self._workspace.emit(FrameChanged(clip.uid))
        if _manner(before) != _manner(state):
            self._changed()

    def _require(self) -> Clip:
        clip = self._shown()
        if clip is None:
            raise CommandError("No clip is shown", "Choose a series of moving pictures first.")
        return clip

    def _forget(self, _event: StudyClosed) -> None:
        for uid in [uid for uid in self._states if uid not in self._workspace.clips]:
            del self._states[uid]


def _manner(state: Playback) -> tuple[object, ...]:
    """How it is played, whatever is on show just now."""
    return state.is_playing, state.speed, state.sweeps


def _due(clip: Clip, moment_s: float, *, sweeps: bool) -> tuple[int, float]:
    """The frame at a moment of endless playing, and seconds of the clip until the next one.

    Forth and back both ends stand once in a round, and on the way back each frame stands for as
    long as led to it on the way there.
    """
    times = clip.frame_times_s
    start, span_s = times[0], times[-1] - times[0]
    if span_s <= 0:
        return 0, 1.0
    if not sweeps:
        length_s = span_s + clip.last_duration_s
        at = start + moment_s % length_s
        frame = bisect_right(times, at) - 1
        return frame, (times[frame + 1] if frame + 1 < len(times) else start + length_s) - at
    at = moment_s % (2 * span_s)
    if at < span_s:
        frame = bisect_right(times, start + at) - 1
        return frame, times[frame + 1] - start - at
    left = start + 2 * span_s - at
    frame = max(1, bisect_left(times, left))
    return frame, left - times[frame - 1]
