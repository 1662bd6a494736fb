"""Two readers at one desk, and a third who settles what they differ in, by keys."""

from __future__ import annotations

from PyQt6.QtCore import Qt
from PyQt6.QtTest import QTest

from medview.core.findings import ReviewState
from medview.ui.dialogs.two_readers import TwoReadersDialog
from tests.gui.conftest import Desk


def states(desk: Desk) -> list[ReviewState]:
    view = desk.window.findings.view
    return [view.item(n).data(Qt.ItemDataRole.UserRole).state for n in range(view.count())]


def read(desk: Desk, name: str, second: Qt.Key) -> None:
    """One reading: accept the first finding, the other as the key says."""
    desk.services.workspace.reader = name
    desk.window.activateWindow()  # nobody gives the keyboard back after a dialog
    desk.wait(desk.window.isActiveWindow)
    desk.services.viewing.set_layout("mpr")  # whoever sits down looks anew
    desk.turn()
    view = desk.window.findings.view
    assert states(desk) == [ReviewState.PROPOSED] * 2
    view.setFocus()
    view.setCurrentRow(0)
    QTest.keyClick(view, Qt.Key.Key_Return)
    desk.turn()
    QTest.keyClick(view, Qt.Key.Key_N)
    QTest.keyClick(view, second)
    desk.turn()
    assert states(desk)[0] is ReviewState.ACCEPTED
    desk.run("reading.finish")


def test_two_read_and_a_third_settles(desk: Desk) -> None:
    desk.services.settings.set("reading.readers", "two")
    first, second = desk.propose()
    read(desk, "Dr Ada", Qt.Key.Key_Delete)
    desk.run("reading.agreement")
    dialog = desk.dialog(TwoReadersDialog)
    assert "Dr Ada" in dialog._summary.text()
    assert not dialog._table.isVisible()
    dialog.close()
    read(desk, "Dr Bea", Qt.Key.Key_Return)
    findings = desk.services.workspace.findings
    assert findings[first].review.by == "Dr Ada and Dr Bea"
    assert findings[second].review.state is ReviewState.PROPOSED
    desk.services.workspace.reader = "Dr Carl"
    desk.run("reading.agreement")
    dialog = desk.dialog(TwoReadersDialog)
    assert "both accepted 1, only Dr Ada 0, only Dr Bea 1" in dialog._summary.text()
    assert "Structures: mean Dice 1.000" in dialog._figures.text()
    assert [dialog._table.item(0, n).text() for n in range(3)] == [
        "Structure 2",
        "rejected, Structure 2, left",
        "accepted, Structure 2, left",
    ]
    dialog.activateWindow()
    desk.wait(dialog.isActiveWindow)
    QTest.keyClick(dialog._table, Qt.Key.Key_2)
    desk.turn()
    settled = desk.services.workspace.findings[second]
    assert (settled.review.state, settled.review.by) == (ReviewState.ACCEPTED, "Dr Carl")
    assert "Nothing is left to settle" in dialog._summary.text()
    dialog.close()
    report = desk.services.workspace.report_of("1")
    assert report is not None
    assert len(report.findings) == 2
