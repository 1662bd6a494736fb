"""Clips through real workers into shared memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medview.core.events import ClipLoaded, Level
from medview.core.study import Series
from medview.core.views import HangingProtocol
from medview.services.hanging import load_protocols
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.unit.io.test_video import encoded, moving


class Bench:
    def __init__(self, resources: Path) -> None:
        self.work, self.tasks = Workspace(), Tasks(import_workers=1)
        protocols = load_protocols(resources / "hanging")
        self.loading = Loading(self.work, self.tasks, protocols)
        self.chosen: list[tuple[Series, HangingProtocol | None]] = []
        self.loading.on_chosen = lambda series, protocol: self.chosen.append((series, protocol))

    def open(self, *paths: Path) -> None:
        self.loading.open_paths(paths)
        end = time.monotonic() + 60
        while not (self.loading.idle and self.tasks.idle):
            assert time.monotonic() < end, "never came to rest"
            self.tasks.wait(0.05)
            self.tasks.pump()


@pytest.fixture
def bench(resources: Path) -> Iterator[Bench]:
    made = Bench(resources)
    yield made
    for uid in list(made.work.studies):
        made.work.close_study(uid)
    made.tasks.close()


def test_a_dropped_video_becomes_a_clip_on_show(bench: Bench, tmp_path: Path) -> None:
    heard: list[ClipLoaded] = []
    bench.work.events.clip_loaded.connect(heard.append)
    (tmp_path / "a.mp4").write_bytes(encoded(moving()))
    bench.open(tmp_path / "a.mp4")
    (clip,) = bench.work.clips.values()
    assert np.array_equal(clip.frames, moving())
    assert clip.frame_times_s == pytest.approx(np.arange(12) / 25)
    assert heard == [ClipLoaded(clip.uid)]
    assert not bench.work.volumes
    assert bench.work.hold_of(clip.uid) is not None
    ((series, protocol),) = bench.chosen
    assert series.uid == clip.series_uid
    assert protocol is not None
    assert protocol.layout == "one"
    viewing = Viewing(bench.work)
    viewing.hang(series, protocol)
    assert viewing.clip is clip


def test_a_damaged_clip_shows_what_is_whole(bench: Bench, tmp_path: Path) -> None:
    data = encoded(moving(20), container="matroska")
    (tmp_path / "a.mkv").write_bytes(data[: len(data) * 6 // 10])
    bench.open(tmp_path / "a.mkv")
    (clip,) = bench.work.clips.values()
    kept = [round(time_s * 25) for time_s in clip.frame_times_s]
    assert 5 <= len(kept) < 20
    assert np.array_equal(clip.frames, moving(20)[kept])
    assert any("breaks off" in problem.reason for problem in bench.work.problems)
    assert "breaks off" in clip.notes[0]


def test_a_clip_without_any_frame_is_told(bench: Bench, tmp_path: Path) -> None:
    data = encoded(moving())
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    bench.open(tmp_path / "a.mp4")
    assert not bench.work.clips
    assert not bench.chosen
    assert Level.ERROR in {notice.level for notice in bench.work.notices}


def test_of_a_broken_and_a_good_one_the_good_one_is_shown(bench: Bench, tmp_path: Path) -> None:
    data = encoded(moving())
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "b.mp4").write_bytes(encoded(moving(8, seed=2)))
    bench.open(tmp_path)
    (clip,) = bench.work.clips.values()
    assert len(clip.frames) == 8
    assert len(bench.chosen) == 1
