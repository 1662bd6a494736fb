"""Boxes of findings over the picture: where something was found, and how sure its author is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPen, QPolygonF

from medview.core.findings import Finding, ReviewState
from medview.imaging.boxes import IndexBox, box_on, index_box, picture_index_box
from medview.ui import theme
from medview.ui.text import score, shown
from medview.ui.viewport import Viewport

_SHADOW = QColor(0, 0, 0, 150)
#: More boxes than this on one slice are named in the list alone.
_MOST_LABELS = 12
_PAD_PX = 3.0
#: A box of fewer slices is on one picture.
_ONE_SLICE = 1.5


def paint_boxes(
    painter: QPainter,
    findings: Sequence[Finding],
    port: Viewport,
    font: QFont,
    *,
    at_hand: str = "",
    candidates: Collection[str] = (),
) -> None:
    """Draw the boxes that meet the slice; the one at hand last, so that nothing covers it.

    `candidates` are the UIDs of findings that are only looked at, which are dashed.
    """
    placed = [
        (finding, outline)
        for finding in findings
        if (outline := outline_of(finding, port)) is not None
    ]
    if not placed:
        return
    placed.sort(key=lambda pair: pair[0].uid == at_hand)
    _in_picture(painter, port)
    named = {finding.uid for finding, _ in placed[-_MOST_LABELS:]}
    for finding, outline in placed:
        color = QColor(theme.DARK.of_state(finding.review.state.value))
        dashed = finding.uid in candidates
        _paint_outline(painter, outline, color, bold=finding.uid == at_hand, dashed=dashed)
    taken: list[QRectF] = []
    for finding, outline in reversed(placed):
        if finding.uid in named and finding.review.state is not ReviewState.REJECTED:
            color = QColor(theme.DARK.of_state(finding.review.state.value))
            _paint_words(painter, font, outline.boundingRect(), finding, color, taken)
    painter.restore()


def paint_dragged(painter: QPainter, box: IndexBox, port: Viewport) -> None:
    """Draw the box that a tool drags, where it would be if it were let go."""
    outline = _cut(box, port)
    if outline is not None:
        _in_picture(painter, port)
        _paint_outline(painter, outline, QColor(theme.DARK.accent), bold=True, dashed=False)
        painter.restore()


def paint_original(painter: QPainter, finding: Finding, port: Viewport) -> None:
    """Draw the box as a model had it, faintly, where a reader has moved it since."""
    outline = outline_of(finding, port)
    if outline is not None:
        _in_picture(painter, port)
        painter.setPen(QPen(QColor(theme.DARK.muted), 1.2, Qt.PenStyle.DotLine))
        painter.drawPolygon(outline)
        painter.restore()


def _in_picture(painter: QPainter, port: Viewport) -> None:
    """Keep to the picture and to lines, until `restore`."""
    left, top, right, bottom = port.covered_px()
    painter.save()
    painter.setClipRect(QRectF(left, top, right - left, bottom - top))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    painter.setBrush(Qt.BrushStyle.NoBrush)


def outline_of(finding: Finding, port: Viewport) -> QPolygonF | None:
    """Where a finding's box cuts the middle of the slice, in pixels of the view, or None."""
    box = slab_box(finding, port)
    return None if box is None else _cut(box, port)


def _cut(box: IndexBox, port: Viewport) -> QPolygonF | None:
    frame = port.frame
    if not box[0][frame.normal] <= port.number + 0.5 <= box[1][frame.normal]:
        return None
    low, high = box
    corners = [
        (low[frame.down_axis], low[frame.right_axis]),
        (low[frame.down_axis], high[frame.right_axis]),
        (high[frame.down_axis], high[frame.right_axis]),
        (high[frame.down_axis], low[frame.right_axis]),
    ]
    points = []
    for row, column in corners:
        x, y = frame.index_to_mm @ (row - 0.5, column - 0.5)
        points.append(QPointF(*port.to_px(float(x), float(y))))
    return QPolygonF(points)


def slab_box(finding: Finding, port: Viewport) -> IndexBox | None:
    """The index box of a finding as the slices of a view show it; None where it has none here.

    Along the pictures it was found on, a box of one slice is that of its picture. A box in the
    patient that is thinner than a slice is in the slice it lies in.
    """
    normal, picture = port.frame.normal, finding.picture_box
    if finding.key_boxes and normal == 0:
        running = box_on(finding, port.number)
        return None if running is None else picture_index_box(running)
    box = index_box(finding, port.frame.geometry)
    if box is None or (finding.box_lps_mm is None and normal != 0):
        return None
    low, high = box
    if picture is not None and normal == 0 and high[0] - low[0] < _ONE_SLICE:
        return picture_index_box(picture)
    if high[normal] - low[normal] < 1:
        low[normal] = np.floor((low[normal] + high[normal]) / 2)
        high[normal] = low[normal] + 1
    return low, high


def label_of(finding: Finding) -> str:
    """What stands at a box: what was found, and how sure its author is."""
    return "  ".join(part for part in (shown(finding.label), score(finding)) if part)


def _paint_outline(
    painter: QPainter, outline: QPolygonF, color: QColor, *, bold: bool, dashed: bool
) -> None:
    style = Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine
    width = 2.4 if bold else 1.4
    painter.setPen(QPen(_SHADOW, width + 1.6))
    painter.drawPolygon(outline)
    painter.setPen(QPen(color, width, style))
    painter.drawPolygon(outline)


def _paint_words(
    painter: QPainter,
    font: QFont,
    box: QRectF,
    finding: Finding,
    color: QColor,
    taken: list[QRectF],
) -> None:
    """Above the box, or below it where another label or the rim is; nowhere if neither has room."""
    sized = QFont(font)
    sized.setPixelSize(12)
    metrics = QFontMetricsF(sized)
    words = label_of(finding)
    size = metrics.size(0, words)
    place = _free_place(box, size.width() + 2 * _PAD_PX, metrics.height(), painter, taken)
    if place is None:
        return
    taken.append(place)
    painter.fillRect(place, _SHADOW)
    painter.setFont(sized)
    painter.setPen(color)
    painter.drawText(place.adjusted(_PAD_PX, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, words)


def _free_place(
    box: QRectF, width: float, height: float, painter: QPainter, taken: Sequence[QRectF]
) -> QRectF | None:
    rim = painter.clipBoundingRect()
    left = max(rim.left(), min(box.left(), rim.right() - width))
    for top in (box.top() - height - 2, box.bottom() + 2, box.top() + 2):
        place = QRectF(left, top, width, height)
        if rim.contains(place) and not any(place.intersects(other) for other in taken):
            return place
    return None
