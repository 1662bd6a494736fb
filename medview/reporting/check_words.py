"""Contradictions between the words of a report and what was measured, or whom it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medview.core.codes import LENGTH
from medview.core.findings import Finding, ModelAuthor, Person
from medview.core.report import Report
from medview.core.study import Patient, Study
from medview.reporting.fields import labelled, name_in_text, structure_of, value_text
from medview.reporting.live import WITHDRAWN

#: A length with its unit, also each of those in `12 x 8 mm`; no area or volume.
_LENGTH = re.compile(
    r"(?<![\d.,])(\d+(?:[.,]\d+)?)"
    r"(?=\s*(?:[x×]\s*\d+(?:[.,]\d+)?\s*)*(µm|um|mm|cm|m)\b(?!\s*[²³23/]))"
)
_MM = {"µm": 1e-3, "um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}
#: Powers of ten between the units a length may be told in by mistake.
_SLIPS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)
#: Shorter names occur as words of a report.
_LEAST_LETTERS = 4


def wrong_patient(report: Report, study: Study, others: Sequence[Patient]) -> Iterator[str]:
    """A report begun about somebody else, and the names of others who are open."""
    patient = study.patient
    about = report.subject.patient if report.subject is not None else patient
    for what, then, now in (
        ("name", about.name, patient.name),
        ("patient ID", about.id, patient.id),
        ("date of birth", about.birth_date, patient.birth_date),
    ):
        if then != now:
            yield f"The {what} of the patient is another than when the report was begun."
    mine = {word.casefold() for word in _names(patient)}
    for other in others:
        for word in _names(other):
            if (other.id, other.name) == (patient.id, patient.name) or word.casefold() in mine:
                continue
            for section in report.sections:
                if re.search(rf"\b{re.escape(word)}\b", section.text, re.IGNORECASE):
                    yield (
                        f"“{section.heading}” names “{word.title()}”: that is another patient "
                        "who is open."
                    )


def _names(patient: Patient) -> list[str]:
    """The family name, where it is long enough to be no other word."""
    family = patient.name.split("=")[0].split("^")[0].strip()
    return [family] if len(family) >= _LEAST_LETTERS else []


def wrong_lengths(report: Report) -> Iterator[str]:
    """Lengths in the reader's sentences that no measurement of the finding they name gives.

    A number that agrees but for a power of ten has the wrong unit.
    """
    lengths = {
        structure_of(finding.label).casefold(): known
        for finding in report.findings
        if (known := _lengths_mm(finding))
    }
    for section in report.sections:
        for sentence in re.split(r"(?<=[.!?;])\s+|\n+", section.text if section.edited else ""):
            for structure, known in lengths.items():
                if structure and structure in sentence.casefold():
                    yield from _compared(section.heading, sentence, structure, known)


def _lengths_mm(finding: Finding) -> list[float]:
    return [m.value for m in finding.measurements if m.unit == "mm" or m.kind == LENGTH]


def _compared(heading: str, sentence: str, structure: str, known: Sequence[float]) -> Iterator[str]:
    """A sentence with one number that agrees may have others, of other directions."""
    told = [
        (f"{found.group(1)} {found.group(2)}", *_written_mm(found))
        for found in _LENGTH.finditer(sentence)
    ]
    agrees = any(abs(mm - value) <= step for _, mm, step in told for value in known)
    for words, mm, step in told:
        slip = [v for v in known if any(abs(mm * n - v) <= step * n for n in _SLIPS)]
        if slip and not agrees:
            measured = value_text(slip[0], "mm")
            yield f"“{heading}” says {words} of the {structure}: measured was {measured}; the unit?"
        elif not agrees:
            measured = ", ".join(value_text(value, "mm") for value in known)
            yield f"“{heading}” says {words} of the {structure}; measured was {measured}."


def _written_mm(found: re.Match[str]) -> tuple[float, float]:
    """A length in mm, and half of its last place."""
    text, unit = found.group(1).replace(",", "."), found.group(2)
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return float(text) * _MM[unit], half * _MM[unit] + 1e-9


def without_scale(report: Report) -> Iterator[str]:
    """Lengths in the reader's sentences about pictures whose pixels have no known size."""
    for section in report.sections:
        for found in _LENGTH.finditer(section.text if section.edited else ""):
            told = f"{found.group(1)} {found.group(2)}"
            yield f"“{section.heading}” says {told}, but the pictures have no scale."


def measured_before(report: Report) -> Iterator[str]:
    """Numbers of a model that were taken within an outline which the reader then changed."""
    for finding in report.findings:
        old = [m for m in finding.measurements if isinstance(m.provenance.author, ModelAuthor)]
        if old and _redrawn(finding):
            names = ", ".join(map(name_in_text, old))
            yield f"{labelled(finding)}: measured before its outline was changed: {names}."


def _redrawn(finding: Finding) -> bool:
    """Whether a model's outline was measured again after a reader had changed it."""
    by_model = isinstance(finding.provenance.author, ModelAuthor)
    again = any(isinstance(m.provenance.author, Person) for m in finding.measurements)
    return finding.segment_ref is not None and by_model and again


def withdrawn(report: Report) -> Iterator[str]:
    """Sentences that stand on a measurement which is there no longer."""
    for section in report.sections:
        if WITHDRAWN in section.text:
            yield f"“{section.heading}” tells a number whose finding was rejected or deleted."
