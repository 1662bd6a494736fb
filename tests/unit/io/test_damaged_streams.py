"""Damage to compressed pictures: refused, told, or harmless; counted for each codec in a table.

What no format without checksums can show is a changed bit that makes another valid stream. How
many of those remain is printed, and bounded.
"""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from medview.core.errors import ReadError
from medview.io.codecs import unpack
from medview.io.plan import PixelFormat
from tests.helpers.codec_files import dicom_bytes, format_of, fragments, run_lengths
from tests.unit.io.test_codecs import JPEG, RLE, colours, picture

Pixels = npt.NDArray[Any]

_END = b"\xff\xd9"
ROUNDS = 40


def jpeg_file(pixels: Pixels, **options: Any) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, "JPEG", quality=92, **options)
        return stream.getvalue()


#: Name -> transfer syntax, picture, stream, and the share of changed bits that may go unseen.
CODECS: dict[str, tuple[str, Pixels, Callable[[Pixels], bytes], float]] = {
    "run lengths": (RLE, picture(bits=16), run_lengths, 1.0),
    "JPEG baseline": (JPEG + "50", picture(), jpeg_file, 0.75),
    "JPEG baseline, colour": (JPEG + "50", colours(), jpeg_file, 0.75),
    "JPEG with restarts": (
        JPEG + "50", picture(), lambda a: jpeg_file(a, restart_marker_rows=1), 0.75),
    "JPEG progressive": (JPEG + "55", picture(), lambda a: jpeg_file(a, progressive=True), 0.85),
    "JPEG extended": (
        JPEG + "51", picture(bits=12), lambda a: imagecodecs.jpeg8_encode(a, bitspersample=12),
        0.9),
    "JPEG lossless": (
        JPEG + "70", picture(bits=12),
        lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=12), 0.8),
    "JPEG-LS": (JPEG + "80", picture(bits=12), imagecodecs.jpegls_encode, 0.25),
    "JPEG-LS near": (JPEG + "81", picture(), lambda a: imagecodecs.jpegls_encode(a, level=3), 0.25),
    "JPEG 2000": (
        JPEG + "90", picture(bits=12), lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K"),
        0.1),
    "JPEG 2000, lossy": (
        JPEG + "91", picture(bits=12),
        lambda a: imagecodecs.jpeg2k_encode(a, level=50, reversible=False, codecformat="J2K"),
        0.25),
    "JPEG 2000, high throughput": (
        JPEG + "201", picture(bits=12), lambda a: imagecodecs.htj2k_encode(a, reversible=True),
        0.9),
    "JPEG XL": (JPEG + "110", picture(bits=12), lambda a: imagecodecs.jpegxl_encode(
        a, lossless=True), 0.8),
}  # fmt: skip
#: Damage that every format shows: nothing of it may ever pass in silence.
SHOWN = ("cut", "cut, end forged", "hole", "zeros", "first half twice")


def damaged(stream: bytes, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Streams with something done to them, the same on every run."""
    chance = random.Random(7)  # noqa: S311
    size = len(stream)
    for _ in range(rounds):
        at = chance.randrange(2, size - 4)
        yield "cut", stream[:at]
        yield "cut, end forged", stream[:at] + _END
        gone = chance.randrange(size // 8, size // 4)
        yield "hole", stream[: size // 2] + stream[size // 2 + gone :]
        yield "zeros", stream[: size // 2] + bytes(gone) + stream[size // 2 + gone :]
        yield "first half twice", stream[: size // 2 + gone] + stream[size // 2 :]
        changed = bytearray(stream)
        changed[chance.randrange(size)] ^= 1 << chance.randrange(8)
        yield "a bit", bytes(changed)
        changed = bytearray(stream)
        for _ in range(8):
            changed[chance.randrange(size)] = chance.randrange(256)
        yield "8 bytes", bytes(changed)


def outcome(stream: bytes, form: PixelFormat, truth: Pixels) -> str:
    """What came of one damaged stream."""
    try:
        found = unpack(stream, form)
    except ReadError:
        return "refused"
    if found.pixels.shape == truth.shape and np.array_equal(found.pixels, truth):
        return "harmless"
    if found.pixels.shape != truth.shape:
        return "refused"
    again = [unpack(stream, form).pixels for _ in range(2)]
    assert all(np.array_equal(one, found.pixels) for one in again)
    return "told" if found.doubt else "unseen"


@pytest.mark.parametrize("name", CODECS)
def test_damage_is_seen(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    syntax, pixels, encode, most = CODECS[name]
    stream = bytes(encode(pixels))
    form = format_of(dicom_bytes(pixels, syntax, fragments(stream)))
    truth = unpack(stream, form).pixels
    counts: dict[str, Counter[str]] = {}
    slowest = 0.0
    for kind, bad in damaged(stream, ROUNDS):
        start = time.perf_counter()
        counts.setdefault(kind, Counter())[outcome(bad, form, truth)] += 1
        slowest = max(slowest, time.perf_counter() - start)
    with capsys.disabled():
        for kind, counted in counts.items():
            parts = ", ".join(f"{counted[word]} {word}" for word in sorted(counted))
            print(f"\n{name:27}| {kind:16}| {parts}", end="")  # noqa: T201
    assert slowest < 10
    for kind in SHOWN:
        # A cut of what is padding, or zeros on zeros, change nothing; that is harmless.
        assert counts[kind]["unseen"] == 0, kind
    assert counts["a bit"]["unseen"] <= most * ROUNDS
    assert counts["8 bytes"]["unseen"] <= max(most, 0.1) * ROUNDS


def test_a_value_beyond_the_range_of_a_lossless_picture_is_damage() -> None:
    """Differences that sum up to more than the picture's bits can hold come of a changed bit."""
    truth = picture(bits=12)
    stream = imagecodecs.jpeg8_encode(truth, lossless=True, predictor=1, bitspersample=12)
    at = stream.index(b"\xff\xc3") + 4
    fewer = stream[:at] + bytes([11]) + stream[at + 1 :]
    form = format_of(dicom_bytes(truth, JPEG + "70", fragments(fewer)))
    with pytest.raises(ReadError):
        unpack(fewer, form)
