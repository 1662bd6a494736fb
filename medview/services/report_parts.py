"""Parts of a report beside its text: key images and their places, answers, the critical result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from medview.core.errors import ReportError
from medview.core.findings import utc_now
from medview.core.report import CriticalResult
from medview.services.report_desk import ReportDesk
from medview.services.workspace import Workspace


class ReportParts:
    """Changes an open report part by part, each as a step that can be undone.

    ReportError for a signed report, and for what its template does not offer.
    """

    def __init__(self, workspace: Workspace, desk: ReportDesk) -> None:
        self._workspace = workspace
        self._desk = desk

    # Key images

    def move_image(
        self, study_uid: str, uid: str, section: str = "", place: int | None = None
    ) -> None:
        """Put a picture of the report under another heading, or at another place among them."""
        report = self._desk.open_report(study_uid)
        moved = next((image for image in report.key_images if image.uid == uid), None)
        if moved is None:
            raise ReportError("There is no such key image")
        images = [image for image in report.key_images if image.uid != uid]
        images.insert(len(images) if place is None else place, replace(moved, section=section))
        self._desk.change(report, replace(report, key_images=tuple(images)), "Move key image")

    def caption_image(self, study_uid: str, uid: str, caption: str) -> None:
        """Put other words under a picture."""
        report = self._desk.open_report(study_uid)
        images = tuple(
            replace(image, caption=caption.strip() or image.caption) if image.uid == uid else image
            for image in report.key_images
        )
        self._desk.change(report, replace(report, key_images=images), "Caption of key image")

    # What is chosen

    def choose_template(self, study_uid: str, template_id: str) -> None:
        """Draft the report by another template; what the reader wrote stays, "" is the best fit."""
        report = self._desk.open_report(study_uid)
        known = {one.id: one.title for one in self._desk.templates}
        if template_id and template_id not in known:
            raise ReportError(
                f"There is no template {template_id}", f"There are: {', '.join(known)}."
            )
        title = f"Template: {known.get(template_id, 'best fit')}"
        self._desk.redraft(replace(report, template=template_id), title)

    def answer(self, study_uid: str, field_id: str, values: Sequence[str]) -> None:
        """Answer a field of the template; no values clear it."""
        report = self._desk.open_report(study_uid)
        asked = self._desk.template_of(study_uid).field(field_id)
        if len(values) > 1 and not asked.many:
            raise ReportError(f"{asked.title} takes one value")
        answers = tuple(asked.answer(value) for value in dict.fromkeys(values))
        others = tuple(one for one in report.answers if one.field != field_id)
        words = ", ".join(values) or "none"
        self._desk.redraft(replace(report, answers=others + answers), f"{asked.title}: {words}")

    # What could not wait

    def flag_critical(
        self,
        study_uid: str,
        finding: str,
        informed: str,
        *,
        how: str = "",
        at: datetime | None = None,
        by: str = "",
    ) -> None:
        """Say that a critical result was passed on: what, to whom, how, when (now if not given)."""
        name = self._desk.name_of(by)
        if not finding.strip() or not informed.strip():
            raise ReportError("A critical result names what was found and who was informed")
        when = at or utc_now()
        if when > utc_now():
            raise ReportError("A critical result cannot have been passed on in the future")
        report = self._desk.open_report(study_uid)
        told = CriticalResult(finding.strip(), informed.strip(), when, name, how.strip())
        self._desk.change(report, replace(report, critical=told), "Critical result")

    def clear_critical(self, study_uid: str) -> None:
        """Take the flag back."""
        report = self._desk.open_report(study_uid)
        self._desk.change(report, replace(report, critical=None), "No critical result")
