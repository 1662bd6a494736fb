"""What a report looks like outside: its text at once, its pages made beside the window's thread."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from medview.core.errors import MedviewError
from medview.core.models import ModelCard
from medview.core.report import Report
from medview.core.study import Series, Study
from medview.reporting.text import to_text
from medview.services.report_desk import ReportDesk
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace


class ReportOutput:
    """The report of a study as text and as PDF, as it stands now."""

    def __init__(
        self,
        workspace: Workspace,
        desk: ReportDesk,
        cards: Callable[[], Sequence[ModelCard]],
        tasks: Tasks,
        resources: Path,
    ) -> None:
        self._workspace = workspace
        self._desk = desk
        self._cards = cards
        self._tasks = tasks
        self._fonts = resources / "fonts"

    def text(self, study_uid: str, report: Report | None = None) -> str:
        """The report, or one of its versions, in plain lines."""
        shown = report or self._desk.begin_report(study_uid)
        study = self._workspace.studies[study_uid]
        series = self._desk.series_of_report(study_uid)
        return to_text(shown, study, self._cards(), series=series)

    def pdf(
        self,
        study_uid: str,
        on_done: Callable[[bytes], object],
        on_error: Callable[[MedviewError], object],
    ) -> None:
        """Have the pages made; `on_done` gets the PDF on the owner's thread."""
        report = self._desk.begin_report(study_uid)
        self._tasks.run(
            _pages,
            report,
            self._workspace.studies[study_uid],
            tuple(self._cards()),
            self._fonts,
            self._desk.series_of_report(study_uid),
            on_done=on_done,
            on_error=on_error,
        )


def _pages(
    report: Report,
    study: Study,
    cards: tuple[ModelCard, ...],
    fonts: Path,
    series: Series | None,
) -> bytes:
    """On the pool."""
    # Named, not imported: the library that draws the pages is slow to load.
    pdf = importlib.import_module("medview.reporting.pdf")
    made: bytes = pdf.to_pdf(report, study, cards, fonts=fonts, series=series)
    return made
