"""The program with its window: started, fed with paths, script and screenshot, and ended."""

from __future__ import annotations

import gc
import logging
import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from PyQt6.QtCore import QEventLoop, Qt, QTimer
from PyQt6.QtWidgets import QApplication

from medview.core.errors import MedviewError, StoreError
from medview.core.study import Study
from medview.imaging.rendering import compiled_pens
from medview.services.bundle import Services
from medview.ui import theme
from medview.ui.dialogs.crash import CrashDialog, crash_report
from medview.ui.main_window import MainWindow
from medview.ui.window_commands import screenshot_of

_LOG = logging.getLogger(__name__)
NOTHING_READABLE = 3
_FAILED = 1
_IDLE_TIMEOUT_S = 600.0

#: How often garbage is looked for while nobody waits, and what keeps it from being done else.
_TIDY_EVERY_MS = 30_000
_NEVER = 1 << 30


def show(
    services: Services,
    paths: Sequence[Path],
    *,
    script: Path | None = None,
    screenshot: Path | None = None,
) -> int:
    """Open the window and give the exit code when it is closed.

    `script` is run in the started window with `app, window, workspace, commands` defined;
    `screenshot` saves the window once everything has come to rest, and quits. 3 if `paths`
    were given and nothing of them was readable, 1 if the script failed.
    """
    if not _has_display():
        if script is None and screenshot is None:
            sys.stderr.write("medview: there is no display. Try `medview analyze`.\n")
            return _FAILED
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application = QApplication.instance()
    if not isinstance(application, QApplication):
        application = QApplication(sys.argv[:1])
    application.setApplicationName("medview")
    theme.apply(application, services.paths.resources, services.settings.text("window.theme"))
    window = MainWindow(services)
    run = Run(services, application, window)
    return run.go(paths, script=script, screenshot=screenshot)


def let_garbage_wait() -> None:
    """What the libraries hold stays, and the window does not stop to look through all.

    Python looks through everything as thousands of new things come, which is just when a large
    folder arrives: a tenth of a second and more. New things are still looked through.
    """
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], _NEVER)


class Run:
    """One life of the window."""

    def __init__(self, services: Services, application: QApplication, window: MainWindow) -> None:
        self._services = services
        self._application = application
        self._window = window
        self._code = 0
        self._crash: CrashDialog | None = None
        self._in_script = False
        self._tidying = QTimer(window)
        self._tidying.timeout.connect(self._tidy)
        services.commands.add_activity(self._turn, self._is_settled)

    def go(self, paths: Sequence[Path], *, script: Path | None, screenshot: Path | None) -> int:
        """Show the window until it is closed."""
        before, thresholds = sys.excepthook, gc.get_threshold()
        sys.excepthook = self._on_fault
        self._window.show()
        QTimer.singleShot(0, lambda: self._begin(paths, script, screenshot))
        try:
            code = self._application.exec()
        finally:
            sys.excepthook = before
            gc.set_threshold(*thresholds)
            gc.unfreeze()
        return code or self._code

    def _begin(self, paths: Sequence[Path], script: Path | None, screenshot: Path | None) -> None:
        """After the first paint."""
        if paths:
            self._services.loading.open_paths(paths, on_done=self._opened)
        self._services.tasks.warm()
        ready_mb = int(self._services.settings.number("loading.ready_mb"))
        self._services.loading.keep_ready(ready_mb << 20)
        self._services.jobs.warm()
        # Compiled or read from its cache before the first picture needs it.
        self._services.tasks.run(compiled_pens, on_done=self._settle)
        QTimer.singleShot(0, lambda: self._perform(script, screenshot))

    def _settle(self, _pens: object) -> None:
        """The libraries are there: garbage among everything now waits for a quiet moment."""
        let_garbage_wait()
        self._tidying.start(_TIDY_EVERY_MS)

    def _tidy(self) -> None:
        """Look for garbage among everything while nothing is read, run or drawn."""
        quiet = self._services.loading.idle and self._services.tasks.idle
        if quiet and self._application.mouseButtons() == Qt.MouseButton.NoButton:
            gc.collect()

    def _perform(self, script: Path | None, screenshot: Path | None) -> None:
        """The script to its end, then the picture of what it left."""
        if script is not None and not self._run_script(script):
            return
        if screenshot is not None and self._window.isVisible():
            self._save_screenshot(screenshot)

    def _opened(self, studies: tuple[Study, ...]) -> None:
        if not studies:
            self._code = NOTHING_READABLE

    def _run_script(self, script: Path) -> bool:
        """Run the reader's own script, trusted as the command line is; whether it ended well."""
        names = {
            "app": self._application,
            "window": self._window,
            "workspace": self._services.workspace,
            "commands": self._services.commands,
        }
        self._in_script = True
        try:
            runpy.run_path(str(script), init_globals=names, run_name="__medview__")
        except MedviewError as error:
            sys.stderr.write(f"{script.name}: {error.user_text} {error.hint}\n")
            self._application.exit(_FAILED)
            self._in_script = False
            return False
        self._in_script = False
        return True

    def _save_screenshot(self, path: Path) -> None:
        try:
            self._services.commands.wait_idle(_IDLE_TIMEOUT_S)
        except MedviewError as error:
            sys.stderr.write(f"medview: {error.user_text}\n")
        if not screenshot_of(self._window).save(str(path)):
            sys.stderr.write(f"medview: the picture could not be written to {path}\n")
            self._code = _FAILED
        self._services.commands.run("app.quit")

    # Waiting from inside

    def _turn(self) -> None:
        """Let the window live while a script waits."""
        self._application.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)

    def _is_settled(self) -> bool:
        view = self._window.grid.volume_view
        return self._window.bridge.is_quiet and (view is None or view.is_settled)

    # Faults

    def _on_fault(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Save the work, say so, and show what to send to the developers."""
        if issubclass(kind, KeyboardInterrupt):
            self._application.quit()
            return
        if self._in_script:
            traceback.print_exception(kind, error, trace)
            self._application.exit(_FAILED)
            return
        report = crash_report(kind, error, trace)
        _LOG.critical("Fault\n%s", report)
        if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
            traceback.print_exception(kind, error, trace)
        saved = True
        try:
            self._services.store.save_now()
        except StoreError:
            saved = False
        if self._crash is None:
            self._crash = CrashDialog(report, saved=saved, parent=self._window)
            self._crash.destroyed.connect(self._forget_crash)
            self._crash.open()

    def _forget_crash(self) -> None:
        self._crash = None


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
