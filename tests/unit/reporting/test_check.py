"""What contradicts itself is named; what agrees is left in peace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medview.core.codes import AREA, LENGTH, MEAN
from medview.core.findings import Finding, Laterality, Measurement, Person
from medview.core.geometry import Calibration, Geometry
from medview.core.report import Report, Section, Subject
from medview.core.segmentation import Segmentation
from medview.core.study import Patient, Study
from medview.reporting.check import contradictions
from tests.helpers.exports import finding, segment

LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT
STUDY = Study("1.2", Patient("P", "Doe^Jane", sex="F"))
LABELS = ("Left lobe", "Right lobe")


def segmented(*, mirrored: bool = False) -> tuple[Segmentation, list[Finding]]:
    """Two lobes in 1 mm voxels: 24 and 30 of them, left at larger x (LPS)."""
    labels = np.zeros((4, 6, 20), dtype=np.uint8)
    labels[1, 1:4, 12:20] = 1
    labels[2, 0:5, 1:7] = 2
    affine = np.eye(4)[:, [2, 1, 0, 3]]  # i -> x, j -> y, k -> z
    if mirrored:
        affine = affine @ np.diag([1, 1, -1, 1])
    segments = tuple(segment(n, name) for n, name in enumerate(LABELS, start=1))
    geometry = Geometry((4, 6, 20), affine)
    segmentation = Segmentation("v", geometry, labels, segments)
    findings = [
        finding(name, side, ml, segmentation=segmentation, number=number)
        for number, (name, side, ml) in enumerate(
            zip(LABELS, (LEFT, RIGHT), (0.024, 0.030), strict=True), start=1
        )
    ]
    return segmentation, findings


def report_of(findings: list[Finding], *sections: Section) -> Report:
    written = sections or (Section("Findings", "Left lobe 0.02 mL, right lobe 0.03 mL."),)
    return Report("1.2", findings=tuple(findings), sections=written)


def mine(text: str) -> Section:
    return Section("Impression", text, edited=True)


def test_what_agrees_is_left_in_peace() -> None:
    segmentation, findings = segmented()
    assert contradictions(report_of(findings), STUDY, [segmentation]) == ()


def test_mirrored_patient_coordinates_are_noticed() -> None:
    segmentation, findings = segmented(mirrored=True)
    (told,) = contradictions(report_of(findings), STUDY, [segmentation])
    assert "called left lies to the right" in told


@pytest.mark.parametrize("seed", range(10))
def test_only_mirrored_ones_of_random_twins_are_noticed(seed: int) -> None:
    chance = np.random.default_rng(seed)
    for mirrored in (False, True):
        segmentation, findings = segmented(mirrored=mirrored)
        labels = np.zeros_like(segmentation.labels)
        for number, first in ((1, 10), (2, 0)):  # the left one at larger x
            low = first + chance.integers(0, 4)
            high = low + chance.integers(2, 6)
            labels[1:3, chance.integers(0, 3) : chance.integers(4, 6), low:high] = number
        segmentation.labels[...] = labels
        volumes = [(labels == number).sum() / 1000 for number in (1, 2)]
        measured = [
            finding(name, one.laterality, float(ml), segmentation=segmentation, number=number)
            for number, (name, one, ml) in enumerate(
                zip(LABELS, findings, volumes, strict=True), start=1
            )
        ]
        told = contradictions(report_of(measured), STUDY, [segmentation])
        assert [one for one in told if "lies to the right" in one] == list(told)
        assert len(told) == mirrored


def test_changed_voxels_make_the_volume_stale() -> None:
    segmentation, findings = segmented()
    segmentation.labels[0, :, 10:20] = 1
    (told,) = contradictions(report_of(findings), STUDY, [segmentation])
    assert "Left lobe" in told
    assert "0.02 mL" in told
    assert "now holds 0.08 mL" in told


def picture(pixels: int) -> tuple[Segmentation, Finding]:
    """An outline of so many of 100 pixels without a scale, and its area as a model measured it."""
    labels = np.zeros((1, 10, 10), dtype=np.uint8)
    labels.flat[:pixels] = 1
    geometry = Geometry(labels.shape, np.eye(4), calibration=Calibration.NONE)
    segmentation = Segmentation("v", geometry, labels, (segment(1, "Left lobe"),))
    made = finding("Left lobe", LEFT, 0.1, segmentation=segmentation, number=1)
    area = Measurement(AREA, 40.0, "{pixels}", "Pixels of the segment", made.provenance, "Area")
    return segmentation, replace(made, measurements=(area,))


def test_changed_pixels_make_the_area_stale() -> None:
    written = Section("Findings", "Left lobe.")
    segmentation, same = picture(40)
    assert contradictions(report_of([same], written), STUDY, [segmentation]) == ()
    segmentation, other = picture(43)
    (told,) = contradictions(report_of([other], written), STUDY, [segmentation])
    assert "the area in the report is 40 pixels, the segmentation now holds 43 pixels" in told


def test_lengths_of_pictures_without_a_scale_are_noticed() -> None:
    segmentation, area = picture(40)
    claim = report_of([area], mine("Left lobe, 12 x 9.5 mm."))
    told = contradictions(claim, STUDY, [segmentation], has_scale=False)
    assert told == (
        "“Impression” says 12 mm, but the pictures have no scale.",
        "“Impression” says 9.5 mm, but the pictures have no scale.",
    )
    assert contradictions(claim, STUDY, [segmentation]) == ()
    drafted = report_of([area], Section("Impression", "Left lobe, 12 mm."))
    assert contradictions(drafted, STUDY, [segmentation], has_scale=False) == ()


def test_numbers_from_before_a_correction_are_noticed() -> None:
    segmentation, (left, right) = segmented()
    (volume,) = left.measurements
    density = Measurement(MEAN, -800.0, "[hnsf'U]", "All voxels", left.provenance, "Mean density")
    by_reader = replace(left.provenance, author=Person("Dr Ada"))
    again = replace(volume, provenance=by_reader)
    as_proposed = replace(left, measurements=(volume, density))
    assert contradictions(report_of([as_proposed, right]), STUDY, [segmentation]) == ()
    corrected = replace(left, measurements=(again, density))
    (told,) = contradictions(report_of([corrected, right]), STUDY, [segmentation])
    assert told == "Left lobe: measured before its outline was changed: mean density."
    alone = replace(left, measurements=(again,))
    assert contradictions(report_of([alone, right]), STUDY, [segmentation]) == ()


def test_emptied_and_removed_segments_are_noticed() -> None:
    segmentation, findings = segmented()
    segmentation.labels[segmentation.labels == 1] = 0
    (told,) = contradictions(report_of(findings), STUDY, [segmentation])
    assert "nothing is marked" in told
    gone = contradictions(report_of(findings), STUDY, [])
    assert len(gone) == 2
    assert all("no longer there" in word for word in gone)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Lesion of the left lobe.", ()),
        ("The lobe on the left is smaller. The right lobe is normal.", ()),
        ("Both lobes, left and right, are seen.", ()),
    ],
)
def test_sides_in_text_that_agree(text: str, words: tuple[str, ...]) -> None:
    _, findings = segmented()
    bare = [replace(f, segment_ref=None, measurements=()) for f in findings]
    assert contradictions(report_of(bare, mine(text)), STUDY, []) == words


def test_the_other_side_in_the_text_is_noticed() -> None:
    only_left = finding("Left kidney", LEFT)
    report = report_of([only_left], mine("Cyst of the right kidney, 2 cm."))
    (told,) = contradictions(report, STUDY, [])
    assert "speaks of the right kidney" in told
    assert "on the left" in told


def test_the_side_of_a_label_against_its_finding() -> None:
    wrong = finding("Left kidney", RIGHT)
    told = contradictions(report_of([wrong], mine("Kidney normal.")), STUDY, [])
    assert any("its side is right, but its words say left" in word for word in told)


@pytest.mark.parametrize("number", ["2.40", "2,4", "1.10", "1.3", "0.20"])
def test_numbers_that_measurements_give(number: str) -> None:
    findings = [finding("Left lobe", LEFT, 1.3), finding("Right lobe", RIGHT, 1.1)]
    report = report_of(findings, mine(f"The lobes measure {number} mL."))
    assert contradictions(report, STUDY, []) == ()


def test_a_number_that_no_measurement_gives() -> None:
    findings = [finding("Left lobe", LEFT, 1.3), finding("Right lobe", RIGHT, 1.1)]
    (told,) = contradictions(report_of(findings, mine("Left lobe 3.1 mL.")), STUDY, [])
    assert "3.1 mL" in told
    assert "no measurement" in told


def test_a_finding_without_a_sentence_is_named() -> None:
    report = report_of([finding("Left kidney", LEFT)], mine("Liver unremarkable."))
    (told,) = contradictions(report, STUDY, [])
    assert "Left kidney: accepted, but no sentence" in told


def test_nothing_accepted_and_nothing_written() -> None:
    told = contradictions(Report("1.2", sections=(Section("Findings", " "),)), STUDY, [])
    assert any("No finding has been accepted" in word for word in told)
    assert any("“Findings” is empty" in word for word in told)


def test_another_patient_is_noticed() -> None:
    told = contradictions(Report("9.9", sections=(mine("Text."),)), STUDY, [])
    assert any("another study" in word for word in told)
    man = replace(STUDY, patient=Patient("P", "Doe^John", sex="M"))
    told = contradictions(Report("1.2", sections=(mine("Uterus normal."),)), man, [])
    assert any("“Uterus”, but the patient is male" in word for word in told)
    assert contradictions(Report("1.2", sections=(mine("Uterus normal."),)), STUDY, []) == ()


def nodule(mm: float, label: str = "Nodule") -> Finding:
    provenance = finding(label, None, 0.1).provenance
    length = Measurement(LENGTH, mm, "mm", "Longest side of the box", provenance, "Extent")
    return replace(finding(label, None, 0.1), measurements=(length,))


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("Nodule of 12 mm.", None),
        ("Nodule of 1.2 cm.", None),
        ("Nodule of 12 x 8 mm.", None),
        ("Nodule of 8 mm x 12 mm.", None),
        ("Nodule of 12 cm.", "12.0 mm; the unit?"),
        ("Nodule of 1.2 mm.", "the unit?"),
        ("Nodule of 15 mm.", "measured was 12.0 mm"),
        ("The tube ends 5 cm above the carina. Nodule.", None),
    ],
)
def test_lengths_against_measurements(sentence: str, told: str | None) -> None:
    report = report_of([nodule(12.0)], Section("Impression", sentence, edited=True))
    found = contradictions(report, STUDY, [])
    assert [told in one for one in found] == ([True] if told else [])


def test_a_report_begun_about_somebody_else() -> None:
    about = Subject(replace(STUDY.patient, name="Roe^John", id="Q"))
    report = replace(report_of([nodule(12.0)], mine("Nodule.")), subject=about)
    found = contradictions(report, STUDY, [])
    assert len(found) == 2
    assert "name of the patient is another" in found[0]
    assert "patient ID" in found[1]


def test_the_name_of_another_open_patient_is_noticed() -> None:
    report = report_of([nodule(12.0)], mine("Mrs Roeder has a nodule. Doe as well."))
    others = [STUDY.patient, Patient("Q", "ROEDER^ANN"), Patient("R", "Doe^Max")]
    (told,) = contradictions(report, STUDY, [], others=others)
    assert "Roeder" in told


def test_stale_results_are_named() -> None:
    one = nodule(12.0)
    report = report_of([one], mine("Nodule."))
    (told,) = contradictions(report, STUDY, [], stale={one.uid: "Stale: the files changed"})
    assert told == "Nodule: Stale: the files changed."
