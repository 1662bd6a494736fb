"""Commands that only a window can do: dialogs, panels, screenshots, help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PyQt6.QtCore import QBuffer, QIODevice
from PyQt6.QtGui import QPixmap
from PyQt6.QtWidgets import QApplication, QDialog

from medview.core.errors import CommandError
from medview.core.findings import Finding
from medview.core.models import ModelCard, Task
from medview.core.report import KeyImage
from medview.core.views import Plane
from medview.services.bundle import Services
from medview.services.commands import Command, Registry
from medview.services.comparison import keys_of
from medview.ui.dialogs.about import AboutDialog
from medview.ui.dialogs.compare import CompareDialog
from medview.ui.dialogs.help import HelpDialog, KeysDialog
from medview.ui.dialogs.model_card import ModelCardDialog, ModelsDialog, Standing
from medview.ui.dialogs.origin import OriginDialog
from medview.ui.dialogs.outline import OutlineDialog
from medview.ui.dialogs.palette import PaletteDialog
from medview.ui.dialogs.preferences import PreferencesDialog
from medview.ui.dialogs.problems import NoticesDialog, ProblemsDialog
from medview.ui.dialogs.rules import RulesDialog
from medview.ui.dialogs.training import TrainingDialog
from medview.ui.dialogs.two_readers import TwoReadersDialog
from medview.ui.slice_view import SliceView
from medview.ui.text import shown

if TYPE_CHECKING:
    from medview.ui.main_window import MainWindow

_PANELS = (
    ("studies", "Studies panel", "Ctrl+Shift+1"),
    ("ai", "AI panel", "Ctrl+Shift+2"),
    ("segments", "Segments panel", "Ctrl+Shift+3"),
    ("findings", "Findings panel", "Ctrl+Shift+4"),
    ("report", "Report panel", "Ctrl+Shift+5"),
)


def register(registry: Registry, services: Services, window: MainWindow) -> None:
    """Add the window's own commands; show outlines in dialogs."""
    services.objects.on_outline = lambda series, told: OutlineDialog(series, told, window).open()
    for command in (
        *_files(window),
        *_dialogs(services, window),
        *_panels(window),
        *_pictures(services, window),
        *_findings(services, window),
        *_comparing(services, window),
        _reading(services, window),
    ):
        registry.add(command)


def _files(window: MainWindow) -> tuple[Command, ...]:
    questions = window.questions

    def leave() -> None:
        window.close()
        QApplication.quit()

    return (
        Command(
            "study.open_folder", "Open folder", questions.open_folder, shortcut="Ctrl+O",
            menu="File", help="Choose a folder with studies; all in it and below is read.",
        ),
        Command(
            "study.open_files", "Open files", questions.open_files, shortcut="Ctrl+Shift+O",
            menu="File", help="Choose files or archives: DICOM, NIfTI, NRRD, MetaImage, pictures.",
        ),
        Command(
            "app.quit", "Quit", leave, shortcut="Ctrl+Q", menu="File",
            help="Save what is left and end the program.",
        ),
    )  # fmt: skip


def _dialogs(services: Services, window: MainWindow) -> tuple[Command, ...]:
    workspace, resources = services.workspace, services.paths.resources

    def card(model: str = "") -> None:
        cards = services.catalog.every_card()
        if not model and not cards:
            raise CommandError("No models are installed")
        if model:
            known = {one.id: one for one in cards}
            chosen = known[model] if model in known else services.catalog.card(model)
            ModelCardDialog(chosen, window, _standing(services, chosen)).open()
        else:
            ModelsDialog([(one, _standing(services, one)) for one in cards], window).open()

    def palette() -> None:
        PaletteDialog(services.commands, window.bridge, window).show()

    def open_dialog(make: Callable[[], QDialog]) -> Callable[[], None]:
        return lambda: make().open()

    def about() -> QDialog:
        return AboutDialog(resources, (), window)

    problems = open_dialog(lambda: ProblemsDialog(workspace.problems, window))
    notices = open_dialog(lambda: NoticesDialog(workspace.notices, window))
    preferences = open_dialog(lambda: PreferencesDialog(services, window))
    manual = open_dialog(lambda: HelpDialog(services.commands, resources, window))
    rules = open_dialog(lambda: RulesDialog(services, window))
    keys = open_dialog(lambda: KeysDialog(services.commands, window))
    training = open_dialog(lambda: TrainingDialog(services, window.bridge, window))
    rows: tuple[tuple[str, str, Callable[..., Any], str, str, str], ...] = (
        ("study.problems", "Reading problems", problems, "", "File",
         "What could not be read, why, and what to do about it."),
        ("app.notices", "Notices of this session", notices, "", "Window",
         "Everything you were told since the start."),
        ("app.preferences", "Preferences", preferences, "Ctrl+,", "Edit",
         "All settings, and the keys of all commands."),
        ("app.palette", "Find a command", palette, "Ctrl+Shift+P", "Help",
         "Every command by a few letters of its name."),
        ("reader.change", "Who reads", window.questions.reader, "", "Edit",
         "The name that decisions and signatures carry."),
        ("ai.card", "Models and their cards", card, "Ctrl+M", "AI",
         "Every model, or the one named: what it is for, how good it is, its limits, and whether "
         "it fits the image on show."),
        ("train.watch", "Train a model", training, "", "AI",
         "Start, watch, stop and resume a training, with its curves while it runs."),
        ("ai.rules", "Rules on arrival", rules, "", "AI",
         "Which models start by themselves on which images as they are opened."),
        ("help.manual", "Manual", manual, "F1", "Help", "How to do the work, page by page."),
        ("help.keys", "Keys and commands", keys, "Shift+F1", "Help",
         "Every command with its key and what it does."),
        ("help.about", "About medview", open_dialog(about), "", "Help",
         "Version, licences, plug-ins."),
    )  # fmt: skip
    return tuple(
        Command(id_, title, run, shortcut=key, menu=menu, help=words)
        for id_, title, run, key, menu, words in rows
    )


def _panels(window: MainWindow) -> tuple[Command, ...]:
    def show(name: str) -> Callable[[], None]:
        def toggle() -> None:
            dock = window.docks[name]
            on_top = dock.isVisible() and not dock.visibleRegion().isEmpty()
            dock.setVisible(not on_top)
            if not on_top:
                dock.raise_()
                inside = dock.widget()
                if inside is not None:
                    inside.setFocus()

        return toggle

    def full() -> None:
        if window.isFullScreen():
            window.showNormal()
        else:
            window.showFullScreen()

    panels = tuple(
        Command(
            f"window.{name}", title, show(name), shortcut=key, menu="Window",
            help=f"Bring the {title.lower()} to the front, or hide it.",
        )
        for name, title, key in _PANELS
    )  # fmt: skip
    screen = Command(
        "app.fullscreen", "Full screen", full, shortcut="F11", menu="Window",
        help="The window over the whole screen, or as before.",
    )  # fmt: skip
    return (*panels, screen)


def _pictures(services: Services, window: MainWindow) -> tuple[Command, ...]:
    def screenshot(path: str = "") -> str:
        target = Path(path) if path else services.paths.data / "screenshot.png"
        if not screenshot_of(window).save(str(target)):
            raise CommandError(f"The picture could not be written to {target}")
        return str(target)

    def key_image(caption: str = "", section: str = "", place: int | None = None) -> None:
        image = replace(make_key_image(services, window, caption), section=section)
        services.review.add_key_image(_study_uid(services), image, place)

    def show_key_image(uid: str = "") -> None:
        report = services.workspace.report_of(_study_uid(services))
        images = {image.uid: image for image in report.key_images} if report is not None else {}
        if uid not in images:
            raise CommandError("There is no such key image")
        image = images[uid]
        services.viewing.show_volume(image.volume_uid)
        services.viewing.set_crosshair(image.point_lps_mm)
        if image.frame_number and services.viewing.clip is not None:
            services.viewing.cine.go_to(image.frame_number - 1)

    def remove_key_image(uid: str = "") -> None:
        services.review.remove_key_image(_study_uid(services), uid)

    def can_add() -> bool:
        study, picture = services.viewing.study, services.viewing.picture
        if study is None or picture is None:
            return False
        report = services.workspace.report_of(study.uid)
        return report is None or not report.status.is_signed

    return (
        Command(
            "view.screenshot", "Save a picture of the window", screenshot, menu="File",
            help="The whole window as a PNG at path, else in the profile folder.",
        ),
        Command(
            "report.add_key_image", "Add key image", key_image, enabled=can_add, shortcut="K",
            menu="Report",
            help="Put the view last touched into the report, as it looks now: under the heading of "
            "a section, or at a place among the others. Alt and the mouse drag it there too.",
        ),
        Command(
            "report.show_key_image", "Go to key image", show_key_image,
            help="Show the place of a key image, by its UID.",
        ),
        Command(
            "report.remove_key_image", "Remove key image", remove_key_image,
            help="Take a key image out of the report, by its UID.",
        ),
    )  # fmt: skip


def _findings(services: Services, window: MainWindow) -> tuple[Command, ...]:
    def show_finding(uid: str = "") -> None:
        finding = services.workspace.findings.get(uid)
        if finding is None:
            raise CommandError("There is no such finding", "Choose one in the list of findings.")
        window.findings.select(uid)
        services.guide.go_to(finding)

    def has_findings() -> bool:
        study = services.viewing.study
        return study is not None and bool(services.workspace.findings_of(study.uid))

    def walk(by: int) -> Callable[[], None]:
        def go() -> None:
            window.docks["findings"].setVisible(True)
            window.docks["findings"].raise_()
            window.findings.step(by)

        return go

    def origin(uid: str = "") -> None:
        chosen = uid or window.findings.selected_uid
        if chosen not in services.workspace.findings:
            raise CommandError("No finding is chosen", "Choose one in the list of findings.")
        OriginDialog(services, services.workspace.findings[chosen], window).open()

    return (
        Command(
            "ai.origin", "Where a finding comes from", origin, enabled=has_findings,
            shortcut="Ctrl+I", menu="AI",
            help="Who made the chosen finding: model, version, checksum of its weights, device, "
            "what was done otherwise than asked, when, and how sure it is.",
        ),
        Command(
            "finding.show", "Go to finding", show_finding,
            help="Take the views to a finding by its UID: its image, place, window and size.",
        ),
        Command(
            "finding.next", "Next finding", walk(1), enabled=has_findings, shortcut="N",
            menu="Report", help="Go on to the next finding in the list.",
        ),
        Command(
            "finding.previous", "Previous finding", walk(-1), enabled=has_findings,
            shortcut="Shift+N", menu="Report",
            help="Go back to the finding before.",
        ),
    )  # fmt: skip


def _comparing(services: Services, window: MainWindow) -> tuple[Command, ...]:
    def compare(first: str = "", second: str = "") -> None:
        CompareDialog(services, window.bridge, window, (first, second)).show()

    def corrected() -> Finding | None:
        finding = services.workspace.findings.get(window.findings.selected_uid)
        ref = None if finding is None else finding.segment_ref
        was = None if ref is None else services.output.originals.changed(ref.segmentation_uid)
        return None if was is None else finding

    def compare_original() -> None:
        finding = corrected()
        if finding is None or finding.segment_ref is None:
            raise CommandError(
                "The chosen finding is as the model proposed it, or its original is not kept",
                "Choose one that you changed in the list of findings.",
            )
        services.guide.go_to(finding)
        compare(*keys_of(finding.provenance))

    return (
        Command(
            "ai.compare_original", "Compare with the original", compare_original,
            enabled=lambda: corrected() is not None, shortcut="Ctrl+Alt+D", menu="AI",
            help="What the model proposed beside what you made of it, for the chosen finding: "
            "where they differ, Dice, and the change of volume.",
        ),
        Command(
            "ai.compare", "Compare readings", compare,
            enabled=lambda: services.viewing.volume is not None, shortcut="Ctrl+D", menu="AI",
            help="Two models, two runs, or a model and a reader on the image on show: side by "
            "side, where they differ, and by how much.",
        ),
    )  # fmt: skip


def _reading(services: Services, window: MainWindow) -> Command:
    def agreement() -> None:
        TwoReadersDialog(services, window.bridge, _study_uid(services), window).show()

    return Command(
        "reading.agreement", "Two readers", agreement, menu="Report",
        enabled=lambda: services.two_readers.is_on and services.viewing.study is not None,
        help="How two readers agree on this study (kappa, Dice), and settling what they differ in.",
    )  # fmt: skip


def _standing(services: Services, card: ModelCard) -> Standing:
    """How a model stands to the image on show."""
    picture = services.viewing.picture
    image = services.viewing.clip or services.viewing.volume
    if picture is None or image is None or card.task is Task.MARKS:
        return Standing()  # one that answers marks is asked by a reader, about whatever is shown
    series = services.workspace.series(picture.series_uid)
    return Standing(
        shown(series.description) or series.modality,
        services.jobs.fit(card.id, image.uid),
        services.jobs.expected_s(card.id, image.uid),
    )


def make_key_image(services: Services, window: MainWindow, caption: str = "") -> KeyImage:
    """The view last touched as a key image; CommandError where no slice or frame is on show."""
    view, viewing = window.grid.active, services.viewing
    picture, clip = viewing.picture, viewing.clip
    if not isinstance(view, SliceView) or picture is None:
        raise CommandError("No slice is on show", "Key images are slices, or frames of clips.")
    plane = viewing.shown_plane(view.plane)
    series = services.workspace.series(picture.series_uid)
    number = viewing.slice_number(view.plane)
    kind = plane.value.capitalize() if clip is None else "Frame"
    words = caption or f"{kind} {number + 1}, {shown(series.description) or series.modality}"
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    view.grab().save(buffer, "PNG")
    uids = picture.instance_uids
    index = round(float(picture.geometry.to_index(viewing.crosshair_lps_mm)[0]))
    index = index if clip is None else min(number, len(uids) - 1)  # all frames may be one file
    is_acquired = plane is Plane.ACQUIRED or clip is not None or 0 <= index < len(uids)
    return KeyImage(
        picture.uid,
        plane.value,
        viewing.crosshair_lps_mm,
        words,
        bytes(buffer.data().data()),
        uids[index] if is_acquired and uids else "",
        frame_number=0 if clip is None else number + 1,
    )


def screenshot_of(window: MainWindow) -> QPixmap:
    """The window as it looks."""
    return window.grab()


def _study_uid(services: Services) -> str:
    study = services.viewing.study
    if study is None:
        raise CommandError("No study is shown", "Open one first.")
    return study.uid
