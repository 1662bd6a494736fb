"""The wire: every message as it went in, and nothing else believed."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME, Code
from medview.core.findings import (
    ClassProbability,
    Finding,
    ModelAuthor,
    PictureBox,
    Provenance,
    SegmentRef,
    utc_now,
)
from medview.core.geometry import Calibration, Geometry
from medview.core.jobs import InputHash
from medview.core.maps import MapKind
from medview.core.segmentation import Segment
from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.timeline import FrameClass, FrameCurve, FrameEvent, Timeline, Track, TrackShape
from medview.core.volume import Volume
from medview.inference import wire
from medview.inference.catalog import load_card
from tests.helpers.fake_engine import FAKE_ENGINES, write_fake_model
from tests.helpers.worker_desk import small_clip, small_volume, someone

MADE = Provenance(ModelAuthor("m", "1", "f" * 64), utc_now(), "job", ("volume",))
GRID = wire.Grid.of(Geometry((2, 3, 4), np.diag([2.5, 0.8, 0.7, 1]), "1.2", Calibration.DETECTOR))
BLOCK = SharedArrayName("psm_x", (2, 3, 4), "|u1")
SEGMENT = Segment(3, "Box", ANATOMICAL_STRUCTURE, Code("1", "S", "m"), (1, 2, 3), MADE)
FINDING = Finding(
    "Box",
    VOLUME,
    MADE,
    probability=0.25,
    picture_box=PictureBox((0.5, 1.0, 2.0, 3.0), 4, "1.2.3", 5),
    classes=(ClassProbability("Box", VOLUME, 0.25),),
    segment_ref=SegmentRef("s", 3),
    location_lps_mm=(0.1, -1e-9, 3e7),
)

TIMELINE = Timeline(
    "clip",
    (0.0, 0.04),
    MADE,
    curves=(FrameCurve("Area", "cm2", (1.5, None), "counted", "t"),),
    classes=(FrameClass("Box", VOLUME, (0.0, 1.0), calibrated=True),),
    tracks=(Track("Wall", TrackShape.LINE, (((0.0, 1.0), (2.0, 3.5)), ()), (0,), uid="t"),),
    events=(FrameEvent(1, "Systole", VOLUME), FrameEvent(0, "Cut")),
)

UP: list[wire.Message] = [
    wire.Ready(("cuda:0", "cpu")),
    wire.Loaded("job", "cpu", ("slow",)),
    wire.Progress("job", "Größe µm", None),
    wire.Progress("job", "x", 0.1),
    wire.Done("job", wire.Labels("s", "v", GRID, (SEGMENT,), "t"), (FINDING,), ("n",), (), (), 1.5),
    wire.Done("job", None, (), (), (), (), 0.0),
    wire.Done(
        "job",
        None,
        (FINDING,),
        (),
        (),
        (),
        0.5,
        candidates=(replace(FINDING, probability=0.1),),
        threshold=0.3,
        maps=(wire.Map("m", "v", MapKind.SALIENCY, GRID, 7, (-1.0, 1.0), "Box", "f", "by hand"),),
        timeline=TIMELINE,
        inputs=(InputHash("v", "0" * 64),),
    ),
    wire.Failed("job", wire.FailureKind.OUT_OF_MEMORY, "text", "hint", "detail"),
    wire.Cancelled("job"),
]


@pytest.fixture
def ends() -> Iterator[tuple[wire.Channel, wire.Channel]]:
    a, b = socket.socketpair()
    parent, worker = wire.Channel(a, worker=False), wire.Channel(b, worker=True)
    yield parent, worker
    parent.close()
    worker.close()


def test_every_message_up_arrives_as_it_was_sent(
    ends: tuple[wire.Channel, wire.Channel],
) -> None:
    parent, worker = ends
    for message in UP:
        worker.send(message)
    assert [parent.receive() for _ in UP] == UP


def test_every_message_down_arrives_as_it_was_sent(
    ends: tuple[wire.Channel, wire.Channel], tmp_path: Path
) -> None:
    parent, worker = ends
    card = load_card(write_fake_model(tmp_path), FAKE_ENGINES)
    study, series = someone()
    down: list[wire.Message] = [
        wire.Load("job", card, str(tmp_path), "auto", 2),
        wire.Attach(wire.VolumeKey.of(small_volume(), BLOCK)),
        wire.Detach("volume"),
        wire.Run("job", 7, "volume", series, study, MADE, 3, BLOCK),
        wire.Run("job", 7, "volume", None, None, MADE, 3, None),
        wire.Run("job", 7, "v", None, None, MADE, 3, None, BLOCK, {"maps": ["saliency"], "a": 0.5}),
        wire.Attach(wire.VolumeKey.of(small_clip().pictures, BLOCK), wire.ClipTimes((0.0,), True)),
        wire.Shutdown(),
    ]
    for message in down:
        parent.send(message)
    heard = [worker.receive() for _ in down]
    # Lists of free parameters come as tuples, as everywhere.
    wished = wire.Run(
        "job", 7, "v", None, None, MADE, 3, None, BLOCK, {"maps": ("saliency",), "a": 0.5}
    )
    assert heard == [wished if one == down[5] else one for one in down]


def test_a_volume_comes_out_of_its_key_as_it_went_in() -> None:
    plain = small_volume()
    volume = Volume(
        uid="v",
        series_uid="s",
        geometry=plain.geometry,
        voxels=plain.voxels,
        slope=0.5,
        intercept=-1024.0,
        time_index=2,
        quantity=VOLUME,
        unit="[hnsf'U]",
        padding=(-2000.0, -2000.0),
        inverted=True,
    )
    with SharedArray.copy_of(volume.voxels) as block:
        (message,) = wire.Frames(wire._DOWN).add(
            wire.encode(wire.Attach(wire.VolumeKey.of(volume, block.key)))
        )
        assert isinstance(message, wire.Attach)
        other = message.volume.volume(block)
        assert other.geometry.agrees_with(volume.geometry, 0.0)
        np.testing.assert_array_equal(other.values(), volume.values())
        for name in ("uid", "series_uid", "time_index", "quantity", "unit", "padding", "inverted"):
            assert getattr(other, name) == getattr(volume, name)
        assert not other.voxels.flags.writeable


@given(st.integers(1, 97))
def test_frames_may_come_in_any_pieces(size: int) -> None:
    data = b"".join(wire.encode(message) for message in UP)
    frames = wire.Frames(wire._UP)
    heard = [
        message
        for start in range(0, len(data), size)
        for message in frames.add(data[start : start + size])
    ]
    assert heard == UP


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b"null",
        b'{"Ready": {}, "Cancelled": {"job_uid": "a"}}',
        b'{"System": {"command": "rm"}}',
        b'{"Ready": null}',
        b'{"Ready": {"devices": "cpu"}}',
        b'{"Ready": {"devices": [1]}}',
        b'{"Ready": {"devices": [], "more": 1}}',
        b'{"Cancelled": {}}',
        b'{"Cancelled": {"job_uid": 7}}',
        b'{"Progress": {"job_uid": "a", "stage": "b", "fraction": "1"}}',
        b'{"Progress": {"job_uid": "a", "stage": "b", "fraction": true}}',
        b'{"Failed": {"job_uid": "a", "kind": "other", "text": ""}}',
        b'{"Shutdown": {}}',  # a message, but of the other direction
        b"[" * 100_000,
        b"\xff\xfe",
        b"\x80\x04\x95",  # a pickle
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.Frames(wire._UP).add(frame(body))


@given(st.binary(min_size=4, max_size=300))
def test_noise_is_refused_or_waits_for_more_but_never_heard(noise: bytes) -> None:
    with contextlib.suppress(wire.WireError):
        assert wire.Frames(wire._UP).add(noise) == []


@given(st.data())
def test_a_changed_byte_never_gives_an_object_that_lies(data: st.DataObject) -> None:
    """Whatever survives the check has the declared types, down to the numbers."""
    content = bytearray(wire.encode(UP[4]))
    at = data.draw(st.integers(4, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    try:
        (message,) = wire.Frames(wire._UP).add(bytes(content))
    except wire.WireError:
        return
    assert isinstance(message, wire.Done)
    assert isinstance(message.seconds, float)
    assert all(type(finding) is Finding for finding in message.findings)
    assert all(0 <= (finding.probability or 0) <= 1 for finding in message.findings)


def test_a_frame_longer_than_any_message_is_refused_at_once() -> None:
    with pytest.raises(wire.WireError):
        wire.Frames(wire._UP).add(struct.pack(">I", wire.MAX_FRAME_BYTES + 1))


def test_a_message_too_long_for_a_frame_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 100)
    with pytest.raises(ValueError, match="too long"):
        wire.encode(wire.Progress("job", "x" * 200))


def test_a_grid_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        wire.Grid((1, 1, 1), (1.0, 2.0), "", Calibration.PATIENT).geometry()


def test_the_end_of_the_wire_is_an_end(ends: tuple[wire.Channel, wire.Channel]) -> None:
    parent, worker = ends
    worker.close()
    with pytest.raises(EOFError):
        parent.receive()


def test_the_longest_honest_result_fits_into_a_frame() -> None:
    done = wire.Done("job", None, (FINDING,) * wire.MAX_FINDINGS, (), (), (), 1.0)
    assert len(wire.encode(done)) < wire.MAX_FRAME_BYTES / 2


def test_arrays_do_not_travel() -> None:
    with pytest.raises(TypeError, match="not plain"):
        wire.encode(wire.Ready(np.zeros(3)))  # type: ignore[arg-type]


def test_the_format_is_json(ends: tuple[wire.Channel, wire.Channel]) -> None:
    body = wire.encode(wire.Cancelled("job"))[4:]
    assert json.loads(body) == {"Cancelled": {"job_uid": "job"}}
