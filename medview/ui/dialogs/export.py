"""Export: where to, what of, and afterwards what was written and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from PyQt6.QtCore import Qt, QUrl
from PyQt6.QtGui import QDesktopServices
from PyQt6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from medview.core.errors import MedviewError
from medview.core.findings import ReviewState
from medview.core.study import Study
from medview.io.request import USUAL_FORMATS, ExportedFiles, ExportFormat
from medview.services.bundle import Services
from medview.services.staleness import stale_reason
from medview.ui import theme
from medview.ui.dialogs.frame import Dialog
from medview.ui.text import label, patient_line, sentences, shown

#: What there is, in groups; what stands in USUAL_FORMATS is ticked at first.
_GROUPS: Mapping[str, Mapping[ExportFormat, str]] = MappingProxyType({
    "For archives and other viewers (DICOM)": {
        ExportFormat.SEGMENTATION: "Accepted segments: SEG, or NIfTI where the images are none",
        ExportFormat.SR: "Report: SR (TID 1500)",
        ExportFormat.PDF_DICOM: "Report: PDF in DICOM",
        ExportFormat.PRESENTATION: "Boxes, lines and window: presentation state",
        ExportFormat.KEY_OBJECTS: "Which images are key images: key object selection",
        ExportFormat.CAPTURES: "Key images as drawn: secondary captures",
        ExportFormat.LABEL_MAP: "Accepted segments as a label map: SEG of 2024, for newer programs",
        ExportFormat.MAPS: "Maps of models: parametric maps",
        ExportFormat.PROBABILITIES: "Maps of probabilities: fractional SEG",
        ExportFormat.STRUCTURES: "Accepted segments as contours: RT structure set",
    },
    "For people": {
        ExportFormat.PDF: "Report as PDF",
        ExportFormat.HTML: "Report as web page (HTML)",
        ExportFormat.KEY_IMAGES: "Key images (PNG)",
    },
    "For programs": {
        ExportFormat.JSON: "Result (JSON)",
        ExportFormat.CSV: "Findings as a table (CSV)",
        ExportFormat.FHIR: "Report as a FHIR R4B bundle",
        ExportFormat.NRRD: "Accepted segments for 3D Slicer (seg.nrrd)",
        ExportFormat.NIFTI: "Accepted segments as NIfTI",
        ExportFormat.STL: "Accepted segments as surfaces (STL, LPS, mm)",
    },
})  # fmt: skip


class ExportDialog(Dialog):
    """Writes one export; every file is read back and compared before it is called written."""

    def __init__(self, services: Services, study: Study, parent: QWidget | None = None) -> None:
        super().__init__("Export", parent, size=(640, 760))
        self._services = services
        self._study = study
        self.body.addWidget(label(patient_line(study.patient), "heading", wrap=True))
        self._note = label(self._warning(), "caution", wrap=True)
        self._note.setVisible(bool(self._note.text()))
        self.body.addWidget(self._note)
        self._folder = QLineEdit(self._first_folder(), self)
        self._folder.setAccessibleName("Folder")
        self._folder.textChanged.connect(self._check)
        self._rows: dict[ExportFormat, QTreeWidgetItem] = {}
        self._lay_out_choices()
        self.stale = QCheckBox("Export results although their input changed", self)
        self.stale.setVisible(bool(self._stale()))
        self.stale.toggled.connect(self._check)
        self.body.addWidget(self.stale)
        self._bar = QProgressBar(self)
        self._bar.setRange(0, 0)
        self._bar.setAccessibleName("Writing")
        self._bar.hide()
        self.body.addWidget(self._bar)
        self._status = label("", "muted", wrap=True)
        self.body.addWidget(self._status)
        self._remarks = label("", "caution", wrap=True)
        self._remarks.hide()
        self.body.addWidget(self._remarks)
        self._files = QTreeWidget(self)
        self._files.setHeaderLabels(["File", "Check"])
        self._files.setRootIsDecorated(False)
        self._files.setAccessibleName("Written files")
        self._files.setColumnWidth(0, 360)
        self.body.addWidget(self._files, 1)
        self._open = QPushButton("Open folder", self)
        self._open.setEnabled(False)
        self._open.clicked.connect(self._show_folder)
        self._write = QPushButton("Export", self)
        theme.set_role(self._write, "primary")
        self._write.clicked.connect(self._start)
        for button in (self._open, self._write):
            self.buttons.addButton(button, self.buttons.ButtonRole.ActionRole)
        self._check()

    def _lay_out_choices(self) -> None:
        choose = QPushButton("Choose …", self)
        choose.clicked.connect(self._choose)
        row = QHBoxLayout()
        row.addWidget(self._folder, 1)
        row.addWidget(choose)
        self.body.addLayout(row)
        listed = QTreeWidget(self)
        listed.setHeaderHidden(True)
        listed.setRootIsDecorated(False)
        listed.setAccessibleName("What is written")
        for group, titles in _GROUPS.items():
            head = QTreeWidgetItem([group])
            head.setFlags(Qt.ItemFlag.ItemIsEnabled)
            listed.addTopLevelItem(head)
            for kind, title in titles.items():
                entry = QTreeWidgetItem([title])
                usual = kind in USUAL_FORMATS
                entry.setCheckState(0, Qt.CheckState.Checked if usual else Qt.CheckState.Unchecked)
                head.addChild(entry)
                self._rows[kind] = entry
        listed.expandAll()
        listed.itemChanged.connect(self._check)
        self.body.addWidget(listed, 3)

    def _stale(self) -> list[str]:
        """Why results that would leave no longer speak of what is there."""
        workspace = self._services.workspace
        leaving = [f for f in workspace.findings_of(self._study.uid) if f.review.state.counts]
        return [reason for one in leaving if (reason := stale_reason(workspace, one))]

    def _warning(self) -> str:
        workspace = self._services.workspace
        report = workspace.report_of(self._study.uid)
        words = []
        if report is None or not report.status.is_signed:
            words.append("The report is not signed: it is exported as a draft.")
        waiting = [
            finding
            for finding in workspace.findings_of(self._study.uid)
            if finding.review.state is ReviewState.PROPOSED
        ]
        if waiting:
            words.append(f"{len(waiting)} findings wait for a decision and are left out.")
        stale = self._stale()
        if stale:
            words.append(f"{len(stale)} results are stale. {stale[0]}.")
        return " ".join(words)

    def _first_folder(self) -> str:
        chosen = self._services.settings.text("export.folder")
        return chosen or str(Path.home() / "medview-export")

    def _choose(self) -> None:
        dialog = QFileDialog(self, "Export to folder", self._folder.text())
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self._folder.setText)
        dialog.open()

    def _formats(self) -> tuple[ExportFormat, ...]:
        checked = Qt.CheckState.Checked
        return tuple(kind for kind, row in self._rows.items() if row.checkState(0) == checked)

    def _check(self) -> None:
        ready = bool(self._folder.text().strip()) and bool(self._formats())
        ready = ready and (self.stale.isHidden() or self.stale.isChecked())
        self._write.setEnabled(ready and not self._bar.isVisible())

    def _start(self) -> None:
        folder = Path(self._folder.text().strip()).expanduser()
        self._bar.show()
        self._remarks.hide()
        self._status.setText("Writing …")
        self._check()
        try:
            self._services.export.export(
                self._study.uid,
                folder,
                self._formats(),
                on_done=self._done,
                on_error=self._failed,
            )
        except MedviewError as error:
            self._failed(error)

    def _done(self, result: ExportedFiles) -> None:
        self._bar.hide()
        theme.set_role(self._status, "good")
        count = len(result.files)
        self._status.setText(f"{count} file{'' if count == 1 else 's'} written and read back.")
        self._remarks.setText("\n".join(map(shown, result.notes)))
        self._remarks.setVisible(bool(result.notes))
        self._files.clear()
        for file in result.files:
            row = QTreeWidgetItem([file.path.name, "equal to what was asked for"])
            row.setToolTip(1, f"SHA-256 {file.sha256}")
            self._files.addTopLevelItem(row)
        self._open.setEnabled(True)
        self._check()

    def _failed(self, error: MedviewError) -> None:
        self._bar.hide()
        theme.set_role(self._status, "bad")
        self._status.setText(sentences(error.user_text, error.hint))
        self._check()

    def _show_folder(self) -> None:
        folder = Path(self._folder.text().strip()).expanduser()
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))
