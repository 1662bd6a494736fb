"""What stands on the pages of a report, in words, before it is text, HTML or PDF."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from medview import __version__
from medview.core.findings import Author, Finding, ModelAuthor, Person, Provenance
from medview.core.models import Metrics, ModelCard
from medview.core.report import Answer, CriticalResult, KeyImage, Report, ReportStatus
from medview.core.study import Patient, Series, Study
from medview.reporting.canonical import signature_holds
from medview.reporting.fields import (
    SidePair,
    age_text,
    examination,
    measured_text,
    side_pairs,
    value_text,
)
from medview.reporting.tables import measurement_name

DISCLAIMER = "Not for clinical use"
_SEX_WORDS = {"M": "male", "F": "female", "O": "other"}
_STATUS_WORDS = {
    ReportStatus.DRAFT: "DRAFT – UNVERIFIED",
    ReportStatus.PRELIMINARY: "PRELIMINARY – UNVERIFIED",
    ReportStatus.FINAL: "FINAL",
    ReportStatus.AMENDED: "AMENDED",
}

Rows = tuple[tuple[str, str], ...]
Table = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ModelBlock:
    """A model card in short."""

    name: str
    rows: Rows
    metrics_title: str
    metrics: Table


@dataclass(frozen=True)
class Sheet:
    """Everything a report shows, as plain text in reading order.

    Tables have their header as first row; an empty one has nothing to show.
    """

    title: str
    subtitle: str
    status: str
    is_signed: bool
    patient_line: str
    study_line: str
    patient: Rows
    study: Rows
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    answers: Rows
    critical: Rows
    findings: Table
    sides: Table
    key_images: tuple[KeyImage, ...]
    ai_statement: tuple[str, ...]
    models: tuple[ModelBlock, ...]
    signatures: tuple[Rows, ...]
    produced_by: str

    def images_under(self, heading: str) -> tuple[KeyImage, ...]:
        """The key images that were placed under a heading; under "" those of no section."""
        headings = {name for name, _ in self.sections}
        return tuple(
            image
            for image in self.key_images
            if visible(image.section) == heading
            or (not heading and visible(image.section) not in headings)
        )


def sheet(
    report: Report, study: Study, cards: Sequence[ModelCard] = (), series: Series | None = None
) -> Sheet:
    """The content of a report; control and direction marks in foreign text are made visible."""
    status = _STATUS_WORDS[report.status]
    if report.version > 1:
        status += f" (version {report.version})"
    patient = study.patient
    born = date_text(patient.birth_date)
    name = person_text(patient.name) or "(no name)"
    identity = [f"ID {visible(patient.id)}" if patient.id else "", f"born {born}" if born else ""]
    about = [date_text(study.date), visible(study.description)]
    if study.accession:
        about.append(f"Accession {visible(study.accession)}")
    return Sheet(
        title="Imaging report",
        subtitle=visible(examination(study, series)),
        status=status,
        is_signed=report.status.is_signed,
        patient_line=" · ".join(part for part in (name, *identity) if part),
        study_line=" · ".join(part for part in about if part),
        patient=_patient_rows(patient, series),
        study=_study_rows(study, series, report),
        sections=tuple((visible(s.heading), _paragraphs(s.text)) for s in report.sections),
        answers=_answer_rows(report.answers),
        critical=_critical_rows(report.critical),
        findings=_finding_rows(report.findings),
        sides=_side_rows(side_pairs(report.findings)),
        key_images=tuple(image for image in report.key_images if image.png),
        ai_statement=_paragraphs(report.ai_statement),
        models=tuple(_model_block(card) for card in _used(report, cards)),
        signatures=_signature_rows(report),
        produced_by=f"medview {__version__} · report {report.uid}",
    )


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(visible(line.strip()) for line in text.splitlines() if line.strip())


def _patient_rows(patient: Patient, series: Series | None) -> Rows:
    age = age_text(series.headers.get("PatientAge", "")) if series is not None else ""
    return _known(
        ("Name", person_text(patient.name)),
        ("Patient ID", visible(patient.id)),
        ("Date of birth", date_text(patient.birth_date)),
        ("Sex", _SEX_WORDS.get(patient.sex, "")),
        ("Age at examination", age),
    )


def _study_rows(study: Study, series: Series | None, report: Report) -> Rows:
    rows = [
        ("Examination", visible(study.description)),
        ("Date", " ".join((date_text(study.date), clock_text(study.time))).strip()),
        ("Accession number", visible(study.accession)),
        ("Referring physician", person_text(study.referring_physician)),
    ]
    if series is not None:
        number = f" (series {series.number})" if series.number is not None else ""
        rows.append(("Evaluated series", f"{visible(series.description)}{number}"))
        rows.append(("Modality", visible(series.modality)))
    readers = sorted({f.review.by for f in report.findings if f.review.by})
    rows.append(("Read by", ", ".join(visible(reader) for reader in readers)))
    return _known(*rows)


def _answer_rows(answers: Sequence[Answer]) -> Rows:
    """Fields with their values, several of one field together, codes with their scheme."""
    told: dict[str, list[str]] = {}
    for answer in answers:
        scheme = f" [{answer.code.scheme}]" if answer.code is not None else ""
        meaning = f": {answer.meaning}" if answer.meaning else ""
        told.setdefault(answer.title, []).append(f"{answer.value}{scheme}{meaning}")
    return tuple(
        (visible(title), "\n".join(visible(value) for value in values))
        for title, values in told.items()
    )


def _critical_rows(critical: CriticalResult | None) -> Rows:
    if critical is None:
        return ()
    how = f" ({visible(critical.how)})" if critical.how else ""
    return (
        ("Critical result", visible(critical.finding)),
        ("Informed", f"{visible(critical.informed)}{how}"),
        ("on", time_text(critical.at)),
        ("by", visible(critical.by)),
    )


def _signature_rows(report: Report) -> tuple[Rows, ...]:
    """Who signed and who released; that a signature does not fit the text is said with it."""
    rows: list[Rows] = []
    for signature in report.signatures:
        made = [("Signed by", visible(signature.by)), ("on", time_text(signature.at)),
                ("Digest (sha256)", signature.sha256)]  # fmt: skip
        if signature is report.signatures[-1] and not signature_holds(report):
            made.append(("Warning", "The report is not the one that was signed."))
        rows.append(tuple(made))
    released = report.released
    if released is not None and not report.status.is_signed:
        who = ("Released as preliminary by", visible(released.by))
        rows.append((who, ("on", time_text(released.at))))
    return tuple(rows)


def _known(*rows: tuple[str, str]) -> Rows:
    return tuple((label, text) for label, text in rows if text)


def _decision(finding: Finding) -> str:
    """What was decided and by whom; what a reader found is no decision on somebody else's word."""
    author, by = finding.provenance.author, finding.review.by
    own = isinstance(author, Person) and author.name == by and finding.review.state.counts
    return f"{'added' if own else finding.review.state} by {visible(by)}"


def _finding_rows(findings: Sequence[Finding]) -> Table:
    if not findings:
        return ()
    rows = [("Finding", "Side", "Measurements", "Source", "Decision")]
    rows += [
        (
            visible(finding.label),
            finding.laterality.value if finding.laterality is not None else "–",
            _measured(finding),
            _source(finding.provenance),
            _decision(finding),
        )
        for finding in findings
    ]
    return tuple(rows)


def _measured(finding: Finding) -> str:
    told = [f"{visible(measurement_name(m))} {measured_text(m)}" for m in finding.measurements]
    if finding.probability is not None:
        calibrated = "" if finding.calibrated else " (not calibrated)"
        told.append(f"probability {finding.probability:.2f}{calibrated}")
    return "\n".join(told) or "–"


def _source(provenance: Provenance) -> str:
    """Who found it, and each model that helped with it."""
    helped = [one for one in provenance.models if one != provenance.author]
    return "\n".join(
        [
            _author(provenance.author),
            *(f"with the help of {_author(one)}" for one in helped),
        ]
    )


def _author(author: Author) -> str:
    if isinstance(author, ModelAuthor):
        return f"AI: {visible(author.model_id)} {visible(author.version)}"
    return visible(author.name)


def _side_rows(pairs: Sequence[SidePair]) -> Table:
    if not pairs:
        return ()
    rows = [("Structure", "Right", "Left", "Difference", "Asymmetry")]
    rows += [
        (
            visible(pair.name[:1].upper() + pair.name[1:]),
            value_text(pair.right_ml or 0.0, "mL"),
            value_text(pair.left_ml or 0.0, "mL"),
            value_text(pair.difference_ml or 0.0, "mL"),
            f"{pair.asymmetry_percent or 0.0:.1f} %"
            + (f", {pair.smaller} smaller" if pair.smaller is not None else ""),
        )
        for pair in pairs
    ]
    return tuple(rows)


def _used(report: Report, cards: Sequence[ModelCard]) -> list[ModelCard]:
    """The cards of the models that the AI statement names, in the version it names."""
    told = report.ai_statement
    return [card for card in cards if f"{card.id} version {card.version}" in told]


def _model_block(card: ModelCard) -> ModelBlock:
    rows = _known(
        ("Model", f"{card.id}, version {card.version}"),
        ("Weights (sha256)", card.sha256),
        ("Intended use", visible(card.intended_use)),
        ("Limits", "\n".join(visible(limit) for limit in card.limitations)),
        ("Trained on", visible(card.data_source)),
        ("Cleared for clinical use", "yes" if card.clinical_use else "no"),
    )
    title, table = _metrics(card.metrics)
    return ModelBlock(visible(card.title), rows, title, table)


def _metrics(metrics: Metrics | None) -> tuple[str, Table]:
    if metrics is None or not metrics.values:
        return "", ()
    split = {"val": "validation"}.get(metrics.split, metrics.split)
    rows = [("Measure", "Value", "95 % interval")]
    for metric in metrics.values:
        interval = f"{metric.ci95[0]:.3f} to {metric.ci95[1]:.3f}" if metric.ci95 else "–"
        rows.append((metric_text(metric.name), f"{metric.value:.3f}", interval))
    noun = "case" if metrics.count == 1 else "cases"
    # A split of all cases is no split: the number says it.
    told = " ".join(part for part in ("" if split == "all" else split, noun) if part)
    return f"Measured on {metrics.count} {told}", tuple(rows)


def metric_text(name: str) -> str:
    """The name of a measure for people: `hd95_mm_anterior` -> `HD95 (mm), anterior`."""
    start = next((one for one in _MEASURES if f"{name}_".startswith(f"{one}_")), "")
    first, _, rest = name.partition("_")
    if start:
        first, rest = _MEASURES[start], name.removeprefix(start).removeprefix("_")
    return first + (f", {rest.replace('_', ' ')}" if rest else "")


#: Measures whose names are not said as they are spelled; longer ones first.
_MEASURES = MappingProxyType(
    {
        "surface_dice": "surface Dice",
        "dice": "Dice",
        "hd95_mm": "HD95 (mm)",
        "hd95_px": "HD95 (pixels)",
        "volume_error": "volume error",
        "area_error": "area error",
        "count_error": "error of the count",
        "map50_95": "mAP, overlaps 0.5 to 0.95",
        "map50": "mAP at overlap 0.5",
        "ap50": "AP at overlap 0.5",
        "f1_iou50": "F1 at overlap 0.5",
        "pq": "panoptic quality",
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "ece": "ECE",
        "froc": "FROC",
        "epe_still_px": "error of no motion (pixels)",
        "epe_px": "end-point error (pixels)",
    }
)


def person_text(name: str) -> str:
    """A DICOM person name for people: `Doe^Jane^^Dr=...` -> `Doe, Jane, Dr`."""
    groups = [group for group in name.split("=") if group.strip("^ ")]
    told = []
    for group in groups[:2]:
        family, *others = (part.strip() for part in group.split("^"))
        told.append(", ".join(part for part in (family, *others) if part))
    return visible(" / ".join(told))


def date_text(date: str) -> str:
    """A DICOM date: `20130308` -> `2013-03-08`; "" for anything else."""
    found = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", date.strip())
    return "-".join(found.groups()) if found else ""


def clock_text(time: str) -> str:
    """A DICOM time: `074224.1` -> `07:42`; "" for anything else."""
    found = re.match(r"(\d{2}):?(\d{2})", time.strip())
    return ":".join(found.groups()) if found else ""


def time_text(moment: datetime) -> str:
    """A moment in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def visible(text: str) -> str:
    """Text of others with control and direction marks written out, so that they do nothing."""
    return "".join(
        f"[U+{ord(char):04X}]"
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else char
        for char in text.replace("\t", " ").replace("\r", "").replace("\n", " ")
    )
