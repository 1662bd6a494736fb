"""What is drawn over a slice in sharp lines and letters: nothing here knows voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PyQt6.QtCore import QLineF, QPointF, QRectF, QSizeF, Qt
from PyQt6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen, QPixmap

from medview.core.views import Plane
from medview.imaging.reslice import EdgeLetters
from medview.ui.map_painting import Bar, bar_pixmap
from medview.ui.slice_text import Corners

PLANE_COLORS = {
    Plane.AXIAL: QColor(229, 92, 86),
    Plane.SAGITTAL: QColor(228, 200, 78),
    Plane.CORONAL: QColor(104, 190, 112),
    Plane.ACQUIRED: QColor(150, 160, 170),
}
_TEXT = QColor(226, 230, 234)
_FAINT = QColor(150, 158, 166)
_CAUTION = QColor(240, 190, 90)
_PROPOSED = QColor(205, 170, 255)
_ACCENT = QColor(79, 179, 217)
_SHADOW = QColor(0, 0, 0, 130)
_EDGE = 8.0
#: How far letters of the left and right edge stand from it.
_LETTER_INSET = _EDGE + 13
_GAP_PX = 14.0
_NO_RULER_PX = 120
_KEPT_BLOCKS = 40
#: Width and greatest height of a colour bar.
_BAR_PX = (12, 130)
#: Rulers this much alike are one.
_ALIKE = 0.01
_AROUND = ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1))


@dataclass(frozen=True)
class Line:
    """One line of the crosshair: through a point along a direction, both in pixels."""

    color: QColor
    through: tuple[float, float]
    along: tuple[float, float]


@dataclass(frozen=True)
class Ruler:
    """A scale: how many pixels one unit is, in `mm` or `px`, and what it rests on."""

    px_per_unit: float
    unit: str
    note: str = ""

    def length(self, room_px: float) -> float:
        """The longest round length (1, 2 or 5 times a power of ten) that fits into the room."""
        most = room_px / self.px_per_unit
        power = 10.0 ** math.floor(math.log10(most))
        return max(step * power for step in (1, 2, 5) if step * power <= most)

    def drawn_px(self, room_px: float) -> float:
        """How long it is drawn in that room."""
        return self.length(room_px) * self.px_per_unit

    def label(self, length: float) -> str:
        """The length in words: centimetres from 10 mm on."""
        if self.unit == "mm" and length >= 10:
            return f"{length / 10:g} cm"
        return f"{length:g} {self.unit}"

    def is_like(self, other: Ruler) -> bool:
        """Whether it measures the same as another, to a hundredth."""
        same = self.unit == other.unit
        return same and math.isclose(self.px_per_unit, other.px_per_unit, rel_tol=_ALIKE)


@dataclass(frozen=True)
class Rulers:
    """The scale of the rows, and that of the columns where it is another one."""

    across: Ruler
    down: Ruler | None = None


@dataclass(frozen=True)
class Dressing:
    """Everything drawn over one slice."""

    plane: Plane
    corners: Corners
    letters: EdgeLetters
    warnings: tuple[str, ...] = ()
    ai_notice: str = ""
    bar: Bar | None = None
    rulers: Rulers | None = None
    crosshair: tuple[Line, ...] = ()
    position: float | None = None
    ring: tuple[float, float, float] | None = None
    is_active: bool = False

    def without_motion(self) -> Dressing:
        """What does not change while scrolling, windowing or moving the pointer."""
        corners = replace(self.corners, bottom_left=())
        return replace(self, corners=corners, crosshair=(), position=None, ring=None)


def font_px(width: float, height: float) -> int:
    """Letters of 13 pixels, smaller in small views."""
    return int(min(13, max(9, min(width / 34, height / 26))))


def paint_message(painter: QPainter, area: QRectF, font: QFont, lines: Sequence[str]) -> None:
    """Words in the middle of an empty view: the first large, the others below."""
    sized = QFont(font)
    for number, line in enumerate(lines):
        sized.setPixelSize(18 if number == 0 else 13)
        painter.setFont(sized)
        painter.setPen(_TEXT if number == 0 else _FAINT)
        place = area.adjusted(16, 0, -16, 0).translated(0, number * 28 - 14 * (len(lines) - 1))
        flags = int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap)
        painter.drawText(place, flags, line)


@dataclass(frozen=True)
class _Block:
    """Lines of text one below the other, as they are to be drawn."""

    lines: tuple[tuple[str, QColor], ...]
    font: QFont
    ratio: float
    room_px: float = 1e4
    at_right: bool = False


@dataclass(frozen=True)
class _Still:
    """What stays the same from slice to slice, placed."""

    pixmaps: tuple[tuple[QPointF, QPixmap], ...] = ()
    lines: tuple[QLineF, ...] = ()
    frame: QRectF | None = None

    def paint(self, painter: QPainter) -> None:
        """Draw it."""
        if self.lines:
            # Two thin passes: pens wider than a pixel cost ten times as much.
            painter.setPen(QPen(_SHADOW, 1))
            painter.drawLines(*(line.translated(1, 1) for line in self.lines))
            painter.setPen(QPen(_TEXT, 1))
            painter.drawLines(*self.lines)
        for place, pixmap in self.pixmaps:
            painter.drawPixmap(place, pixmap)
        if self.frame is not None:
            painter.setPen(QPen(_ACCENT, 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.frame)


class Dresser:
    """Draws dressings; keeps finished blocks of letters, which change less often than slices."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], QPixmap] = {}
        self._still: tuple[tuple[object, ...], _Still] = (), _Still()

    def paint(self, painter: QPainter, area: QRectF, font: QFont, dressing: Dressing) -> None:
        """Draw over a view that covers `area`."""
        sized = QFont(font)
        sized.setPixelSize(font_px(area.width(), area.height()))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
        for line in dressing.crosshair:
            _paint_line(painter, area, line)
        if dressing.ring is not None:
            _paint_ring(painter, *dressing.ring)
        if dressing.position is not None:
            _paint_position(painter, area, dressing.position, PLANE_COLORS[dressing.plane])
        ratio = _ratio_of(painter)
        still = dressing.without_motion()
        key = (still, area.size(), sized.pixelSize(), ratio)
        if key != self._still[0]:
            self._still = key, self._record(area, sized, still, ratio)
        self._still[1].paint(painter)
        image = [
            (line, _TEXT if number else PLANE_COLORS[dressing.plane])
            for number, line in enumerate(dressing.corners.bottom_left)
        ]
        if image:
            block = _Block(tuple(image), sized, ratio, _room(area))
            painter.drawPixmap(*self._place(area, block, at_bottom=True))

    def _record(self, area: QRectF, font: QFont, still: Dressing, ratio: float) -> _Still:
        """What stays the same from slice to slice, ready to be drawn again."""
        pixmaps = self._place_letters(area, font, still.letters, ratio)
        lines: list[QLineF] = []
        shortest = min(area.width(), area.height())
        if still.rulers is not None and shortest >= _NO_RULER_PX:
            room_px = shortest * 0.4
            across = still.rulers.across
            down = still.rulers.down or across
            lines = _ruler_lines(area, across.drawn_px(room_px), down.drawn_px(room_px))
            pixmaps.append(self._place_ruler_words(area, font, down, room_px, ratio))
            if down is not across:
                words = ((across.label(across.length(room_px)), _TEXT),)
                made = self._block(_Block(words, font, ratio))
                y = area.bottom() - _EDGE - 10 - made.deviceIndependentSize().height()
                pixmaps.append((QPointF(round(area.center().x()), round(y)), made))
        corners = still.corners
        series = [(line, _TEXT) for line in corners.bottom_right]
        series += [(line, _CAUTION) for line in still.warnings]
        series += [(still.ai_notice, _PROPOSED)] if still.ai_notice else []
        series += [(line, _TEXT) for line in (still.bar.lines if still.bar is not None else ())]
        for lines_of, at_right, at_bottom in (
            ([(line, _TEXT) for line in corners.top_left], False, False),
            ([(line, _TEXT) for line in corners.top_right], True, False),
            (series, True, True),
        ):
            if lines_of:
                block = _Block(tuple(lines_of), font, ratio, _room(area), at_right)
                pixmaps.append(self._place(area, block, at_bottom=at_bottom))
        if still.bar is not None:
            # The words of the bar stand in the block just placed; the bar stands on them.
            letter = still.letters.right
            pixmaps += self._place_bar(area, font, still.bar, pixmaps[-1][0].y(), ratio, letter)
        frame = area.adjusted(0, 0, -1, -1) if still.is_active else None
        return _Still(tuple(pixmaps), tuple(lines), frame)

    def _place_bar(
        self, area: QRectF, font: QFont, bar: Bar, bottom: float, ratio: float, letter: str
    ) -> list[tuple[QPointF, QPixmap]]:
        """A colour bar at the right edge above `bottom`, the ends of its range beside it.

        Beside the letter of the edge, not on it: oblique planes have letters of three signs.
        """
        height = int(min(_BAR_PX[1], area.height() * 0.22))
        x, y = round(area.right() - _EDGE - _BAR_PX[0]), round(bottom - 10 - height)
        if letter and y - 20 < area.center().y():
            x = round(area.right() - _LETTER_INSET - _letter_width(font, letter) - 8 - _BAR_PX[0])
        placed = [(QPointF(x, y), bar_pixmap(bar.kind, _BAR_PX[0], height, ratio))]
        for words, level in ((bar.high, y), (bar.low, y + height)):
            made = self._block(_Block(((words, _TEXT),), font, ratio))
            size = made.deviceIndependentSize()
            placed.append(
                (QPointF(round(x - 4 - size.width()), round(level - size.height() / 2)), made)
            )
        return placed

    def _block(self, block: _Block) -> QPixmap:
        """The finished letters, made once while they stay the same."""
        words = tuple((text, color.rgb()) for text, color in block.lines)
        font = block.font.pixelSize(), block.font.bold()
        key = (words, *font, block.ratio, block.room_px, block.at_right)
        made = self._made.pop(key, None)
        if made is None:
            made = _draw_block(block)
        self._made[key] = made
        if len(self._made) > _KEPT_BLOCKS:
            del self._made[next(iter(self._made))]
        return made

    def _place(self, area: QRectF, block: _Block, *, at_bottom: bool) -> tuple[QPointF, QPixmap]:
        """A block in its corner."""
        made = self._block(block)
        size = made.deviceIndependentSize()
        x = area.right() - _EDGE - size.width() if block.at_right else area.left() + _EDGE
        y = area.bottom() - _EDGE - size.height() if at_bottom else area.top() + _EDGE
        return QPointF(round(x), round(y)), made

    def _place_letters(
        self, area: QRectF, font: QFont, letters: EdgeLetters, ratio: float
    ) -> list[tuple[QPointF, QPixmap]]:
        bold = _letter_font(font)
        inset = _LETTER_INSET
        middle = area.center()
        placed = []
        for word, x, y, share in (
            (letters.left, area.left() + inset, middle.y(), (0.0, 0.5)),
            (letters.right, area.right() - inset, middle.y(), (1.0, 0.5)),
            (letters.top, middle.x(), area.top() + _EDGE, (0.5, 0.0)),
            (letters.bottom, middle.x(), area.bottom() - inset, (0.5, 1.0)),
        ):
            if word:
                made = self._block(_Block(((word, _TEXT),), bold, ratio))
                size = made.deviceIndependentSize()
                left, top = x - size.width() * share[0], y - size.height() * share[1]
                placed.append((QPointF(round(left), round(top)), made))
        return placed

    def _place_ruler_words(
        self, area: QRectF, font: QFont, ruler: Ruler, room_px: float, ratio: float
    ) -> tuple[QPointF, QPixmap]:
        length = ruler.length(room_px)
        words = ruler.label(length) + (f"  {ruler.note}" if ruler.note else "")
        if ruler.note.startswith(ruler.unit):
            words = f"{length:g} {ruler.note}"
        color = _CAUTION if ruler.note else _TEXT
        made = self._block(_Block(((words, color),), font, ratio))
        # Under the scale at the left edge: beside the one at the bottom stand other words.
        y = area.center().y() + length * ruler.px_per_unit / 2 + 3
        return QPointF(round(area.left() + _EDGE), round(y)), made


def _room(area: QRectF) -> float:
    """How wide a line in a corner may be."""
    return area.width() / 2 - 3 * _EDGE


def _ratio_of(painter: QPainter) -> float:
    device = painter.device()
    return 1.0 if device is None else device.devicePixelRatioF()


def _letter_font(font: QFont) -> QFont:
    """What the letters of the edges are written in."""
    bold = QFont(font)
    bold.setBold(True)
    bold.setPixelSize(font.pixelSize() + 2)
    return bold


def _letter_width(font: QFont, letter: str) -> float:
    return QFontMetricsF(_letter_font(font)).horizontalAdvance(letter)


def _draw_block(block: _Block) -> QPixmap:
    """Letters with a dark edge all around, readable on any grey."""
    metrics = QFontMetricsF(block.font)
    step = math.ceil(metrics.height())
    elide = Qt.TextElideMode.ElideRight
    lines = [(metrics.elidedText(text, elide, block.room_px), c) for text, c in block.lines]
    width = max(metrics.horizontalAdvance(text) for text, _ in lines)
    size = QSizeF(math.ceil(width) + 2, step * len(lines) + 2)
    made = QPixmap((size * block.ratio).toSize())
    made.setDevicePixelRatio(block.ratio)
    made.fill(Qt.GlobalColor.transparent)
    painter = QPainter(made)
    painter.setFont(block.font)
    for number, (text, color) in enumerate(lines):
        x = 1 + (width - metrics.horizontalAdvance(text) if block.at_right else 0)
        y = 1 + number * step + metrics.ascent()
        painter.setPen(_SHADOW)
        for dx, dy in _AROUND:
            painter.drawText(QPointF(x + dx, y + dy), text)
        painter.setPen(color)
        painter.drawText(QPointF(x, y), text)
    painter.end()
    return made


def _ruler_lines(area: QRectF, across_px: float, down_px: float) -> list[QLineF]:
    x0, y0 = area.center().x() - across_px / 2, area.center().y() - down_px / 2
    bottom, left = round(area.bottom() - _EDGE), round(area.left() + _EDGE)
    lines = [QLineF(x0, bottom, x0 + across_px, bottom), QLineF(left, y0, left, y0 + down_px)]
    for part in range(11):
        size = 8 if part in (0, 5, 10) else 4
        x, y = round(x0 + across_px * part / 10), round(y0 + down_px * part / 10)
        lines.append(QLineF(x, bottom, x, bottom - size))
        lines.append(QLineF(left, y, left + size, y))
    return lines


def _paint_line(painter: QPainter, area: QRectF, line: Line) -> None:
    """A line across the view with a gap at the point, so that nothing there is hidden."""
    (x, y), (dx, dy) = line.through, line.along
    reach = area.width() + area.height()
    slanted = min(abs(dx), abs(dy)) > 1e-3
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=slanted)
    painter.setPen(QPen(line.color, 1))
    for sense in (-1, 1):
        start = QPointF(x + sense * dx * _GAP_PX, y + sense * dy * _GAP_PX)
        end = QPointF(x + sense * dx * reach, y + sense * dy * reach)
        painter.drawLine(start, end)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)


def _paint_ring(painter: QPainter, x: float, y: float, radius: float) -> None:
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(_SHADOW, 2.5))
    painter.drawEllipse(QPointF(x, y), radius, radius)
    painter.setPen(QPen(_TEXT, 1))
    painter.drawEllipse(QPointF(x, y), radius, radius)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)


def _paint_position(painter: QPainter, area: QRectF, position: float, color: QColor) -> None:
    """Where in the stack the slice is: a mark on a line at the right edge."""
    x = area.right() - 3.5
    top, height = area.top() + area.height() * 0.3, area.height() * 0.4
    painter.setPen(QPen(QColor(255, 255, 255, 60), 1))
    painter.drawLine(QPointF(x, top), QPointF(x, top + height))
    painter.setPen(QPen(color, 3))
    y = top + height * position
    painter.drawLine(QPointF(x, y - 5), QPointF(x, y + 5))
