"""Contradictions in a report, found before it is signed and said in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from medview.core.findings import Finding, Laterality
from medview.core.geometry import Box
from medview.core.report import Report
from medview.core.segmentation import Segmentation
from medview.core.study import Patient, Study
from medview.imaging.measure import size_again
from medview.reporting.check_words import (
    measured_before,
    withdrawn,
    without_scale,
    wrong_lengths,
    wrong_patient,
)
from medview.reporting.fields import (
    class_of,
    counted,
    labelled,
    measured_text,
    name_in_text,
    structure_of,
    value_text,
    volume_of,
)

_SIDES = (Laterality.LEFT, Laterality.RIGHT)
_NUMBER_ML = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:mL|ml|cm³|cm3|ccm|cc)\b")
_SENTENCE_ENDS = re.compile(r"(?<=[.!?;])\s+|\n+")
_SEX_WORDS = {
    "M": re.compile(r"\b(female|woman|girl|uterus|ovar(?:y|ies))\b", re.IGNORECASE),
    "F": re.compile(r"\b(male|man|boy|prostate|testis|testes)\b", re.IGNORECASE),
}
#: No result is stale.
NOTHING_STALE: Mapping[str, str] = MappingProxyType({})

#: How far a size may stand from the labels before it counts as stale, in its own unit.
_STALE = 0.005


def contradictions(
    report: Report,
    study: Study,
    segmentations: Sequence[Segmentation],
    *,
    others: Sequence[Patient] = (),
    stale: Mapping[str, str] = NOTHING_STALE,
    has_scale: bool = True,
) -> tuple[str, ...]:
    """What does not agree, each as a sentence for the reader; empty when all is well.

    Compared are the text, the findings, the labels as they now are, and the patient.
    `segmentations` are those of the study, `others` the patients who are open besides, `stale`
    says by UID of findings why they no longer speak of what is there; `has_scale` tells whether
    lengths can be measured in the images at all.
    """
    checks = (
        _patient(report, study),
        wrong_patient(report, study, others),
        (f"{labelled(f)}: {stale[f.uid]}." for f in report.findings if f.uid in stale),
        _nothing_said(report),
        _side_of_label(report),
        _side_in_patient(report, segmentations),
        _stale(report, segmentations),
        _side_in_text(report),
        _numbers_in_text(report),
        measured_before(report),
        wrong_lengths(report),
        () if has_scale else without_scale(report),
        withdrawn(report),
        _unmentioned(report),
    )
    return tuple(dict.fromkeys(word for check in checks for word in check))


def _patient(report: Report, study: Study) -> Iterator[str]:
    if report.study_uid != study.uid:
        yield "The report belongs to another study than the one it is signed for."
    wrong = _SEX_WORDS.get(study.patient.sex)
    for section in report.sections:
        found = wrong.search(section.text) if wrong is not None else None
        if found is not None:
            sex = "male" if study.patient.sex == "M" else "female"
            yield f"“{section.heading}” says “{found.group()}”, but the patient is {sex}."


def _nothing_said(report: Report) -> Iterator[str]:
    own_words = any(section.edited and section.text.strip() for section in report.sections)
    if not report.findings and not own_words:
        yield "No finding has been accepted and no text was written."
    for section in report.sections:
        if not section.text.strip():
            yield f"The section “{section.heading}” is empty."


def _side_of_label(report: Report) -> Iterator[str]:
    for finding in report.findings:
        said = _sides_named(finding.label) | _sides_named(finding.text)
        if finding.laterality in _SIDES and said and finding.laterality not in said:
            other = " and ".join(sorted(said))
            yield f"{finding.label}: its side is {finding.laterality}, but its words say {other}."


def _side_in_patient(report: Report, segmentations: Sequence[Segmentation]) -> Iterator[str]:
    """Left structures lie at larger x than their right twins: LPS x grows to the left."""
    places: dict[tuple[str, Laterality], float] = {}
    for finding in report.findings:
        x_mm = _center_x_mm(finding, segmentations)
        if finding.laterality in _SIDES and x_mm is not None:
            places[structure_of(finding.label).casefold(), finding.laterality] = x_mm
    for (structure, side), x_mm in places.items():
        twin = places.get((structure, Laterality.RIGHT))
        if side is Laterality.LEFT and twin is not None and x_mm <= twin:
            yield (
                f"The {structure} called left lies to the right of the one called right "
                "in the patient."
            )


def _center_x_mm(finding: Finding, segmentations: Sequence[Segmentation]) -> float | None:
    found = _voxels(finding, segmentations)
    if found is None:
        return None
    segmentation, number = found
    box = Box.of(segmentation.labels == number)
    if box is None or not segmentation.geometry.in_patient_space:
        return None
    inside = np.argwhere(segmentation.labels[box.slices] == number)
    return float(segmentation.geometry.to_lps_mm(inside.mean(axis=0) + box.start)[0])


def _voxels(
    finding: Finding, segmentations: Sequence[Segmentation]
) -> tuple[Segmentation, int] | None:
    ref = finding.segment_ref
    if ref is None:
        return None
    for segmentation in segmentations:
        if segmentation.uid == ref.segmentation_uid:
            return segmentation, ref.number
    return None


def _stale(report: Report, segmentations: Sequence[Segmentation]) -> Iterator[str]:
    for finding in report.findings:
        if finding.segment_ref is None:
            continue
        found = _voxels(finding, segmentations)
        if found is None:
            yield f"{labelled(finding)}: its segmentation is no longer there."
            continue
        segmentation, number = found
        count = int(np.count_nonzero(segmentation.labels == number))
        if count == 0:
            yield f"{labelled(finding)}: nothing is marked in the image any more."
            continue
        for measured in finding.measurements:
            now = size_again(measured, count, segmentation)
            if now is not None and abs(measured.value - now) > max(_STALE, 1e-4 * now):
                yield (
                    f"{labelled(finding)}: the {name_in_text(measured)} in the report is "
                    f"{measured_text(measured)}, the segmentation now holds "
                    f"{value_text(now, measured.unit)}."
                )


def _side_in_text(report: Report) -> Iterator[str]:
    """A sentence that names a structure only on a side where nothing was found."""
    for heading, text in _sentences(report):
        said = _sides_named(text)
        if len(said) != 1:
            continue
        for structure, sides in _sides_by_structure(report).items():
            if structure in text.casefold() and not said & sides:
                yield (
                    f"“{heading}” speaks of the {next(iter(said))} {structure}, but the finding "
                    f"is on the {' and '.join(sorted(sides))}."
                )


def _sides_by_structure(report: Report) -> dict[str, set[Laterality]]:
    found: dict[str, set[Laterality]] = {}
    for finding in report.findings:
        if finding.laterality is None:
            continue
        sides = set(_SIDES) if finding.laterality is Laterality.BOTH else {finding.laterality}
        for name in {structure_of(finding.label), structure_of(finding.label).split()[-1]}:
            found.setdefault(name.casefold(), set()).update(sides)
    return found


def _numbers_in_text(report: Report) -> Iterator[str]:
    """Volumes in sections the reader wrote that no measurement, sum or difference gives."""
    volumes = [(finding, volume_of(finding)) for finding in report.findings]
    known = [(finding, volume.value) for finding, volume in volumes if volume is not None]
    if not known:
        return
    possible = _sums_ml(known)
    for section in report.sections:
        for found in _NUMBER_ML.finditer(section.text) if section.edited else ():
            written = found.group(1).replace(",", ".")
            places = len(written.partition(".")[2])
            step = 0.5 * 10.0**-places + 1e-9
            if not any(abs(float(written) - value) <= step for value in possible):
                yield f"“{section.heading}” says {found.group()}; no measurement gives that."


def _sums_ml(known: Sequence[tuple[Finding, float]]) -> set[float]:
    """All volumes, their sums by side, structure and altogether, and differences of sides."""
    groups: dict[tuple[str, str], float] = {}
    for finding, value in known:
        side = finding.laterality.value if finding.laterality is not None else ""
        words = {"", structure_of(finding.label), structure_of(finding.label).split()[-1]}
        for key in {(word, part) for word in words for part in (side, "all")}:
            groups[key] = groups.get(key, 0.0) + value
    possible = {value for _, value in known} | set(groups.values())
    for word in {word for word, _ in groups}:
        left, right = groups.get((word, "left")), groups.get((word, "right"))
        if left is not None and right is not None:
            possible.add(abs(left - right))
    return possible


def _unmentioned(report: Report) -> Iterator[str]:
    """Findings of which no section says a word, where the reader wrote the sections."""
    everything = " ".join(section.text for section in report.sections).casefold()
    many = counted(report.findings)
    for finding in report.findings:
        structure = structure_of(finding.label).casefold()
        words = {structure, structure.split()[-1]} if structure else set()
        if class_of(finding) in many:
            words.add(class_of(finding).casefold())
        if not any(word in everything for word in words):
            yield f"{labelled(finding)}: accepted, but no sentence speaks of it."


def _sentences(report: Report) -> Iterator[tuple[str, str]]:
    for section in report.sections:
        for text in _SENTENCE_ENDS.split(section.text):
            if text.strip():
                yield section.heading, text


def _sides_named(text: str) -> set[Laterality]:
    words = set(re.findall(r"\b(left|right|both|bilateral)\b", text.casefold()))
    sides = {side for side in _SIDES if side.value in words}
    return set(_SIDES) if words & {"both", "bilateral"} else sides
