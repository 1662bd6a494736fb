"""Functional groups as the library reads and writes them, one by one."""

from __future__ import annotations

import io

import pytest
from pydicom import DataElement, Dataset, FileMetaDataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
    generate_uid,
)

from medview.io.functional_groups import (
    PER_FRAME,
    Numbered,
    encoded_groups,
    items_of,
    share_groups,
)


def item(**values: object) -> Sequence:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return Sequence([made])


def frame(number: int) -> Dataset:
    """Places repeat every third frame; a name beyond ASCII and a short VR stand beside."""
    group = Dataset()
    group.FrameContentSequence = item(DimensionIndexValues=[1, number], FrameComments="Größe")
    group.PlanePositionSequence = item(ImagePositionPatient=[0.5, -1.25, number % 3])
    group.SegmentIdentificationSequence = item(ReferencedSegmentNumber=number % 2 + 1)
    group.DerivationImageSequence = Sequence(
        [item(SourceImageSequence=item(ReferencedSOPInstanceUID=f"1.2.{number % 3}"))[0]]
        if number % 4
        else []
    )
    group.RescaleSlope = "2.0"
    return group


def written(syntax: str, *, delimited: str = "") -> bytes:
    """An object of seven frames; with `delimited` its "items" or "sequences" end so."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, generate_uid()
    ds.PerFrameFunctionalGroupsSequence = Sequence([frame(n) for n in range(7)])
    if delimited == "items":
        for group in ds.PerFrameFunctionalGroupsSequence:
            group.is_undefined_length_sequence_item = True
    if delimited == "sequences":
        for group in ds.PerFrameFunctionalGroupsSequence:
            group["FrameContentSequence"].is_undefined_length = True
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize("delimited", ["", "items", "sequences"])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_frames_say_what_the_library_reads_of_each(syntax: str, delimited: str) -> None:
    data = written(syntax, delimited=delimited)
    plain, shared = dcmread(io.BytesIO(data)), dcmread(io.BytesIO(data))
    share_groups(shared)
    assert list(shared.PerFrameFunctionalGroupsSequence) == list(
        plain.PerFrameFunctionalGroupsSequence
    )
    assert shared == plain
    groups = shared.PerFrameFunctionalGroupsSequence
    one = groups[3]["PlanePositionSequence"] is groups[6]["PlanePositionSequence"]
    assert one == (not delimited and syntax != ExplicitVRBigEndian)
    assert groups[0].FrameContentSequence[0].FrameComments == "Größe"


@pytest.mark.parametrize("delimited", ["", "items", "sequences"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_items_come_one_by_one_as_the_library_reads_them(syntax: str, delimited: str) -> None:
    data = written(syntax, delimited=delimited)
    given = list(items_of(dcmread(io.BytesIO(data)), "PerFrameFunctionalGroupsSequence"))
    assert given == list(dcmread(io.BytesIO(data)).PerFrameFunctionalGroupsSequence)
    assert list(items_of(Dataset(), "SegmentSequence")) == []


def test_items_that_change_their_encoding_midway_all_come_once() -> None:
    ds = dcmread(io.BytesIO(written(ExplicitVRLittleEndian)))
    parts = [ds.get_item(PER_FRAME).value]
    parts.append(
        dcmread(io.BytesIO(written(ExplicitVRLittleEndian, delimited="items")))
        .get_item(PER_FRAME)
        .value
    )
    ds._dict[PER_FRAME] = ds.get_item(PER_FRAME)._replace(
        value=b"".join(parts), length=sum(map(len, parts))
    )
    assert list(items_of(ds, "PerFrameFunctionalGroupsSequence")) == [
        frame(n) for _ in range(2) for n in range(7)
    ]


@pytest.mark.parametrize("numbers", [[1, 2], [3, 65_536], [4_294_967_295, 0]])
def test_numbers_change_where_they_stand(numbers: list[int]) -> None:
    def content(indices: list[int]) -> DataElement:
        made = item(StackID="1", DimensionIndexValues=indices, FrameComments="b")
        return DataElement("FrameContentSequence", "SQ", made)

    changed = Numbered(content([1, 1]), Tag("DimensionIndexValues")).numbered(numbers)
    assert encoded_groups([[changed]]) == encoded_groups([[content(numbers)]])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_signed_numbers_are_signed_in_every_frame(syntax: str) -> None:
    """VR US or SS is told by Pixel Representation, which stands outside the frames (PS3.5 A.1)."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, generate_uid()
    ds.PixelRepresentation = 1
    groups = [Dataset() for _ in range(4)]
    for group in groups:
        mapping = Dataset()
        mapping.add_new("RealWorldValueFirstValueMapped", "SS", -6)
        group.RealWorldValueMappingSequence = Sequence([mapping])
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dcmwrite(file, ds, enforce_file_format=True)
    file.seek(0)
    read = dcmread(file)
    share_groups(read)
    assert [
        group.RealWorldValueMappingSequence[0].RealWorldValueFirstValueMapped
        for group in read.PerFrameFunctionalGroupsSequence
    ] == [-6] * 4


def test_what_is_cut_short_is_left_to_the_library() -> None:
    ds = dcmread(io.BytesIO(written(ExplicitVRLittleEndian)))
    raw = ds.get_item(PER_FRAME)
    assert isinstance(raw, RawDataElement)
    for length in (4, 20, 40, len(raw.value) - 3):
        ds._dict[PER_FRAME] = raw._replace(value=raw.value[:length])
        share_groups(ds)
        assert ds.get_item(PER_FRAME).value == raw.value[:length]


def test_groups_are_encoded_as_the_library_encodes_them() -> None:
    place = DataElement("PlanePositionSequence", "SQ", item(ImagePositionPatient=[1, 2, 3.5]))
    frames = []
    for number in range(5):
        content = item(DimensionIndexValues=[number, 2])
        frames.append([place, DataElement("FrameContentSequence", "SQ", content)])
    ds = Dataset()
    groups = [Dataset() for _ in frames]
    for group, elements in zip(groups, frames, strict=True):
        for element in elements:
            group[element.tag] = element
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    file = io.BytesIO()
    dcmwrite(file, ds, implicit_vr=False, little_endian=True)
    assert encoded_groups(frames) == file.getvalue()[12:]
