"""Questions about the report: what is asked before it is signed, released, flagged or exported."""

from __future__ import annotations

from collections.abc import Callable

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QInputDialog

from medview.core.errors import CommandError
from medview.reporting.content import person_text
from medview.reporting.fields import labelled
from medview.services.commands_edit import shown_study
from medview.ui.dialogs.critical import CriticalDialog
from medview.ui.dialogs.export import ExportDialog
from medview.ui.dialogs.sign import SignDialog
from medview.ui.questions import Asking
from medview.ui.text import patient_line


class ReportQuestions(Asking):
    """Fills `bridge.asks` for commands of the report; `with_reader` runs what needs a name."""

    def _asks(self) -> dict[str, Callable[..., object]]:
        return {
            "report.sign": self.sign,
            "report.release": self.release,
            "report.critical": self.critical,
            "report.caption_key_image": self.caption,
            "report.export": self.export,
        }

    def sign(self) -> None:
        """Show what will be signed and what contradicts itself, and ask for the name."""
        study = shown_study(self._services)
        review, workspace = self._services.review, self._services.workspace
        dialog = SignDialog(
            patient_line(study.patient),
            self._services.report_output.text(study.uid),
            review.contradictions(study.uid),
            workspace.reader,
            self._window,
        )

        def sign() -> None:
            if dialog.name != workspace.reader:
                self._services.settings.set("reader.name", dialog.name)
            self._bridge.run("report.sign", by=dialog.name, despite_contradictions=True)

        dialog.accepted.connect(sign)
        dialog.open()

    def release(self) -> None:
        """A report that goes out names who read it."""
        self._with_reader(lambda: self._bridge.run("report.release"))

    def critical(self) -> None:
        """Ask what was found, who was informed, how and when."""
        study = shown_study(self._services)
        report = self._services.review.begin_report(study.uid)
        told = [labelled(finding) for finding in report.findings]
        referrer = person_text(study.referring_physician)
        dialog = CriticalDialog(patient_line(study.patient), told, referrer, self._window)

        def flag() -> None:
            values = dialog.values
            self._with_reader(lambda: self._bridge.run("report.critical", **values))

        dialog.accepted.connect(flag)
        dialog.open()

    def caption(self, uid: str = "") -> None:
        """Ask for the words under a key image."""
        report = self._services.workspace.report_of(shown_study(self._services).uid)
        images = {one.uid: one for one in report.key_images} if report is not None else {}
        if uid not in images:
            raise CommandError("There is no such key image")
        dialog = QInputDialog(self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle("Caption")
        dialog.setLabelText("Words under the picture")
        dialog.setTextValue(images[uid].caption)
        dialog.textValueSelected.connect(
            lambda text: self._bridge.run("report.caption_key_image", uid=uid, caption=text)
        )
        dialog.open()

    def export(self) -> None:
        """Choose folder and formats; the dialog stays to tell what was written."""
        ExportDialog(self._services, shown_study(self._services), self._window).open()
