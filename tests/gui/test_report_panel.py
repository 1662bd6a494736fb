"""The report panel by keys and mouse: phrases, live numbers, fields, pictures, printing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PyQt6.QtCore import QMimeData, QPoint, Qt
from PyQt6.QtGui import QKeySequence
from PyQt6.QtPdf import QPdfDocument
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QComboBox, QScrollArea, QToolButton, QWidget

from medview.core.report import Report, ReportStatus
from medview.reporting.live import mark
from medview.ui.dialogs.critical import CriticalDialog
from medview.ui.dialogs.versions import VersionsDialog
from medview.ui.panels.key_images import KeyImages
from medview.ui.section_edit import SectionEdit
from medview.ui.slice_view import SliceView
from tests.gui.conftest import Desk


@pytest.fixture
def reporting(desk: Desk) -> Desk:
    """Two accepted findings and the report in front."""
    for uid in desk.propose():
        desk.run("finding.accept", uid=uid)
    desk.run("window.report")
    return desk


def report_of(desk: Desk) -> Report:
    report = desk.services.workspace.report_of("1")
    assert report is not None
    return report


def text_under(desk: Desk, heading: str) -> str:
    return next(s.text for s in report_of(desk).sections if s.heading == heading)


def edit_of(desk: Desk, heading: str) -> SectionEdit:
    edits = desk.window.report.findChildren(SectionEdit)
    return next(one for one in edits if one.accessibleName() == heading)


def show(desk: Desk, inside: QWidget) -> None:
    """Scroll the panel to a part of it."""
    scroll = desk.window.report.findChild(QScrollArea)
    assert scroll is not None
    scroll.ensureWidgetVisible(inside)
    desk.turn()


def begin(desk: Desk, heading: str) -> SectionEdit:
    """The section, emptied, with the keyboard."""
    edit = edit_of(desk, heading)
    edit.setFocus()
    edit.selectAll()
    QTest.keyClick(edit, Qt.Key.Key_Delete)
    return edit


def test_a_dot_a_key_and_a_space_write_a_phrase(reporting: Desk) -> None:
    edit = begin(reporting, "Findings")
    QTest.keyClicks(edit, ".noptx ")
    assert edit.toPlainText() == "No pneumothorax. "
    QTest.keyClicks(edit, "See 3.noptx .nothing ")
    assert edit.toPlainText() == "No pneumothorax. See 3.noptx .nothing "
    QTest.keyClicks(edit, ".nodule ")
    assert "Pulmonary nodule in the  lobe" in edit.toPlainText()
    QTest.keyClicks(edit, "upper")  # the caret stands in the first gap
    assert "in the upper lobe" in edit.toPlainText()
    edit.flush()
    reporting.turn()
    assert text_under(reporting, "Findings").startswith("No pneumothorax.")


def test_a_number_from_the_menu_follows_the_brush(reporting: Desk) -> None:
    finding = report_of(reporting).findings[0]
    edit = begin(reporting, "Impression")
    QTest.keyClicks(edit, "Volume ")
    menu = edit.menu()
    action = next(a for a in menu.actions() if a.text().startswith("Structure 1"))
    action.trigger()
    QTest.keyClicks(edit, ", stable.")
    edit.flush()
    reporting.turn()
    before = text_under(reporting, "Impression")
    assert before.startswith("Volume ")
    assert before.endswith(" mL, stable.")
    section = next(s for s in report_of(reporting).sections if s.heading == "Impression")
    assert section.source == f"Volume {mark(finding.measurements[0].uid)}, stable."
    corner = [float(x) for x in reporting.phantom.geometry.to_lps_mm((8, 2, 2))]
    reporting.run("segment.select", segment=1)
    reporting.run("segment.paint", center_lps_mm=corner, radius_mm=4, sphere=True)
    after = text_under(reporting, "Impression")
    assert after != before
    assert edit.toPlainText() == after
    reporting.run("edit.undo")
    assert text_under(reporting, "Impression") == before
    assert edit.toPlainText() == before


def test_a_number_that_is_typed_over_is_words(reporting: Desk) -> None:
    measured = report_of(reporting).findings[0].measurements[0]
    edit = begin(reporting, "Impression")
    edit.insert_measurement(measured)
    QTest.keyClicks(edit, "!")
    assert edit.source == f"{mark(measured.uid)}!"
    QTest.keyClick(edit, Qt.Key.Key_Home)
    QTest.keyClick(edit, Qt.Key.Key_Delete)
    assert mark(measured.uid) not in edit.source


def test_what_is_pasted_is_plain_text(reporting: Desk) -> None:
    edit = begin(reporting, "Impression")
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    data = QMimeData()
    data.setHtml("<b>Large</b> cyst")
    data.setText("Large\u202e cyst\r\nin the liver\x07")
    clipboard.setMimeData(data)
    QTest.keySequence(edit, QKeySequence(QKeySequence.StandardKey.Paste))
    assert edit.toPlainText() == "Large cyst\nin the liver"
    assert edit.source == "Large cyst\nin the liver"


def test_there_is_one_undo_in_the_text_too(reporting: Desk) -> None:
    edit = edit_of(reporting, "Impression")
    drafted = edit.toPlainText()
    edit = begin(reporting, "Impression")
    QTest.keyClicks(edit, "No change.")
    QTest.keySequence(edit, QKeySequence(QKeySequence.StandardKey.Undo))
    reporting.turn()
    assert edit.toPlainText() == drafted
    assert text_under(reporting, "Impression") == drafted
    QTest.keySequence(edit, QKeySequence(QKeySequence.StandardKey.Redo))
    reporting.turn()
    assert text_under(reporting, "Impression") == "No change."


def test_fields_are_answered_and_the_kind_is_chosen(reporting: Desk) -> None:
    panel = reporting.window.report
    rads = next(b for b in panel.findChildren(QComboBox) if "Lung-RADS" in b.accessibleName())
    rads.setFocus()
    rads.setCurrentIndex(rads.findData("4A"))
    rads.activated.emit(rads.currentIndex())
    reporting.turn()
    assert [(a.field, a.value) for a in report_of(reporting).answers] == [("lung_rads", "4A")]
    assert "Lung-RADS 4A (suspicious)." in text_under(reporting, "Impression")
    icd = next(b for b in panel.findChildren(QToolButton) if "ICD-10" in b.accessibleName())
    menu = icd.menu()
    assert menu is not None
    next(a for a in menu.actions() if a.text().startswith("J90")).trigger()
    reporting.turn()
    code = report_of(reporting).answers[1].code
    assert code is not None
    assert (code.value, code.scheme) == ("J90", "I10")
    kind = next(b for b in panel.findChildren(QComboBox) if b.accessibleName() == "Kind of report")
    assert "CT of the chest" in kind.itemText(0)
    kind.setCurrentIndex(kind.findData("general"))
    kind.activated.emit(kind.currentIndex())
    reporting.turn()
    assert report_of(reporting).template == "general"
    assert not [b for b in panel.findChildren(QComboBox) if "Lung-RADS" in b.accessibleName()
                and b.isVisible()]  # fmt: skip


def test_a_view_is_dragged_into_a_section_and_moved_in_the_strip(reporting: Desk) -> None:
    view = next(v for v in reporting.window.grid.findChildren(SliceView) if v.isVisible())
    canvas = view._canvas.viewport()
    target = edit_of(reporting, "Findings")
    show(reporting, target)
    spot = target.mapToGlobal(target.rect().center())
    alt = Qt.KeyboardModifier.AltModifier
    window_before = reporting.services.viewing.window
    start = canvas.rect().center()
    QTest.mousePress(canvas, Qt.MouseButton.LeftButton, alt, start)
    QTest.mouseMove(canvas, start + QPoint(30, 0))
    QTest.mouseMove(canvas, canvas.mapFromGlobal(spot))
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, alt, canvas.mapFromGlobal(spot))
    reporting.turn()
    (first,) = report_of(reporting).key_images
    assert first.section == "Findings"
    assert first.png.startswith(b"\x89PNG")
    assert reporting.services.viewing.window == window_before
    reporting.run("report.add_key_image", caption="Second")
    strip = reporting.window.report.findChild(KeyImages)
    assert strip is not None
    show(reporting, strip)
    inside = strip.viewport()
    assert inside is not None
    boxes = [strip.visualItemRect(strip.item(n)) for n in range(2)]
    QTest.mousePress(inside, Qt.MouseButton.LeftButton, pos=boxes[1].center())
    QTest.mouseMove(inside, boxes[1].center() - QPoint(40, 0))
    QTest.mouseMove(inside, boxes[0].topLeft() + QPoint(4, 20))
    QTest.mouseRelease(inside, Qt.MouseButton.LeftButton, pos=boxes[0].topLeft() + QPoint(4, 20))
    reporting.turn()
    assert report_of(reporting).key_images[0].caption == "Second"
    strip.setCurrentRow(0)
    QTest.keyClick(strip, Qt.Key.Key_Delete)
    reporting.turn()
    assert [image.uid for image in report_of(reporting).key_images] == [first.uid]


def test_a_critical_result_is_flagged_by_keys(reporting: Desk) -> None:
    reporting.window.bridge.start("report.critical")
    dialog = reporting.dialog(CriticalDialog)
    dialog._informed.setFocus()
    dialog._informed.selectAll()
    QTest.keyClicks(dialog._informed, "Dr Bea, ward 3")
    QTest.keyClick(dialog, Qt.Key.Key_Return)
    reporting.turn()
    told = report_of(reporting).critical
    assert told is not None
    assert told.informed == "Dr Bea, ward 3"
    assert told.finding == "Structure 1, left"
    assert told.by == "Dr Ada"
    assert "Dr Bea" in reporting.window.report._critical.text()


def test_text_and_picture_go_to_the_clipboard(reporting: Desk) -> None:
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    reporting.run("report.copy")
    assert "IMPRESSION" in clipboard.text()
    assert "USE OF AI" in clipboard.text()
    reporting.run("view.copy_picture")
    view = reporting.window.grid.active
    assert view is not None
    assert clipboard.image().size() == view.size() * view.devicePixelRatioF()


def test_the_pages_are_printed(reporting: Desk, tmp_path: Path) -> None:
    path = tmp_path / "paper.pdf"
    reporting.run("report.print", path=str(path))
    reporting.wait(lambda: any("sent to the printer" in told for told in reporting.told()))
    pages: list[bytes] = []
    reporting.services.report_output.pdf("1", pages.append, lambda error: pytest.fail(str(error)))
    reporting.wait(lambda: bool(pages))
    made = tmp_path / "made.pdf"
    made.write_bytes(pages[0])
    counts = []
    for file in (path, made):
        document = QPdfDocument(None)
        document.load(str(file))
        counts.append(document.pageCount())
        document.close()
    assert counts[0] == counts[1] >= 1


def test_release_sign_amend_and_look_at_both(reporting: Desk) -> None:
    reporting.run("report.release")
    assert report_of(reporting).status is ReportStatus.PRELIMINARY
    panel = reporting.window.report
    assert panel._status.text().startswith("Preliminary, released by Dr Ada")
    edit = begin(reporting, "Impression")
    QTest.keyClicks(edit, "First words.")
    panel.flush()
    reporting.turn()
    assert "changed since" in panel._status.text()
    reporting.run("report.sign", by="Dr Ada", despite_contradictions=True)
    assert not reporting.services.commands.get("report.versions").enabled()
    reporting.run("report.amend")
    edit = begin(reporting, "Impression")
    QTest.keyClicks(edit, "Other words.")
    panel.flush()
    reporting.turn()
    reporting.run("report.versions")
    dialog = reporting.dialog(VersionsDialog)
    left, right = (text.toPlainText() for text in dialog._texts)
    assert "First words." in left
    assert "Other words." in right
    assert "signed by" in dialog._choices[0].currentText() or "Dr Ada" in left


def test_tab_goes_through_the_report_as_it_is_read(reporting: Desk) -> None:
    headings = [section.heading for section in report_of(reporting).sections]
    reporting.window.report.setFocus()
    reporting.turn()
    met: list[str] = []
    for _ in range(40):
        focus = QApplication.focusWidget()
        assert focus is not None
        if focus.accessibleName() in (*headings, "Lung-RADS (2022)", "Diagnosis (ICD-10)"):
            met.append(focus.accessibleName())
        if focus.accessibleName().startswith("What models contributed"):
            break
        QTest.keyClick(focus, Qt.Key.Key_Tab)
        reporting.turn()
    assert met == [*headings, "Lung-RADS (2022)", "Diagnosis (ICD-10)"]
