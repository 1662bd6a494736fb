"""Curves over the frames of a clip, with marks, drawn by hand: a click goes to the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PyQt6.QtCore import QPointF, QRectF, Qt, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QFontMetricsF,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from PyQt6.QtWidgets import QSizePolicy, QWidget

from medview.core.codes import UNIT_TEXT
from medview.ui import theme
from medview.ui.text import shown

_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 12.0, 20.0, 18.0
#: Between two marks of the axis, the first that leaves ten of them at most.
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 300, 3600)


def unit_text(unit: str) -> str:
    """A UCUM unit as it is written beside a number."""
    return UNIT_TEXT.get(unit, unit)


@dataclass(frozen=True)
class Line:
    """A number for every frame, None where there is none."""

    name: str
    unit: str
    values: tuple[float | None, ...]
    color_rgb: tuple[int, int, int]
    method: str = ""


@dataclass(frozen=True)
class Chart:
    """What is drawn: lines of one unit, the times of the frames, and marks on some of them.

    Times are in `along`, seconds as a rule.
    """

    times_s: tuple[float, ...] = ()
    lines: tuple[Line, ...] = ()
    events: tuple[tuple[int, str], ...] = ()
    key_frames: tuple[int, ...] = ()
    frame: int = 0
    note: str = ""
    along: str = "s"

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and highest value that is drawn, never the same."""
        values = [value for line in self.lines for value in line.values if value is not None]
        if self.lines and self.lines[0].unit == "1":
            return 0.0, 1.0
        low, high = min(values, default=0.0), max(values, default=1.0)
        room = max((high - low) * 0.08, abs(high) * 1e-3, 1e-6)
        return max(low - room, 0.0) if low >= 0 else low - room, high + room


class TimelineChart(QWidget):
    """Draws a Chart. `wanted` tells the frame that was clicked or dragged to."""

    wanted = pyqtSignal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.chart = Chart()
        self.setAccessibleName("Timeline")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(160, 90)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def show_chart(self, chart: Chart) -> None:
        """Draw another one."""
        if chart != self.chart:
            self.chart = chart
            self.update()

    # Where things are

    def _area(self) -> QRectF:
        return QRectF(self.rect()).adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)

    def x_of(self, frame: int) -> float:
        """Where a frame stands: as far along as its time."""
        area, times = self._area(), self.chart.times_s
        span = times[-1] - times[0] if times else 0.0
        share = (times[frame] - times[0]) / span if span > 0 else 0.0
        return area.left() + share * area.width()

    def _y_of(self, value: float) -> float:
        area, (low, high) = self._area(), self.chart.span
        return area.bottom() - (value - low) / (high - low) * area.height()

    def frame_at(self, x: float) -> int:
        """The frame whose time is nearest to a place."""
        frames = range(len(self.chart.times_s))
        return min(frames, key=lambda frame: abs(self.x_of(frame) - x), default=0)

    # The mouse and the keys

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the frame."""
        if event is not None and event.button() is Qt.MouseButton.LeftButton:
            self.setFocus()
            self.wanted.emit(self.frame_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Follow while the button is down."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self.wanted.emit(self.frame_at(event.position().x()))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Home and End go to the ends of the clip."""
        last = len(self.chart.times_s) - 1
        ends = {int(Qt.Key.Key_Home): 0, int(Qt.Key.Key_End): last}
        if event is not None and event.key() in ends and last > 0:
            self.wanted.emit(ends[event.key()])
        else:
            super().keyPressEvent(event)

    # Painting

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw it."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
        painter.fillRect(self.rect(), QColor(theme.colors().panel))
        font = painter.font()
        font.setPixelSize(11)
        painter.setFont(font)
        if not self.chart.times_s:
            return
        self._paint_axes(painter)
        if not self.chart.lines:
            painter.setPen(QColor(theme.colors().muted))
            painter.drawText(self._area(), int(Qt.AlignmentFlag.AlignCenter), self.chart.note)
        for line in self.chart.lines:
            painter.setPen(QPen(theme.rgb(line.color_rgb), 1.8))
            for piece in self._pieces(line):
                painter.drawPolyline(piece)
        self._paint_marks(painter)
        self._paint_frame(painter)

    def _pieces(self, line: Line) -> list[QPolygonF]:
        """A line without the frames that have no value."""
        pieces: list[list[QPointF]] = [[]]
        for frame, value in enumerate(line.values):
            if value is None:
                pieces.append([])
            else:
                pieces[-1].append(QPointF(self.x_of(frame), self._y_of(value)))
        return [QPolygonF(piece) for piece in pieces if piece]

    def _paint_axes(self, painter: QPainter) -> None:
        area, look = self._area(), theme.colors()
        painter.setPen(QPen(QColor(look.line), 1))
        painter.drawRect(area)
        low, high = self.chart.span
        unit = unit_text(self.chart.lines[0].unit) if self.chart.lines else ""
        painter.setPen(QColor(look.muted))
        right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if self.chart.lines:
            for value, y in ((high, area.top() + 6), (low, area.bottom() - 6)):
                place = QRectF(0, y - 8, _LEFT - 6, 16)
                painter.drawText(place, right, number_text(value))
            painter.drawText(QRectF(0, area.center().y() - 8, _LEFT - 6, 16), right, unit)
        if low < 0 < high:
            painter.setPen(QPen(QColor(look.line), 1, Qt.PenStyle.DotLine))
            zero = self._y_of(0.0)
            painter.drawLine(QPointF(area.left(), zero), QPointF(area.right(), zero))
        self._paint_times(painter, area)

    def _paint_times(self, painter: QPainter, area: QRectF) -> None:
        times = self.chart.times_s
        span = times[-1] - times[0]
        painter.setPen(QColor(theme.colors().muted))
        if span <= 0:
            return
        step = next((step for step in _STEPS if span / step <= 10), span)
        for number in range(int(span / step) + 1):
            x = area.left() + number * step / span * area.width()
            painter.drawLine(QPointF(x, area.bottom()), QPointF(x, area.bottom() + 3))
            words = f"{number * step:g} {self.chart.along}".rstrip()
            place = QRectF(x - 30, area.bottom() + 3, 60, 14)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignCenter), words)

    def _paint_marks(self, painter: QPainter) -> None:
        """Events as lines with a word, key frames as diamonds on the lower edge."""
        area, look = self._area(), theme.colors()
        metrics = QFontMetricsF(painter.font())
        free = area.left()
        for frame, label in sorted(self.chart.events):
            x = self.x_of(frame)
            painter.setPen(QPen(QColor(look.caution), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
            words = shown(label)
            width = metrics.horizontalAdvance(words)
            start = min(max(x - width / 2, free), self.width() - width - 2)
            if start >= free:
                painter.setPen(QColor(look.caution))
                painter.drawText(QPointF(start, area.top() - 6), words)
                free = start + width + 8
        painter.setPen(QPen(QColor(look.panel), 1))
        painter.setBrush(QColor(look.bright))
        for frame in self.chart.key_frames:
            x, y = self.x_of(frame), area.bottom()
            corners = (QPointF(x, y - 5), QPointF(x + 4, y), QPointF(x, y + 5), QPointF(x - 4, y))
            painter.drawPolygon(QPolygonF(corners))

    def _paint_frame(self, painter: QPainter) -> None:
        """The frame on show, with the values there."""
        area, look = self._area(), theme.colors()
        x = self.x_of(self.chart.frame)
        painter.setPen(QPen(QColor(look.accent), 1.4))
        painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        for line in self.chart.lines:
            value = line.values[self.chart.frame]
            if value is not None:
                painter.setBrush(theme.rgb(line.color_rgb))
                painter.setPen(QPen(QColor(look.panel), 1))
                painter.drawEllipse(QPointF(x, self._y_of(value)), 3.5, 3.5)


def number_text(value: float) -> str:
    """A number with three digits that count."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def value_at(line: Line, frame: int) -> str:
    """What a line says of a frame, with its unit; a dash where it says nothing."""
    value = line.values[frame]
    if value is None:
        return "–"
    return f"{number_text(value)} {unit_text(line.unit)}".strip()


def palette(number: int) -> tuple[int, int, int]:
    """Colours of lines that have none of their own, in turn."""
    colors: Sequence[tuple[int, int, int]] = (
        (86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0),
    )  # fmt: skip
    return colors[number % len(colors)]
