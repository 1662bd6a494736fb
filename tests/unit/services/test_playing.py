"""Playing clips: the frame on show at a time of the clock, by hand-made clocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.clip import Clip
from medview.core.errors import CommandError
from medview.core.events import FrameChanged, ViewChanged
from medview.core.geometry import Calibration, Geometry
from medview.core.volume import Volume
from medview.services.cine import Cine
from medview.services.settings import Settings
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers.clips import clip, open_clip

UNEVEN = (0.0, 0.1, 0.4, 0.5)


class Desk:
    """A workspace with clips, and what it told."""

    def __init__(self, *clips: Clip, autoplay: bool = False) -> None:
        self.settings = Settings(None)
        self.settings.set("view.autoplay", autoplay)
        self.workspace = Workspace(self.settings)
        self.viewing = Viewing(self.workspace, self.settings)
        open_clip(self.workspace, *clips)
        self.viewing.show_series("1.3")
        self.frames: list[int] = []
        self.view_changes = 0
        self.workspace.events.frame_changed.connect(self._on_frame)
        self.workspace.events.view_changed.connect(self._on_view)

    def _on_frame(self, _event: FrameChanged) -> None:
        self.frames.append(self.cine.state.frame)

    def _on_view(self, _event: ViewChanged) -> None:
        self.view_changes += 1

    @property
    def cine(self) -> Cine:
        return self.viewing.cine

    def at(self, *times_s: float) -> list[int]:
        """The frames on show at times of the clock."""
        shown = []
        for time_s in times_s:
            self.cine.tick(time_s)
            shown.append(self.cine.state.frame)
        return shown


def test_frames_are_shown_at_their_own_times() -> None:
    desk = Desk(clip(UNEVEN))
    desk.cine.play()
    assert desk.at(100.0, 100.09, 100.11, 100.39, 100.41, 100.51) == [0, 0, 1, 1, 2, 3]
    # The last one stands as long as the others do in the median, then the first comes again.
    assert desk.at(100.59, 100.61, 100.71) == [3, 0, 1]


def test_the_answer_is_when_the_next_frame_is_due() -> None:
    desk = Desk(clip(UNEVEN))
    desk.cine.play()
    assert desk.cine.tick(5.0) == pytest.approx(0.1)
    assert desk.cine.tick(5.15) == pytest.approx(0.25)
    desk.cine.set_speed(2.0)
    assert desk.cine.tick(7.0) == pytest.approx(0.15)
    desk.cine.pause()
    assert desk.cine.tick(9.0) is None


def test_late_calls_skip_frames_and_lose_no_time() -> None:
    desk = Desk(clip([n / 100 for n in range(100)]))
    desk.cine.play()
    desk.at(0.0, 0.505)
    assert desk.cine.state.frame == 50
    assert desk.frames == [50]


@pytest.mark.parametrize(("speed", "frame"), [(0.25, 5), (0.5, 10), (2, 40), (4, 80)])
def test_speed_is_a_factor_of_the_true_one(speed: float, frame: int) -> None:
    desk = Desk(clip([n / 100 for n in range(100)]))
    desk.cine.set_speed(speed)
    desk.cine.play()
    assert desk.at(0.0, 0.2001) == [0, frame]


@pytest.mark.parametrize("speed", [0.2, 5, 0, -1])
def test_other_speeds_are_refused(speed: float) -> None:
    with pytest.raises(CommandError, match="speed"):
        Desk().cine.set_speed(speed)


def test_a_new_speed_goes_on_from_the_frame_on_show() -> None:
    desk = Desk(clip([n / 10 for n in range(10)]))
    desk.cine.play()
    assert desk.at(0.0, 0.35) == [0, 3]
    desk.cine.set_speed(0.5)
    assert desk.at(10.0, 10.19, 10.21) == [3, 3, 4]


def test_forth_and_back_shows_both_ends_once() -> None:
    desk = Desk(clip([n / 10 for n in range(4)], sweeps=True))
    desk.cine.play()
    assert desk.at(*(n / 10 + 0.05 for n in range(-1, 12)))[1:] == [
        *(1, 2, 3, 2, 1, 0), *(1, 2, 3, 2, 1, 0)
    ]  # fmt: skip


@given(
    st.lists(st.floats(0.001, 2.0), min_size=1, max_size=12),
    st.floats(0, 1e4),
    st.booleans(),
)
def test_playing_never_leaves_the_clip_and_always_goes_on(
    steps: list[float], moment_s: float, sweeps: bool
) -> None:
    times = np.cumsum([0.0, *steps])
    flat = Geometry((len(times), 1, 1), np.eye(4), "", Calibration.NONE)
    pictures = Volume("c", "1.3", flat, np.zeros((len(times), 1, 1), np.uint8))
    desk = Desk(Clip(pictures, tuple(float(t) for t in times), sweeps))
    desk.cine.play()
    desk.cine.tick(0.0)
    rest_s = desk.cine.tick(moment_s)
    assert rest_s is not None
    assert 0 <= rest_s <= max(*steps, 0) + 1e-6
    assert 0 <= desk.cine.state.frame < len(times)


def test_stepping_pauses_and_goes_round_the_ends() -> None:
    desk = Desk()
    desk.cine.play()
    desk.cine.step(1)
    assert not desk.cine.is_playing
    desk.cine.step(-2)
    assert desk.cine.state.frame == 3
    desk.cine.step(1)
    assert desk.cine.state.frame == 0


def test_scrolling_goes_through_the_frames() -> None:
    desk = Desk()
    plane = desk.viewing.active_plane
    desk.viewing.scroll(plane, 2)
    assert desk.viewing.slice_number(plane) == 2
    desk.viewing.scroll_to_end(plane, last=True)
    assert desk.cine.state.frame == 3
    desk.viewing.scroll(plane, 5)
    assert desk.cine.state.frame == 3


def test_playing_on_from_the_end_begins_anew() -> None:
    desk = Desk()
    desk.cine.go_to(3)
    desk.cine.play()
    assert desk.cine.state.frame == 0


def test_frames_are_told_apart_from_other_changes() -> None:
    desk = Desk()
    desk.cine.play()
    before = desk.view_changes
    desk.at(0.0, 0.15, 0.16, 0.25)
    assert desk.frames == [1, 2]
    assert desk.view_changes == before
    desk.cine.pause()
    assert desk.view_changes == before + 1


def test_clips_begin_to_play_by_themselves_if_wanted() -> None:
    assert Desk(autoplay=True).cine.is_playing
    assert not Desk(autoplay=False).cine.is_playing
    assert not Desk(clip([0.0]), autoplay=True).cine.is_playing


def test_a_clip_of_one_frame_cannot_be_played() -> None:
    with pytest.raises(CommandError, match="one frame"):
        Desk(clip([0.0])).cine.play()


def test_each_clip_remembers_where_it_was() -> None:
    second = clip(uid="1.3#1", instance_uid="1.3.2")
    desk = Desk(clip(), second)
    desk.cine.go_to(2)
    desk.viewing.step_volume(1)
    assert desk.viewing.clip is second
    assert desk.cine.state.frame == 0
    desk.viewing.step_volume(-1)
    assert desk.cine.state.frame == 2


def test_a_clip_is_no_volume() -> None:
    desk = Desk()
    assert desk.viewing.volume is None
    assert desk.viewing.picture is not None
    assert desk.viewing.layout.rows == (("axial",),)
    desk.viewing.set_layout("volume")
    assert desk.viewing.layout.rows == (("axial",),)
    with pytest.raises(CommandError):
        desk.viewing.require_volume()


def test_grey_clips_have_windows() -> None:
    desk = Desk()
    assert desk.viewing.window.center == 128
    desk.viewing.full_range()
    assert desk.viewing.window.width == pytest.approx(235)


def test_without_a_clip_nothing_plays() -> None:
    workspace = Workspace()
    viewing = Viewing(workspace)
    assert viewing.cine.tick(0.0) is None
    with pytest.raises(CommandError, match="No clip"):
        viewing.cine.play()


def test_closing_the_study_frees_its_clips() -> None:
    desk = Desk()
    closed: list[bool] = []

    class Hold:
        def close(self) -> None:
            closed.append(True)

    desk.workspace.add_clip(clip(uid="1.3#1"), hold=Hold())
    desk.workspace.close_study("1")
    assert closed == [True]
    assert not desk.workspace.clips
    assert desk.viewing.clip is None
    assert desk.cine.tick(0.0) is None
