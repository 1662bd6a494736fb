"""Printing: the pages of a PDF on paper, as they are."""

from __future__ import annotations

from PyQt6.QtCore import QBuffer, QByteArray, QIODevice, QPoint, QSize, Qt
from PyQt6.QtGui import QPainter
from PyQt6.QtPdf import QPdfDocument
from PyQt6.QtPrintSupport import QPrinter

from medview.core.errors import ReportError

#: Finer than this no printer shows, and pages as pictures would only grow.
_MOST_DPI = 300


def print_pages(pdf: bytes, printer: QPrinter) -> int:
    """Print the pages of a PDF that the printer asks for; how many there were.

    ReportError where the printer does not begin, and for a PDF without pages.
    """
    buffer = QBuffer()
    buffer.setData(QByteArray(pdf))
    buffer.open(QIODevice.OpenModeFlag.ReadOnly)
    document = QPdfDocument(None)
    document.load(buffer)
    count = document.pageCount()
    if count < 1:
        raise ReportError("The report has no pages to print")
    first = printer.fromPage() or 1
    last = min(printer.toPage() or count, count)
    painter = QPainter()
    if not painter.begin(printer):
        raise ReportError("The printer does not answer", "Check that it is on, or print to a file.")
    try:
        for number in range(first - 1, last):
            if number >= first:
                printer.newPage()
            _print_page(document, number, painter, printer)
    finally:
        painter.end()
        document.close()
    return last - first + 1


def _print_page(document: QPdfDocument, number: int, painter: QPainter, printer: QPrinter) -> None:
    """One page, as large as the paper lets it be."""
    room = painter.viewport()
    points = document.pagePointSize(number)
    dpi = min(printer.resolution(), _MOST_DPI)
    size = QSize(round(points.width() * dpi / 72), round(points.height() * dpi / 72))
    image = document.render(number, size)
    fitted = size.scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatio)
    left = (room.width() - fitted.width()) // 2
    smooth = Qt.TransformationMode.SmoothTransformation
    picture = image.scaled(fitted, Qt.AspectRatioMode.IgnoreAspectRatio, smooth)
    painter.drawImage(QPoint(room.left() + left, room.top()), picture)
