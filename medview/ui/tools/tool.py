"""What a pointer tool is, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from PyQt6.QtCore import Qt

from medview.core.findings import Point
from medview.core.views import Plane
from medview.services.previews import Preview
from medview.ui.viewport import Viewport


@dataclass(frozen=True, eq=False)
class Pointer:
    """The mouse over a view: its place in pixels of the view and in the patient."""

    plane: Plane
    x_px: float
    y_px: float
    port: Viewport

    @property
    def point_lps_mm(self) -> Point:
        """The point of the slice under the pointer."""
        return self.port.to_lps_mm(self.x_px, self.y_px)


class Tool(Protocol):
    """What dragging with a mouse button does: a small state machine.

    It hears `press`, any number of `drag`, then `release` or `cancel`, and holds nothing after
    those. What it changes in the reader's work it changes at release, by one command.
    """

    @property
    def cursor(self) -> Qt.CursorShape:
        """The shape of the pointer while the tool is in hand."""

    @property
    def preview(self) -> Preview | None:
        """What a stroke under way will change."""

    def press(self, pointer: Pointer) -> None:
        """The button went down."""

    def drag(self, pointer: Pointer) -> None:
        """The pointer moved with the button down."""

    def release(self, pointer: Pointer) -> None:
        """The button went up: make the change."""

    def cancel(self) -> None:
        """Put back what the gesture changed, and forget it."""

    def forget(self) -> None:
        """Forget the gesture and leave things as they are: the image is another one now."""
