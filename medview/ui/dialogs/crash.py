"""The crash dialog: what happened, in a text to copy that names no patient."""

from __future__ import annotations

import platform
import traceback
from types import TracebackType

from PyQt6.QtGui import QFontDatabase, QGuiApplication
from PyQt6.QtWidgets import QPlainTextEdit, QWidget

import medview
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label


class CrashDialog(Dialog):
    """Says that the work is safe and what to send to the developers."""

    def __init__(self, report: str, *, saved: bool, parent: QWidget | None = None) -> None:
        super().__init__("Something went wrong inside medview", parent, size=(680, 460))
        work = (
            "Your work up to now is saved. You can go on; if the picture looks wrong, start again."
            if saved
            else "Your latest changes could not be saved. Export what you need before you close."
        )
        self.body.addWidget(label(work, "good" if saved else "bad", wrap=True))
        text = "This is a fault in the program. The text below holds no patient data."
        self.body.addWidget(label(text, "muted", wrap=True))
        self._text = QPlainTextEdit(report, self)
        self._text.setReadOnly(True)
        self._text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._text.setAccessibleName("Report of the fault")
        self.body.addWidget(self._text, 1)
        copy = self.buttons.addButton("Copy", self.buttons.ButtonRole.ActionRole)
        if copy is not None:
            copy.clicked.connect(self._copy)

    def _copy(self) -> None:
        clipboard = QGuiApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self._text.toPlainText())


def crash_report(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> str:
    """Where the fault arose. Messages and values are left out: they can hold patient data."""
    del error
    lines = [
        f"medview {medview.__version__}, Python {platform.python_version()}, {platform.system()}",
        f"{kind.__module__}.{kind.__qualname__}",
    ]
    lines += [
        f"  {_module(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(trace)
    ]
    return "\n".join(lines)


def _module(file: str) -> str:
    """A source file without the folders above the package: they can hold names."""
    place = file.replace("\\", "/")
    for mark in ("/site-packages/", "/medview/"):
        if mark in place:
            inside = place.rpartition(mark)[2]
            return inside if mark == "/site-packages/" else f"medview/{inside}"
    return place.rpartition("/")[2]
