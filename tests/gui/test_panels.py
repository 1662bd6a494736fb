"""Panels: what they list, and that their keys and buttons change the reader's work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QMessageBox

from medview.core.findings import ReviewState
from medview.core.models import ModelCard
from medview.core.segmentation import SegmentState
from medview.core.study import Severity
from medview.inference.scope import Reason
from medview.services.rules import EditRules, Overlap, Where
from medview.services.toolbox import ToolKind
from medview.ui.dialogs.finding import FindingDialog
from medview.ui.dialogs.reader import ReaderDialog
from medview.ui.panels.effects import EffectsPanel
from medview.ui.section_edit import SectionEdit
from tests.gui.conftest import Desk


def state_of(desk: Desk, uid: str) -> ReviewState:
    return desk.services.workspace.findings[uid].review.state


def rows(view: Any) -> list[Any]:
    return [view.item(n).data(Qt.ItemDataRole.UserRole) for n in range(view.count())]


def labels_of(desk: Desk) -> Any:
    return next(iter(desk.services.workspace.segmentations.values())).labels


# Studies


def test_series_are_listed_with_what_they_are(desk: Desk) -> None:
    tree = desk.window.studies.tree
    patient = tree.topLevelItem(0)
    assert patient.text(0) == "DOE, JANE M"
    series = patient.child(0).child(0)
    row = series.data(0, Qt.ItemDataRole.UserRole)
    assert (row.title, row.details) == ("Thorax", "CT · 16 images · #4")
    assert row.current
    assert row.picture is not None


def test_a_proposal_marks_its_series(desk: Desk) -> None:
    first, second = desk.propose()
    item = desk.window.studies.tree.topLevelItem(0).child(0).child(0)
    badges = [text for text, _ in item.data(0, Qt.ItemDataRole.UserRole).badges]
    assert badges == ["AI", "2 to review"]
    desk.run("finding.accept", uid=first)
    desk.run("finding.reject", uid=second)
    badges = [text for text, _ in item.data(0, Qt.ItemDataRole.UserRole).badges]
    assert badges == ["AI"]


def test_a_click_shows_a_series(desk: Desk) -> None:
    desk.open(uid="2")
    tree = desk.window.studies.tree
    first = tree.topLevelItem(0).child(0).child(0)
    place = tree.visualItemRect(first).center()
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
    desk.turn()
    assert desk.services.viewing.series_uid == "1.1"


def test_another_study_leaves_the_rows_of_the_first_in_place(desk: Desk) -> None:
    tree = desk.window.studies.tree
    before = tree.topLevelItem(0).child(0).child(0)
    desk.open(uid="2")
    titles = [tree.itemAt(tree.visualItemRect(before).center()).text(0)]
    count = sum(tree.topLevelItem(n).childCount() for n in range(tree.topLevelItemCount()))
    assert count == 2
    assert titles == ["Thorax"]
    assert not before.data(0, Qt.ItemDataRole.UserRole).current


def test_closing_a_study_takes_it_from_the_list(desk: Desk) -> None:
    desk.run("study.close")
    assert desk.window.studies.tree.topLevelItemCount() == 0


# Findings


def test_a_proposal_is_listed_undecided(desk: Desk) -> None:
    desk.propose()
    panel = desk.window.findings
    first = rows(panel.view)[0]
    assert first.state is ReviewState.PROPOSED
    assert first.title == "Structure 1"
    assert "87 % (uncalibrated score)" in first.details
    assert first.value.endswith(" mL")
    assert "2 to review" in panel._summary.text()


def test_keys_accept_reject_and_go_on(desk: Desk) -> None:
    first, second = desk.propose()
    view = desk.window.findings.view
    view.setFocus()
    view.setCurrentRow(0)
    QTest.keyClick(view, Qt.Key.Key_Return)
    desk.turn()
    assert state_of(desk, first) is ReviewState.ACCEPTED
    QTest.keyClick(view, Qt.Key.Key_N)
    desk.turn()
    assert desk.window.findings.selected_uid == second
    QTest.keyClick(view, Qt.Key.Key_Delete)
    desk.turn()
    assert state_of(desk, second) is ReviewState.REJECTED
    assert desk.services.workspace.findings[second].review.by == "Dr Ada"
    report = desk.services.workspace.report_of("1")
    assert report is not None
    assert [finding.uid for finding in report.findings] == [first]


def test_a_decision_asks_who_decides(desk: Desk) -> None:
    desk.services.workspace.reader = ""
    first, _ = desk.propose()
    desk.window.findings.view.setCurrentRow(0)
    desk.window.findings.run("finding.accept")
    dialog = desk.dialog(ReaderDialog)
    assert state_of(desk, first) is ReviewState.PROPOSED
    dialog._name.setText("Dr Bea")
    dialog.accept()
    desk.turn()
    assert desk.services.workspace.findings[first].review.by == "Dr Bea"


def test_rejecting_with_a_reason_keeps_it(desk: Desk) -> None:
    first, _ = desk.propose()
    desk.window.findings.view.setCurrentRow(0)
    desk.window.findings.run("finding.reject", reason="False positive")
    desk.turn()
    assert desk.services.workspace.findings[first].review.reason == "False positive"
    assert rows(desk.window.findings.view)[0].details.startswith("False positive")


def test_f2_edits(desk: Desk) -> None:
    first, _ = desk.propose()
    view = desk.window.findings.view
    view.setFocus()
    view.setCurrentRow(0)
    QTest.keyClick(view, Qt.Key.Key_F2)
    dialog = desk.dialog(FindingDialog)
    assert dialog._label.text() == "Structure 1"
    dialog._label.setText("Cyst")
    dialog._side.setCurrentIndex(2)
    dialog._text.setPlainText("Smooth border.")
    dialog.accept()
    desk.turn()
    finding = desk.services.workspace.findings[first]
    assert (finding.label, finding.laterality, finding.text) == ("Cyst", "right", "Smooth border.")
    assert finding.review.state is ReviewState.EDITED


def test_choosing_a_finding_goes_there(desk: Desk) -> None:
    desk.propose()
    desk.run("view.first")
    desk.window.findings.view.setCurrentRow(0)
    desk.turn()
    crosshair = desk.services.viewing.crosshair_lps_mm
    center = desk.phantom.center_lps_mm
    assert max(abs(a - b) for a, b in zip(crosshair, center, strict=True)) < 2.6
    active = desk.services.viewing.overlay.active
    assert active is not None
    assert active.number == 1


def test_accept_all_asks_first(desk: Desk) -> None:
    uids = desk.propose()
    desk.window.bridge.start("finding.accept_all")
    box = desk.dialog(QMessageBox)
    assert "2 findings" in box.text()
    assert all(state_of(desk, uid) is ReviewState.PROPOSED for uid in uids)
    next(b for b in box.buttons() if b.text() == "Accept all").click()
    desk.turn()
    assert all(state_of(desk, uid) is ReviewState.ACCEPTED for uid in uids)


# Segments


def test_segments_show_their_true_volume(desk: Desk) -> None:
    desk.propose()
    desk.run("window.segments")
    panel = desk.window.segments
    desk.wait(lambda: all(row.size for row in rows(panel.view)))
    sphere = desk.phantom.sphere()
    sphere[0:2] = False
    expected = sphere.sum() * desk.phantom.geometry.voxel_volume_ml
    assert rows(panel.view)[0].size == f"{expected:.2f} mL"
    finding = rows(desk.window.findings.view)[0]
    assert finding.value == rows(panel.view)[0].size


def test_volumes_follow_the_brush_and_undo(desk: Desk) -> None:
    desk.propose()
    panel = desk.window.segments
    desk.run("segment.select", segment=1)
    desk.wait(lambda: all(row.size for row in rows(panel.view)))
    before = rows(panel.view)[0].size
    corner = desk.phantom.geometry.to_lps_mm((8, 2, 2))
    desk.run("segment.paint", center_lps_mm=[float(x) for x in corner], radius_mm=3, sphere=True)
    desk.wait(lambda: rows(panel.view)[0].size != before)
    after = rows(panel.view)[0].size
    assert float(after.split()[0]) > float(before.split()[0])
    desk.run("edit.undo")
    desk.wait(lambda: rows(panel.view)[0].size == before)


def test_the_eye_hides_and_a_click_chooses(desk: Desk) -> None:
    desk.propose()
    desk.run("window.segments")
    view = desk.window.segments.view
    box = view.visualItemRect(view.item(1))
    eye = QPoint(box.left() + 10, box.center().y())
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=eye)
    desk.turn()
    assert [row.visible for row in rows(view)] == [True, False]
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=box.center())
    desk.turn()
    assert [row.active for row in rows(view)] == [False, True]


def test_delete_key_deletes_the_segment_and_undo_brings_it_back(desk: Desk) -> None:
    desk.propose()
    desk.run("window.segments")
    view = desk.window.segments.view
    view.setFocus()
    view.setCurrentRow(1)
    desk.turn()
    QTest.keyClick(view, Qt.Key.Key_Delete)
    desk.turn()
    assert [row.title for row in rows(view)] == ["Structure 1"]
    desk.run("edit.undo")
    assert [row.title for row in rows(view)] == ["Structure 1", "Structure 2"]


def test_brush_and_rules_are_set_in_the_panel(desk: Desk) -> None:
    panel = desk.window.segments.findChildren(EffectsPanel)[0]
    panel._tools["tool.brush"].click()
    panel._tools["brush.sphere"].click()
    panel._radius.setValue(7.5)
    panel._overlap.setCurrentIndex(panel._overlap.findData(Overlap.SPARE))
    panel._low.setValue(-50)
    panel._high.setValue(-90)
    panel._limits.setChecked(True)
    desk.turn()
    toolbox = desk.services.viewing.toolbox
    assert toolbox.tool() is ToolKind.BRUSH
    assert toolbox.brush.sphere
    assert toolbox.brush.radius_mm == 7.5
    assert toolbox.rules == EditRules(within=(-90, -50), overlap=Overlap.SPARE)
    desk.run("brush.smaller")
    assert panel._radius.value() == pytest.approx(6.3, abs=0.06)
    desk.run("segment.mask")
    assert not panel._limits.isChecked()


def test_edits_keep_to_segments_ticked_in_the_panel(desk: Desk) -> None:
    desk.propose()
    desk.run("window.segments")
    desk.run("segment.add", label="Drawn")
    panel = desk.window.segments.findChildren(EffectsPanel)[0]
    panel._where.setCurrentIndex(panel._where.findData(Where.INSIDE))
    desk.turn()
    among = panel._among
    assert not among.isHidden()
    assert among.text() == "those seen"
    among._fill()
    [structure] = [a for a in among.menu().actions() if a.text() == "Structure 2"]
    structure.trigger()
    desk.turn()
    named = desk.services.viewing.toolbox.rules.segments
    assert [(ref.number, where) for ref in named for where in [among.text()]] == [
        (2, "Structure 2")
    ]
    x, y, z = (float(v) for v in desk.phantom.geometry.to_lps_mm((1, 6, 6)))
    desk.run("segment.paint", center_lps_mm=[x, y, z], radius_mm=3.0)
    drawn = desk.services.viewing.overlay.active
    painted = desk.services.workspace.segmentations[drawn.segmentation_uid].labels == drawn.number
    held = np.zeros(painted.shape, dtype=bool)
    held[1, 4:9, 4:9] = True
    assert painted.any()
    assert not (painted & ~held).any(), "nothing beyond the segment that was ticked"
    desk.run("segment.delete", segment=2, segmentation_uid=named[0].segmentation_uid)
    assert among.text() == "those seen"


def test_letters_in_a_box_of_choices_look_for_an_entry(desk: Desk) -> None:
    desk.run("window.segments")
    panel = desk.window.segments.findChildren(EffectsPanel)[0]
    viewing = desk.services.viewing
    before = viewing.view(viewing.active_plane), viewing.toolbox.tool()
    panel._effect.setFocus()
    desk.turn()
    QTest.keyClicks(panel._effect, "Hollow")
    desk.turn()
    assert panel._effect.currentText().startswith("Hollow")
    # H would have flipped the pictures, W and O changed tool and overlay.
    assert (viewing.view(viewing.active_plane), viewing.toolbox.tool()) == before


def test_return_takes_the_entry_of_an_open_list(desk: Desk) -> None:
    desk.run("window.segments")
    panel = desk.window.segments.findChildren(EffectsPanel)[0]
    desk.window.activateWindow()
    panel._effect.setFocus()
    desk.turn()
    panel._effect.showPopup()
    desk.turn()
    entries = panel._effect.view()
    assert entries is not None
    entries.setFocus()
    desk.turn()
    QTest.keyClicks(entries, "Margin")
    QTest.keyClick(entries, Qt.Key.Key_Return)
    desk.turn()
    assert panel._effect.currentText() == "Margin"
    assert QApplication.activePopupWidget() is None


def test_what_is_at_work_pushes_no_view_aside(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.propose()
    desk.run("segment.select", segment=1)
    panel = desk.window.segments.findChildren(EffectsPanel)[0]
    desk.run("segment.rename", segment=1, label="A structure with a very long name " * 8)
    before = desk.window.segments.minimumSizeHint().width()
    panel._effect.setCurrentText("Smooth: median")
    with monkeypatch.context() as slow:
        slow.setattr(desk.services.tasks, "pump", lambda: 0)  # the answer lies there until later
        panel._apply.click()
        desk.turn()
        assert desk.services.effects.busy
        assert panel._state.full_text.endswith("…")
        assert desk.window.segments.minimumSizeHint().width() == before
    desk.services.tasks.on_wake()
    desk.wait(lambda: not desk.services.effects.busy)


def test_the_buttons_of_every_model_say_whose_they_are(desk: Desk) -> None:
    cards = desk.window.ai.cards.values()
    names = [b.accessibleName() for card in cards for b in (card.run, card.about, card.cancel)]
    assert len(set(names)) == len(names) > 0
    assert all(card.run.accessibleName() == f"Run: {card.card.title}" for card in cards)


def test_an_effect_is_chosen_seen_and_accepted(desk: Desk) -> None:
    desk.propose()
    desk.run("segment.select", segment=1)
    panel = desk.window.segments.findChildren(EffectsPanel)[0]
    before = labels_of(desk).copy()
    panel._effect.setCurrentText("Threshold")
    panel._fields["low"].setValue(0.0)
    panel._fields["high"].setValue(1000.0)
    desk.turn()
    assert panel._apply.text() == "Accept"
    assert not panel._drop.isHidden()
    panel._drop.click()
    desk.turn()
    assert panel._apply.text() == "Apply"
    np.testing.assert_array_equal(labels_of(desk), before)
    panel._apply.click()
    desk.turn()
    panel._apply.click()
    desk.wait(lambda: not desk.services.effects.busy)
    bright = desk.phantom.volume().voxels >= 0
    np.testing.assert_array_equal(labels_of(desk) == 1, bright)
    assert desk.window.actions_made.by_id["edit.undo"].text() == "Undo Threshold: Structure 1"
    panel._effect.setCurrentText("Add another segment")
    assert panel._other.count() == 1
    panel._apply.click()
    desk.wait(lambda: not desk.services.effects.busy)
    assert not (labels_of(desk) == 2).any()


def test_lock_state_and_type_are_seen_in_the_list(desk: Desk) -> None:
    desk.propose()
    desk.run("window.segments")
    view = desk.window.segments.view
    desk.run("segment.select", segment=2)
    desk.run("segment.lock")
    desk.run("segment.state", state="flagged")
    desk.run("segment.classify", type="10200004")
    row = rows(view)[1]
    assert (row.locked, row.progress, row.kind) == (True, SegmentState.FLAGGED, "Liver")
    desk.window.segments.classify()
    dialog = desk.dialogs()[0]
    dialog._search.setText("kidn")  # type: ignore[attr-defined]
    desk.turn()
    assert dialog._list.item(0).text().startswith("Kidney")  # type: ignore[attr-defined]
    dialog._list.setCurrentRow(0)  # type: ignore[attr-defined]
    dialog.accept()
    desk.turn()
    assert rows(view)[1].kind == "Kidney"
    assert desk.window.actions_made.by_id["edit.undo"].text() == "Undo Type Kidney: Structure 2"


def test_renaming_a_segment_can_be_undone(desk: Desk) -> None:
    desk.propose()
    panel = desk.window.segments
    panel.view.setCurrentRow(0)
    desk.turn()
    panel.rename()
    dialog = desk.dialogs()[0]
    dialog.setTextValue("Liver & spleen")  # type: ignore[attr-defined]
    dialog.accept()
    desk.turn()
    assert rows(panel.view)[0].title == "Liver & spleen"
    assert desk.window.actions_made.by_id["edit.undo"].text() == "Undo Rename: Structure 1"


# The report


def test_accepting_drafts_and_what_is_typed_stays(desk: Desk) -> None:
    first, second = desk.propose()
    desk.run("window.report")
    assert desk.window.report._buttons["report.begin"].isVisible()
    desk.run("finding.accept", uid=first)
    edits = desk.window.report.findChildren(SectionEdit)
    findings = next(edit for edit in edits if edit.accessibleName() == "Findings")
    assert "tructure 1" in findings.toPlainText()
    impression = next(edit for edit in edits if edit.accessibleName() == "Impression")
    impression.setFocus()
    impression.setPlainText("No cause for concern.")
    desk.window.report.flush()
    desk.turn()
    desk.run("finding.accept", uid=second)
    report = desk.services.workspace.report_of("1")
    assert report is not None
    texts = {section.heading: section.text for section in report.sections}
    assert texts["Impression"] == "No cause for concern."
    assert "tructure 2" in texts["Findings"]
    assert impression.toPlainText() == "No cause for concern."
    assert "finder" in desk.window.report._statement.toPlainText()
    assert desk.window.report._statement.isReadOnly()


def test_a_signed_report_is_frozen_in_the_panel(desk: Desk) -> None:
    first, second = desk.propose()
    desk.run("finding.accept", uid=first)
    desk.run("finding.accept", uid=second)
    desk.run("report.sign", by="Dr Ada", despite_contradictions=True)
    panel = desk.window.report
    assert "signed by Dr Ada" in panel._status.text()
    assert all(edit.isReadOnly() for edit in panel.findChildren(SectionEdit))
    assert not panel._buttons["report.sign"].isEnabled()
    desk.run("report.amend")
    assert "version 2" in panel._status.text()
    sections = [one for one in panel.findChildren(SectionEdit) if one is not panel._statement]
    assert not any(edit.isReadOnly() for edit in sections)


# AI


def card_of(desk: Desk) -> ModelCard:
    return desk.services.catalog.card("fake")


def test_a_model_says_in_words_whether_it_fits(desk: Desk) -> None:
    widget = desk.window.ai.cards["fake"]
    assert widget._fit.text() == "Fits this image."
    assert widget.run.isEnabled()
    volume = desk.services.viewing.volume
    caution = Reason(Severity.WARNING, "The patient is younger.")
    widget.show_fit(volume.uid, (caution,))
    assert "younger" in widget._fit.text()
    assert widget.run.text() == "Run"
    refused = Reason(Severity.REFUSED, "The image is CT; the model is for MR.")
    widget.show_fit(volume.uid, (refused,))
    assert widget.run.text() == "Run anyway …"
    widget.run.click()
    box = desk.dialog(QMessageBox)
    assert "for MR" in box.informativeText()
    assert not desk.services.workspace.jobs
    box.close()
    widget.show_fit(volume.uid, (Reason(Severity.REFUSED, "A single image.", final=True),))
    assert not widget.run.isEnabled()


def test_without_an_image_nothing_can_be_run(empty_desk: Desk) -> None:
    widget = empty_desk.window.ai.cards["fake"]
    assert not widget.run.isEnabled()
    assert widget.about.isEnabled()
