"""A report as PDF (A4), drawn by reportlab with the fonts that are shipped."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_CENTER
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    TableStyle,
)
from reportlab.platypus import Table as TableFlowable

from medview.core.models import ModelCard
from medview.core.report import KeyImage, Report
from medview.core.study import Series, Study
from medview.reporting.content import DISCLAIMER, ModelBlock, Rows, Sheet, Table, sheet, visible

_INK = HexColor("#1b2733")
_SOFT = HexColor("#5b6b7a")
_LINE = HexColor("#c9d2da")
_TINT = HexColor("#eef3f7")
_ACCENT = HexColor("#0f5c8c")
_WARN = HexColor("#9a3412")
_MARGIN = 18 * mm
_TOP = 27 * mm
_BOTTOM = 22 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_FONT, _BOLD = "MedviewSans", "MedviewSans-Bold"
_RTL = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff"
_RTL_RUN = re.compile(f"[{_RTL}]+(?:[ ,.-]+[{_RTL}]+)*")
_CLUSTER = re.compile(r".[\u0591-\u05bd\u05bf-\u05c7\u064b-\u065f]*", re.DOTALL)
_KANA_HAN, _HANGUL = "HeiseiKakuGo-W5", "HYGothic-Medium"


@cache
def _fonts(folder: Path) -> frozenset[int]:
    """Register the shipped fonts once; returns the characters they can write."""
    regular = TTFont(_FONT, folder / "DejaVuSans.ttf")
    pdfmetrics.registerFont(regular)
    pdfmetrics.registerFont(TTFont(_BOLD, folder / "DejaVuSans-Bold.ttf"))
    pdfmetrics.registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)
    pdfmetrics.registerFont(UnicodeCIDFont(_KANA_HAN))
    pdfmetrics.registerFont(UnicodeCIDFont(_HANGUL))
    return frozenset(regular.face.charToGlyph)


def _style(name: str, **values: Any) -> ParagraphStyle:
    base = {"fontName": _FONT, "fontSize": 9, "leading": 12.6, "textColor": _INK}
    return ParagraphStyle(name, **(base | values))


_BODY = _style("body", spaceAfter=3)
_HEADING = _style("heading", fontName=_BOLD, fontSize=10.5, leading=14, textColor=_ACCENT,
                  spaceBefore=8, spaceAfter=2)  # fmt: skip
_TITLE = _style("title", fontName=_BOLD, fontSize=17, leading=21)
_SUBTITLE = _style("subtitle", fontSize=10.5, leading=14, textColor=_SOFT)
_CELL = _style("cell", fontSize=8, leading=10.6)
_CELL_HEAD = _style("cell-head", fontName=_BOLD, fontSize=8, leading=10.6)
_LABEL = _style("label", fontSize=8, leading=10.6, textColor=_SOFT)
_CAPTION = _style("caption", fontSize=7.6, leading=10, textColor=_SOFT, alignment=TA_CENTER)
_SMALL = _style("small", fontSize=7.6, leading=10, textColor=_SOFT)


def to_pdf(
    report: Report,
    study: Study,
    cards: Sequence[ModelCard] = (),
    *,
    fonts: Path,
    series: Series | None = None,
) -> bytes:
    """The report as a PDF; `fonts` is the folder of the shipped fonts.

    Identity, status and "not for clinical use" stand on every page, the page number of how many
    too. The same report always gives the same bytes.
    """
    page = sheet(report, study, cards, series)
    writer = _Writer(_fonts(fonts))
    out = io.BytesIO()
    document = BaseDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_TOP,
        bottomMargin=_BOTTOM,
        title=f"{page.title}: {page.subtitle}",
        author="medview",
        subject=DISCLAIMER,
        creator=page.produced_by,
        lang="en",
        invariant=1,
    )
    frame = Frame(
        _MARGIN, _BOTTOM, _WIDTH, A4[1] - _TOP - _BOTTOM,
        leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0,
    )  # fmt: skip
    document.addPageTemplates(PageTemplate("page", [frame]))

    def canvas(*args: Any, **kwargs: Any) -> _NumberedCanvas:
        return _NumberedCanvas(*args, page=page, writer=writer, **kwargs)

    document.build(writer.story(page), canvasmaker=canvas)
    return out.getvalue()


class _NumberedCanvas(Canvas):  # type: ignore[misc]  # reportlab has no types
    """Puts head and foot on each page once it is known how many there are."""

    def __init__(self, *args: Any, page: Sheet, writer: _Writer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sheet, self._writer = page, writer
        self._kept: list[dict[str, Any]] = []

    def showPage(self) -> None:  # noqa: N802  (reportlab's name)
        """Keep the page for later."""
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Draw head and foot on every kept page and finish the file."""
        for number, state in enumerate(self._kept, start=1):
            self.__dict__.update(state)
            self._frame(number, len(self._kept))
            super().showPage()
        super().save()

    def _frame(self, number: int, count: int) -> None:
        page, write = self._sheet, self._writer
        top = A4[1] - 12 * mm
        write.line(self, page.patient_line, _MARGIN, top, _style("", fontName=_BOLD))
        write.line(self, page.study_line, _MARGIN, top - 4.6 * mm, _LABEL)
        self._rule(top - 10.5 * mm)
        badge = _style(
            "", fontName=_BOLD, fontSize=8, textColor=_ACCENT if page.is_signed else _WARN
        )
        self._right(page.status, top - 4.6 * mm, badge)
        self._rule(15 * mm)
        warn = _style("", fontName=_BOLD, fontSize=8.5, textColor=_WARN)
        write.line(self, DISCLAIMER, _MARGIN, 10.5 * mm, warn)
        write.line(
            self, page.produced_by, _MARGIN, 6.8 * mm, _style("", fontSize=6.4, textColor=_SOFT)
        )
        self._right(f"Page {number} of {count}", 10.5 * mm, _style("", fontSize=8))

    def _rule(self, y: float) -> None:
        self.setStrokeColor(_LINE)
        self.setLineWidth(0.6)
        self.line(_MARGIN, y, A4[0] - _MARGIN, y)

    def _right(self, text: str, y: float, style: ParagraphStyle) -> None:
        width = pdfmetrics.stringWidth(text, style.fontName, style.fontSize)
        self._writer.line(self, text, A4[0] - _MARGIN - width, y, style)


class _Writer:
    """Turns content into what reportlab lays out. All text is escaped: markup in it is inert."""

    def __init__(self, glyphs: frozenset[int]) -> None:
        self._glyphs = glyphs

    def markup(self, text: str) -> str:
        """Escaped text, with a font named for runs that the shipped one cannot write."""
        runs = []
        for font, run in groupby(_visual(text), key=self._font_for):
            written = escape("".join(run)).replace("\n", "<br/>")
            runs.append(f'<font name="{font}">{written}</font>' if font else written)
        return "".join(runs)

    def _font_for(self, char: str) -> str:
        if ord(char) in self._glyphs or char == "\n":
            return ""
        return (
            _HANGUL if "\uac00" <= char <= "\ud7a3" or "\u1100" <= char <= "\u11ff" else _KANA_HAN
        )

    def paragraph(self, text: str, style: ParagraphStyle = _BODY) -> Paragraph:
        """One paragraph."""
        return Paragraph(self.markup(text), style)

    def line(self, canvas: Canvas, text: str, x: float, y: float, style: ParagraphStyle) -> None:
        """One line of text with its baseline at y, cut at the right margin."""
        text_object = canvas.beginText(x, y)
        text_object.setFillColor(style.textColor)
        room = A4[0] - _MARGIN - x + 1
        for font, run in groupby(_visual(text), key=self._font_for):
            name, part = font or style.fontName, "".join(run)
            while part and pdfmetrics.stringWidth(part, name, style.fontSize) > room:
                part = part[:-1]
            text_object.setFont(name, style.fontSize)
            text_object.textOut(part)
            room -= pdfmetrics.stringWidth(part, name, style.fontSize)
        canvas.drawText(text_object)

    def story(self, page: Sheet) -> list[Flowable]:
        """The whole body in reading order."""
        story: list[Flowable] = [
            self.paragraph(page.title, _TITLE),
            self.paragraph(page.subtitle, _SUBTITLE),
            Spacer(0, 6),
            self._identity(page),
            Spacer(0, 4),
        ]
        if page.critical:
            story.append(self._boxed(self._rows(page.critical, _WIDTH - 9, 30), _WARN))
        for heading, paragraphs in page.sections:
            first, *others = [self.paragraph(text) for text in paragraphs or ("–",)]
            story.append(KeepTogether([self.paragraph(heading, _HEADING), first]))
            story.extend(others)
            story += self._image_rows(page.images_under(heading))
        if page.answers:
            rows = self._rows(page.answers, _WIDTH, 50)
            story.append(KeepTogether([self.paragraph("Assessment", _HEADING), rows]))
        if page.findings:
            story += self._titled("Measurements", self._grid(page.findings, (38, 13, 55, 36, 32)))
        if page.sides:
            story += self._titled(
                "Comparison of sides", self._grid(page.sides, (50, 26, 26, 28, 44))
            )
            story.append(
                self.paragraph("Asymmetry: difference of the sides over their mean.", _SMALL)
            )
        if images := page.images_under(""):
            first, *rest = self._image_rows(images)
            heading = self.paragraph("Key images", _HEADING)
            story += [KeepTogether([heading, Spacer(0, 3), first]), *rest]
        story.append(self._statement(page))
        for block in page.models:
            story += self._model(block)
        story.append(self._signature(page))
        return story

    def _titled(self, title: str, table: TableFlowable) -> list[Flowable]:
        return [CondPageBreak(30 * mm), self.paragraph(title, _HEADING), table, Spacer(0, 2)]

    def _identity(self, page: Sheet) -> TableFlowable:
        half = _WIDTH / 2
        cells = [
            [self._rows(page.patient, half - 5 * mm, 30), self._rows(page.study, half - 5 * mm, 30)]
        ]
        table = TableFlowable(cells, colWidths=[half, half])
        table.setStyle(
            TableStyle([
                ("BACKGROUND", (0, 0), (-1, -1), _TINT),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("TOPPADDING", (0, 0), (-1, -1), 5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
            ])
        )  # fmt: skip
        return table

    def _rows(self, rows: Rows, width: float, label_mm: float = 34) -> Flowable:
        if not rows:
            return Spacer(0, 0)
        cells = [[self.paragraph(k, _LABEL), self.paragraph(v, _CELL)] for k, v in rows]
        table = TableFlowable(cells, colWidths=[label_mm * mm, width - label_mm * mm])
        table.setStyle(
            TableStyle([
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 3),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ])
        )  # fmt: skip
        return table

    def _grid(self, table: Table, widths_mm: Sequence[float]) -> TableFlowable:
        head, *rows = table
        cells = [[self.paragraph(cell, _CELL_HEAD) for cell in head]]
        cells += [[self.paragraph(cell, _CELL) for cell in row] for row in rows]
        scale = _WIDTH / sum(widths_mm)
        grid = TableFlowable(cells, colWidths=[w * scale for w in widths_mm], repeatRows=1)
        grid.setStyle(
            TableStyle([
                ("BACKGROUND", (0, 0), (-1, 0), _TINT),
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 4),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 2.5),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2.5),
            ])
        )  # fmt: skip
        return grid

    def _image_rows(self, images: Sequence[KeyImage]) -> list[Flowable]:
        """Pictures with their captions, two or three side by side."""
        across = 3 if len(images) > 2 else 2
        width = _WIDTH / across - 3 * mm
        cells = [
            [_picture(image, width), self.paragraph(visible(image.caption), _CAPTION)]
            for image in images
        ]
        blocks: list[Flowable] = []
        for first in range(0, len(cells), across):
            row = cells[first : first + across]
            padded = [*row, *[""] * (across - len(row))]
            table = TableFlowable([padded], colWidths=[_WIDTH / across] * across)
            table.setStyle(
                TableStyle([
                    ("VALIGN", (0, 0), (-1, -1), "TOP"),
                    ("LEFTPADDING", (0, 0), (-1, -1), 0),
                    ("RIGHTPADDING", (0, 0), (-1, -1), 3 * mm),
                    ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
                ])
            )  # fmt: skip
            blocks.append(table)
        return blocks

    def _statement(self, page: Sheet) -> Flowable:
        cell: list[Flowable] = [self.paragraph("Use of AI", _HEADING)]
        cell += [self.paragraph(text) for text in page.ai_statement]
        return KeepTogether([Spacer(0, 8), self._boxed(cell, _ACCENT)])

    def _boxed(self, cell: Flowable | list[Flowable], color: HexColor) -> TableFlowable:
        """Something on a tinted ground with a coloured rule at its left."""
        table = TableFlowable([[cell]], colWidths=[_WIDTH])
        table.setStyle(
            TableStyle([
                ("BACKGROUND", (0, 0), (-1, -1), _TINT),
                ("LINEBEFORE", (0, 0), (0, -1), 2.5, color),
                ("LEFTPADDING", (0, 0), (-1, -1), 9),
                ("TOPPADDING", (0, 0), (-1, -1), 1),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
            ])
        )  # fmt: skip
        return table

    def _model(self, block: ModelBlock) -> list[Flowable]:
        parts: list[Flowable] = [
            CondPageBreak(45 * mm),
            self.paragraph(f"Model card: {block.name}", _HEADING),
            self._rows(block.rows, _WIDTH, 38),
        ]
        if block.metrics:
            parts.append(Spacer(0, 3))
            table = self._grid(block.metrics, (80, 40, 54))
            parts.append(KeepTogether([self.paragraph(block.metrics_title, _SMALL), table]))
        return parts

    def _signature(self, page: Sheet) -> Flowable:
        parts: list[Flowable] = [Spacer(0, 8), self.paragraph("Signature", _HEADING)]
        parts += [self._rows(signature, _WIDTH, 38) for signature in page.signatures]
        if not page.is_signed:
            parts.append(
                self.paragraph(
                    "Not signed. The findings were accepted by the reader named with each; "
                    "the report has not been verified."
                    if page.findings
                    else "Not signed."
                )
            )
        return KeepTogether(parts)


def _visual(text: str) -> str:
    """Hebrew and Arabic runs turned round: the PDF writer sets letters from left to right."""

    def turned(run: re.Match[str]) -> str:
        return "".join(reversed(_CLUSTER.findall(run.group())))

    return _RTL_RUN.sub(turned, text)


def _picture(image: KeyImage, width: float) -> Image:
    pixels = ImageReader(io.BytesIO(image.png))
    columns, rows = pixels.getSize()
    height = min(width * rows / columns, 95 * mm)
    return Image(io.BytesIO(image.png), height * columns / rows, height)
