"""What only a window can do with a report: the clipboard, the printer, versions side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PyQt6.QtPrintSupport import QPrintDialog, QPrinter
from PyQt6.QtWidgets import QApplication

from medview.core.errors import CommandError, MedviewError
from medview.core.events import Level
from medview.core.report import Report
from medview.services.bundle import Services
from medview.services.commands import Command, Registry
from medview.ui.dialogs.versions import VersionsDialog
from medview.ui.printing import print_pages
from medview.ui.slice_view import SliceView

if TYPE_CHECKING:
    from medview.ui.main_window import MainWindow


def register(registry: Registry, services: Services, window: MainWindow) -> None:
    """Add the commands."""
    rooms = (_copying, _printing, _versions)
    for command in (command for room in rooms for command in room(services, window)):
        registry.add(command)


def _study_uid(services: Services) -> str:
    if services.viewing.study is None:
        raise CommandError("No study is shown", "Open one first.")
    return services.viewing.study.uid


def _has_report(services: Services) -> bool:
    study = services.viewing.study
    return study is not None and services.workspace.report_of(study.uid) is not None


def _copying(services: Services, window: MainWindow) -> tuple[Command, ...]:
    def copy() -> None:
        window.report.flush()
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(services.report_output.text(_study_uid(services)))
            services.workspace.notify(Level.INFO, "The report is on the clipboard")

    def copy_picture() -> None:
        view, clipboard = window.grid.active, QApplication.clipboard()
        if not isinstance(view, SliceView) or clipboard is None:
            raise CommandError("No slice is on show", "Click a view first.")
        clipboard.setImage(view.grab().toImage())
        services.workspace.notify(Level.INFO, "The picture is on the clipboard")

    return (
        Command(
            "report.copy", "Copy report", copy, enabled=lambda: _has_report(services),
            shortcut="Ctrl+Shift+C", menu="Report",
            help="Put the text of the report on the clipboard.",
        ),
        Command(
            "view.copy_picture", "Copy picture", copy_picture,
            enabled=lambda: services.viewing.picture is not None, shortcut="Ctrl+C", menu="Edit",
            help="Put the view last touched on the clipboard, as it looks now.",
        ),
    )  # fmt: skip


def _printing(services: Services, window: MainWindow) -> tuple[Command, ...]:
    def send(pdf: bytes, printer: QPrinter) -> None:
        try:
            count = print_pages(pdf, printer)
        except MedviewError as error:
            window.bridge.tell(error)
            return
        services.workspace.notify(Level.INFO, f"{count} pages were sent to the printer")

    def to_printer(path: str = "") -> None:
        window.report.flush()
        printer = QPrinter(QPrinter.PrinterMode.HighResolution)
        uid = _study_uid(services)

        def make() -> None:
            services.report_output.pdf(uid, lambda pdf: send(pdf, printer), window.bridge.tell)

        if path:
            printer.setOutputFileName(path)
            make()
            return
        dialog = QPrintDialog(printer, window)
        dialog.setOption(QPrintDialog.PrintDialogOption.PrintToFile)
        dialog.setOption(QPrintDialog.PrintDialogOption.PrintPageRange)
        dialog.accepted.connect(make)
        dialog.open()

    return (
        Command(
            "report.print", "Print report", to_printer, enabled=lambda: _has_report(services),
            shortcut="Ctrl+P", menu="Report",
            help="Print the pages of the report, or write them to the file at path.",
        ),
    )  # fmt: skip


def _versions(services: Services, window: MainWindow) -> tuple[Command, ...]:
    def found() -> list[tuple[str, Report]]:
        """The versions of the report on show, after those of earlier examinations."""
        study = services.viewing.study
        if study is None:
            return []
        earlier = services.priors.all_of(study.uid)
        own = services.workspace.versions_of(study.uid)
        return [*((f"Earlier: {_title(one)}", one) for one in reversed(earlier)),
                *((_title(one), one) for one in own)]  # fmt: skip

    def versions() -> None:
        uid, known = _study_uid(services), found()
        if len(known) < 2:
            raise CommandError("There is one version of this report", "Amending makes another.")
        VersionsDialog(known, lambda one: services.report_output.text(uid, one), window).open()

    return (
        Command(
            "report.versions", "Versions of the report", versions,
            enabled=lambda: _has_report(services) and len(found()) > 1, menu="Report",
            help="Two versions side by side, amended and original, or with an earlier report, and "
            "where they differ.",
        ),
    )  # fmt: skip


def _title(report: Report) -> str:
    about = report.subject
    date = f"{about.study_date}, " if about is not None and about.study_date else ""
    signed = report.signatures[-1] if report.status.is_signed else None
    by = f", {signed.by} {signed.at.astimezone():%Y-%m-%d %H:%M}" if signed is not None else ""
    return f"{date}version {report.version}, {report.status.value}{by}"
