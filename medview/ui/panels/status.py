"""Status line: the latest notice, the AI process, memory, who reads, what this is not for."""

from __future__ import annotations

import sys
from pathlib import Path

from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QPushButton, QStatusBar, QWidget

from medview.core.events import (
    JobChanged,
    Level,
    LoadingChanged,
    Notice,
    SettingChanged,
    StudyOpened,
)
from medview.services.bundle import Services
from medview.ui import icons, theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.about import NOT_FOR_CLINICAL_USE
from medview.ui.text import ElidedLabel, label, menu_text, sentences, shown

_MEMORY_EVERY_MS = 3000


class StatusLine(QStatusBar):
    """The line at the foot of the window."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self.setSizeGripEnabled(False)
        self._notice = ElidedLabel("", "muted")
        self._history = self._button("Notices", "list", "Everything you were told in this session")
        self._history.clicked.connect(lambda: bridge.start("app.notices"))
        self._reading = label("Reading files …", "caution")
        self._reading.setVisible(False)
        bridge.reading.connect(self._reading.setVisible)
        self._ai = label("", "muted")
        self._memory = label("", "muted")
        self._memory.setToolTip("Memory of the window; the AI process has its own")
        self._reader = self._button(
            "", "person", "Who reads: decisions and signatures carry this name"
        )
        self._reader.clicked.connect(lambda: bridge.start("reader.change"))
        clinical = label(NOT_FOR_CLINICAL_USE, "clinical")
        self.addWidget(self._history)
        self.addWidget(self._notice, 1)
        for widget in (self._reading, self._ai, self._memory, self._reader, clinical):
            self.addPermanentWidget(widget)
        bridge.noticed.connect(self._on_notice)
        bridge.changed.connect(self._on_changed)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._show_memory)
        # The AI process tells what it found on the machine when it is ready, without an event.
        self._timer.timeout.connect(self._show_ai)
        self._timer.start(_MEMORY_EVERY_MS)
        self._show_memory()
        self._show_reader()
        self._show_ai()

    def _button(self, text: str, icon_name: str, help_text: str) -> QPushButton:
        button = QPushButton(text, self)
        button.setIcon(icons.icon(self._services.paths.resources, icon_name))
        button.setToolTip(help_text)
        button.setAccessibleName(text or help_text)
        theme.set_role(button, "flat")
        return button

    def _on_notice(self, notice: Notice) -> None:
        role = {Level.ERROR: "bad", Level.WARNING: "caution"}.get(notice.level, "muted")
        theme.set_role(self._notice, role)
        self._notice.show_text(sentences(notice.text, notice.hint))

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(SettingChanged):
            self._show_reader()
        if changes.any(JobChanged, LoadingChanged, StudyOpened):
            self._show_ai()

    def _show_reader(self) -> None:
        name = self._services.workspace.reader
        self._reader.setText(menu_text(shown(name)) if name else "Who reads?")
        theme.set_role(self._reader, "flat" if name else "link")

    def _show_ai(self) -> None:
        open_jobs = [j for j in self._services.workspace.jobs.values() if not j.state.is_over]
        devices = self._services.jobs.devices
        where = (
            " and ".join(shown(device) for device in devices) if devices else "starts when needed"
        )
        waiting = sum(job.state.is_waiting for job in open_jobs)
        running = len(open_jobs) - waiting
        parts = [f"{running} running"] if running else []
        parts += [f"{waiting} waiting"] if waiting else []
        self._ai.setText(f"AI: {', '.join(parts) or where}")
        self._ai.setToolTip(f"Models run in a process of their own ({where}).")

    def _show_memory(self) -> None:
        used_mb = resident_mb()
        self._memory.setText(f"{used_mb / 1024:.1f} GB" if used_mb >= 1024 else f"{used_mb:.0f} MB")
        self._memory.setVisible(used_mb > 0)


def resident_mb() -> float:
    """Memory of this process in MB; 0 where the system does not tell it cheaply."""
    if not sys.platform.startswith("linux"):
        return 0.0
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096 / 1e6
