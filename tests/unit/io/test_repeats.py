"""Headers compared with earlier ones: always exactly what walking each file alone gives."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medview.core.errors import ReadError
from medview.io import repeats
from medview.io.elements import elements_of
from medview.io.header import CHUNK, read_header
from medview.io.repeats import Headers
from medview.io.scan import scan
from medview.io.unpacking import MemoryBytes
from tests.helpers.big_folders import Batch, headers

SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def written(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds = Dataset(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.Rows = ds.Columns = 4
    ds.PixelData = bytes(32)
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def alone(data: bytes) -> dict[str, str] | str:
    """The truth: the file walked by itself."""
    try:
        header = read_header(MemoryBytes(data))
    except ReadError as error:
        return error.user_text
    return repeats._values(header)


def together(reader: Headers, data: bytes) -> dict[str, str] | str:
    try:
        return reader.read(MemoryBytes(data), data[: reader.look]).merged()
    except ReadError as error:
        return error.user_text


def another_patient(ds: Dataset, _rng: random.Random) -> None:
    ds.PatientID, ds.PatientName = "OTHER", "Other^Person"


def another_series(ds: Dataset, rng: random.Random) -> None:
    ds.SeriesInstanceUID = f"1.2.{rng.randint(1, 9999)}"


def another_alphabet(ds: Dataset, _rng: random.Random) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName = "Müller^Jörg"


def more_elements(ds: Dataset, _rng: random.Random) -> None:
    ds.EchoTime = "12.5"


def fewer_elements(ds: Dataset, _rng: random.Random) -> None:
    del ds.ProtocolName


def longer_values(ds: Dataset, rng: random.Random) -> None:
    ds.SeriesDescription = "x" * rng.randint(1, 60)
    ds.SOPInstanceUID = "1.2." + "3" * rng.randint(1, 50)


def deeper(ds: Dataset, rng: random.Random) -> None:
    item = Dataset()
    item.ReferencedSOPInstanceUID = f"1.2.{rng.randint(1, 10**9)}"
    item.is_undefined_length_sequence_item = rng.random() < 0.5
    ds.ReferencedImageSequence = [item]
    ds["ReferencedImageSequence"].is_undefined_length = rng.random() < 0.5


def signed(ds: Dataset, _rng: random.Random) -> None:
    ds.PixelRepresentation = 0
    ds.SmallestImagePixelValue = 40000


CHANGES = [another_patient, another_series, another_alphabet, more_elements, fewer_elements,
           longer_values, deeper, signed]  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_file_reads_as_if_it_were_alone(syntax: str) -> None:
    rng = random.Random(3)  # noqa: S311
    reader = Headers()
    for n, ds in enumerate(headers(Batch(60, 4))):
        if n % 3 == 2:
            change: Callable[[Dataset, random.Random], None] = rng.choice(CHANGES)
            change(ds, rng)
        data = written(ds, syntax)
        truth = alone(data)
        assert isinstance(truth, dict)
        assert together(reader, data) == truth


def test_damaged_files_read_as_if_they_were_alone() -> None:
    rng = random.Random(4)  # noqa: S311
    files = [written(ds) for ds in headers(Batch(12, 4))]
    reader = Headers()
    for data in files:
        together(reader, data)
    refused = 0
    for _ in range(400):
        data = bytearray(rng.choice(files))
        for _flip in range(rng.randint(1, 3)):
            data[rng.randrange(len(data) - 40)] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(140, len(data)) :]
        truth = alone(bytes(data))
        refused += isinstance(truth, str)
        assert together(reader, bytes(data)) == truth
    assert refused > 20


def test_neighbours_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [written(ds) for ds in headers(Batch(50, 4))]
    files += [written(ds) for ds in headers(Batch(50, 4, "other"))]
    random.Random(5).shuffle(files)  # noqa: S311
    walked: list[object] = []

    def counted(*arguments: object) -> object:
        walked.append(arguments)
        return read_header(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(repeats, "read_header", counted)
    reader = Headers()
    for data in files:
        together(reader, data)
    assert len(walked) < 20


def test_elements_follow_each_other_without_a_gap() -> None:
    for ds in headers(Batch(3, 4)):
        deeper(ds, random.Random(6))  # noqa: S311
        data = written(ds)
        stop = read_header(MemoryBytes(data)).pixel_offset
        found = elements_of(data[:CHUNK], stop)
        assert found is not None
        assert found[0].start == 0
        assert all(a.end == b.start for a, b in pairwise(found))
        assert found[-1].end == stop
        assert elements_of(data[: stop - 1], stop) is None


def test_two_patients_in_one_folder_stay_two(tmp_path: Path) -> None:
    for n, ds in enumerate(headers(Batch(20, 4))):
        if n % 2:
            another_patient(ds, random.Random(0))  # noqa: S311
        (tmp_path / f"{n:02d}").write_bytes(written(ds))
    studies = scan([tmp_path]).studies
    assert sorted(study.patient.id for study in studies) == ["OTHER", "PHANTOM-large"]
    assert [sum(len(s.instances) for s in study.series) for study in studies] == [10, 10]
