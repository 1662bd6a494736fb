"""Carrying a picture by the mouse: from a view or the strip of key images to a place in the report.

The widget that was pressed keeps the mouse, so that nothing of the system's drag and drop is
needed: it hands what it carries to the widget below the pointer when the button goes up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtGui import QPixmap
from PyQt6.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

_SIZE_PX = 96
_OFFSET = QPoint(14, 14)


@dataclass(frozen=True)
class Cargo:
    """What is carried: a key image of the report by its UID, or "" for the view it came from."""

    image_uid: str = ""


@runtime_checkable
class Harbour(Protocol):
    """A widget that takes what is carried onto it."""

    def welcome(self, cargo: Cargo, at: QPoint) -> str:
        """What would become of it at a place of the screen, in words; "" where it is not taken."""

    def take(self, cargo: Cargo, at: QPoint) -> None:
        """Take it in."""


class Carrier:
    """One picture on its way."""

    def __init__(self, origin: QWidget, cargo: Cargo, picture: QPixmap) -> None:
        self._origin = origin
        self._cargo = cargo
        flags = Qt.WindowType.ToolTip | Qt.WindowType.WindowTransparentForInput
        self._flag = QWidget(origin, flags)
        self._flag.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._flag.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        column = QVBoxLayout(self._flag)
        column.setContentsMargins(4, 4, 4, 4)
        image = QLabel(self._flag)
        image.setPixmap(
            picture.scaled(
                _SIZE_PX,
                _SIZE_PX,
                Qt.AspectRatioMode.KeepAspectRatio,
                Qt.TransformationMode.SmoothTransformation,
            )
        )
        self._words = QLabel("", self._flag)
        self._words.setTextFormat(Qt.TextFormat.PlainText)
        column.addWidget(image)
        column.addWidget(self._words)

    def move(self, at: QPoint) -> None:
        """The pointer is at a place of the screen."""
        harbour = harbour_at(at, self._origin)
        words = harbour.welcome(self._cargo, at) if harbour is not None else ""
        self._words.setText(words or "Drop it on the report")
        self._flag.adjustSize()
        self._flag.move(at + _OFFSET)
        self._flag.show()

    def land(self, at: QPoint) -> None:
        """The button went up there."""
        self.end()
        harbour = harbour_at(at, self._origin)
        if harbour is not None and harbour.welcome(self._cargo, at):
            harbour.take(self._cargo, at)

    def end(self) -> None:
        """Carry nothing any more."""
        self._flag.hide()
        self._flag.deleteLater()


def harbour_at(at: QPoint, origin: QWidget) -> Harbour | None:
    """The widget at a place of the screen, or the nearest around it, that takes pictures.

    It is looked for in the window of `origin` first, which also holds where no screen is.
    """
    window = origin.window()
    inside = window.childAt(window.mapFromGlobal(at)) if window is not None else None
    widget = inside or QApplication.widgetAt(at)
    while widget is not None:
        if isinstance(widget, Harbour):
            return widget
        widget = widget.parentWidget()
    return None
