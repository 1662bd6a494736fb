"""Points and contours followed through clips whose motion is a formula."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from medview.core.clip import Clip, Region, RegionFormat
from medview.core.errors import Cancelled, ModelError
from medview.core.geometry import Calibration, Geometry
from medview.core.plain import to_plain
from medview.core.timeline import Track, TrackShape
from medview.core.volume import Volume
from medview.imaging.tracks import curves_of
from medview.inference.engines.motion import SCENE_CHANGE, Engine
from medview.inference.networks.flow import FlowNet
from tests.helpers.moving import beating_frames
from tests.helpers.run_context import RunContext

MIDDLE = 63.5


def following(stop_after: int = 1 << 30, **parameters: object) -> RunContext:
    """A run that is to follow these tracks."""
    return RunContext(stop_after, parameters=parameters)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """A network that has learned nothing: a registration all the same."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    content = safetensors.torch.save(FlowNet().state_dict())
    (folder / "model.safetensors").write_bytes(content)
    (folder / "configs").mkdir()
    intensity = {"method": "percentile_zscore", "low_percent": 0.0, "high_percent": 100.0}
    metadata = {
        "medview": {
            "classes": ["motion"],
            "network": {"class": "medview.inference.networks.flow.FlowNet", "args": {}},
            "weights": {
                "file": "model.safetensors", "sha256": hashlib.sha256(content).hexdigest(),
            },
            "preprocess": {"channels": 1, "size_px": [], "intensity": intensity},
        }
    }  # fmt: skip
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    engine = Engine(SimpleNamespace(title="Motion", id="motion"), Path(folder))  # type: ignore[arg-type]
    engine.load("cpu")
    return engine


def clip_of(frames: np.ndarray, *, regions: tuple[Region, ...] = ()) -> Clip:
    flat = Geometry(frames.shape[:3], np.eye(4), "", Calibration.NONE)
    volume = Volume("1.3#0", "1.3", flat, frames, instance_uids=("1.3.1",), regions=regions)
    return Clip(volume, tuple(0.04 * n for n in range(len(frames))))


def circle(radius: float, count: int = 24) -> tuple[tuple[float, float], ...]:
    angles = np.arange(count) * 2 * np.pi / count
    middle = MIDDLE
    return tuple(
        (float(middle + radius * np.sin(a)), float(middle + radius * np.cos(a))) for a in angles
    )


def track(
    frames: int, keys: dict[int, tuple[tuple[float, float], ...]], shape: TrackShape
) -> Track:
    places = tuple(keys.get(n, ()) for n in range(frames))
    return Track("Ring", shape, places, tuple(sorted(keys)))


def test_a_ring_follows_tissue_that_beats_with_its_area_and_strain(engine):
    frames, factors = beating_frames(28, period=12, swing=0.1)
    plane = Region((0, 0, 127, 127), (0.05, 0.05), ("cm", "cm"), RegionFormat.PLANE)
    ring = track(28, {0: circle(30)}, TrackShape.CONTOUR)
    context = following(tracks=[to_plain(ring)])
    result = engine.run(clip_of(frames, regions=(plane,)), None, None, context)
    (found,) = result.timeline.tracks
    places = np.array(found.places)
    truth = (np.array(circle(30)) - MIDDLE) * factors[:, None, None] + MIDDLE
    error = np.linalg.norm(places - truth, axis=2)
    assert error.mean() < 0.5
    assert error[-1].mean() < 0.8  # two beats later nothing has drifted away
    curves = {curve.name: curve for curve in result.timeline.curves}
    area = np.array(curves["Area"].values)
    assert curves["Area"].unit == "mm2"
    inner = 24 / 2 * np.sin(2 * np.pi / 24) * 15**2  # a polygon of 24 corners, in mm
    assert area == pytest.approx(inner * factors**2, rel=0.05)
    assert np.array(curves["Strain"].values) == pytest.approx(100 * (factors - 1), abs=2.0)
    assert np.array(curves["Displacement"].values) == pytest.approx(0, abs=0.3)
    said = [(event.frame, event.label) for event in result.timeline.events]
    assert [label for _, label in said] == [
        "Ring: largest area", "Ring: smallest area", "Ring: largest area", "Ring: smallest area",
    ]  # fmt: skip
    assert [frame for frame, _ in said] == pytest.approx([3, 9, 15, 21], abs=1)
    assert context.fractions == sorted(context.fractions)
    assert context.fractions[-1] == pytest.approx(1.0)


def test_a_point_is_followed_forth_and_back_from_its_key_frame(engine):
    frames, factors = beating_frames(12, period=12, swing=0.1)
    start = (MIDDLE + 20.0, MIDDLE - 25.0)
    point = track(12, {5: (start,)}, TrackShape.POINT)
    result = engine.run(clip_of(frames), None, None, following(tracks=[to_plain(point)]))
    (found,) = result.timeline.tracks
    assert found.places[5] == (start,)
    truth = (np.array(start) - MIDDLE) * (factors / factors[5])[:, None] + MIDDLE
    assert np.linalg.norm(np.array(found.places)[:, 0] - truth, axis=1).max() < 0.8
    assert {curve.unit for curve in result.timeline.curves} == {"{px}"}


def test_a_corrected_key_frame_changes_its_neighbourhood_only(engine):
    frames, _ = beating_frames(16, period=16, swing=0.05)
    first = track(16, {0: circle(20), 8: circle(20)}, TrackShape.CONTOUR)
    (once,) = engine.run(
        clip_of(frames), None, None, following(tracks=[to_plain(first)])
    ).timeline.tracks  # fmt: skip
    moved = tuple((row + 6.0, column) for row, column in circle(20))
    places = list(once.places)
    places[12] = moved
    keyed = Track("Ring", TrackShape.CONTOUR, tuple(places), (0, 8, 12))
    context = following(tracks=[to_plain(keyed)], changed=[12])
    (again,) = engine.run(clip_of(frames), None, None, context).timeline.tracks
    assert again.places[:9] == once.places[:9]
    assert again.places[12] == moved
    shift = [np.mean(again.places[n], axis=0)[0] - np.mean(once.places[n], axis=0)[0]
             for n in range(8, 16)]  # fmt: skip
    assert shift[0] == 0
    assert all(later >= earlier - 0.3 for earlier, later in pairwise(shift[:5]))
    assert shift[4] == pytest.approx(6, abs=0.7)
    assert shift[-1] == pytest.approx(6, abs=1.5)


def test_at_a_change_of_scene_a_track_ends_and_is_told(engine):
    frames, _ = beating_frames(8, swing=0.02)
    other, _ = beating_frames(8, swing=0.02, seed=9)
    both = np.concatenate([frames, other])
    point = track(16, {2: ((70.0, 70.0),)}, TrackShape.POINT)
    timeline = engine.run(clip_of(both), None, None, following(tracks=[to_plain(point)])).timeline
    assert [bool(places) for places in timeline.tracks[0].places] == [True] * 8 + [False] * 8
    assert [event.frame for event in timeline.events if event.label == SCENE_CHANGE] == [8]
    assert curves_of(timeline.tracks[0], clip_of(both))[0].values[8:] == (None,) * 8


def test_without_tracks_the_motion_of_the_whole_clip_is_told(engine):
    frames, factors = beating_frames(13, period=12, swing=0.1)
    timeline = engine.run(clip_of(frames), None, None, RunContext()).timeline
    (curve,) = timeline.curves
    assert curve.unit == "{px}/s"
    speed = np.array(curve.values[:-1])
    # The mean way of a stretch over the picture is its factor times the mean distance from the
    # middle of a square, 0.3826 of its side.
    truth = np.abs(np.diff(factors) / factors[:-1]) * 0.3826 * 128 / 0.04
    assert np.corrcoef(speed, truth)[0, 1] > 0.95
    assert speed.mean() == pytest.approx(truth.mean(), rel=0.15)
    assert curve.values[-1] is None


def test_what_makes_no_sense_is_refused_in_words(engine):
    frames, _ = beating_frames(4)
    clip = clip_of(frames)
    for wrong, words in (
        (["nothing"], "cannot be understood"),
        ([to_plain(track(5, {0: circle(9)}, TrackShape.CONTOUR))], "another clip"),
        ([to_plain(track(4, {}, TrackShape.POINT))], "no place on a key frame"),
    ):
        with pytest.raises(ModelError, match=words):
            engine.run(clip, None, None, following(tracks=wrong))
    with pytest.raises(ModelError, match="one frame"):
        engine.run(clip_of(frames[:1]), None, None, RunContext())


def test_a_run_can_be_stopped_between_frames(engine):
    frames, _ = beating_frames(6)
    point = track(6, {0: ((64.0, 64.0),)}, TrackShape.POINT)
    with pytest.raises(Cancelled):
        engine.run(clip_of(frames), None, None, following(9, tracks=[to_plain(point)]))
