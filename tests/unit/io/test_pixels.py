"""Transfer syntaxes: the same numbers come out, and damaged streams never become a picture."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medview.core.errors import ReadError
from medview.io.codestream import inspect
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import CtOptions, write_ct
from tests.helpers.phantoms import Phantom

SMALL = Phantom(shape=(3, 40, 32), radius_mm=6)
COMPRESSED = (JPEG2000Lossless, JPEGLSLossless, RLELossless)


def loaded(folder: Path) -> LoadedSeries:
    (study,) = scan([folder]).studies
    return load(study.series[0])


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        *COMPRESSED,
    ],
)
def test_lossless_syntaxes_give_the_same_numbers(tmp_path: Path, syntax: str) -> None:
    write_ct(tmp_path, SMALL, CtOptions(transfer_syntax=syntax))
    result = loaded(tmp_path)
    assert result.problems == ()
    assert np.array_equal(result.volumes[0].values(), SMALL.values())


def damaged(path: Path, syntax: str, change: str) -> None:
    """Cut the compressed stream, or let it claim another size."""
    ds = dcmread(path)
    stream = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
    if change == "cut":
        stream = stream[: len(stream) * 6 // 10]
    elif syntax == RLELossless:
        stream[:4] = struct.pack("<L", 15)
    elif syntax == JPEG2000Lossless:
        stream[8:16] = struct.pack(">LL", 60000, 60000)
    else:
        at = stream.index(b"\xff\xf7") + 5
        stream[at : at + 4] = struct.pack(">HH", 65000, 65000)
    ds.PixelData = encapsulate([bytes(stream)])
    ds.save_as(path)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("change", ["cut", "size"])
def test_damaged_streams_are_no_picture(tmp_path: Path, syntax: str, change: str) -> None:
    paths = write_ct(tmp_path, SMALL, CtOptions(transfer_syntax=syntax))
    damaged(paths[1], syntax, change)
    result = loaded(tmp_path)
    (problem,) = result.problems
    assert problem.path == paths[1]
    values = result.volumes[0].values()
    assert (values[1] == -1024).all()
    assert np.array_equal(values[[0, 2]], SMALL.values()[[0, 2]])
    assert any("slice 2 of 3" in note for note in result.volumes[0].notes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Rows": 65535, "Columns": 65535}, "cut short"),
        ({"Rows": 0}, "Rows or columns"),
        ({"Rows": None}, "Rows or columns"),
        ({"BitsAllocated": 7}, "7 bits"),
        ({"BitsStored": 32}, "32 bits"),
        ({"SamplesPerPixel": 5}, "5 values"),
        ({"PhotometricInterpretation": "FOO"}, "FOO"),
        ({"NumberOfFrames": "2147483647"}, "cut short"),
        ({"NumberOfFrames": "-3"}, "-3 frames"),
    ],
)
def test_headers_that_make_no_picture(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    write_ct(tmp_path, SMALL, CtOptions(extra=change))
    result = loaded(tmp_path)
    assert result.volumes == ()
    assert len(result.problems) == 3
    assert all(reason in problem.reason for problem in result.problems)


def test_unknown_syntax_is_named(tmp_path: Path) -> None:
    for path in write_ct(tmp_path, SMALL):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.9.9.9\0", 1))
    result = loaded(tmp_path)
    assert result.volumes == ()
    assert "1.2.840.99999.9.9.9" in result.problems[0].reason


def test_a_file_cut_after_planning_is_noticed(tmp_path: Path) -> None:
    paths = write_ct(tmp_path, SMALL)
    (study,) = scan([tmp_path]).studies
    paths[0].write_bytes(paths[0].read_bytes()[:-100])
    result = load(study.series[0])
    assert (result.volumes[0].values()[0] == -1024).all()
    assert "cut short" in result.problems[0].reason


def test_a_file_gone_after_planning_is_noticed(tmp_path: Path) -> None:
    paths = write_ct(tmp_path, SMALL)
    (study,) = scan([tmp_path]).studies
    paths[2].unlink()
    result = load(study.series[0])
    assert "no longer there" in result.problems[0].reason
    assert np.array_equal(result.volumes[0].values()[:2], SMALL.values()[:2])


def test_a_stream_says_its_size() -> None:
    header = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc3\0\x0b\x0c\x02\x00\x01\x00\x01\x01\x11\0\xff\xd9"
    found = inspect(header)
    assert (found.rows, found.columns, found.samples, found.bits) == (512, 256, 1, 12)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"random bytes", b"\xffO"])
def test_no_stream_at_all(data: bytes) -> None:
    with pytest.raises(ReadError):
        inspect(data)
