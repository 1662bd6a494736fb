"""A report as plain text, for the clipboard and for other systems."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from medview.core.models import ModelCard
from medview.core.report import Report
from medview.core.study import Series, Study
from medview.reporting.content import DISCLAIMER, Rows, Table, sheet, visible

_WIDTH = 88


def to_text(
    report: Report, study: Study, cards: Sequence[ModelCard] = (), *, series: Series | None = None
) -> str:
    """The report in lines of at most 88 letters, tables aligned with spaces."""
    page = sheet(report, study, cards, series)
    parts = [
        f"{page.title.upper()}: {page.subtitle}",
        f"Status: {page.status}. {DISCLAIMER}.",
        _rows(page.patient),
        _rows(page.study),
    ]
    if page.critical:
        parts.append(_rows(page.critical))
    for heading, paragraphs in page.sections:
        captions = [f"[Image: {visible(one.caption)}]" for one in page.images_under(heading)]
        parts.append("\n".join([heading.upper(), *map(_wrapped, (*paragraphs, *captions))]))
    if page.answers:
        parts.append("ASSESSMENT\n" + _rows(page.answers))
    if page.findings:
        parts.append("MEASUREMENTS\n" + _table(page.findings))
    if page.sides:
        parts.append("COMPARISON OF SIDES\n" + _table(page.sides))
    parts.append("\n".join(["USE OF AI", *map(_wrapped, page.ai_statement)]))
    parts += [f"{block.name.upper()}\n{_rows(block.rows)}" for block in page.models]
    parts.extend(_rows(signature) for signature in page.signatures)
    if not page.is_signed:
        parts.append("Not signed.")
    parts.append(f"{DISCLAIMER}. {page.produced_by}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False)


def _rows(rows: Rows) -> str:
    width = max((len(label) for label, _ in rows), default=0) + 2
    return "\n".join(
        textwrap.fill(
            " ".join(text.split("\n")),
            _WIDTH,
            initial_indent=f"{label}:".ljust(width),
            subsequent_indent=" " * width,
            break_long_words=False,
        )
        for label, text in rows
    )


def _table(table: Table) -> str:
    cells = [[cell.replace("\n", ", ") for cell in row] for row in table]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
