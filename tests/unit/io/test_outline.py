"""What objects that are no pictures say, in words; and the character sets of names."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ComprehensiveSRStorage, RTStructureSetStorage

from medview.core.errors import ReadError
from medview.core.outline import Outline
from medview.core.study import SeriesKind, Study
from medview.io.outline import outline
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import CtOptions, Who, new_dataset, save, uid, write_ct
from tests.helpers.phantoms import Phantom


def outline_of(path: Path) -> Outline:
    """The outline of the only series at a place."""
    (study,) = scan([path]).studies
    return outline(study.series[0])


def item(**attributes: Any) -> Dataset:
    """A data set of those attributes."""
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def code(meaning: str, value: str = "1") -> Sequence:
    """A code with that meaning."""
    return Sequence([item(CodeValue=value, CodingSchemeDesignator="99T", CodeMeaning=meaning)])


def report(path: Path, content: list[Dataset]) -> Path:
    """A structured report with that content."""
    ds = new_dataset(Who(), ComprehensiveSRStorage, uid(path.name), "SR", uid(path.name, "s"))
    ds.ConceptNameCodeSequence = code("Imaging report")
    ds.ValueType, ds.CompletionFlag, ds.VerificationFlag = "CONTAINER", "COMPLETE", "VERIFIED"
    ds.ContentSequence = Sequence(content)
    return save(ds, path)


def test_a_report_is_told_item_by_item(tmp_path: Path) -> None:
    measured = item(NumericValue="12.5", MeasurementUnitsCodeSequence=code("millimetre", "mm"))
    path = report(tmp_path / "sr", [
        item(ValueType="TEXT", ConceptNameCodeSequence=code("Finding"), TextValue="<i>Small</i>"),
        item(
            ValueType="CONTAINER", ConceptNameCodeSequence=code("Measurements"),
            ContentSequence=Sequence([
                item(ValueType="NUM", ConceptNameCodeSequence=code("Length"),
                     MeasuredValueSequence=Sequence([measured])),
                item(ValueType="CODE", ConceptNameCodeSequence=code("Site"),
                     ConceptCodeSequence=code("Liver")),
            ]),
        ),
        item(ValueType="PNAME", ConceptNameCodeSequence=code("Reader"), PersonName="Doe^Jane"),
    ])  # fmt: skip
    told = outline_of(path)
    assert told.title == "Structured report"
    lines = [(line.depth, line.name, line.text) for line in told.lines]
    at = lines.index((0, "Imaging report", ""))
    assert lines[at:] == [
        (0, "Imaging report", ""),
        (1, "Finding", "<i>Small</i>"),
        (1, "Measurements", ""),
        (2, "Length", "12.5 mm"),
        (2, "Site", "Liver"),
        (1, "Reader", "Doe, Jane"),
    ]
    assert (0, "Verification", "VERIFIED") in lines


def test_a_report_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = item(ValueType="TEXT", ConceptNameCodeSequence=code("Deepest"), TextValue="x")
    for depth in range(60):
        inner = item(
            ValueType="CONTAINER", ConceptNameCodeSequence=code(f"Level {depth}"),
            ContentSequence=Sequence([inner]),
        )  # fmt: skip
    told = outline_of(report(tmp_path / "sr", [inner]))
    assert told.lines[-1].text == "The report goes on deeper than is shown"
    monkeypatch.setattr("medview.io.outline._MOST_LINES", 50)
    wide = [item(ValueType="TEXT", ConceptNameCodeSequence=code("One"), TextValue="x")] * 60
    told = outline_of(report(tmp_path / "wide", wide))
    assert len(told.lines) == 51
    assert "Only the first" in told.lines[-1].text


def test_structures_are_listed_with_their_contours(tmp_path: Path) -> None:
    ds = new_dataset(Who(), RTStructureSetStorage, uid("rt"), "RTSTRUCT", uid("rt", "s"))
    ds.StructureSetLabel = "Plan A"
    ds.StructureSetROISequence = Sequence(
        [item(ROINumber=1, ROIName="Heart"), item(ROINumber=2, ROIName="Cord")]
    )
    ds.ROIContourSequence = Sequence(
        [item(ReferencedROINumber=1, ContourSequence=Sequence([Dataset(), Dataset()]))]
    )
    told = outline_of(save(ds, tmp_path / "rt"))
    lines = {line.name: line.text for line in told.lines}
    assert (lines["Heart"], lines["Cord"], lines["Label"]) == ("2 contours", "0 contours", "Plan A")


def test_an_object_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = report(tmp_path / "sr", [item(ValueType="TEXT", TextValue="x" * 400)])
    (study,) = scan([path]).studies
    path.unlink()
    with pytest.raises(ReadError):
        outline(study.series[0])


@pytest.mark.shared
def test_every_real_object_is_told(shared: Path) -> None:
    """Reports, segmentations, plans, waveforms, slides: each says what it is, none fails."""
    kinds = set()
    for folder in ("seg_sr", "rt", "codecs", "wsi", "pet_ct_mr_rtstruct"):
        for study in scan([shared / "data" / folder]).studies:
            for series in study.series:
                if not series.kind.is_shown:
                    told = outline(series)
                    assert told.lines, series.description
                    kinds.add(series.kind)
    assert kinds >= {
        SeriesKind.REPORT, SeriesKind.SEGMENTATION, SeriesKind.STRUCTURE_SET, SeriesKind.PLAN,
        SeriesKind.SLIDE, SeriesKind.OTHER,
    }  # fmt: skip


def named(tmp_path: Path, charset: str | list[str] | None, raw: bytes) -> Study:
    """A study whose patient's name is those bytes in that character set."""
    (path,) = write_ct(tmp_path, Phantom(shape=(1, 4, 4)), CtOptions(who=Who(patient_name="@@")))
    ds = pydicom.dcmread(path)
    if charset is None:
        del ds.SpecificCharacterSet
    else:
        ds.SpecificCharacterSet = charset
    ds.PatientName = "MARK" * 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"MARK" * 10, raw.ljust(40)))
    (study,) = scan([path]).studies
    return study


@pytest.mark.parametrize(
    ("charset", "encoding", "name"),
    [
        ("ISO_IR 100", "latin-1", "Müller^Jörg"),
        ("ISO_IR 101", "iso8859_2", "Wałęsa^Lech"),
        ("ISO_IR 109", "iso8859_3", "Ĉapek^Ĝi"),
        ("ISO_IR 110", "iso8859_4", "Ābele^Ģirts"),
        ("ISO_IR 144", "iso8859_5", "Люксембург^Роза"),
        ("ISO_IR 127", "iso8859_6", "قباني^نزار"),
        ("ISO_IR 126", "iso8859_7", "Διονυσιος"),
        ("ISO_IR 138", "iso8859_8", "שרון^דבורה"),
        ("ISO_IR 148", "iso8859_9", "Çavuşoğlu^İpek"),
        ("ISO_IR 166", "tis-620", "นามสกุล^ชื่อ"),
        ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("ISO_IR 192", "utf-8", "王^小東=山田^太郎"),
        ("GB18030", "gb18030", "王^小东"),
        ("GBK", "gbk", "王^小东"),
    ],
)
def test_names_in_every_character_set(
    tmp_path: Path, charset: str, encoding: str, name: str
) -> None:
    study = named(tmp_path, charset, name.encode(encoding))
    assert study.patient.name == " = ".join(
        ", ".join(part for part in group.split("^")) for group in name.split("=")
    )
    assert not any("names may be wrong" in note for note in study.series[0].notes)


@pytest.mark.parametrize(
    ("charset", "raw", "words"),
    [
        ("ISO_IR 999", b"Doe^Jane", "unknown character set"),
        (None, "Müller".encode(), "not in the character set"),
        ("ISO_IR 6", "Müller".encode("latin-1"), "not in the character set"),
        ("ISO_IR 192", "Müller".encode("latin-1"), "not in the character set"),
    ],
)
def test_wrong_character_sets_are_told(
    tmp_path: Path, charset: str | None, raw: bytes, words: str
) -> None:
    study = named(tmp_path, charset, raw)
    assert any(words in note for note in study.series[0].notes)
