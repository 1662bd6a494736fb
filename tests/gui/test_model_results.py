"""What models gave, in the window: boxes, thresholds, maps, the first read, comparison, origin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QImage
from PyQt6.QtWidgets import QLabel

from medview.core.codes import Code
from medview.core.errors import CommandError
from medview.core.findings import Finding, ModelAuthor, PictureBox, Provenance, utc_now
from medview.core.geometry import Box
from medview.core.jobs import InferenceJob, InferenceResult, JobInput, JobState
from medview.core.maps import CAPTIONS, MapKind, ScalarMap
from medview.core.segmentation import LabelEdit, Segmentation
from medview.core.views import Plane
from medview.services.arrival_rules import ArrivalRule, read_rules
from medview.services.edits import AddSegmentation, ChangeFindings, FindingStep, PaintEdit
from medview.ui.box_painting import label_of, outline_of
from medview.ui.dialogs.compare import CompareDialog
from medview.ui.dialogs.first_read import FirstReadDialog
from medview.ui.dialogs.origin import OriginDialog
from medview.ui.dialogs.rules import RulesDialog
from medview.ui.panels.run_result import RunResult
from medview.ui.slice_dressing import ai_notice
from medview.ui.slice_view import SliceView
from tests.gui.conftest import Desk
from tests.helpers import desk as made

NODULE = Code("27925004", "SCT", "Nodule")
DETECTOR = ModelAuthor("fake", "1.2.3", "cd" * 32)


def _detect(desk: Desk, maps: bool = False) -> dict[float, Finding]:
    """A run of the fake model: two findings above its threshold and a candidate, with boxes."""
    work = desk.services.workspace
    volume = desk.services.viewing.volume
    assert volume is not None
    caution = ("The model is for ages 18 to 90; this patient is 9.",)
    provenance = Provenance(DETECTOR, utc_now(), "run", (volume.uid,), caution)

    def found(probability: float, at: float) -> Finding:
        center = volume.geometry.to_lps_mm((volume.geometry.shape[0] // 2, at, at))
        low, high = center - 4.0, center + 4.0
        return Finding(
            "Nodule",
            NODULE,
            provenance,
            probability=probability,
            box_lps_mm=(tuple(map(float, low)), tuple(map(float, high))),
        )

    findings = {0.9: found(0.9, 8), 0.6: found(0.6, 12), 0.3: found(0.3, 5)}
    result = InferenceResult(
        "run",
        findings=(findings[0.9], findings[0.6]),
        candidates=(findings[0.3],),
        threshold=0.5,
        maps=_maps(desk, findings[0.9]) if maps else (),
        author=DETECTOR,
        device="cpu",
        seconds=2.5,
        fallbacks=("smaller patches",),
    )
    study_uid = work.study_of(volume.uid).uid
    job = InferenceJob("fake", "1.2.3", (JobInput(volume.uid),), study_uid, uid="run")
    work.put_job(replace(job, state=JobState.DONE))
    desk.services.jobs.outcomes.put(result)
    desk.services.review.propose(result, job)
    desk.turn()
    return findings


def _maps(desk: Desk, about: Finding) -> tuple[ScalarMap, ...]:
    volume = desk.services.viewing.volume
    assert volume is not None
    ramp = np.linspace(0, 1, volume.voxels.size, dtype=np.float32).reshape(volume.geometry.shape)
    common = (volume.geometry, ramp, (0.0, 1.0))
    return (
        ScalarMap(volume.uid, MapKind.UNCERTAINTY, *common, method="Test-time flips"),
        ScalarMap(volume.uid, MapKind.SALIENCY, *common, "Nodule", about.uid, "Grad-CAM"),
    )


def _view(desk: Desk) -> SliceView:
    view = desk.window.grid.views[Plane.AXIAL.value]
    assert isinstance(view, SliceView)
    return view


def _picture(desk: Desk) -> QImage:
    desk.turn()
    return _view(desk).grab().toImage()


def _result(desk: Desk) -> RunResult:
    return desk.window.ai.cards["fake"].result


def test_boxes_are_drawn_where_they_cut_the_slice_and_nowhere_else(desk: Desk) -> None:
    findings = _detect(desk)
    view = _view(desk)
    desk.run("finding.show", uid=findings[0.9].uid)
    view.refresh()
    assert view.port is not None
    outline = outline_of(findings[0.9], view.port)
    assert outline is not None
    volume = desk.services.viewing.volume
    assert volume is not None
    # 8 mm a side, whatever the spacing.
    rect = outline.boundingRect()
    assert rect.width() == pytest.approx(8 * view.port.px_per_mm, rel=0.01)
    assert rect.height() == pytest.approx(8 * view.port.px_per_mm, rel=0.01)
    away = replace(view.port, number=0)
    assert outline_of(findings[0.9], away) is None
    with_boxes = _picture(desk)
    desk.run("view.segments")
    assert _picture(desk) != with_boxes


def test_a_box_on_a_picture_covers_whole_pixels_of_that_picture_alone(desk: Desk) -> None:
    finding = replace(
        made.finding(None, 1.0, "Cell"), picture_box=PictureBox((2.0, 3.0, 4.0, 6.0), 5)
    )
    view = _view(desk)
    view.refresh()
    assert view.port is not None
    at = replace(view.port, number=5)
    outline = outline_of(finding, at)
    assert outline is not None
    spacing = at.frame.geometry.spacing_mm
    rect = outline.boundingRect()
    assert rect.width() == pytest.approx(3 * spacing[2] * at.px_per_mm)
    assert rect.height() == pytest.approx(2 * spacing[1] * at.px_per_mm)
    assert outline_of(finding, replace(view.port, number=4)) is None


def test_a_finding_on_one_picture_of_a_stack_is_gone_to(desk: Desk) -> None:
    finding = next(iter(_detect(desk).values()))
    at = replace(finding, uid="p", box_lps_mm=None, picture_box=PictureBox((2.0, 3.0, 5.0, 6.0), 4))
    work = desk.services.workspace
    study_uid = work.study_of(finding.uid).uid
    work.apply(ChangeFindings(study_uid, (FindingStep(None, at),), "One"))
    desk.turn()
    desk.run("finding.show", uid="p")
    volume = desk.services.viewing.volume
    assert volume is not None
    index = volume.geometry.to_index(desk.services.viewing.crosshair_lps_mm)
    assert index.tolist() == pytest.approx([4, 3, 4])


def test_a_score_is_called_a_probability_only_where_it_was_calibrated() -> None:
    finding = replace(made.finding(None, 1.0, "Nodule"), probability=0.87)
    assert label_of(finding) == "Nodule  score 0.87"
    assert label_of(replace(finding, calibrated=True)) == "Nodule  87 %"


def test_the_count_follows_the_slider_and_the_line_holds_when_it_is_let_go(desk: Desk) -> None:
    findings = _detect(desk)
    result = _result(desk)
    assert result.words.text() == "Threshold 0.50: 2 findings, 1 less probable"
    result.slider.setSliderDown(True)
    result.slider.setSliderPosition(20)
    assert result.words.text() == "Threshold 0.20: 3 findings"
    assert len(desk.services.workspace.findings) == 2
    assert findings[0.3] in desk.services.results.boxed()
    result.slider.setSliderDown(False)
    desk.turn()
    assert len(desk.services.workspace.findings) == 3
    desk.run("ai.threshold", value=0.8)
    assert set(desk.services.workspace.findings) == {findings[0.9].uid}
    assert result.slider.value() == 80
    desk.run("edit.undo")
    desk.run("edit.undo")
    assert result.words.text() == "Threshold 0.50: 2 findings, 1 less probable"


def test_a_finding_carries_its_nearest_limit_in_its_line(desk: Desk) -> None:
    _detect(desk)
    row = desk.window.findings.view.item(0).data(Qt.ItemDataRole.UserRole)
    assert row.limit.is_crossed
    assert row.limit.text.endswith("this patient is 9.")


def test_first_read_hides_everything_of_a_model_until_it_is_committed(desk: Desk) -> None:
    desk.run("ai.read_first")
    assert desk.window.actions_made.by_id["ai.read_first"].isChecked()
    before = _picture(desk)
    _detect(desk, maps=True)
    desk.propose()
    window, services = desk.window, desk.services
    assert window.findings.view.count() == 0
    assert services.viewing.overlay.segmentations == ()
    assert services.results.boxed() == ()
    assert not services.results.has(MapKind.SALIENCY)
    assert not _result(desk).isVisibleTo(window.ai)
    assert "first read" in window.ai.cards["fake"]._state.text()
    assert ai_notice(services) == "AI hidden until first read"
    hidden = _picture(desk)
    # Only the words in the corner may differ: the middle of the picture is as it was.
    middle = before.rect().center()
    assert hidden.pixel(middle) == before.pixel(middle)
    with pytest.raises(CommandError):
        desk.run("finding.accept_all")
    window.bridge.start("ai.reveal")
    dialog = desk.dialog(FirstReadDialog)
    dialog._text.setPlainText("One nodule.")
    dialog.accept()
    desk.turn()
    assert window.findings.view.count() == 4
    assert len(services.results.boxed()) == 2
    assert ai_notice(services) == "AI proposal shown"


def test_maps_are_off_until_asked_for_and_say_what_they_are(desk: Desk) -> None:
    findings = _detect(desk, maps=True)
    plain = _picture(desk)
    assert desk.services.results.map is None
    desk.run("finding.show", uid=findings[0.9].uid)
    result = _result(desk)
    result.switches[MapKind.SALIENCY].click()
    desk.turn()
    shown = desk.services.results.map
    assert shown is not None
    assert shown.finding_uid == findings[0.9].uid
    assert shown.caption == CAPTIONS[MapKind.SALIENCY]
    assert result.switches[MapKind.SALIENCY].isChecked()
    assert _picture(desk) != plain
    desk.run("ai.uncertainty")
    assert desk.services.results.kind is MapKind.UNCERTAINTY
    desk.run("ai.uncertainty")
    assert desk.services.results.map is None


def test_without_a_map_there_is_none_to_show(desk: Desk) -> None:
    _detect(desk)
    with pytest.raises(CommandError, match="not possible"):
        desk.run("ai.saliency")
    with pytest.raises(CommandError, match="No run"):
        desk.services.results.toggle(MapKind.SALIENCY)


def test_two_readings_are_compared_in_figures_and_in_the_picture(desk: Desk) -> None:
    desk.propose()
    work, volume = desk.services.workspace, desk.services.viewing.volume
    assert volume is not None
    (first,) = work.segmentations.values()
    labels = first.labels.copy()
    labels[labels == 2] = 0
    other = Provenance(ModelAuthor("other", "2", "ef" * 32), utc_now(), "later")
    segments = (replace(first.segments[0], provenance=other),)
    second = Segmentation(volume.uid, volume.geometry, labels, segments, "Other")
    work.apply(AddSegmentation(work.study_of(volume.uid).uid, second, "Other"))
    desk.run("ai.compare")
    dialog = desk.dialog(CompareDialog)
    desk.wait(lambda: dialog.comparison is not None)
    found = dialog.comparison
    rows = {row.label: row for row in found.structures}
    assert rows["Structure 1"].dice == 1.0
    assert rows["Structure 2"].dice is None
    assert rows["Structure 2"].second_ml is None
    assert dialog.table.rowCount() == 2
    assert dialog.table.item(0, 4).text() == "Dice 1.000"
    voxel = volume.geometry.voxel_volume_ml
    only_first = int((found.map.labels == 1).sum()) * voxel
    assert only_first == pytest.approx(rows["Structure 2"].first_ml)
    assert dialog.panes[0].grab().toImage() != dialog.panes[2].grab().toImage()


def test_the_origin_of_a_finding_can_be_read(desk: Desk) -> None:
    findings = _detect(desk)
    desk.run("finding.show", uid=findings[0.9].uid)
    desk.run("ai.origin")
    dialog = desk.dialog(OriginDialog)
    words = {label.text() for label in dialog.findChildren(QLabel)}
    assert {"1.2.3", "cd" * 32, "cpu", "2.5 s", "smaller patches"} <= words


def test_a_corrected_finding_says_so_and_is_set_beside_its_original(desk: Desk) -> None:
    first, second = desk.propose()
    work = desk.services.workspace
    assert not desk.services.commands.get("ai.compare_original").enabled()
    (mask,) = work.segmentations.values()
    column = Box((1, 4, 4), (2, 9, 5))
    fifth = LabelEdit.between(mask, column, np.zeros(column.shape, np.uint8), "Erase: a fifth")
    assert fifth is not None
    work.apply(PaintEdit(work.study_of(mask.uid).uid, fifth))

    def words(uid: str) -> str:
        rows = [desk.window.findings.view.item(n) for n in range(2)]
        return next(
            row.data(Qt.ItemDataRole.UserRole).correction
            for row in rows
            if row is not None and row.data(Qt.ItemDataRole.UserRole).uid == uid
        )

    # 25 voxels proposed, 20 left: Dice 40 / 45.
    told = "changed by the reader: Dice 0.89, volume \N{MINUS SIGN}20.0 %"
    desk.wait(lambda: words(second) == told)
    assert words(first) == ""
    desk.window.findings.select(second)
    desk.turn()
    desk.run("ai.compare_original")
    dialog = desk.dialog(CompareDialog)
    desk.wait(lambda: dialog.comparison is not None)
    rows = {row.label: row for row in dialog.comparison.structures}
    assert rows["Structure 2"].dice == pytest.approx(40 / 45)
    assert rows["Structure 1"].dice == 1.0
    assert [choice.currentText().rpartition(", ")[2] for choice in dialog.choices] == [
        "as proposed",
        "as corrected",
    ]
    texts = {dialog.table.item(row, 0).text(): dialog.table.item(row, 3).text() for row in range(2)}
    assert texts["Structure 1"] == "none"
    assert texts["Structure 2"].endswith("(\N{MINUS SIGN}20.0 %)")


def test_rules_on_arrival_are_written_in_the_window(desk: Desk) -> None:
    desk.run("ai.rules")
    dialog = desk.dialog(RulesDialog)
    assert not dialog._form.isVisibleTo(dialog)
    dialog.add.click()
    dialog.description.setText("thorax")
    dialog.description.textEdited.emit("thorax")
    assert dialog.matches.text() == "\N{CHECK MARK}  Thorax"
    dialog.modality.setText("mr, pt")
    dialog.modality.textEdited.emit("mr, pt")
    assert dialog.matches.text() == "None."
    dialog.modality.setText("")
    dialog.modality.textEdited.emit("")
    dialog.add.click()
    dialog.list.item(1).setCheckState(Qt.CheckState.Unchecked)
    dialog.accept()
    file = desk.services.paths.config / "arrival.toml"
    first, second = read_rules(file)
    assert first == ArrivalRule("fake", (), (), "thorax")
    assert not second.is_on
    assert desk.services.jobs.rules.in_force == (first,)
    desk.run("ai.rules")
    dialog = desk.dialog(RulesDialog)
    assert dialog.list.count() == 2
    dialog.remove.click()
    dialog.remove.click()
    dialog.accept()
    assert read_rules(file) == ()


def test_a_run_by_a_rule_says_so(desk: Desk) -> None:
    volume = desk.services.viewing.volume
    assert volume is not None
    study_uid = desk.services.workspace.study_of(volume.uid).uid
    job = InferenceJob("fake", "1", (JobInput(volume.uid),), study_uid, rule="CT, CHEST")
    desk.services.workspace.put_job(job)
    desk.turn()
    card = desk.window.ai.cards["fake"]
    assert card._state.text().endswith("\nStarted by itself: CT, CHEST")
    assert not card.bar.isVisibleTo(card)
    assert "1 waiting" in desk.window.statusBar()._ai.text()  # type: ignore[union-attr]
