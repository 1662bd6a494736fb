"""The header walk against pydicom, and against damage."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medview.core.errors import ReadError
from medview.io.header import Texts, is_dicom, read_header
from medview.io.unpacking import MemoryBytes
from tests.helpers.dicom_phantoms import ct_datasets
from tests.helpers.phantoms import Phantom

SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def dataset() -> Dataset:
    ds = ct_datasets(Phantom(shape=(2, 12, 10)))[1]
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "one"
    inner.PatientName = "Not^Me"  # inside a sequence: not the patient's name
    middle = Dataset()
    middle.PurposeOfReferenceCodeSequence = DicomSequence([inner, inner])
    ds.ReferencedImageSequence = DicomSequence([middle, Dataset()])
    ds.ReferencedImageSequence.is_undefined_length = True
    middle.is_undefined_length_sequence_item = True
    ds.add_new(0x00091001, "UN", b"\1\2\3\4" * 9000)
    ds.add_new(0x00090010, "LO", "PRIVATE")
    return ds


def written(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        words = struct.iter_unpack("<H", ds.PixelData)
        ds.PixelData = b"".join(struct.pack(">H", word) for (word,) in words)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_are_those_of_pydicom(syntax: str) -> None:
    data = written(dataset(), syntax)
    header = read_header(MemoryBytes(data))
    truth = dcmread(io.BytesIO(data))
    assert header.transfer_syntax == syntax
    for keyword in ("PatientName", "PatientID", "Modality", "SOPInstanceUID", "SliceThickness",
                    "StudyDate", "PhotometricInterpretation", "RescaleIntercept"):  # fmt: skip
        assert header.values[keyword] == str(truth[keyword].value), keyword
    for keyword in ("Rows", "Columns", "BitsStored", "PixelRepresentation", "InstanceNumber"):
        assert int(header.values[keyword]) == truth[keyword].value
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "WindowCenter"):
        numbers = [float(part) for part in header.values[keyword].split("\\")]
        assert numbers == [float(part) for part in truth[keyword].value]
    assert header.pixel_length == 12 * 10 * 2


@pytest.mark.parametrize("syntax", SYNTAXES[:3])
def test_the_pixels_begin_where_it_says(syntax: str) -> None:
    data = written(dataset(), syntax)
    header = read_header(MemoryBytes(data))
    truth = dcmread(io.BytesIO(data)).PixelData
    assert data[header.pixel_offset : header.pixel_offset + header.pixel_length] == truth


def test_a_sequence_of_unknown_type_is_implicit_inside() -> None:
    inner = struct.pack("<HHL", 0x0008, 0x0100, 2) + b"ab"
    value = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    value += struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    element = struct.pack("<HH2sHL", 0x0019, 0x1001, b"UN", 0, 0xFFFFFFFF) + value
    data = written(dataset())
    at = data.index(b"\x20\x00\x0d\x00UI")
    header = read_header(MemoryBytes(data[:at] + element + data[at:]))
    assert header.values["Rows"] == "12"


def test_without_preamble_and_meta_information() -> None:
    for syntax in SYNTAXES[:3]:
        data = written(dataset(), syntax)
        little = syntax != ExplicitVRBigEndian
        bare = data[data.index(b"\x08\0\x05\0" if little else b"\0\x08\0\x05", 132) :]
        assert is_dicom(bare[:1024])
        header = read_header(MemoryBytes(bare))
        assert header.values["Rows"] == "12"
        assert any("transfer syntax" in note for note in header.notes)


def test_a_file_that_lies_about_its_encoding() -> None:
    data = written(dataset(), ImplicitVRLittleEndian)
    at = data.index(b"1.2.840.10008.1.2\0")
    lying = data[: at - 2] + struct.pack("<H", 20) + b"1.2.840.10008.1.2.1\0" + data[at + 18 :]
    header = read_header(MemoryBytes(lying))
    assert header.values["Rows"] == "12"
    assert any("differs" in note for note in header.notes)


@pytest.mark.parametrize("start", [b"MZ\x90\0", b"\x7fELF", b"<html>", b"#!/bin/sh"])
def test_an_executable_preamble_is_told(start: bytes) -> None:
    data = written(dataset())
    header = read_header(MemoryBytes(start + data[len(start) :]))
    assert any("program or a script" in note for note in header.notes)


def test_charsets_as_pydicom_reads_them() -> None:
    for charset, name in (
        ("ISO_IR 100", "Äneas^Rüdiger"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ):
        ds = dataset()
        ds.SpecificCharacterSet, ds.PatientName = charset, name
        assert read_header(MemoryBytes(written(ds))).values["PatientName"] == name


@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize(
    ("charset", "raw", "name"),
    [
        # PS3.5 K.2: each group begins with the escape sequence of GB 2312 again.
        (
            ["", "ISO 2022 IR 58"],
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东",
        ),
        ("ISO_IR 203", b"\xbcuvre^\xb4an", "Œuvre^Žan"),
        (["ISO 2022 IR 203"], b"\xa4", "€"),
    ],
)
def test_charsets_that_the_dicom_library_does_not_know(
    charset: str | list[str], raw: bytes, name: str
) -> None:
    ds = dataset()
    ds.SpecificCharacterSet, ds.PatientName = charset, "x" * len(raw)
    data = written(ds).replace(b"x" * len(raw), raw)
    header = read_header(MemoryBytes(data))
    assert header.values["PatientName"].rstrip("=") == name
    assert not header.notes


def test_what_is_remembered_between_files_changes_nothing() -> None:
    files = []
    for charset, name in (
        ("ISO_IR 100", "Jérôme"),
        ("ISO_IR 192", "Jérôme"),
        ("ISO_IR 144", "Люк"),
    ):
        for syntax in SYNTAXES[:3]:
            ds = dataset()
            ds.SpecificCharacterSet, ds.PatientName = charset, name
            files.append(written(ds, syntax))
    bare = dataset()
    del bare.SpecificCharacterSet
    files += [written(bare), files[0], files[2], files[3]]
    shared = Texts()
    for data in files:
        alone = read_header(MemoryBytes(data)).values
        assert read_header(MemoryBytes(data), texts=shared).values == alone


def test_texts_are_inert_and_bounded() -> None:
    ds = dataset()
    ds.StudyDescription = "MARK"
    data, text = written(ds), b"a\x1b[31m\0b\x07" + b"x" * 9000
    size = struct.pack("<H", len(text))
    text = read_header(
        MemoryBytes(data.replace(b"LO" + struct.pack("<H", 4) + b"MARK", b"LO" + size + text))
    ).values["StudyDescription"]
    assert "\x1b" not in text
    assert "\x07" not in text
    assert len(text) < 1100


def test_deep_nesting_is_refused() -> None:
    nested = b""
    for _ in range(3000):
        nested += struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
        nested += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    data = written(dataset())
    at = data.index(b"\x20\x00\x0d\x00UI")
    with pytest.raises(ReadError, match="too deep"):
        read_header(MemoryBytes(data[:at] + nested + data[at:]))


def test_a_deflate_bomb_is_refused() -> None:
    data = written(dataset(), DeflatedExplicitVRLittleEndian)
    start = data.index(b"1.2.840.10008.1.2.1.99")
    head = data[: start + 22]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b"\0" * (60 << 20)) + packer.flush()
    with pytest.raises(ReadError):
        read_header(MemoryBytes(head + bomb))


@pytest.fixture(scope="module")
def intact() -> bytes:
    return written(dataset())


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_never_worse(intact: bytes, data: st.DataObject) -> None:
    whole = bytearray(intact)
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(132, 2200))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(100, len(whole)))
    outcome = outcome_of(bytes(whole[:cut]))
    assert outcome
    assert outcome != "pixels beyond the end"


def outcome_of(data: bytes) -> str:
    try:
        header = read_header(MemoryBytes(data))
    except ReadError as error:
        return error.user_text
    return "pixels beyond the end" if header.pixel_offset > len(data) else "read"


@pytest.mark.parametrize("data", [b"", b"abc", b"\x89PNG" * 100, b"hello world, this is text" * 9])
def test_other_files_are_no_dicom(data: bytes) -> None:
    assert not is_dicom(data)
    with pytest.raises(ReadError):
        read_header(MemoryBytes(data))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_real_files_that_pydicom_carries() -> None:
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    checked = 0
    for path in sorted(folder.rglob("*.dcm")):
        data = path.read_bytes()
        if outcome_of(data) != "read":
            continue
        header, truth = read_header(MemoryBytes(data)), dcmread(path, force=True)
        if "Rows" in truth and "PatientID" in truth:
            assert header.values.get("Rows") == str(truth.Rows), path.name
            assert header.values.get("PatientID") == str(truth.PatientID).strip(), path.name
            checked += 1
    assert checked > 3
