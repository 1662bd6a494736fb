"""Videos: clips made here without loss must come back frame for frame, at their own times."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.container import OutputContainer
from PIL import Image

from medview.core.clip import Clip
from medview.core.errors import ReadError
from medview.core.study import SeriesKind
from medview.io import video
from medview.io.describe import info
from medview.io.reading import load, plan, thumbnail
from medview.io.scan import scan
from medview.io.video import Survey, container_of, pictures, survey

Frames = npt.NDArray[np.uint8]


def moving(count: int = 12, rows: int = 48, columns: int = 64, seed: int = 1) -> Frames:
    """Colour noise on which a square moves: no two frames are alike."""
    random = np.random.default_rng(seed)
    frames = random.integers(0, 60, (count, rows, columns, 3)).astype(np.uint8)
    for n, frame in enumerate(frames):
        frame[8:20, 4 + 2 * n : 12 + 2 * n] = (250, 10 * n % 250, 90)
    return frames


def add_frames(
    target: OutputContainer,
    frames: Frames,
    codec: str,
    pixels: str = "rgb24",
    times_ms: Sequence[int] | None = None,
    turn: int = 0,
    **options: Any,
) -> None:
    """Frames as the stream of a video, 25 a second or at the given times."""
    texts = {name: str(value) for name, value in options.items()}
    stream = target.add_stream(codec, rate=25, options=texts)
    stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
    if times_ms is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    if turn:
        stream.set_display_rotation(turn)
    for n, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, format="gray" if picture.ndim == 2 else "rgb24")
        if times_ms is not None:
            frame.pts, frame.time_base = times_ms[n], Fraction(1, 1000)
        target.mux(stream.encode(frame))
    target.mux(stream.encode(None))


def encoded(
    frames: Frames, codec: str = "libx264rgb", container: str = "mp4", **options: Any
) -> bytes:
    """The frames as a video in memory, without loss unless a codec is named that has some."""
    if codec == "libx264rgb":
        options = {"crf": "0", "g": "5"} | options
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        add_frames(target, frames, codec, **options)
    return out.getvalue()


def decoded(data: bytes, numbers: Sequence[int] | None = None) -> tuple[Survey, list[Any]]:
    container = container_of(data[:1024])
    found = survey(data, container)
    wanted = range(found.count) if numbers is None else numbers
    return found, list(pictures(data, container, wanted, found.shape))


def opened(data: bytes, path: Path) -> Clip:
    path.write_bytes(data)
    (study,) = scan([path]).studies
    assert study.series[0].kind is SeriesKind.CLIP
    loaded = load(study.series[0])
    assert not loaded.volumes
    (clip,) = loaded.clips
    return clip


@pytest.mark.parametrize(
    ("codec", "container", "pixels"),
    [
        ("libx264rgb", "mp4", "rgb24"),
        ("libx264rgb", "mov", "rgb24"),
        ("qtrle", "mov", "rgb24"),
        ("libx264rgb", "matroska", "rgb24"),
        ("ffv1", "avi", "bgr0"),
        ("rawvideo", "avi", "bgr24"),
    ],
)
def test_what_was_packed_without_loss_comes_back(codec: str, container: str, pixels: str) -> None:
    frames = moving()
    found, got = decoded(encoded(frames, codec, container, pixels=pixels))
    assert found.shape == frames.shape[1:]
    assert np.array_equal(np.array(got), frames)
    assert found.times_s == pytest.approx(np.arange(12) / 25, abs=6e-4)


def test_grey_videos_stay_grey() -> None:
    frames = moving()[..., 0].copy()
    found, got = decoded(encoded(frames, "ffv1", "matroska", pixels="gray"))
    assert found.shape == frames.shape[1:]
    assert np.array_equal(np.array(got), frames)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_each_frame_keeps_its_own_time(container: str) -> None:
    times_ms = [0, 40, 55, 200, 201, 900, 1000, 1040, 1400, 1410, 1500, 2000]
    found, got = decoded(encoded(moving(), container=container, times_ms=times_ms))
    assert found.times_s == pytest.approx(np.array(times_ms) / 1000, abs=1e-6)
    assert np.array_equal(np.array(got), moving())


def test_reordered_frames_are_shown_in_order() -> None:
    frames = moving(20)
    settings = {"x265-params": "lossless=1:bframes=3:b-adapt=0:log-level=none"}
    data = encoded(frames, "libx265", pixels="gbrp", **settings)
    with av.open(io.BytesIO(data)) as source:
        stamps = [packet.pts for packet in source.demux(video=0) if packet.size]
    assert stamps != sorted(stamps), "the video should hold frames out of order"
    found, got = decoded(data)
    assert np.array_equal(np.array(got), frames)
    assert all(later > earlier for earlier, later in pairwise(found.times_s))


@pytest.mark.parametrize("numbers", [[0], [7], [11], [3, 4, 9]])
def test_some_frames_are_the_same_as_in_the_whole(numbers: list[int]) -> None:
    _, got = decoded(encoded(moving()), numbers)
    assert np.array_equal(np.array(got), moving()[numbers])


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (180, 2), (-90, 3)])
def test_turned_pictures_stand_upright(turn: int, quarters: int) -> None:
    frames = moving(3)
    found, got = decoded(encoded(frames, turn=turn))
    assert np.array_equal(np.array(got), np.rot90(frames, quarters, axes=(1, 2)))
    assert found.shape == got[0].shape


def test_gif_delays_and_pictures_are_those_of_another_reader(tmp_path: Path) -> None:
    colours = [Image.new("RGB", (20, 10), (40 * n, 20, 200)) for n in range(4)]
    out = io.BytesIO()
    colours[0].save(
        out, "GIF", save_all=True, append_images=colours[1:], duration=[50, 120, 10, 300]
    )
    clip = opened(out.getvalue(), tmp_path / "a.gif")
    assert clip.frame_times_s == pytest.approx((0, 0.05, 0.17, 0.18))
    with Image.open(io.BytesIO(out.getvalue())) as image:
        for n in range(4):
            image.seek(n)
            assert np.array_equal(clip.frames[n], np.asarray(image.convert("RGB")))


def test_a_gif_of_one_picture_is_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (200, 100, 0)).save(tmp_path / "a.gif")
    (study,) = scan([tmp_path]).studies
    loaded = load(study.series[0])
    (volume,) = loaded.volumes
    assert volume.voxels.shape == (1, 10, 20, 3)
    assert not loaded.clips
    assert not loaded.problems
    assert not volume.notes


def test_a_spoiled_frame_and_those_that_lean_on_it_are_left_out(tmp_path: Path) -> None:
    frames = moving(20)
    data = bytearray(encoded(frames, g=5, sc_threshold=0))
    with av.open(io.BytesIO(bytes(data))) as source:
        packets = [
            (packet.pos, packet.size, packet.is_keyframe) for packet in source.demux(video=0)
        ]
    keys = [n for n, (_, _, is_key) in enumerate(packets) if is_key]
    start, size, _ = packets[keys[1] + 1]
    data[start + size // 2 : start + size] = bytes(size - size // 2)
    clip = opened(bytes(data), tmp_path / "a.mp4")
    kept = [round(time * 25) for time in clip.frame_times_s]
    assert set(range(keys[1] + 1)) <= set(kept)
    assert set(range(keys[2], 20)) <= set(kept)
    assert keys[1] + 1 not in kept
    assert np.array_equal(clip.frames, frames[kept])
    (problem,) = info([tmp_path / "a.mp4"])["problems"]
    assert f"{len(kept)} of 20 frames" in problem["reason"]
    assert problem["severity"] == "warning"


@pytest.mark.parametrize("share", [0.35, 0.6, 0.99])
def test_a_video_cut_off_shows_its_whole_frames(tmp_path: Path, share: float) -> None:
    frames = moving(20)
    path = tmp_path / "a.mp4"
    with av.open(path, "w", options={"movflags": "faststart"}) as target:
        add_frames(target, frames, "libx264rgb", crf=0, g=5)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    (study,) = scan([tmp_path]).studies
    loaded = load(study.series[0])
    (clip,) = loaded.clips
    count = len(clip.frames)
    assert 1 <= count < 20
    assert np.array_equal(clip.frames, frames[:count])
    assert any(f"{count} of 20 frames" in problem.reason for problem in loaded.problems)


def test_a_video_without_its_index_is_refused(tmp_path: Path) -> None:
    data = encoded(moving())
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    (study,) = scan([tmp_path]).studies
    loaded = load(study.series[0])
    assert not loaded.clips
    assert "cut short" in loaded.problems[0].reason


def test_sound_is_left_out_and_said(shared: Path) -> None:
    (path, *_) = sorted((shared / "data" / "video").rglob("*.mp4"))
    (study,) = scan([path]).studies
    (clip,) = load(study.series[0]).clips
    assert "The sound of the video is not played" in clip.notes


def test_sound_alone_is_refused() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mov") as target:
        stream = target.add_stream("pcm_s16le", rate=44100)
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.sample_rate = 44100
        target.mux(stream.encode(frame))
    with pytest.raises(ReadError, match="no video"):
        survey(out.getvalue(), "mov")


def test_too_many_frames_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video, "MAX_FRAMES", 10)
    with pytest.raises(ReadError, match="more than 10 frames"):
        survey(encoded(moving()), "mov")


def test_of_what_would_fill_the_memory_the_beginning_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "MAX_BYTES", 8 * 48 * 64 * 3 - 1)
    clip = opened(encoded(moving()), tmp_path / "a.mp4")
    assert np.array_equal(clip.frames, moving()[:7])
    assert clip.notes[0].startswith("The first 7 of 12 frames are shown")
    (problem,) = info([tmp_path / "a.mp4"])["problems"]
    assert problem["severity"] == "warning"


def test_huge_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(moving())
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    with pytest.raises(ReadError, match="too large"):
        survey(data, "mov")


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n",
    ],
)
def test_play_lists_are_no_videos(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(text)
    assert not scan([tmp_path / "a.mp4"]).studies


@pytest.mark.parametrize("brand", [b"heic", b"avif", b"M4A "])
def test_stills_and_sound_in_the_same_container_are_no_videos(brand: bytes) -> None:
    assert not container_of(b"\0\0\0\x18ftyp" + brand + bytes(12))


def test_thumbnail_shows_a_frame_of_the_middle(tmp_path: Path) -> None:
    frames = np.zeros((9, 32, 32, 3), dtype=np.uint8)
    frames[4:6] = 200
    (tmp_path / "a.mp4").write_bytes(encoded(frames))
    (study,) = scan([tmp_path]).studies
    picture = thumbnail(study.series[0], 16)
    assert picture is not None
    assert picture.min() > 190


def test_pixels_that_are_not_square_keep_their_shape(tmp_path: Path) -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("libx264rgb", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgb24"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        target.mux(stream.encode(av.VideoFrame.from_ndarray(moving()[0], format="rgb24")))
        target.mux(stream.encode(None))
    assert survey(out.getvalue(), "mov").pixel_width == pytest.approx(16 / 11)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg to compare with")
def test_real_clips_are_those_of_ffmpeg(shared: Path) -> None:
    for path in sorted((shared / "data" / "video").rglob("*.mp4")):
        (study,) = scan([path]).studies
        (clip,) = load(study.series[0]).clips
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", path, "-fps_mode", "passthrough",
             "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        truth = np.frombuffer(raw, np.uint8).reshape(clip.frames.shape)
        assert np.abs(truth.astype(int) - clip.frames).max() <= 1
        stamps = subprocess.run(
            ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
             "frame=best_effort_timestamp_time", "-of", "csv=p=0", path],
            capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        assert clip.frame_times_s == pytest.approx([float(t.strip(",")) for t in stamps.split()])


def test_frames_are_planned_before_they_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.webm").write_bytes(encoded(moving(), "libvpx-vp9", "webm", pixels="yuv420p"))
    (study,) = scan([tmp_path]).studies
    (planned,) = plan(study.series[0]).volumes
    assert planned.shape == (12, 48, 64, 3)
    assert planned.is_clip
    assert planned.frame_times_s == pytest.approx(np.arange(12) / 25, abs=1e-3)
