"""Questions: the dialogs that stand before commands which need an answer from the reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFileDialog, QInputDialog, QLineEdit, QWidget

from medview.core.errors import CommandError
from medview.core.findings import ReviewState
from medview.core.study import Problem, ProblemKind, Study
from medview.services.bundle import Services
from medview.services.commands_edit import REJECT_REASONS
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.finding import FindingDialog
from medview.ui.dialogs.first_read import FirstReadDialog
from medview.ui.dialogs.frame import confirm, message_box, warn
from medview.ui.dialogs.reader import ReaderDialog
from medview.ui.text import patient_line, shown

#: Commands that change a finding in the name of who reads.
_BY_A_READER = (
    "finding.reshape", "finding.add_box", "finding.merge", "finding.key_frame",
    "finding.drop_key_frame", "segment.report", "track.report",
)  # fmt: skip


class Asking:
    """What questions of every kind need; `with_reader` runs something once a reader is named."""

    def __init__(
        self,
        services: Services,
        bridge: Bridge,
        window: QWidget,
        with_reader: Callable[[Callable[[], object]], None],
    ) -> None:
        self._services = services
        self._bridge = bridge
        self._window = window
        self._with_reader = with_reader
        bridge.asks.update(self._asks())

    def _asks(self) -> dict[str, Callable[..., object]]:
        """What asks first, by the id of the command it stands before."""
        raise NotImplementedError


class Questions:
    """Fills `bridge.asks`: command id -> what asks first and then runs the command.

    `chosen` gives the UID of the finding at hand in the list, "" for none.
    """

    def __init__(
        self,
        services: Services,
        bridge: Bridge,
        window: QWidget,
        chosen: Callable[[], str],
    ) -> None:
        self._chosen = chosen
        self._services = services
        self._bridge = bridge
        self._window = window
        self._problems_seen = 0
        bridge.changed.connect(self._look_at_problems)
        bridge.asks.update(
            {
                "study.open_folder": self.open_folder,
                "study.open_files": self.open_files,
                "study.close": self.close_study,
                "finding.edit": self.edit_finding,
                "finding.accept": self.accept,
                "finding.reject": self.reject,
                "finding.reject_for": self.reject_for,
                "finding.accept_all": self.accept_all,
                **{name: partial(self._named, name) for name in _BY_A_READER},
                "ai.reveal": self.first_read,
                "reader.change": self.reader,
                "volume.values": self.values,
                "view.presentation": self.presentation,
                "segment.import": self.import_labels,
                "case.collect": self.collect,
            }
        )

    # Opening and closing

    def open_folder(self) -> None:
        """Choose a folder."""
        dialog = QFileDialog(self._window, "Open folder")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly, on=True)
        self._choose_paths(dialog)

    def open_files(self) -> None:
        """Choose files."""
        dialog = QFileDialog(self._window, "Open files")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        self._choose_paths(dialog)

    def collect(self, folder: str = "") -> None:
        """Choose the folder of a data set, unless one is given."""
        if folder:
            self._bridge.run("case.collect", folder=folder)
            return
        dialog = QFileDialog(self._window, "Data set to add this case to")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly, on=True)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(
            lambda paths: self._bridge.run("case.collect", folder=paths[0])
        )
        dialog.open()

    def import_labels(self, path: str = "", names: str = "") -> None:
        """Choose a label map, unless one is given."""
        if path:
            self._bridge.run("segment.import", path=path, names=names)
            return
        dialog = QFileDialog(self._window, "Open label map or surface")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilter(
            "Label maps and surfaces (*.nii *.nii.gz *.nrrd *.mha *.mhd *.stl);;All files (*)"
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(
            lambda paths: self._bridge.run("segment.import", path=paths[0])
        )
        dialog.open()

    def _choose_paths(self, dialog: QFileDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(
            lambda paths: self._bridge.run("study.open", paths=list(paths))
        )
        dialog.open()

    def _look_at_problems(self, _changes: Changes) -> None:
        """Where an archive asks for a password, or files of two patients are mixed, so it asks."""
        problems = self._services.workspace.problems[self._problems_seen :]
        self._problems_seen = len(self._services.workspace.problems)
        for path in {one.path for one in problems if one.kind is ProblemKind.PASSWORD}:
            self._ask_password(path)
        mixed = [one for one in problems if one.kind is ProblemKind.PATIENTS]
        if mixed:
            self._tell_mixed(mixed[0])

    def _tell_mixed(self, problem: Problem) -> None:
        """Files of several patients came under one identifier: the reader has to know."""
        more = f"{problem.hint}.\nFirst seen in {shown(str(problem.path))}"
        warn(self._window, "Files of two patients", f"{problem.reason}.", more)

    def _ask_password(self, path: Path) -> None:
        dialog = QInputDialog(self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Password")
        dialog.setLabelText(f"Password of {shown(path.name)}")
        dialog.setTextEchoMode(QLineEdit.EchoMode.Password)
        dialog.textValueSelected.connect(
            lambda text: self._bridge.run("study.open", paths=[str(path)], password=text)
        )
        dialog.open()

    def close_study(self, uid: str = "") -> None:
        """Ask where something waits for a decision; work is kept in any case."""
        study = self._services.workspace.studies[uid] if uid else self._study()
        waiting = [
            finding
            for finding in self._services.workspace.findings_of(study.uid)
            if finding.review.state is ReviewState.PROPOSED
        ]

        def close() -> None:
            self._bridge.run("study.close", uid=study.uid)

        if not waiting:
            close()
            return
        text = f"{len(waiting)} findings of this study wait for a decision."
        more = "They are kept, and come back when the study is opened again."
        self._confirm("Close study", text, more, "Close", close)

    # What values mean, and how they were shown

    def values(self, name: str = "") -> None:
        """Choose among the scales of the image on show."""
        volume = self._services.viewing.require_volume()
        names = self._services.scales.names(volume.uid)
        if name:
            self._bridge.run("volume.values", name=name)
            return
        self._choose("Values of the image", "Show values as", names, volume.scale_name,
                     lambda chosen: self._bridge.run("volume.values", name=chosen))  # fmt: skip

    def presentation(self, label: str = "") -> None:
        """Choose among the presentation states of the image on show, or none."""
        volume, graphics = self._services.viewing.require_volume(), self._services.graphics
        states = {f"{n}. {one.label}  {one.description}".strip(): one.uid
                  for n, one in enumerate(graphics.offered(volume), start=1)}  # fmt: skip
        if label or graphics.chosen(volume) is not None or len(states) == 1:
            self._bridge.run("view.presentation", label=label)
            return
        self._choose("Presentation state", "Show the image as in", tuple(states), "",
                     partial(self._take_state, states))  # fmt: skip

    def _take_state(self, states: Mapping[str, str], chosen: str) -> None:
        self._bridge.run("view.presentation", label=states[chosen])

    def _choose(
        self, title: str, words: str, names: tuple[str, ...], now: str, then: Callable[[str], None]
    ) -> None:
        dialog = QInputDialog(self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setOption(QInputDialog.InputDialogOption.UseListViewForComboBoxItems, on=True)
        dialog.setWindowTitle(title)
        dialog.setLabelText(words)
        dialog.setComboBoxItems([shown(name) for name in names])
        dialog.setTextValue(shown(now))
        known = {shown(name): name for name in names}
        dialog.textValueSelected.connect(lambda text: then(known[text]))
        dialog.open()

    # Findings

    def _named(self, command: str, **arguments: object) -> None:
        """What is corrected carries a name: ask for it the first time."""
        self.with_reader(lambda: self._bridge.run(command, **arguments))

    def accept(self, uid: str = "") -> None:
        """A decision needs a name: ask for it the first time."""
        chosen = uid or self._chosen()
        self.with_reader(lambda: self._bridge.run("finding.accept", uid=chosen))

    def reject(self, uid: str = "", reason: str = "") -> None:
        """A decision needs a name: ask for it the first time."""
        chosen = uid or self._chosen()
        self.with_reader(lambda: self._bridge.run("finding.reject", uid=chosen, reason=reason))

    def reject_for(self, uid: str = "", reason: str = "") -> None:
        """Ask for the reason: one of the usual ones, or any words."""
        chosen = uid or self._chosen()
        if reason:
            self.reject(chosen, reason)
            return
        dialog = QInputDialog(self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Reject")
        dialog.setLabelText("Why")
        dialog.setComboBoxItems(REJECT_REASONS)
        dialog.setComboBoxEditable(True)
        dialog.textValueSelected.connect(lambda text: self.reject(chosen, text.strip()))
        dialog.open()

    def accept_all(self) -> None:
        """Accepting what nobody looked at one by one is asked for twice."""
        study = self._study()
        self._services.first_read.require_seen(study.uid)
        count = sum(
            finding.review.state is ReviewState.PROPOSED
            for finding in self._services.workspace.findings_of(study.uid)
        )
        text = f"Accept all {count} findings that wait for a decision?"
        more = "Each will stand in the report as accepted by you."

        def accept() -> None:
            self.with_reader(lambda: self._bridge.run("finding.accept_all"))

        self._confirm("Accept all", text, more, "Accept all", accept)

    def first_read(self) -> None:
        """Ask what the reader sees before anything of a model is shown."""
        study = self._study()
        dialog = FirstReadDialog(patient_line(study.patient), self._window)

        def commit() -> None:
            self.with_reader(lambda: self._bridge.run("ai.reveal", text=dialog.text))

        dialog.accepted.connect(commit)
        dialog.open()

    def edit_finding(self, uid: str = "") -> None:
        """Change name, side and words of a finding."""
        chosen = uid or self._chosen()
        if chosen not in self._services.workspace.findings:
            raise CommandError("No finding is chosen", "Choose one in the list of findings.")
        finding = self._services.review.finding_of(chosen)
        classes = self._services.detections.classes(finding, self._services.catalog.cards())
        dialog = FindingDialog(finding, self._window, classes=tuple(classes))

        def change() -> None:
            values = dialog.values
            self.with_reader(lambda: self._bridge.run("finding.edit", uid=chosen, **values))

        dialog.accepted.connect(change)
        dialog.open()

    # The reader

    def reader(self) -> None:
        """Ask who reads."""
        self._ask_reader(lambda: None)

    def with_reader(self, then: Callable[[], object]) -> None:
        """Run something once a reader is named."""
        if self._services.workspace.reader:
            then()
        else:
            self._ask_reader(then)

    def _ask_reader(self, then: Callable[[], object]) -> None:
        settings = self._services.settings
        name, role = settings.text("reader.name"), settings.text("reader.role")
        dialog = ReaderDialog(name, role, self._window)

        def take() -> None:
            settings.set("reader.name", dialog.name)
            settings.set("reader.role", dialog.role)
            self._services.workspace.reader = dialog.name
            if dialog.name:
                then()

        dialog.accepted.connect(take)
        dialog.open()

    def _study(self) -> Study:
        study = self._services.viewing.study
        if study is None:
            raise CommandError("No study is shown", "Open one first.")
        return study

    def _confirm(
        self, title: str, text: str, more: str, verb: str, then: Callable[[], None]
    ) -> None:
        confirm(message_box(self._window, title, text, more), verb, then)
