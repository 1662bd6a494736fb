"""Video streams: counted and timed from their packets first, then decoded to pictures.

The container is told from the first bytes and named to the library, so that a file cannot pass
for a play list that names other files. One decoder thread: an error then stands by the frame that
it spoils, and no frame that leans on a spoiled one is shown.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from medview.core.errors import ReadError

Pixels = npt.NDArray[np.uint8]

#: Larger pictures and longer clips than this are refused before anything is decoded; of clips that
#: would take more memory the beginning is shown.
MAX_PIXELS = 1 << 25
MAX_FRAMES = 100_000
MAX_BYTES = 2 << 30
_AGAIN = "Get the video again from its source"
_CONVERT = "Cut it, or save it smaller, and open it again"
_GREY, _OPAQUE = ("gray", "mono"), 255
_BROKEN = "The video is damaged here"
#: GIF: a delay of zero means "as browsers do it", a tenth of a second; any other is taken as it is.
_OPTIONS = {"min_delay": "1", "default_delay": "10", "ignore_loop": "1"}
_FAILURES = (FFmpegError, ValueError, OverflowError, EOFError, MemoryError, IndexError)

#: Brands of ISO files that hold no moving pictures (ISO 14496-12 4.3): stills, sound, JPEG 2000.
_NO_VIDEO = frozenset((b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"jp2 ", b"jpx ",
                       b"jpm ", b"M4A ", b"M4B ", b"crx "))  # fmt: skip
_ATOMS = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))
_TS_PACKET = 188


def container_of(head: bytes) -> str:
    """The container whose file begins so, as FFmpeg calls it; "" for none that is read."""
    if head[4:8] == b"ftyp":
        return "" if head[8:12] in _NO_VIDEO else "mov"
    if head[4:8] in _ATOMS and int.from_bytes(head[:4], "big") >= 8:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"):
        return "asf"
    return _mpeg_of(head)


def _mpeg_of(head: bytes) -> str:
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    if head.startswith(b"\x00\x00\x01\xb3"):
        return "mpegvideo"
    sync = head[0 : 3 * _TS_PACKET : _TS_PACKET]
    return "mpegts" if sync == b"\x47\x47\x47" else ""


def bare_stream_of(head: bytes, *, hevc: bool) -> str:
    """A container as `container_of` knows it, or an elementary H.264 or HEVC stream."""
    known = container_of(head)
    if not known and head.startswith((b"\x00\x00\x00\x01", b"\x00\x00\x01")):
        return "hevc" if hevc else "h264"
    return known


@dataclass(frozen=True)
class Survey:
    """What a stream promises, from its packets and its first picture.

    `shape` is (rows, columns[, 3]) as shown, turned where the stream says so; `pixel_width` in
    heights of a pixel. `ticks` are the presentation times of whole frames in order, in units of
    `tick_s` seconds; without `has_times` nothing says how long they are. `declared` is how many
    frames the container speaks of, 0 if it does not say; `left_out` how many whole ones there is no
    memory for, at the end. `length_s` is how long the container says it is, 0 where that may be
    the length of something else.
    """

    shape: tuple[int, ...]
    pixel_width: float
    ticks: tuple[int, ...]
    tick_s: float
    has_times: bool
    declared: int
    left_out: int = 0
    length_s: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Whole frames."""
        return len(self.ticks)

    @property
    def times_s(self) -> tuple[float, ...]:
        """When each frame is shown, after the first."""
        return tuple((tick - self.ticks[0]) * self.tick_s for tick in self.ticks)


def survey(data: bytes, container: str) -> Survey:
    """Count and time the frames of a video, decoding its first picture alone.

    ReadError where it holds no video, or one too large to be held in memory.
    """
    with _opened(data, container) as (source, stream):
        packets = _packets_of(source, stream)
        notes = _notes_on(source)
        length_s = 0.0 if source.streams.audio else (source.duration or 0) / 1e6
        aspect = float(stream.sample_aspect_ratio or 1)
    first = _first_frame(data, container)
    picture = _Pictures().of(first)
    if isinstance(picture, ReadError):
        raise picture
    return Survey(
        shape=picture.shape,
        pixel_width=1 / aspect if _is_turned(first) else aspect,
        ticks=packets.ticks,
        tick_s=packets.tick_s,
        has_times=packets.has_times,
        declared=packets.declared,
        left_out=packets.left_out,
        length_s=length_s,
        notes=notes,
    )


def pictures(
    data: bytes, container: str, numbers: Sequence[int], shape: tuple[int, ...]
) -> Iterator[Pixels | ReadError]:
    """The frames with these numbers (ascending), an error in the place of a damaged one.

    `shape` is what the survey found. Decoding begins at the key frame before the first of them.
    """
    wanted, made = deque(numbers), _Pictures()
    try:
        for number, frame in _numbered(data, container, wanted[0]):
            while wanted and wanted[0] < number:
                wanted.popleft()
                yield ReadError(_BROKEN, _AGAIN)
            if wanted and wanted[0] == number:
                wanted.popleft()
                yield made.of(frame, shape)
            if not wanted:
                return
    except ReadError as error:
        yield from [error] * len(wanted)
        return
    yield from [ReadError(_BROKEN, _AGAIN)] * len(wanted)


def _numbered(data: bytes, container: str, first: int) -> Iterator[tuple[int, VideoFrame]]:
    """Undamaged frames with their place in the order of the survey, from a key frame on."""
    with _opened(data, container) as (source, stream):
        packets = _packets_of(source, stream)
    with _opened(data, container) as (source, stream):
        place = {tick: number for number, tick in enumerate(packets.ticks)}
        number = 0
        lost_count = bool(first) and packets.has_stamps
        if lost_count:
            source.seek(packets.ticks[first], stream=stream)
        for frame, follows_damage in _decoded(source, stream):
            if (lost_count or follows_damage) and packets.has_stamps and frame.pts is not None:
                number = place.get(frame.pts, number)
                lost_count = False
            yield number, frame
            number += 1


def _decoded(source: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame, bool]]:
    """Frames in the order of showing, and whether damage lies just before.

    After an error nothing is given until the next key frame: what leans on a damaged picture is
    damaged, though a decoder conceals it.
    """
    damaged = lost_some = False
    for packet in source.demux(stream):
        try:
            frames = packet.decode()
        except FFmpegError:
            damaged = lost_some = True
            continue
        for frame in frames:
            damaged = frame.is_corrupt or (damaged and not frame.key_frame)
            if damaged:
                lost_some = True
            else:
                yield frame, lost_some
                lost_some = False


@dataclass(frozen=True)
class _Packets:
    """What the packets of a stream say; see `Survey`. `has_stamps`: ticks are those of frames."""

    ticks: tuple[int, ...]
    tick_s: float
    has_times: bool
    has_stamps: bool
    declared: int
    left_out: int


def _packets_of(source: InputContainer, stream: VideoStream) -> _Packets:
    stamps: list[int | None] = []
    slots: list[int | None] = []
    hidden = 0
    for packet in _whole_packets(source, stream):
        if packet.is_discard:
            hidden += 1
            continue
        stamps.append(packet.pts)
        slots.append(packet.dts)
        if len(stamps) > MAX_FRAMES:
            raise ReadError(f"The video has more than {MAX_FRAMES:,} frames", _CONVERT)
    if not stamps:
        raise ReadError("The video holds no whole frame", _AGAIN)
    declared = max(0, stream.frames - hidden)
    fitting = MAX_BYTES // _frame_bytes(stream)
    left_out = max(0, len(stamps) - fitting)
    # Without times of showing, those of decoding are the same moments, given in another order.
    for ticks, has_stamps in ((stamps, True), (slots, False)):
        known = {tick for tick in ticks if tick is not None}
        if len(known) == len(ticks):
            tick_s = float(stream.time_base or 0)
            shown = tuple(sorted(known)[:fitting])
            return _Packets(shown, tick_s, True, has_stamps, declared, left_out)
    rate = float(stream.average_rate or 0)
    step_s = 1 / rate if rate > 0 else 0.0
    counted = tuple(range(min(len(stamps), fitting)))
    return _Packets(counted, step_s, False, False, declared, left_out)


def _frame_bytes(stream: VideoStream) -> int:
    """Memory for a decoded frame."""
    context = stream.codec_context
    grey = (context.pix_fmt or "").startswith(_GREY)
    return max(1, context.width * context.height * (1 if grey else 3))


def _whole_packets(source: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Packets up to where the container breaks off; what it lost is missing in the count."""
    with suppress(FFmpegError):
        for packet in source.demux(stream):
            if packet.size and not packet.is_corrupt:
                yield packet


def _first_frame(data: bytes, container: str) -> VideoFrame:
    with _opened(data, container) as (source, stream):
        for frame, _ in _decoded(source, stream):
            return frame
    raise ReadError("No frame of the video can be decoded", _AGAIN)


@contextmanager
def _opened(data: bytes, container: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The first video stream, ready to be decoded; failures of the library in our words."""
    try:
        with av.open(io.BytesIO(data), "r", format=container, options=_OPTIONS) as source:
            stream = _main_stream(source)
            context = stream.codec_context
            _check_size(context.height, context.width)
            context.thread_count = 1
            context.options = {"err_detect": "explode", "max_pixels": str(MAX_PIXELS)}
            yield source, stream
    except _FAILURES as error:
        raise ReadError("The video is damaged or cut short", _AGAIN, str(error)) from error


def _main_stream(source: InputContainer) -> VideoStream:
    streams = [one for one in source.streams.video if not _is_cover(one)]
    if not streams:
        raise ReadError("There is no video in the file", "Sound alone is not opened")
    decoder: object = streams[0].codec_context
    if decoder is None:
        raise ReadError("The video is coded in a way that is not known here", _CONVERT)
    return streams[0]


def _is_cover(stream: VideoStream) -> bool:
    """Whether a stream is a still that comes with a sound track."""
    return bool(stream.disposition & Disposition.attached_pic)


def _check_size(rows: int, columns: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise ReadError(f"A video of {columns} x {rows} pixels is too large to be shown", _CONVERT)
    if min(rows, columns) < 1:
        raise ReadError("The video does not say how large its pictures are", _AGAIN)


def _notes_on(source: InputContainer) -> tuple[str, ...]:
    notes = []
    if source.streams.audio:
        notes.append("The sound of the video is not played")
    if len([one for one in source.streams.video if not _is_cover(one)]) > 1:
        notes.append("The file holds several videos: the first is shown")
    return tuple(notes)


class _Pictures:
    """Frames as they are meant to be seen: grey, or RGB over black, turned upright.

    One conversion for all frames of a video, without threads of its own: a new one for each frame
    starts as many as there are cores, until a worker with bounds may start no more.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def of(self, frame: VideoFrame, shape: tuple[int, ...] | None = None) -> Pixels | ReadError:
        """The pixels of a frame; an error where they cannot be had, or are not of that shape."""
        try:
            picture = _upright(self._seen(frame), frame)
        except _FAILURES as error:
            return ReadError(_BROKEN, _AGAIN, str(error))
        if shape not in (None, picture.shape):
            return ReadError("A frame of the video has another size", _AGAIN)
        return picture

    def _seen(self, frame: VideoFrame) -> Pixels:
        kind = frame.format
        if kind.name.startswith(_GREY):
            return self._as(frame, "gray")
        if any(part.is_alpha for part in kind.components) or kind.name == "pal8":
            return _over_black(self._as(frame, "rgba"))
        return self._as(frame, "rgb24")

    def _as(self, frame: VideoFrame, layout: str) -> Pixels:
        turned = self._reformatter.reformat(frame, format=layout, threads=1)
        pixels: npt.NDArray[Any] = turned.to_ndarray()
        return pixels.astype(np.uint8, copy=False)


def _over_black(layers: Pixels) -> Pixels:
    pixels, alpha = layers[..., :3], layers[..., 3:]
    if alpha.min() == _OPAQUE:
        return pixels
    return ((pixels.astype(np.uint16) * alpha + 127) // _OPAQUE).astype(np.uint8)


def _matrix_of(frame: VideoFrame) -> npt.NDArray[np.int32] | None:
    """Where the axes of the stored picture point when it is shown: 2x2, -1, 0 or 1.

    None where the stream says nothing, or turns by something else than quarters (ISO 14496-12
    6.2.2: x' = a x + c y, y' = b x + d y).
    """
    entry = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(entry, SideData) or entry.buffer_size < 36:
        return None
    a, b, _, c, d = np.frombuffer(bytes(entry)[:20], dtype="=i4")
    signs = np.sign(np.array(((a, b), (c, d)), dtype=np.int32))
    return signs if sorted(np.abs(signs).sum(axis=0)) == [1, 1] else None


def _is_turned(frame: VideoFrame) -> bool:
    """Whether rows of the stored picture are columns on the screen."""
    matrix = _matrix_of(frame)
    return matrix is not None and bool(matrix[0, 1])


def _upright(pixels: Pixels, frame: VideoFrame) -> Pixels:
    matrix = _matrix_of(frame)
    if matrix is None:
        return pixels
    if matrix[0, 1]:
        pixels = pixels.swapaxes(0, 1)
    if matrix[:, 0].sum() < 0:
        pixels = pixels[:, ::-1]
    if matrix[:, 1].sum() < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
