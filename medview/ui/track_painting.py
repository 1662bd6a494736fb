"""Tracks over the picture of a clip: where points and contours are on the frame on show."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from PyQt6.QtCore import QPointF, QRectF, Qt
from PyQt6.QtGui import QColor, QPainter, QPen, QPolygonF

from medview.core.timeline import FramePoint, Track, TrackShape
from medview.services.bundle import Services
from medview.ui import theme
from medview.ui.text import shown
from medview.ui.viewport import Viewport

_SHADOW = QColor(0, 0, 0, 150)
_CROSS_PX, _GAP_PX, _HANDLE_PX = 7.0, 2.0, 2.5
#: A point drags its way of so many frames behind it.
_TAIL_FRAMES = 12


def place_px(port: Viewport, place: FramePoint) -> QPointF:
    """A place (row, column) of a frame in pixels of the view."""
    frame = port.frame
    index = {1: place[0], 2: place[1]}
    x, y = frame.index_to_mm @ (index[frame.down_axis], index[frame.right_axis])
    return QPointF(*port.to_px(float(x), float(y)))


def place_at(port: Viewport, x_px: float, y_px: float) -> FramePoint:
    """The place (row, column) of a frame at pixels of the view."""
    frame = port.frame
    down, right = frame.mm_to_index @ port.to_mm(x_px, y_px)
    at = {frame.down_axis: float(down), frame.right_axis: float(right)}
    return at[1], at[2]


def paint_tracks(
    painter: QPainter,
    services: Services,
    port: Viewport,
    drawn: tuple[str, Sequence[FramePoint]] = ("", ()),
) -> None:
    """Draw the tracks of the clip on show on its frame.

    `drawn` are the places that the tool in hand is drawing: of a track, which they then stand
    for, or of a new one without a UID.
    """
    tracks = services.tracking.tracks
    if not tracks and not drawn[1]:
        return
    frame, chosen = services.viewing.cine.state.frame, services.tracking.selected
    left, top, right, bottom = port.covered_px()
    painter.save()
    painter.setClipRect(QRectF(left, top, right - left, bottom - top))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=True)
    for track in tracks:
        places = drawn[1] if track.uid == drawn[0] else track.places[frame]
        is_chosen = chosen is not None and track.uid == chosen.uid
        if track.shape is TrackShape.POINT:
            _paint_tail(painter, port, track, frame)
        _paint_track(painter, port, track, places, (frame in track.key_frames, is_chosen))
    if drawn[1] and not drawn[0]:
        _paint_line(painter, [place_px(port, one) for one in drawn[1]], theme.rgb((255, 255, 255)))
    painter.restore()


def _paint_track(
    painter: QPainter,
    port: Viewport,
    track: Track,
    places: Sequence[FramePoint],
    state: tuple[bool, bool],
) -> None:
    """One track; `state` is whether a person placed it here, and whether it is the chosen one."""
    if not places:
        return
    is_key, is_chosen = state
    points = [place_px(port, place) for place in places]
    color = theme.rgb(track.color_rgb)
    if track.shape is TrackShape.POINT:
        _paint_cross(painter, points[0], color, is_key=is_key)
    else:
        closed = points + points[:1] if track.shape is TrackShape.CONTOUR else points
        _paint_line(painter, closed, color, 2.0 if is_chosen else 1.3)
        if is_key:
            _paint_handles(painter, points, color)
    if is_chosen:
        highest = min(points, key=lambda point: point.y())
        _paint_name(painter, highest, track.name, color)


def _paint_tail(painter: QPainter, port: Viewport, track: Track, frame: int) -> None:
    """The way of a point over the last frames, fading."""
    start = max(0, frame - _TAIL_FRAMES)
    seen = [
        (number, place_px(port, track.places[number][0]))
        for number in range(start, frame + 1)
        if track.places[number]
    ]
    for (_, before), (number, after) in itertools.pairwise(seen):
        color = theme.rgb(track.color_rgb)
        color.setAlphaF(0.15 + 0.6 * (number - start) / _TAIL_FRAMES)
        painter.setPen(QPen(color, 1.2))
        painter.drawLine(before, after)


def _paint_cross(painter: QPainter, at: QPointF, color: QColor, *, is_key: bool) -> None:
    """Four strokes that leave the place itself free; a ring around it where a person put it."""
    for pen in (QPen(_SHADOW, 3.2), QPen(color, 1.5)):
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for way in (QPointF(1, 0), QPointF(-1, 0), QPointF(0, 1), QPointF(0, -1)):
            painter.drawLine(at + way * _GAP_PX, at + way * _CROSS_PX)
        if is_key:
            painter.drawEllipse(at, _CROSS_PX + 1.5, _CROSS_PX + 1.5)


def _paint_line(
    painter: QPainter, points: Sequence[QPointF], color: QColor, width: float = 1.5
) -> None:
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for pen in (QPen(_SHADOW, width + 1.6), QPen(color, width)):
        painter.setPen(pen)
        painter.drawPolyline(QPolygonF(list(points)))


def _paint_handles(painter: QPainter, points: Sequence[QPointF], color: QColor) -> None:
    """Dots where a person placed a line, a few pixels apart at least."""
    painter.setPen(QPen(_SHADOW, 1))
    painter.setBrush(color)
    last: QPointF | None = None
    for point in points:
        if last is None or (point - last).manhattanLength() >= 4 * _HANDLE_PX:
            painter.drawEllipse(point, _HANDLE_PX, _HANDLE_PX)
            last = point


def _paint_name(painter: QPainter, at: QPointF, name: str, color: QColor) -> None:
    words, place = shown(name), at + QPointF(_CROSS_PX + 4, -_CROSS_PX)
    painter.setPen(_SHADOW)
    for offset in (QPointF(1, 1), QPointF(-1, -1), QPointF(1, -1), QPointF(-1, 1)):
        painter.drawText(place + offset, words)
    painter.setPen(color)
    painter.drawText(place, words)
