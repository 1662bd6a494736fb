"""Which segments a rule speaks of: all that are seen, or those that are ticked in a menu."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QMenu, QSizePolicy, QToolButton, QWidget

from medview.core.findings import SegmentRef
from medview.core.segmentation import Segmentation
from medview.ui.text import elided, menu_text, shown, tip

_SEEN = "those seen"
#: What the arrow and the margins of the button take of its width.
_ARROW_PX = 24


class SegmentChoice(QToolButton):
    """Which segments the mask rule speaks of: all that are seen, or those that are ticked."""

    chosen = pyqtSignal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.refs: tuple[SegmentRef, ...] = ()
        self._names: dict[SegmentRef, str] = {}
        self.setAccessibleName("Segments that edits keep to")
        self._words = _SEEN
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        menu = QMenu(self)
        menu.aboutToShow.connect(self._fill)
        self.setMenu(menu)

    def show_segments(
        self, segmentations: Iterable[Segmentation], named: tuple[SegmentRef, ...]
    ) -> None:
        """Offer the segments of an image; `named` are ticked, none means all that are seen."""
        self._names = {
            SegmentRef(one.uid, segment.number): shown(segment.label)
            for one in segmentations
            for segment in one.segments
        }
        self.refs = named
        self._words = ", ".join(self._names[ref] for ref in named) or _SEEN
        self.setToolTip(tip(f"Which segments edits stay inside or outside of: {self._words}"))
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """As many names as there is room for."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setText(menu_text(elided(self._words, self.font(), self.width() - _ARROW_PX)))

    def _fill(self) -> None:
        menu = self.menu()
        if menu is None:
            return
        menu.clear()
        rows: list[tuple[str, SegmentRef | None]] = [(_SEEN, None)]
        rows += [(name, ref) for ref, name in self._names.items()]
        for name, ref in rows:
            action = menu.addAction(menu_text(name))
            if action is not None:
                action.setCheckable(True)
                action.setChecked(ref in self.refs if ref is not None else not self.refs)
                action.triggered.connect(partial(self._tick, ref))

    def _tick(self, ref: SegmentRef | None, on: bool) -> None:
        kept = tuple(one for one in self.refs if one != ref)
        self.refs = () if ref is None else (*kept, ref) if on else kept
        self.chosen.emit()
