"""Accepted findings become sentences a radiologist would write; the reader's own words stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medview.core.codes import COUNT
from medview.core.errors import ReportError
from medview.core.findings import (
    Finding,
    Laterality,
    Measurement,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
)
from medview.core.models import InputSpec, ModelCard, OutputSpec, Scope, Task
from medview.core.report import KeyImage, Report, ReportStatus, Section, Signature
from medview.core.study import Instance, Patient, Series, Study
from medview.reporting.check import contradictions
from medview.reporting.content import sheet
from medview.reporting.draft import ai_statement, draft, fill
from medview.reporting.fields import side_pair, side_pairs, value_text
from medview.reporting.template import Template, choose, load_templates
from tests.helpers.exports import ACCEPTED, AT, BY_MODEL, MODEL, finding

LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT
EDITED = Review(ReviewState.EDITED, "Dr Reader", AT)
REJECTED = Review(ReviewState.REJECTED, "Dr Reader", AT)
IMAGE = Instance("1.2.3.4", "1.2.840.10008.5.1.4.1.1.4", "a.dcm")
SERIES = Series(
    "1.2.3",
    "1.2",
    "MR",
    "T1 MPRAGE",
    (IMAGE,) * 192,
    number=5,
    body_part="BRAIN",
    headers={"MagneticFieldStrength": "3", "PatientAge": "045Y", "SliceThickness": "0.90000003"},
)
STUDY = Study("1.2", Patient("P", "Doe^Jane", sex="F"), "MR Brain", series=(SERIES,))
CARD = ModelCard(
    "hippocampus_mr", "1.2.0", "Hippocampus in T1 MRI", Task.SEGMENTATION, "a:B", "Volumetry", (),
    Scope(), InputSpec(), OutputSpec("labels", ()),
)  # fmt: skip


@pytest.fixture(scope="module")
def templates() -> tuple[Template, ...]:
    folder = Path(__file__).resolve().parents[3] / "resources" / "report_templates"
    return load_templates(folder)


def hippocampi(review: Review = ACCEPTED) -> list[Finding]:
    return [
        finding("Left anterior hippocampus", LEFT, 1.71, review=review),
        finding("Left posterior hippocampus", LEFT, 1.62),
        finding("Right anterior hippocampus", RIGHT, 1.80),
        finding("Right posterior hippocampus", RIGHT, 1.65),
    ]


def text_of(report: Report, heading: str) -> str:
    return next(section.text for section in report.sections if section.heading == heading)


def test_both_sides_are_told_with_parts_sum_and_asymmetry(
    templates: tuple[Template, ...],
) -> None:
    report = draft(STUDY, SERIES, hippocampi(), [CARD], templates=templates)
    told = text_of(report, "Findings")
    assert "Right hippocampus: 3.45 mL (anterior 1.80 mL, posterior 1.65 mL)." in told
    assert "Left hippocampus: 3.33 mL (anterior 1.71 mL, posterior 1.62 mL)." in told
    # 0.12 over the mean of 3.39 mL
    assert "The left hippocampus is smaller by 0.12 mL; asymmetry index 3.5 %." in told
    assert "3.45 mL on the right and 3.33 mL on the left" in text_of(report, "Impression")
    assert "3 T" in text_of(report, "Technique")
    assert "192 images" in text_of(report, "Technique")
    assert "female, 45 years" in text_of(report, "Clinical information")


def test_one_side_alone_says_that_the_other_is_missing(templates: tuple[Template, ...]) -> None:
    report = draft(STUDY, SERIES, hippocampi()[2:], [], templates=templates)
    assert "Left hippocampus" not in text_of(report, "Findings")
    assert "the left side was not measured" in text_of(report, "Impression")
    assert "asymmetry" not in text_of(report, "Findings")


def test_equal_sides_are_called_equal(templates: tuple[Template, ...]) -> None:
    same = [finding("Left hippocampus", LEFT, 3.4), finding("Right hippocampus", RIGHT, 3.4)]
    report = draft(STUDY, SERIES, same, [], templates=templates)
    assert "same volume (3.40 mL)" in text_of(report, "Findings")


def test_only_accepted_findings_enter(templates: tuple[Template, ...]) -> None:
    findings = [
        *hippocampi(EDITED)[:3],
        finding("Right posterior hippocampus", RIGHT, 9.9, review=REJECTED),
        finding("Aneurysm", review=Review()),
    ]
    report = draft(STUDY, SERIES, findings, [CARD], templates=templates)
    assert [f.label for f in report.findings] == [f.label for f in findings[:3]]
    everything = " ".join(s.text for s in report.sections)
    assert "9.9" not in everything
    assert "neurysm" not in everything


def test_the_statement_counts_what_the_reader_did() -> None:
    own = finding("Cyst", provenance=Provenance(Person("Dr Reader"), AT))
    findings = [
        *hippocampi(EDITED),
        finding("Fifth", review=REJECTED),
        finding("Sixth", review=Review()),
        own,
    ]
    told = ai_statement(findings, [CARD])
    assert (
        "Hippocampus in T1 MRI (hippocampus_mr version 1.2.0, weights sha256 ab12ab12ab12)" in told
    )
    assert "proposed 6 findings" in told
    assert "3 accepted unchanged; 1 corrected (Left anterior hippocampus); 1 rejected" in told
    assert "1 not decided and not part of this report" in told
    assert "1 finding was added by the reader." in told


def test_the_statement_says_where_the_image_left_the_model_card() -> None:
    child = Provenance(MODEL, AT, cautions=("The model is for adults; this patient is 3.",))
    told = ai_statement([finding("Fifth", provenance=child), *hippocampi()], [CARD])
    assert told.count("Outside the model's intended use: The model is for adults;") == 1
    assert "Outside" not in ai_statement(hippocampi(), [CARD])


def test_what_nobody_reviewed_is_called_so() -> None:
    told = ai_statement([finding("Sixth", review=Review())], [])
    assert "proposed 1 finding; nobody has reviewed them" in told
    assert "accepted" not in told


def test_two_models_are_told_apart_and_none_is_said_too() -> None:
    other = Provenance(ModelAuthor("lungs", "2.0", ""), AT)
    told = ai_statement([hippocampi()[0], finding("Lung", provenance=other)], [])
    assert len(told.splitlines()) == 2
    assert "lungs version 2.0 proposed 1 finding;" in told
    assert ai_statement([], []) == "No AI model contributed to this report."


def test_sections_of_the_reader_survive_a_new_draft(templates: tuple[Template, ...]) -> None:
    first = draft(STUDY, SERIES, hippocampi(), [], templates=templates)
    image = KeyImage("v", "axial", (0.0, 0.0, 0.0), "c")
    mine = Section("Impression", "Normal for age.", edited=True)
    extra = Section("Comparison", "None available.", edited=True)
    changed = replace(
        first,
        sections=(*(mine if s.heading == mine.heading else s for s in first.sections), extra),
        key_images=(image,),
    )
    second = draft(STUDY, SERIES, hippocampi()[:2], [], templates=templates, previous=changed)
    assert text_of(second, "Impression") == "Normal for age."
    assert text_of(second, "Comparison") == "None available."
    assert "Right hippocampus" not in text_of(second, "Findings")
    assert (second.uid, second.key_images) == (first.uid, (image,))


def test_a_signed_report_is_not_redrafted(templates: tuple[Template, ...]) -> None:
    report = draft(STUDY, SERIES, hippocampi(), [], templates=templates)
    signed = replace(
        report, status=ReportStatus.FINAL, signatures=(Signature("Dr Reader", AT, "0" * 64),)
    )
    with pytest.raises(ReportError, match="signed"):
        draft(STUDY, SERIES, [], [], templates=templates, previous=signed)


def test_words_of_the_reader_stand_for_a_finding(templates: tuple[Template, ...]) -> None:
    findings = [
        replace(hippocampi()[0], text="Left hippocampal head slightly flattened"),
        finding("Cyst", LEFT, text="Small cyst at the temporal pole."),
        finding("Hippocampus", text="Signal normal"),
    ]
    told = text_of(draft(STUDY, SERIES, findings, [], templates=templates), "Findings")
    assert "Left hippocampal head slightly flattened." in told
    assert "Small cyst at the temporal pole." in told
    assert "Signal normal." in told


def field_of_cells(count: int, **more: object) -> list[Finding]:
    return [finding(f"Cell {number}", **more) for number in range(1, count + 1)]


def test_of_many_findings_of_a_class_the_number_is_told(templates: tuple[Template, ...]) -> None:
    boxes = [finding("Red blood cell") for _ in range(97)]
    own = finding("Red blood cell", text="One red blood cell holds a parasite.")
    found = [*boxes, finding("Platelet"), own, *field_of_cells(6)]
    report = draft(STUDY, SERIES, found, [], templates=templates)
    assert text_of(report, "Findings").splitlines() == [
        "Platelet.",
        "One red blood cell holds a parasite.",
        "Red blood cell: 97 findings; Cell: 6 findings.",
    ]
    labels = "Platelet; Red blood cell; Red blood cell (97); Cell (6)."
    assert text_of(report, "Impression") == labels
    assert report.findings == tuple(found)
    assert contradictions(report, STUDY, []) == ()


def test_measured_structures_are_no_diagnosis(templates: tuple[Template, ...]) -> None:
    lung = replace(finding("Right lung"), site=None)
    told = finding("Left lung", text="The left lung is collapsed.")
    drafted = draft(STUDY, SERIES, [lung, finding("Airways")], [], templates=templates)
    assert text_of(drafted, "Impression") == "Measured: right lung, airways."
    drafted = draft(STUDY, SERIES, [lung, finding("Nodule"), told], [], templates=templates)
    assert text_of(drafted, "Impression").splitlines() == [
        "Nodule; Left lung. Measured: right lung."
    ]


def test_few_findings_of_a_class_are_told_one_by_one(templates: tuple[Template, ...]) -> None:
    told = text_of(draft(STUDY, SERIES, field_of_cells(5), [], templates=templates), "Findings")
    assert told.splitlines() == [f"Cell {number}." for number in range(1, 6)]


def test_sides_are_counted_apart(templates: tuple[Template, ...]) -> None:
    found = [finding("Nodule", side) for side in (LEFT, RIGHT) for _ in range(6)]
    told = text_of(draft(STUDY, SERIES, found, [], templates=templates), "Findings")
    assert told == "Nodule, left: 6 findings; Nodule, right: 6 findings."


def test_many_corrected_findings_are_counted_in_the_statement() -> None:
    told = ai_statement(field_of_cells(40, review=EDITED), [])
    assert "40 corrected (Cell (40))" in told


def test_a_count_is_a_whole_number(templates: tuple[Template, ...]) -> None:
    count = Measurement(COUNT, 104.0, "1", "Objects outlined", BY_MODEL, "Count")
    one = replace(finding("Cells in the picture"), measurements=(count,))
    report = draft(STUDY, SERIES, [one], [], templates=templates)
    assert text_of(report, "Findings") == "Cells in the picture: count 104."
    assert sheet(report, STUDY).findings[1][2] == "Count 104"


def test_nothing_accepted_is_said(templates: tuple[Template, ...]) -> None:
    report = draft(STUDY, SERIES, [], [], templates=templates)
    assert "No finding has been accepted." in text_of(report, "Findings")
    assert all(section.text for section in report.sections)


def test_every_template_reads_well_without_any_header(templates: tuple[Template, ...]) -> None:
    bare = Series("1", "2", "CT", "", (), body_part="CHEST")
    study = Study("2", Patient("", ""))
    for template in templates:
        labels = template.structures or ("nodule",)
        anywhere = replace(template, modality=(), body_part=())
        found = [finding(label) for label in labels]
        for section in draft(study, bare, found, [], templates=[anywhere]).sections:
            assert "$" not in section.text
            assert "  " not in section.text
            assert not section.text.startswith(("(", ",", "."))


@pytest.mark.parametrize(
    ("modality", "description", "label", "expected"),
    [
        ("MR", "T1", "Left hippocampus", "brain_mr_hippocampus"),
        ("MR", "T1", "Liver", "general"),
        ("CT", "Chest routine", "Nodule", "chest_ct"),
        ("CT", "Knee", "Meniscus", "general"),
        ("US", "Chest", "Effusion", "ultrasound_clip"),
        ("DX", "CHEST PA", "Opacity", "chest_xray"),
        ("CT", "Abdomen and pelvis", "Liver", "abdomen_ct"),
        ("OT", "Smear", "Red cell 3", "cell_count"),
        ("MG", "Screening", "Mass", "general"),
    ],
)
def test_the_closest_template_is_chosen(
    templates: tuple[Template, ...], modality: str, description: str, label: str, expected: str
) -> None:
    series = Series("1", "2", modality, description, ())
    study = Study("2", Patient("", ""))
    assert choose(templates, study, series, [finding(label)]).id == expected


def test_a_broken_template_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('title = "x"\n[[section]]\nheading = "Findings"\n')
    with pytest.raises(ReportError, match=r"mine\.toml"):
        load_templates(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One $a.\nTwo $b.", "One 1."),
        ("{First $b.|Second $a.|Third.}", "Second 1."),
        ("{First $b.|Third.}", "Third."),
        ("Cost: 5 $$.", "Cost: 5 $."),
        ("A $a.\n\n$b\n\nC.", "A 1.\n\nC."),
    ],
)
def test_lines_stand_only_where_their_names_are_known(text: str, expected: str) -> None:
    assert fill(text, {"a": "1"}) == expected


def test_pairs_are_found_with_their_sums() -> None:
    pairs = {pair.name: pair for pair in side_pairs(hippocampi())}
    assert set(pairs) == {"anterior hippocampus", "posterior hippocampus", "hippocampus"}
    whole = pairs["hippocampus"]
    assert (whole.left_ml, whole.right_ml) == (pytest.approx(3.33), pytest.approx(3.45))
    assert whole.asymmetry_percent == pytest.approx(100 * 0.12 / 3.39)
    assert whole.smaller is LEFT
    assert side_pair([], "liver").asymmetry_percent is None


def test_sides_with_other_parts_are_not_compared(templates: tuple[Template, ...]) -> None:
    found = [f for f in hippocampi() if f.label != "Left posterior hippocampus"]
    assert len(found) == 3
    whole = side_pair(found, "hippocampus")
    assert (whole.left_ml, whole.right_ml) == (pytest.approx(1.71), pytest.approx(3.45))
    assert (whole.difference_ml, whole.asymmetry_percent, whole.smaller) == (None, None, None)
    assert [pair.name for pair in side_pairs(found)] == ["anterior hippocampus"]
    series = replace(SERIES, modality="MR")
    text = text_of(draft(STUDY, series, found, [], templates=templates), "Findings")
    assert "Left hippocampus: 1.71 mL (anterior 1.71 mL)." in text
    assert "smaller" not in text
    assert "asymmetry" not in text
    told = text_of(draft(STUDY, series, found, [], templates=templates), "Impression")
    assert told.startswith(
        "Hippocampal volume 3.45 mL (anterior 1.80 mL, posterior 1.65 mL) on the right "
        "and 1.71 mL (anterior 1.71 mL) on the left: not the same parts."
    )


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (45184.0, "{pixels}", "45184 pixels"),
        (3.4166, "mL", "3.42 mL"),
        (34.166, "mL", "34.2 mL"),
        (1861.247, "mL", "1861 mL"),
        (-98.4, "[hnsf'U]", "-98 HU"),
        (12.34, "deg", "12.3°"),
        (0.5, "1", "0.50"),
        (8.26, "mm", "8.3 mm"),
    ],
)
def test_numbers_carry_their_unit(value: float, unit: str, expected: str) -> None:
    assert value_text(value, unit) == expected


def test_model_of_the_helpers_is_the_card() -> None:
    assert (CARD.id, CARD.version) == (MODEL.model_id, MODEL.version)
