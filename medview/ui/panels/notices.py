"""Notices: short words over the views that go by themselves, and the line of the status bar."""

from __future__ import annotations

from pathlib import Path

from PyQt6.QtCore import QEvent, QObject, Qt, QTimer, pyqtSignal
from PyQt6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QVBoxLayout, QWidget

from medview.core.events import Level, Notice
from medview.ui import icons, theme
from medview.ui.text import label, shown

_STAY_MS = {Level.INFO: 5000, Level.WARNING: 10000, Level.ERROR: 20000}
_MOST = 4
_WIDTH_PX = 360


class Toasts(QWidget):
    """A stack of notices in the lower left corner of a widget. Nothing waits for them.

    `asked` carries the command of a notice whose reader wants to see more.
    """

    asked = pyqtSignal(str)

    def __init__(self, resources: Path, over: QWidget) -> None:
        super().__init__(over)
        self._resources = resources
        self._over = over
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        over.installEventFilter(self)
        self.hide()

    def show_notice(self, notice: Notice) -> None:
        """Show one more, once; the oldest goes if there are too many."""
        for toast in self.findChildren(Toast):
            if toast.notice == notice:
                toast.leave()
        self._column.addWidget(Toast(notice, self._resources, self))
        toasts = self.findChildren(Toast)
        for toast in toasts[: max(0, len(toasts) - _MOST)]:
            toast.leave()
        self.place()

    def place(self) -> None:
        """Lie in the corner."""
        width = min(_WIDTH_PX, self._over.width() - 24)
        toasts = self.findChildren(Toast)
        heights = [toast.fit(max(120, width)) for toast in toasts]
        total = sum(heights) + self._column.spacing() * max(0, len(toasts) - 1)
        self.setGeometry(12, self._over.height() - total - 12, max(120, width), total)
        self._column.activate()
        self.setVisible(bool(toasts))
        self.raise_()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Move along."""
        if event is not None and event.type() == QEvent.Type.Resize:
            self.place()
        return super().eventFilter(watched, event)


class Toast(QFrame):
    """One notice with a button to put it away."""

    def __init__(self, notice: Notice, resources: Path, stack: Toasts) -> None:
        super().__init__(stack)
        self.notice = notice
        self._stack = stack
        theme.set_role(self, "notice")
        theme.set_role(self, notice.level.value, "level")
        scheme = theme.colors()
        name, color = {
            Level.INFO: ("info", scheme.accent),
            Level.WARNING: ("warning", scheme.caution),
            Level.ERROR: ("error", scheme.bad),
        }[notice.level]
        mark = label()
        mark.setPixmap(icons.pixmap(resources, name, 20, color))
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(label(shown(notice.text), wrap=True))
        if notice.hint:
            words.addWidget(label(shown(notice.hint), "muted", wrap=True))
        if notice.command:
            words.addWidget(self._more(notice.command), 0, Qt.AlignmentFlag.AlignLeft)
        close = QToolButton(self)
        close.setIcon(icons.icon(resources, "close"))
        close.setAccessibleName("Put the notice away")
        close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        close.clicked.connect(self.leave)
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 8, 6, 8)
        row.addWidget(mark, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        row.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.leave)
        self._timer.start(_STAY_MS[notice.level])

    def _more(self, command: str) -> QPushButton:
        """The way to what the notice is about."""
        more = QPushButton("Show", self)
        theme.set_role(more, "link")
        more.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        more.clicked.connect(lambda: self._stack.asked.emit(command))
        more.clicked.connect(self.leave)
        return more

    def fit(self, width_px: int) -> int:
        """Be as high as the words need at that width; gives the height."""
        layout = self.layout()
        height = layout.totalHeightForWidth(width_px) if layout is not None else self.height()
        self.setFixedHeight(height)
        return height

    def leave(self) -> None:
        """Go."""
        self._timer.stop()
        self.setParent(None)
        self.deleteLater()
        self._stack.place()
