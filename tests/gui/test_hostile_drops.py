"""Bad inputs dropped on the running window: it lives, says what was wrong, and stays small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from PyQt6.QtWidgets import QApplication, QLabel, QTreeWidget

from medview.core.study import ProblemKind, Severity
from medview.ui.dialogs.problems import ProblemsDialog
from tests.gui.conftest import Desk
from tests.helpers.bad_inputs import CASES
from tests.helpers.bad_inputs.case import write
from tests.helpers.bad_inputs.containers import PASSWORD, encrypted_zip
from tests.helpers.bad_inputs.seeds import good

MIB = 1 << 20
_BOMBS = ("A16", "A18", "A20", "A22", "B01", "B02", "C3_", "C4_", "Z01", "Z05", "Z08", "Z09", "Z12")


def _drop(desk: Desk, folder: Path, *names: str) -> None:
    """Make the cases of these names beside a good series, and drop all of it."""
    for case in CASES:
        if case.name.startswith(names):
            place = folder / case.name.replace(".", "_")
            place.mkdir(parents=True)
            case.write(place)
    for n in (1, 2, 3):
        write(folder / f"good{n}.dcm", good(n, 2.0 * n))
    desk.window.open_paths([folder])
    desk.wait(lambda: desk.services.loading.idle and desk.services.tasks.idle, 120)


def test_bombs_cost_the_window_no_memory_and_the_good_series_shows(
    empty_desk: Desk, tmp_path: Path
) -> None:
    # A first drop lets the window import and make what it keeps for good.
    _drop(empty_desk, tmp_path / "first", "A00_intact")
    before = psutil.Process().memory_info().rss
    _drop(empty_desk, tmp_path / "second", *_BOMBS)
    assert psutil.Process().memory_info().rss - before < 64 * MIB
    assert empty_desk.window.isVisible()
    refused = {
        problem.path.relative_to(tmp_path / "second").parts[0]
        for problem in empty_desk.services.workspace.problems
        if problem.severity is Severity.REFUSED
    }
    # Grid files of their own are planned, and refused, when they are looked at.
    named = [one.name for one in CASES if one.name.startswith(_BOMBS) and one.expected == "R"]
    wanted = {name.replace(".", "_") for name in named if not name.endswith(("nii", "gz", "nrrd"))}
    assert wanted <= refused
    series = [s for one in empty_desk.services.workspace.studies.values() for s in one.series]
    assert sum(len(s.instances) for s in series if s.description == "good") == 3


def test_hostile_names_stay_text_in_list_views_and_report(empty_desk: Desk, tmp_path: Path) -> None:
    _drop(empty_desk, tmp_path, "D02", "D03", "D05", "D10", "Z18", "A05")
    empty_desk.run("study.problems")
    dialog = empty_desk.dialog(ProblemsDialog)
    for widget in QApplication.topLevelWidgets():
        for label in widget.findChildren(QLabel):
            assert "\x1b" not in label.text()
            assert "\u202e" not in label.text()
        for tree in widget.findChildren(QTreeWidget):
            assert not any("\u202e" in item.text(0) for item in _items(tree))
    assert "A05_text_renamed.dcm" in "".join(item.text(0) for item in _items(_tree_of(dialog)))


def _tree_of(dialog: ProblemsDialog) -> QTreeWidget:
    tree = dialog.findChild(QTreeWidget)
    assert tree is not None
    return tree


def _items(tree: QTreeWidget) -> list[Any]:
    found, pending = [], [tree.invisibleRootItem()]
    while pending:
        item = pending.pop()
        pending += [item.child(n) for n in range(item.childCount())]
        found.append(item)
    return found


@pytest.mark.parametrize("aes", [False, True], ids=["ZipCrypto", "AES"])
def test_a_locked_archive_opens_with_its_password(
    empty_desk: Desk, tmp_path: Path, *, aes: bool
) -> None:
    write(tmp_path / "locked.zip", encrypted_zip(aes=aes))
    services = empty_desk.services
    for word in ("", "wrong"):
        services.loading.open_paths([tmp_path / "locked.zip"], word)
        empty_desk.wait(lambda: services.loading.idle and services.tasks.idle, 60)
        assert services.workspace.problems[-1].kind is ProblemKind.PASSWORD
    services.loading.open_paths([tmp_path / "locked.zip"], PASSWORD)
    empty_desk.wait(lambda: services.loading.idle and services.tasks.idle, 60)
    (volume,) = services.workspace.volumes.values()
    assert volume.geometry.shape[0] == 2


def test_a_drop_of_two_patients_in_one_series_stops_the_reader(
    empty_desk: Desk, tmp_path: Path
) -> None:
    _drop(empty_desk, tmp_path, "S07_two_patients")
    patients = {one.patient.id for one in empty_desk.services.workspace.studies.values()}
    assert {"BAD-1", "BAD-2"} <= patients
    boxes = [box for box in empty_desk.dialogs() if "two patients" in box.windowTitle()]
    assert len(boxes) == 1
    assert boxes[0].isModal()
