"""A finished report in the forms it leaves in: plain text, HTML, PDF.

Heavy to import (Jinja2, reportlab, Pillow): call it by name in an import worker, never at
start-up. `documents` gives everything at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medview.core.models import ModelCard
from medview.core.report import Report
from medview.core.study import Series, Study
from medview.reporting.html import to_html
from medview.reporting.pdf import to_pdf
from medview.reporting.text import to_text

__all__ = ["Documents", "documents", "to_html", "to_pdf", "to_text"]


@dataclass(frozen=True)
class Documents:
    """One report in every form."""

    text: str
    html: str
    pdf: bytes


def documents(
    report: Report,
    study: Study,
    cards: Sequence[ModelCard] = (),
    *,
    resources: Path,
    series: Series | None = None,
) -> Documents:
    """The report as text, HTML and PDF; `resources` is the folder of shipped resources."""
    return Documents(
        text=to_text(report, study, cards, series=series),
        html=to_html(report, study, cards, templates=resources / "report_templates", series=series),
        pdf=to_pdf(report, study, cards, fonts=resources / "fonts", series=series),
    )
