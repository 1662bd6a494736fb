"""Where the 3D picture is shown and turned with the mouse, with the orientation cube."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import (
    QColor,
    QFont,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPolygonF,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QSizePolicy, QWidget

from medview.ui import theme
from medview.ui.outline_painting import draw_outline
from medview.ui.volume.camera import SIDES, Camera

_GROUND = QColor(9, 10, 12)
_CUBE_PX = 15.0
#: Sides of the cube: letter, outward direction and two directions in the side, LPS.
_FACES = (
    ("L", (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ("R", (-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ("P", (0, 1, 0), (1, 0, 0), (0, 0, 1)),
    ("A", (0, -1, 0), (1, 0, 0), (0, 0, 1)),
    ("H", (0, 0, 1), (1, 0, 0), (0, 1, 0)),
    ("F", (0, 0, -1), (1, 0, 0), (0, 1, 0)),
)


class Canvas(QWidget):
    """Shows the last picture, or words where there is none.

    Left drag turns, middle drag pulls, right drag and wheel zoom. `moved` carries the new
    camera, `resized` says that another size is wanted, `maximise` a double click. While it
    `cuts`, left drag draws an outline instead; `outlined` carries its places in pixels.
    """

    moved = pyqtSignal(object)
    outlined = pyqtSignal(object)
    resized = pyqtSignal()
    maximise = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.camera: Camera | None = None
        self._image: QImage | None = None
        self._shown: npt.NDArray[np.uint8] | None = None
        self._words = ""
        self._last: QPointF | None = None
        self._cuts = False
        self._outline: list[QPointF] = []
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("3D picture")
        self.setAccessibleDescription("Drag to turn, wheel to zoom; A P L R H F look from a side")

    def show_picture(self, picture: npt.NDArray[np.uint8]) -> None:
        """Show (rows, columns, 3); the same array again costs nothing."""
        if picture is self._shown:
            return
        self._shown = picture
        rows, columns, _ = picture.shape
        data = picture.tobytes()
        self._image = QImage(data, columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
        self._words = ""
        self.update()

    def show_words(self, text: str) -> None:
        """Say why there is no picture."""
        if text == self._words and self._image is None:
            return
        self._image = self._shown = None
        self._words = text
        self.update()

    def set_cutting(self, *, cuts: bool) -> None:
        """Whether the left button draws an outline, or turns as it does by itself."""
        if cuts != self._cuts:
            self._cuts = cuts
            self._drop_outline()
            self.setCursor(Qt.CursorShape.CrossCursor if cuts else Qt.CursorShape.ArrowCursor)

    @property
    def has_picture(self) -> bool:
        """Whether a picture is shown."""
        return self._image is not None

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Picture, cube, focus."""
        del event
        painter = QPainter(self)
        painter.fillRect(self.rect(), _GROUND)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._image is not None:
            size = self._image.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
            left, top = (self.width() - size.width()) / 2, (self.height() - size.height()) / 2
            painter.drawImage(QRectF(left, top, size.width(), size.height()), self._image)
            if self.camera is not None:
                self._draw_cube(painter, self.camera)
            draw_outline(painter, self._outline)
        elif self._words:
            painter.setPen(QColor(theme.DARK.muted))
            box = self.rect().adjusted(24, 24, -24, -24)
            flags = int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap)
            painter.drawText(box, flags, self._words)
        if self.hasFocus():
            painter.setPen(QColor(theme.DARK.accent))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

    def _draw_cube(self, painter: QPainter, camera: Camera) -> None:
        center = QPointF(self.width() - 34.0, self.height() - 36.0)
        font = QFont(self.font())
        font.setBold(True)
        font.setPointSizeF(9)
        painter.setFont(font)
        faces = [(camera.project(out), letter, a, b) for letter, out, a, b in _FACES]
        for out, letter, a, b in sorted(faces, key=lambda face: face[0][2]):
            if out[2] <= 0.02:
                continue
            first, second = camera.project(a), camera.project(b)
            corners = [
                out + u * first + v * second for u, v in ((1, 1), (1, -1), (-1, -1), (-1, 1))
            ]
            side = QPolygonF([center + _CUBE_PX * QPointF(x, -y) for x, y, _ in corners])
            painter.setPen(QColor(150, 160, 170))
            painter.setBrush(QColor.fromHsv(205, 70, int(35 + 75 * out[2])))
            painter.drawPolygon(side)
            if out[2] > 0.35:
                middle = center + _CUBE_PX * QPointF(out[0], -out[1])
                painter.setPen(QColor(245, 247, 250))
                box = QRectF(middle.x() - 12, middle.y() - 12, 24, 24)
                painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), letter)

    def event(self, event: QEvent | None) -> bool:
        """The letters of the sides are the view's own while it has the focus."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride:
            letter = event.text().upper()
            drops = bool(self._outline) and event.key() == Qt.Key.Key_Escape
            if drops or (letter and letter in SIDES):
                event.accept()
                return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Esc drops the outline that is being drawn."""
        if event is not None and event.key() == Qt.Key.Key_Escape and self._outline:
            self._drop_outline()
        else:
            super().keyPressEvent(event)

    def _drop_outline(self) -> None:
        self._outline = []
        self.update()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Ask for a picture that fits."""
        super().resizeEvent(event)
        self.resized.emit()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Start turning, pulling or zooming."""
        if event is None:
            return
        self.setFocus()
        if self._cuts and event.button() == Qt.MouseButton.LeftButton:
            self._outline = [event.position()]
        else:
            self._last = event.position()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Turn, pull or zoom, by the button that is down."""
        if event is not None and self._outline:
            self._outline.append(event.position())
            self.update()
            return
        if event is None or self._last is None or self.camera is None:
            return
        step = event.position() - self._last
        self._last = event.position()
        buttons = event.buttons()
        if buttons & Qt.MouseButton.MiddleButton:
            self._move(self.camera.panned(step.x(), step.y(), self.height()))
        elif buttons & Qt.MouseButton.RightButton:
            self._move(self.camera.zoomed(1.01 ** -step.y()))
        elif buttons & Qt.MouseButton.LeftButton:
            self._move(self.camera.rotated(step.x(), step.y()))

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Done: an outline that encloses something is handed over."""
        self._last = None
        drawn, is_left = self._outline, event is not None
        is_left = is_left and event is not None and event.button() == Qt.MouseButton.LeftButton
        if drawn and is_left:
            self._drop_outline()
            if len(drawn) >= 3:
                self.outlined.emit([(place.x(), place.y()) for place in drawn])

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Make the view large, or put it back."""
        del event
        self._last = None
        self.maximise.emit()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom."""
        if event is not None and self.camera is not None:
            self._move(self.camera.zoomed(1.0015 ** event.angleDelta().y()))
            event.accept()

    def _move(self, camera: Camera) -> None:
        self.camera = camera
        self.update()
        self.moved.emit(camera)

    def sizeHint(self) -> QSize:
        """Any size will do."""
        return QSize(320, 240)
