"""Dialogs: complete, honest, and asking before what cannot be taken back."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import (
    QApplication,
    QCheckBox,
    QLabel,
    QMessageBox,
    QPushButton,
    QTableWidget,
    QTabWidget,
    QTreeWidget,
)

from medview.core.codes import Code
from medview.core.errors import ReadError
from medview.core.events import Level
from medview.core.models import (
    InputSpec,
    Metric,
    Metrics,
    ModelCard,
    OutputChannel,
    OutputSpec,
    Scope,
    Task,
)
from medview.core.outline import Line, Outline
from medview.core.study import Problem, ProblemKind, Series, SeriesKind, Severity
from medview.inference.scope import Reason, refusals
from medview.io.request import ExportedFile, ExportedFiles, ExportFormat
from medview.services.kept import Unfinished
from medview.services.settings import OPTIONS
from medview.ui.dialogs.about import LIBRARIES, AboutDialog
from medview.ui.dialogs.export import ExportDialog
from medview.ui.dialogs.model_card import ModelCardDialog, ModelsDialog, Standing
from medview.ui.dialogs.outline import OutlineDialog
from medview.ui.dialogs.preferences import PreferencesDialog
from medview.ui.dialogs.problems import ProblemsDialog
from medview.ui.dialogs.restore import RestoreDialog
from medview.ui.dialogs.sign import SignDialog
from tests.gui.conftest import Desk

CARD = ModelCard(
    code="an expression",
    id="liver_ct",
    version="3.1.4",
    title="Liver in CT",
    task=Task.SEGMENTATION,
    engine="segmentation:Engine",
    intended_use="Outlines the liver.",
    limitations=("Adults only.", "Portal venous phase."),
    scope=Scope(
        modality=("CT",), body_part=("ABDOMEN",), age_years=(18.0, 90.0), spacing_mm=(0.5, 5.0)
    ),
    inputs=InputSpec("LPS", (1.5, 1.5, 2.0), (96, 112, 128), {"clip": [-150, 250]}, "mni152", 1),
    outputs=OutputSpec(
        "labels", (OutputChannel(1, "Liver", Code("10200004", "SCT", "Liver"), (200, 90, 60)),)
    ),
    weights="models/model.safetensors",
    sha256="ab" * 32,
    network_class="nets.UNet3d",
    network_args={"width": 16},
    threshold=0.42,
    temperature=1.7,
    license="Apache-2.0",
    data_license="CC BY 4.0",
    data_source="A hundred scans of one hospital.",
    authors="The team",
    train_command="medview train liver.toml",
    metrics=Metrics("test", 40, (Metric("dice_liver", 0.951, (0.94, 0.962)),)),
    memory_mb=2100,
)


def words(widget: Any) -> str:
    texts = [label.text() for label in widget.findChildren(QLabel)]
    for table in widget.findChildren(QTableWidget):
        texts += [
            table.item(row, column).text()
            for row in range(table.rowCount())
            for column in range(table.columnCount())
        ]
    for tree in widget.findChildren(QTreeWidget):
        items = [tree.topLevelItem(n) for n in range(tree.topLevelItemCount())]
        texts += [item.text(column) for item in items for column in range(tree.columnCount())]
    return "\n".join(texts)


def test_model_card_shows_every_field(qtbot: Any) -> None:
    dialog = ModelCardDialog(CARD)
    qtbot.addWidget(dialog)
    text = words(dialog)
    expected = {
        "scope": ("CT", "ABDOMEN", "18 to 90 years", "0.5 to 5 mm"),
        "inputs": ("LPS", "1.5 × 1.5 × 2 mm", "96 × 112 × 128", "clip", "mni152"),
        "outputs": ("labels", "Liver", "10200004"),
        "metrics": ("40 cases of the test split", "Dice, liver", "0.951", "0.94 to 0.962"),
        "network_args": ("width=16",),
        "limitations": CARD.limitations,
        "memory_mb": ("2100 MB",),
        "clinical_use": ("Not for clinical use",),
        "threshold": ("0.42",),
        "temperature": ("1.7",),
        "code": ("an expression",),
        "trusted": ("no: it does not run before it is",),
    }
    for field in fields(ModelCard):
        for part in expected.get(field.name, (str(getattr(CARD, field.name)),)):
            assert part in text, field.name


def test_a_bare_card_says_what_is_not_stated(qtbot: Any) -> None:
    bare = replace(CARD, metrics=None, license="", data_source="", authors="", threshold=None)
    dialog = ModelCardDialog(bare)
    qtbot.addWidget(dialog)
    assert words(dialog).count("not stated") >= 4


def test_the_page_of_models_has_those_that_fit_first_and_says_why(desk: Desk) -> None:
    desk.run("ai.card")
    dialog = desk.dialog(ModelsDialog)
    cards = {card.title: card for card in desk.services.catalog.cards()}
    assert dialog.list.count() == len(cards)
    assert "This image" in words(dialog)
    assert "fits" in words(dialog)
    volume = desk.services.viewing.volume
    assert volume is not None
    refused = [bool(refusals(desk.services.jobs.fit(cards[dialog.list.item(n).text()].id,
               volume.uid))) for n in range(dialog.list.count())]  # fmt: skip
    assert refused == sorted(refused)


def test_a_refused_model_gives_its_reasons_and_its_time(qtbot: Any) -> None:
    reasons = (Reason(Severity.REFUSED, "The model is for CT; this is MR."),)
    dialog = ModelCardDialog(CARD, None, Standing("T1", reasons, 150.0))
    qtbot.addWidget(dialog)
    text = words(dialog)
    assert "not for this image; it can be run all the same" in text
    assert reasons[0].text in text
    assert "about 2 min" in text


def test_preferences_offer_every_option_and_change_it(desk: Desk) -> None:
    dialog = PreferencesDialog(desk.services, desk.window)
    text = words(dialog)
    for option in OPTIONS.values():
        assert (option.title or option.name) in text, option.name
        assert option.help in text, option.name
    tabs = dialog.findChild(QTabWidget)
    assert tabs is not None
    boxes = {box.accessibleName(): box for box in dialog.findChildren(QCheckBox)}
    before = desk.services.settings.flag("view.crosshair")
    boxes["Crosshair"].click()
    assert desk.services.settings.flag("view.crosshair") is not before
    dialog._reset()
    assert desk.services.settings.flag("view.crosshair") is before
    dialog.close()


def test_a_key_that_is_taken_is_refused(desk: Desk) -> None:
    dialog = PreferencesDialog(desk.services, desk.window)
    page = dialog.findChildren(QTabWidget)[0].widget(dialog.findChildren(QTabWidget)[0].count() - 1)
    tree = page._tree
    items = {
        tree.topLevelItem(n).data(0, Qt.ItemDataRole.UserRole): tree.topLevelItem(n)
        for n in range(tree.topLevelItemCount())
    }
    tree.setCurrentItem(items["view.invert"])
    page._edit.setKeySequence(desk.services.commands.shortcut_of("view.reset"))
    page._use.click()
    assert "Reset the view" in page._clash.text()
    assert desk.services.commands.shortcut_of("view.invert") == "I"
    page._edit.setKeySequence("Ctrl+Alt+I")
    page._use.click()
    assert desk.services.commands.shortcut_of("view.invert") == "Ctrl+Alt+I"
    dialog.close()


def test_about_names_licence_purpose_and_libraries(qtbot: Any, resources: Path) -> None:
    dialog = AboutDialog(resources, ("guest 1.0",))
    qtbot.addWidget(dialog)
    text = words(dialog)
    assert "GPL-3.0-or-later" in text
    assert "Not for clinical use" in text
    assert "guest 1.0" in text
    assert "pydicom" in text
    listed = dialog.findChild(QTreeWidget)
    assert listed is not None
    assert listed.topLevelItemCount() > 15


def test_about_lists_what_the_project_asks_for(resources: Path) -> None:
    import tomllib

    project = tomllib.loads((resources.parent / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        wish.split(">")[0].split("=")[0].strip().casefold()
        for wish in project["project"]["dependencies"]
    }
    assert wanted == {name.casefold() for name in LIBRARIES}


def test_signing_needs_a_name_and_eyes_on_contradictions(qtbot: Any) -> None:
    dialog = SignDialog("DOE, JANE", "Text", ("Left in the text, right in the finding",), "")
    qtbot.addWidget(dialog)
    sign = dialog._sign
    assert sign is not None
    assert not sign.isEnabled()
    dialog._name.setText("Dr Ada")
    assert not sign.isEnabled()
    dialog._seen.setChecked(True)
    assert sign.isEnabled()
    assert "Left in the text" in words(dialog)
    dialog._name.setText("  ")
    assert not sign.isEnabled()


def test_sign_dialog_signs(desk: Desk) -> None:
    first, second = desk.propose()
    desk.run("finding.accept", uid=first)
    desk.run("finding.reject", uid=second)
    desk.window.bridge.start("report.sign")
    dialog = desk.dialog(SignDialog)
    dialog._seen.setChecked(True)
    dialog.accept()
    desk.turn()
    report = desk.services.workspace.report_of("1")
    assert report is not None
    assert report.status.is_signed
    assert report.signatures[0].by == "Dr Ada"


def test_export_says_what_it_leaves_out_and_what_it_wrote(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def export(study_uid: str, folder: Path, formats: Any, **callbacks: Any) -> None:
        asked.append((study_uid, folder, formats, callbacks))

    monkeypatch.setattr(desk.services.export, "export", export)
    desk.propose()
    desk.window.bridge.start("report.export")
    dialog = desk.dialog(ExportDialog)
    assert "not signed" in dialog._note.text()
    assert "2 findings wait" in dialog._note.text()
    dialog._folder.setText(str(tmp_path))
    dialog._rows[ExportFormat.HTML].setCheckState(0, Qt.CheckState.Unchecked)
    dialog._rows[ExportFormat.STRUCTURES].setCheckState(0, Qt.CheckState.Checked)
    dialog._write.click()
    ((study_uid, folder, formats, callbacks),) = asked
    assert (study_uid, folder) == ("1", tmp_path)
    assert ExportFormat.HTML not in formats
    assert ExportFormat.SR in formats
    assert ExportFormat.STRUCTURES in formats
    callbacks["on_error"](ReadError("The folder cannot be written", "Choose another."))
    assert "cannot be written" in dialog._status.text()
    written = ExportedFile(tmp_path / "report.pdf", ExportFormat.PDF, "ab" * 32)
    callbacks["on_done"](ExportedFiles(tmp_path, (written,), ("One note.",)))
    assert dialog._status.text() == "1 file written and read back."
    assert dialog._remarks.text() == "One note."
    assert dialog._remarks.property("role") == "caution"
    assert not dialog._remarks.isHidden()
    assert "report.pdf" in words(dialog)
    assert dialog._open.isEnabled()


def test_problems_name_file_reason_and_way_out(qtbot: Any) -> None:
    problem = Problem(Path("/a/b/IM0001"), "The pixels end early", hint="Copy it again.")
    dialog = ProblemsDialog([problem])
    qtbot.addWidget(dialog)
    text = words(dialog)
    for part in ("IM0001", "The pixels end early", "Copy it again.", "One file could not be read"):
        assert part in text


def test_many_files_with_one_trouble_are_one_row_and_all_of_the_text(qtbot: Any) -> None:
    odd = [
        Problem(Path(f"/a/IM{n:04}"), "No preamble", Severity.WARNING, "Nothing to do")
        for n in range(300)
    ]
    refused = Problem(Path("/a/<b>evil</b>\u202e"), "The <i>end</i> is missing", hint="Ask again")
    dialog = ProblemsDialog([*odd, refused])
    qtbot.addWidget(dialog)
    tree = dialog.findChild(QTreeWidget)
    assert tree.topLevelItemCount() == 2
    assert tree.topLevelItem(0).text(1) == "The <i>end</i> is missing"
    assert tree.topLevelItem(1).text(0) == "300 files"
    button = next(one for one in dialog.buttons.buttons() if "Copy" in one.text())
    button.click()
    copied = QApplication.clipboard().text()
    assert copied.count("/a/IM") == 300
    assert "What to do: Ask again" in copied
    assert "\u202e" not in copied
    assert all(one.textFormat() == Qt.TextFormat.PlainText for one in dialog.findChildren(QLabel))


def test_a_notice_leads_to_the_report(empty_desk: Desk) -> None:
    workspace = empty_desk.services.workspace
    workspace.problems.append(Problem(Path("/a/IM1"), "The file is empty", hint="Ask again"))
    workspace.notify(Level.WARNING, "One file could not be read", "Ask again", "study.problems")
    empty_desk.turn()
    show = next(one for one in empty_desk.window.findChildren(QPushButton) if one.text() == "Show")
    show.click()
    assert "The file is empty" in words(empty_desk.dialog(ProblemsDialog))


def test_files_of_two_patients_under_one_identifier_stop_the_reader(empty_desk: Desk) -> None:
    workspace = empty_desk.services.workspace
    mixed = Problem(
        Path("/a/IM2"), "Two patients share one study identifier: they are kept apart",
        Severity.WARNING, "Check which patient it is", ProblemKind.PATIENTS,
    )  # fmt: skip
    workspace.problems += [mixed, mixed]
    workspace.notify(Level.WARNING, "Something to know")
    box = empty_desk.dialog(QMessageBox)
    assert "Two patients" in box.text()
    assert box.isModal()


def test_unfinished_work_is_offered_and_restored(
    empty_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medview.ui.startup import offer_restore

    offers = (
        Unfinished("1", "DOE, JANE: Chest", (Path("/x"),), "2026-01-02T09:30:00+00:00"),
        Unfinished("2", "ROE, JOHN: Head", (), "2026-01-01T09:30:00+00:00"),
    )
    restored: list[str] = []
    store = empty_desk.services.store
    monkeypatch.setattr(store, "unfinished", lambda: offers)
    monkeypatch.setattr(store, "restore", restored.append)
    offer_restore(empty_desk.services, empty_desk.window.bridge, empty_desk.window)
    dialog = empty_desk.dialog(RestoreDialog)
    assert "DOE, JANE" in words(dialog)
    item = dialog._tree.topLevelItem(1)
    item.setCheckState(0, Qt.CheckState.Unchecked)
    dialog.accept()
    empty_desk.turn()
    assert restored == ["1"]


def test_an_outline_is_a_tree_of_plain_text(qtbot: Any) -> None:
    lines = (
        Line(0, "Title", "<b>Bold</b>"),
        Line(0, "Report", ""),
        Line(1, "Length", "12 mm"),
        Line(0, "Last", "x"),
    )
    series = Series("1.2", "1", "SR", "", (), kind=SeriesKind.REPORT)
    dialog = OutlineDialog(series, Outline("Structured report", lines))
    qtbot.addWidget(dialog)
    tree = dialog.findChild(QTreeWidget)
    assert tree is not None
    assert [tree.topLevelItem(n).text(0) for n in range(3)] == ["Title", "Report", "Last"]
    assert tree.topLevelItem(0).text(1) == "<b>Bold</b>"
    assert tree.topLevelItem(1).child(0).text(1) == "12 mm"
    assert any("Not an image" in found.text() for found in dialog.findChildren(QLabel))
    next(b for b in dialog.findChildren(QPushButton) if b.text() == "Copy").click()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    assert clipboard.text() == "Title: <b>Bold</b>\nReport\n  Length: 12 mm\nLast: x"
