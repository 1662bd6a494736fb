"""Where a finding comes from: everything that is known of the run that made it."""

from __future__ import annotations

from PyQt6.QtWidgets import QWidget

from medview.core.findings import Finding, ModelAuthor
from medview.core.jobs import InferenceResult
from medview.services.bundle import Services
from medview.ui.dialogs.frame import Dialog, Sheet
from medview.ui.text import confidence, correction_words, label, measurement, shown


class OriginDialog(Dialog):
    """The provenance of one finding, to be read and copied."""

    def __init__(self, services: Services, finding: Finding, parent: QWidget | None = None) -> None:
        super().__init__(f"Where this comes from: {shown(finding.label)}", parent, size=(780, 680))
        if finding.provenance.cautions:
            words = " ".join(map(shown, finding.provenance.cautions))
            self.body.addWidget(
                label(f"Outside the model's intended use: {words}", "caution", wrap=True)
            )
        sheet = Sheet(self)
        self.sheet = sheet
        _add_finding(sheet, services, finding)
        _add_author(sheet, services, finding)
        result = services.jobs.outcomes.find(finding.provenance.job_uid)
        if result is None:
            sheet.add_heading("The run")
            sheet.add_text("Run", "of an earlier session: its details are not kept", "muted")
        else:
            _add_run(sheet, services, result)
        self.body.addWidget(sheet, 1)


def _add_finding(sheet: Sheet, services: Services, finding: Finding) -> None:
    sheet.add_heading("The finding")
    sheet.add_text("Code", f"{finding.code.meaning} ({finding.code.scheme} {finding.code.value})")
    sheet.add_text("Confidence", confidence(finding) or "none given")
    for one in finding.classes:
        sheet.add_text(f"   {shown(one.label)}", f"{100 * one.probability:.1f} %")
    for measured in finding.measurements:
        name = measured.name or measured.kind.meaning
        sheet.add_text(name, f"{measurement(measured)}  ({measured.method})")
    if words := correction_words(services.corrections.of(finding)):
        sheet.add_text("Correction", words)
    review = finding.review
    decided = f"{review.state.value} by {review.by}" if review.by else review.state.value
    when = f", {review.at:%Y-%m-%d %H:%M} UTC" if review.at is not None else ""
    sheet.add_text("Decision", shown(decided) + when)


def _wish(value: object) -> str:
    """A parameter in words: lists without their brackets."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _add_author(sheet: Sheet, services: Services, finding: Finding) -> None:
    provenance = finding.provenance
    author = provenance.author
    sheet.add_heading("Who made it")
    if isinstance(author, ModelAuthor):
        titles = {card.id: card.title for card in services.catalog.cards()}
        title = titles.get(author.model_id, "not installed here")
        sheet.add_text("Model", f"{shown(author.model_id)}  ({shown(title)})")
        sheet.add_text("Version", shown(author.version))
        sheet.add_text("SHA-256 of the weights", author.weights_sha256 or "rules without weights")
    else:
        sheet.add_text("Reader", shown(author.name))
    for model in provenance.aids:
        sheet.add_text("With the help of", f"{shown(model.model_id)} {shown(model.version)}")
    sheet.add_text("Made", f"{provenance.made_at:%Y-%m-%d %H:%M:%S} UTC")


def _add_run(sheet: Sheet, services: Services, result: InferenceResult) -> None:
    sheet.add_heading("The run")
    job = services.workspace.jobs.get(result.job_uid)
    if job is not None and job.stale:
        sheet.add_text("Stale", job.stale, "caution")
    sheet.add_text(
        "Started", f"by itself: {shown(job.rule)}" if job and job.rule else "by a reader"
    )
    sheet.add_text("Device", result.device)
    sheet.add_text("Took", f"{result.seconds:.1f} s")
    sheet.add_text("Otherwise than asked", "\n".join(result.fallbacks) or "nothing")
    if job is not None and job.override_scope:
        sheet.add_text("Run against the card", "yes, because the reader insisted", "caution")
    if result.threshold is not None:
        line = services.thresholds.line(result.job_uid)
        moved = "" if line == result.threshold else f", moved to {line:.2f} by the reader"
        sheet.add_text("Threshold", f"{result.threshold:.2f}{moved}")
    wishes = "; ".join(f"{name}: {_wish(value)}" for name, value in result.parameters.items())
    sheet.add_text("Parameters", wishes or "none")
    for one in result.inputs:
        sheet.add_text("Input", f"{one.uid}\nSHA-256 {one.sha256}")
    for one_map in result.maps:
        sheet.add_text(f"Map of {one_map.kind.value}", one_map.method or "method not stated")
    for note in result.notes:
        sheet.add_text("Note", shown(note))
    sheet.add_text("Job", result.job_uid)
