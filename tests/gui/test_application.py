"""The life of the window: scripts, screenshots, exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PyQt6.QtWidgets import QApplication

from medview.ui import application
from medview.ui.application import NOTHING_READABLE, Run
from tests.gui.conftest import Desk


@pytest.fixture
def run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Run:
    made = QApplication.instance()
    assert isinstance(made, QApplication)
    return Run(desk.services, made, desk.window)


def test_a_script_has_the_four_names(desk: Desk, run: Run, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "assert app and window.isVisible()\n"
        "assert '1' in workspace.studies\n"
        "commands.run('view.invert')\n"
        "commands.wait_idle(30)\n",
        encoding="utf-8",
    )
    run._run_script(script)
    assert desk.services.viewing.inverted


def test_a_script_that_is_refused_ends_with_1(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(run._application, "exit", codes.append, raising=False)
    script = tmp_path / "job.py"
    script.write_text("commands.run('no.such')\n", encoding="utf-8")
    run._run_script(script)
    assert codes == [1]
    assert "no.such" in capsys.readouterr().err


def test_screenshot_waits_saves_and_quits(desk: Desk, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "window.png"
    run._save_screenshot(target)
    assert target.stat().st_size > 10_000
    assert not desk.window.isVisible()
    desk.window.show()


def test_a_screenshot_that_cannot_be_written_is_told(
    desk: Desk, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run._save_screenshot(tmp_path / "missing" / "window.png")
    assert run._code == 1
    assert "could not be written" in capsys.readouterr().err
    desk.window.show()


def test_nothing_readable_is_3(run: Run) -> None:
    run._opened(())
    assert run._code == NOTHING_READABLE


def test_without_a_display_the_window_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "_has_display", lambda: False)
    assert application.show(desk.services, []) == 1
    assert "medview analyze" in capsys.readouterr().err
