"""Pieces of compressed pictures: offset tables right, wrong and absent; pieces missing and odd."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from medview.core.errors import ReadError
from medview.io.pixels import Doubtful
from tests.helpers.codec_files import decoded, dicom_bytes, fragments, item

JPEG_LS, J2K, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
FRAMES = np.random.default_rng(3).integers(0, 4000, (4, 20, 16)).astype(np.uint16)
STREAMS = [bytes(imagecodecs.jpegls_encode(frame)) for frame in FRAMES]


def even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def table(*pieces: bytes) -> list[int]:
    """Offsets of the items of these pieces."""
    starts = np.cumsum([0, *(8 + len(even(piece)) for piece in pieces)])
    return [int(n) for n in starts[:-1]]


def halves(stream: bytes) -> tuple[bytes, bytes]:
    middle = len(stream) // 4 * 2
    return stream[:middle], stream[middle:]


def outcome(value: bytes, truth: npt.NDArray[np.uint16] = FRAMES, cut: int = 0) -> str:
    """A letter for each frame: right, wrong, refused or doubtful; or all of them refused."""
    data = dicom_bytes(truth, JPEG_LS, value)
    letters = []
    for frame, wanted in zip(decoded(data[: len(data) - cut]), truth, strict=True):
        if isinstance(frame, ReadError):
            letters.append("-")
        elif isinstance(frame, Doubtful):
            letters.append("?" if np.array_equal(frame.pixels, wanted) else "X")
        else:
            letters.append("+" if np.array_equal(frame, wanted) else "X")
    return "".join(letters)


PIECES = [piece for stream in STREAMS for piece in halves(stream)]
STARTS = table(*PIECES)[::2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (fragments(*STREAMS, offsets=table(*STREAMS)), "++++"),
        (fragments(*STREAMS), "++++"),
        # A wrong table is not believed where each picture has its own piece.
        (fragments(*STREAMS, offsets=[0, 10, 20, 30]), "++++"),
        (fragments(*STREAMS, offsets=[0xFFFFFF00] * 4), "++++"),
        (fragments(*STREAMS, offsets=[0]), "++++"),
        # Two pieces for each picture: by the table, and by how pictures begin.
        (fragments(*PIECES, offsets=STARTS), "++++"),
        (fragments(*PIECES), "++++"),
        (fragments(*PIECES, offsets=[0, 1, 2, 3]), "++++"),
        # One of two pieces lost: its picture is refused, the others stay what they are.
        (fragments(*PIECES[:3], *PIECES[4:]), "+-++"),
        # A whole picture lost in the middle: nothing tells which, so none has a place.
        (fragments(*STREAMS[:1], *STREAMS[2:]), "----"),
        (fragments(*STREAMS, *STREAMS[:1]), "----"),
        (fragments(), "----"),
    ],
)
def test_pieces_of_four_pictures(value: bytes, expected: str) -> None:
    assert outcome(value) == expected


def test_a_file_cut_after_two_pictures_keeps_those() -> None:
    value = fragments(*STREAMS)
    rest = len(fragments(*STREAMS[2:])) - len(fragments())
    assert outcome(value, cut=8 + rest) == "++--"
    assert outcome(value, cut=8 + rest - 40) == "++--"
    assert outcome(value, cut=8) == "++++"
    value = fragments(*PIECES, offsets=STARTS)
    assert outcome(value, cut=8 + len(STREAMS[3])) == "+++-"


def test_a_piece_of_odd_length_that_was_padded_all_the_same() -> None:
    odd = [stream + b"\0" * (1 - len(stream) % 2) for stream in STREAMS]
    assert all(len(stream) % 2 for stream in odd)
    counted = b"".join(item(stream) + b"\0" for stream in odd)
    assert outcome(item(b"") + counted) == "++++"
    assert outcome(item(b"") + b"".join(item(stream) for stream in odd)) == "++++"


def test_a_delimiter_inside_a_picture_does_not_end_it() -> None:
    marker = b"\xfe\xff\xdd\xe0\0\0\0\0"
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(marker)) + marker
    streams = [stream[:2] + comment + stream[2:] for stream in STREAMS]
    assert outcome(fragments(*streams)) == "++++"


def test_what_follows_a_picture_is_told() -> None:
    streams = [STREAMS[0] + bytes(range(1, 200)), *STREAMS[1:]]
    assert outcome(fragments(*streams)) == "?+++"


@pytest.mark.parametrize("syntax", [JPEG_LS, J2K, RLE])
def test_pixels_that_are_not_compressed_as_the_file_says(syntax: str) -> None:
    named = syntax.encode() + b"\0" * (len(syntax) % 2)
    data = dicom_bytes(FRAMES).replace(
        b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI" + struct.pack("<H", len(named)) + named, 1
    )
    assert all(isinstance(frame, ReadError) for frame in decoded(data))


@pytest.mark.parametrize("syntax", [JPEG_LS, J2K, RLE])
@pytest.mark.parametrize("stream", [b"", b"\xff" * 99, bytes(range(256)), STREAMS[0][:30]])
def test_what_is_no_compressed_picture(syntax: str, stream: bytes) -> None:
    data = dicom_bytes(FRAMES, syntax, fragments(*[stream] * 4))
    assert all(isinstance(frame, ReadError) for frame in decoded(data))


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": 21},
        {"Columns": 8},
        {"Rows": 40, "Columns": 8},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    ],
)
def test_a_stream_of_another_size_than_the_header_says(change: dict[str, object]) -> None:
    data = dicom_bytes(FRAMES, JPEG_LS, fragments(*STREAMS), **change)
    assert all(isinstance(frame, ReadError) for frame in decoded(data))


def test_huge_claims_cost_nothing() -> None:
    stream = bytearray(STREAMS[0])
    at = stream.index(b"\xff\xf7") + 5
    stream[at : at + 4] = struct.pack(">HH", 65000, 65000)
    data = dicom_bytes(FRAMES[0], JPEG_LS, fragments(bytes(stream)), Rows=65000, Columns=65000)
    with pytest.raises(ReadError, match="far larger"):
        decoded(data)
