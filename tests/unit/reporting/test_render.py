"""The report on paper and screen: complete, marked on every page, and inert."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdf
import pytest
from PIL import Image

from medview.core.findings import Laterality, ModelAuthor, Person, Provenance
from medview.core.models import InputSpec, Metric, Metrics, ModelCard, OutputSpec, Scope, Task
from medview.core.report import KeyImage, Report, ReportStatus, Section, Signature
from medview.core.study import Patient, Series, Study
from medview.reporting.content import date_text, metric_text, person_text, sheet, visible
from medview.reporting.render import Documents, documents
from tests.helpers.exports import AT, finding

LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT
SERIES = Series("1.2.3", "1.2", "MR", "T1 MPRAGE", (), number=5, headers={"PatientAge": "045Y"})
STUDY = Study(
    "1.2", Patient("PAT-7", "Müller^Жанна", "19800102", "F"), "MR Brain", "20260304", "0910",
    "ACC-9", "", "Ärztin^Ute", (SERIES,),
)  # fmt: skip
CARD = ModelCard(
    "hippocampus_mr", "1.2.0", "Hippocampus in T1 MRI", Task.SEGMENTATION, "a:B",
    "Volumetry of adults.", ("Not for children.",), Scope(), InputSpec(), OutputSpec("labels", ()),
    sha256="ab12" * 16, data_source="Task04",
    metrics=Metrics("val", 52, (Metric("dice_anterior", 0.8961, (0.889, 0.902)),)),
)  # fmt: skip


def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((40, 50), 128, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def report_of(*sections: Section) -> Report:
    return Report(
        "1.2",
        sections=sections or (Section("Findings", "Normal – siehe unten."),),
        findings=(
            finding("Left hippocampus", LEFT, 3.4166),
            finding("Right hippocampus", RIGHT, 3.5),
        ),
        key_images=(KeyImage("v", "axial", (0.0, 0.0, 0.0), "Axial, slice 7", png()),),
        ai_statement="The AI model hippocampus_mr version 1.2.0 proposed 2 findings.",
    )


def rendered(report: Report, resources: Path) -> Documents:
    return documents(report, STUDY, [CARD], resources=resources, series=SERIES)


def pages(pdf: bytes) -> list[str]:
    return [
        " ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages
    ]


SAID_EVERYWHERE = [
    "MR Brain", "PAT-7", "1980-01-02", "2026-03-04", "Müller, Жанна", "ACC-9", "Ärztin, Ute",
    "T1 MPRAGE", "45 years", "Normal – siehe unten.", "Left hippocampus", "3.42 mL", "3.50 mL",
    "0.08 mL", "2.4 %", "hippocampus_mr version 1.2.0 proposed 2 findings.",
    "hippocampus_mr, version 1.2.0",
    "ab12" * 16, "Volumetry of adults.", "Not for children.", "Not for clinical use",
    "UNVERIFIED", "Not signed", "accepted by Dr Reader",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(resources: Path) -> Documents:
    return rendered(report_of(), resources)


@pytest.mark.parametrize("words", SAID_EVERYWHERE)
def test_text_html_and_pdf_tell_the_same(made: Documents, words: str) -> None:
    for told in (made.text, made.html, " ".join(pages(made.pdf))):
        assert words in " ".join(told.split())


def test_measures_of_the_model_carry_their_interval(made: Documents) -> None:
    for told in (made.html, " ".join(pages(made.pdf))):
        assert "Dice, anterior" in told
        assert "0.896" in told
        assert "0.889 to 0.902" in told
        assert "52 validation cases" in told


def test_the_source_of_a_finding_names_models_that_helped_a_reader(resources: Path) -> None:
    clicks = ModelAuthor("clicks", "2.1.0", "")
    drawn = Provenance(Person("Dr Ada"), AT, aids=(clicks, ModelAuthor("second", "3.0", "")))
    one = replace(finding("Left hippocampus", LEFT, 3.4), provenance=drawn)
    (row,) = sheet(replace(report_of(), findings=(one,)), STUDY).findings[1:]
    source = row[3]
    assert source.splitlines() == [
        "Dr Ada",
        "with the help of AI: clicks 2.1.0",
        "with the help of AI: second 3.0",
    ]
    made = rendered(replace(report_of(), findings=(one,)), resources)
    assert "with the help of AI: clicks 2.1.0" in made.text
    assert "with the help of AI: clicks 2.1.0" in " ".join(pages(made.pdf)[0].split())


def test_every_page_is_marked_and_numbered(resources: Path) -> None:
    long = Section("Findings", "\n".join(f"Sentence {n} of a long report." for n in range(150)))
    told = pages(rendered(report_of(long), resources).pdf)
    assert len(told) > 3
    for number, page in enumerate(told, start=1):
        assert "Not for clinical use" in page
        assert f"Page {number} of {len(told)}" in page
        assert "PAT-7" in page
        assert "DRAFT" in page


def test_a_signed_report_names_who_when_and_what(resources: Path) -> None:
    signed = replace(
        report_of(), status=ReportStatus.FINAL, signatures=(Signature("Dr Anna", AT, "cd34" * 16),)
    )
    made = rendered(signed, resources)
    for told in (made.text, made.html, " ".join(pages(made.pdf))):
        assert "Dr Anna" in told
        assert "2026-03-04 05:06 UTC" in told
        assert "cd34" * 16 in told
        assert "FINAL" in told
        assert "Not signed" not in told
        assert "Not for clinical use" in told


def test_the_same_report_gives_the_same_bytes(resources: Path) -> None:
    report = report_of()
    assert rendered(report, resources) == rendered(report, resources)


def test_markup_in_names_and_text_is_inert(resources: Path) -> None:
    evil = '<img src="http://x/y.png"><b>bold</b>{{7*7}} &amp; <script>alert(1)</script>'
    study = replace(STUDY, description=evil, patient=replace(STUDY.patient, name=evil))
    report = report_of(Section(evil, evil))
    made = documents(report, study, [CARD], resources=resources, series=SERIES)
    assert "<script" not in made.html
    assert '<img src="http' not in made.html
    assert "{{7*7}}" in made.html
    assert "49 &amp;" not in made.html
    told = "".join("".join(pages(made.pdf)).split())
    assert "<script>alert(1)</script>" in told


def test_html_stands_alone(made: Documents) -> None:
    html = made.html
    assert "data:image/png;base64," in html
    assert "default-src 'none'" in html
    assert "http" not in html.replace("http-equiv", "")
    assert "<script" not in html


def test_other_scripts_find_a_font(resources: Path) -> None:
    name = "山田^太郎"
    korean = "김^철수"
    patient = replace(STUDY.patient, name=f"{name}={korean}")
    made = documents(
        report_of(), replace(STUDY, patient=patient), [], resources=resources, series=SERIES
    )
    fonts = {
        str(font["/BaseFont"])
        for page in pypdf.PdfReader(io.BytesIO(made.pdf)).pages
        for font in (ref.get_object() for ref in page["/Resources"]["/Font"].values())
    }
    assert any("HeiseiKakuGo" in font for font in fonts)
    assert any("HYGothic" in font for font in fonts)
    assert any("DejaVuSans" in font for font in fonts)


def test_right_to_left_names_are_set_in_reading_order(resources: Path) -> None:
    study = replace(STUDY, patient=replace(STUDY.patient, name="שרון^דבורה"))
    made = documents(report_of(), study, [], resources=resources)
    assert "שרון, דבורה" in made.html
    # The reader of the PDF knows that such letters were drawn from the right.
    assert "שרון, דבורה" in pages(made.pdf)[0]


def test_cards_of_models_that_took_no_part_are_left_out(resources: Path) -> None:
    others = [replace(CARD, id="lungs"), replace(CARD, version="9.9")]
    made = documents(report_of(), STUDY, others, resources=resources, series=SERIES)
    assert "Model card" not in made.html
    assert "Volumetry of adults." not in " ".join(pages(made.pdf))


def test_a_bare_report_is_rendered_too(resources: Path) -> None:
    bare = Study("1", Patient("", ""))
    made = documents(Report("1", ai_statement="None."), bare, [], resources=resources)
    assert "(no name)" in made.html
    assert len(pages(made.pdf)) == 1


def test_direction_and_control_marks_are_shown() -> None:
    assert visible("a\u202eb\x00c\u200fd") == "a[U+202E]b[U+0000]c[U+200F]d"
    assert visible("Müller – ≤ 5") == "Müller – ≤ 5"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Doe^Jane^^Dr", "Doe, Jane, Dr"),
        ("Doe", "Doe"),
        ("", ""),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou / 山田, 太郎"),
    ],
)
def test_person_names(name: str, expected: str) -> None:
    assert person_text(name) == expected


def test_dates_and_measures() -> None:
    assert date_text("20130308") == "2013-03-08"
    assert date_text("yesterday") == ""
    assert metric_text("hd95_mm_anterior") == "HD95 (mm), anterior"
    assert metric_text("dice_lungs") == "Dice, lungs"
    assert metric_text("surface_dice_lungs_open") == "surface Dice, lungs open"
    assert metric_text("froc") == "FROC"
    assert metric_text("epe_px") == "end-point error (pixels)"
    assert metric_text("sensitivity_at_spec90") == "sensitivity, at spec90"
