"""Icons: the drawings in resources/icons, in the colour of the look in force."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from PyQt6.QtCore import QByteArray, QRect, QRectF, QSize, Qt
from PyQt6.QtGui import QIcon, QIconEngine, QPainter, QPixmap, QPixmapCache
from PyQt6.QtSvg import QSvgRenderer

from medview.ui import theme


def icon(resources: Path, name: str) -> QIcon:
    """The icon `resources/icons/NAME.svg` in the colour of text, faint while disabled."""
    return QIcon(_Engine(resources, name))


def pixmap(resources: Path, name: str, size_px: int, color: str) -> QPixmap:
    """One icon as a square picture; FileNotFoundError for a name that does not exist."""
    key = f"medview/{name}/{size_px}/{color}"
    found = cast("QPixmap | None", QPixmapCache.find(key))
    if found is not None:
        return found
    drawing = (resources / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    renderer = QSvgRenderer(QByteArray(drawing.replace("currentColor", color).encode()))
    result = QPixmap(size_px, size_px)
    result.fill(Qt.GlobalColor.transparent)
    painter = QPainter(result)
    renderer.render(painter, QRectF(0, 0, size_px, size_px))
    painter.end()
    QPixmapCache.insert(key, result)
    return result


def swatch(color_rgb: tuple[int, int, int], size_px: int = 14) -> QPixmap:
    """A small square of one colour, for lists."""
    result = QPixmap(size_px, size_px)
    result.fill(theme.rgb(color_rgb))
    return result


class _Engine(QIconEngine):
    """Draws when asked, so that a change of look needs no new icons."""

    def __init__(self, resources: Path, name: str) -> None:
        super().__init__()
        self._resources = resources
        self._name = name

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        """The drawing at a size."""
        del state
        scheme = theme.colors()
        color = scheme.faint if mode == QIcon.Mode.Disabled else scheme.text
        return pixmap(self._resources, self._name, min(size.width(), size.height()), color)

    def paint(
        self, painter: QPainter | None, rect: QRect, mode: QIcon.Mode, state: QIcon.State
    ) -> None:
        """The drawing on a widget, sharp at any scale of the screen."""
        if painter is None:
            return
        device = painter.device()
        ratio = device.devicePixelRatioF() if device is not None else 1.0
        side = min(rect.width(), rect.height())
        picture = self.pixmap(QSize(round(side * ratio), round(side * ratio)), mode, state)
        corner = rect.center() - QRect(0, 0, side, side).center()
        painter.drawPixmap(QRect(corner.x(), corner.y(), side, side), picture)

    def clone(self) -> QIconEngine:
        """Another engine for the same drawing."""
        return _Engine(self._resources, self._name)
