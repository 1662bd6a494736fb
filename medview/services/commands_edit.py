"""Commands for the reader's work: studies, undo, findings, segments as a whole, the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.core.events import ViewChanged
from medview.core.findings import ReviewState
from medview.core.study import Study
from medview.io.request import USUAL_FORMATS
from medview.services.changing import change_segment
from medview.services.commands import Command, Registry
from medview.services.painting import find_segment
from medview.services.report_desk import UNNAMED
from medview.services.staleness import require_fresh

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


#: Why findings are rejected, mostly.
REJECT_REASONS = ("False positive", "Wrong extent", "Wrong label", "Wrong side", "Not relevant")


def register(registry: Registry, services: Services) -> None:
    """Add the commands that change what is open, decided or written."""
    rooms = (_studies, _steps, _findings, _segments, _writing, _finishing)
    for command in (command for room in rooms for command in room(services)):
        registry.add(command)

    def follow(_event: ViewChanged) -> None:
        """Undo works on the study that is looked at."""
        study = services.viewing.study
        if study is not None:
            services.history.focus(study.uid)

    services.workspace.events.view_changed.connect(follow)


def shown_study(services: Services, uid: str = "") -> Study:
    """The study with that UID, else the one on show, else the only one; CommandError for none."""
    studies = services.workspace.studies
    if uid:
        if uid not in studies:
            raise CommandError("That study is not open")
        return studies[uid]
    if services.viewing.study is not None:
        return services.viewing.study
    if len(studies) == 1:
        return next(iter(studies.values()))
    raise CommandError("No study is shown", "Open a study first.")


def _has_study(services: Services) -> Callable[[], bool]:
    """Whether one study is meant without saying which."""
    return lambda: services.viewing.study is not None or len(services.workspace.studies) == 1


def _has_any(services: Services) -> Callable[[], bool]:
    """For commands that take the UID of a study."""
    return lambda: bool(services.workspace.studies)


def _studies(services: Services) -> tuple[Command, ...]:
    def open_paths(paths: Sequence[str | Path] | str | Path = (), password: str = "") -> None:
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        if not given:
            raise CommandError("Nothing to open", "Name files or folders: paths=[...].")
        services.loading.open_paths([Path(path) for path in given], password)

    def close(uid: str = "") -> None:
        services.workspace.close_study(shown_study(services, uid).uid)

    def restore(uid: str = "") -> None:
        offers = services.store.unfinished()
        chosen = uid or (offers[0].study_uid if offers else "")
        services.store.restore(chosen)

    return (
        Command(
            "study.open", "Open files", open_paths, undoable=False,
            help="Open the files, folders and archives given as paths, with a password if asked.",
        ),
        Command(
            "study.close", "Close study", close, enabled=_has_any(services), shortcut="Ctrl+W",
            menu="File", undoable=False,
            help="Put the study away. Work on it is kept and comes back when it is opened.",
        ),
        Command(
            "study.restore", "Restore work", restore,
            enabled=lambda: bool(services.store.unfinished()), menu="File", undoable=False,
            help="Bring back work that was open when the program last ended without closing.",
        ),
    )  # fmt: skip


def _steps(services: Services) -> tuple[Command, ...]:
    history, audit = services.history, services.audit

    def turn(turn_one: Callable[[], bool], action: str, title: str) -> None:
        study_uid = history.study_uid
        if turn_one():
            actor = services.workspace.reader or UNNAMED
            audit.record(actor, action, study_uid, study_uid=study_uid, note=title)

    return (
        Command(
            "edit.undo", "Undo", lambda: turn(history.undo, "edit.undo", history.undo_title),
            enabled=lambda: history.can_undo, shortcut="Ctrl+Z", menu="Edit",
            help="Take the last step in this study back: a stroke, a proposal, a decision.",
        ),
        Command(
            "edit.redo", "Redo", lambda: turn(history.redo, "edit.redo", history.redo_title),
            enabled=lambda: history.can_redo, shortcut="Ctrl+Y, Ctrl+Shift+Z", menu="Edit",
            help="Do again what was last taken back.",
        ),
    )  # fmt: skip


def _undecided(services: Services) -> list[str]:
    """Findings of the study on show that wait for a decision."""
    if not _has_study(services)():
        return []
    study_uid = shown_study(services).uid
    findings = services.workspace.findings_of(study_uid)
    seen = services.first_read.visible(study_uid, findings)
    return [f.uid for f in seen if f.review.state is ReviewState.PROPOSED]


def _chosen(services: Services, uid: str) -> str:
    """The finding named, or the only one that waits for a decision."""
    waiting = _undecided(services)
    if not uid and len(waiting) == 1:
        return waiting[0]
    if uid not in services.workspace.findings:
        raise CommandError("No finding is chosen", "Choose one in the list of findings.")
    study_uid = services.workspace.study_of(uid).uid
    if not services.first_read.visible(study_uid, [services.workspace.findings[uid]]):
        services.first_read.require_seen(study_uid)
    return uid


def _has_findings(services: Services) -> Callable[[], bool]:
    """Whether the study on show has any."""

    def has_findings() -> bool:
        known = _has_study(services)()
        return known and bool(services.workspace.findings_of(shown_study(services).uid))

    return has_findings


def _findings(services: Services) -> tuple[Command, ...]:
    review = services.review

    def accept(uid: str = "", by: str = "") -> None:
        review.accept(_chosen(services, uid), by)

    def reject(uid: str = "", reason: str = "", by: str = "") -> None:
        review.reject(_chosen(services, uid), reason, by)

    def edit(
        uid: str = "",
        label: str | None = None,
        text: str | None = None,
        laterality: str | None = None,
        by: str = "",
    ) -> None:
        at_hand = _chosen(services, uid)
        code = services.detections.code_for(at_hand, label, services.catalog.cards())
        review.edit(at_hand, label=label, code=code, text=text, laterality=laterality, by=by)

    def accept_all(by: str = "", study_uid: str = "") -> int:
        services.first_read.require_seen(shown_study(services, study_uid).uid)
        return review.accept_all(shown_study(services, study_uid).uid, by)

    return (
        Command(
            "finding.accept", "Accept finding", accept, enabled=_has_findings(services),
            shortcut="Return", context="findings", menu="Report",
            help="Accept the chosen finding as it stands: it enters the report.",
        ),
        Command(
            "finding.reject", "Reject finding", reject, enabled=_has_findings(services),
            shortcut="Delete", context="findings", menu="Report",
            help="Reject the chosen finding: it leaves the report and stays in the record.",
        ),
        Command(
            "finding.reject_for", "Reject with a reason", reject, enabled=_has_findings(services),
            shortcut="Shift+Delete", context="findings", menu="Report",
            help="Reject the chosen finding and say why, in words that are kept with it.",
        ),
        Command(
            "finding.edit", "Edit finding", edit, enabled=_has_findings(services), shortcut="F2",
            context="findings", menu="Report",
            help="Accept the chosen finding with another name or class, side or text.",
        ),
        Command(
            "finding.accept_all", "Accept all findings", accept_all,
            enabled=lambda: bool(_undecided(services)), menu="Report",
            help="Accept every finding of the study that is not decided yet, as one step.",
        ),
    )  # fmt: skip


def _segments(services: Services) -> tuple[Command, ...]:
    viewing = services.viewing

    def delete(segment: int | None = None, segmentation_uid: str = "") -> None:
        services.review.delete_segment(find_segment(services.viewing, segment, segmentation_uid))

    def rename(label: str = "", segment: int | None = None, segmentation_uid: str = "") -> None:
        if not label.strip():
            raise CommandError("A segment needs a name")
        ref = find_segment(viewing, segment, segmentation_uid)
        change_segment(viewing, ref, "Rename", lambda s: replace(s, label=label.strip()))

    def recolor(
        color_rgb: Sequence[int] = (), segment: int | None = None, segmentation_uid: str = ""
    ) -> None:
        if len(color_rgb) != 3 or not all(0 <= int(value) <= 255 for value in color_rgb):
            raise CommandError("A colour is three numbers from 0 to 255: red, green, blue")
        red, green, blue = (int(value) for value in color_rgb)
        ref = find_segment(viewing, segment, segmentation_uid)
        change_segment(viewing, ref, "Colour", lambda s: replace(s, color_rgb=(red, green, blue)))

    def has_segments() -> bool:
        return any(one.segments for one in services.viewing.overlay.segmentations)

    return (
        Command(
            "segment.delete", "Delete segment", delete, enabled=has_segments, menu="Segment",
            shortcut="Delete", context="segments",
            help="Delete the chosen segment with its voxels; its finding counts as rejected.",
        ),
        Command(
            "segment.rename", "Rename segment", rename, enabled=has_segments,
            help="Give the chosen segment another label.",
        ),
        Command(
            "segment.recolor", "Colour of segment", recolor, enabled=has_segments,
            help="Give the chosen segment another color_rgb, three numbers from 0 to 255.",
        ),
    )  # fmt: skip


def _report_of(services: Services) -> tuple[bool, bool]:
    """Whether the study on show may have its report changed, and whether it is signed.

    Where several are open and none is shown, the command must name one, and either may hold.
    """
    if not _has_study(services)():
        either = _has_any(services)()
        return either, either
    report = services.workspace.report_of(shown_study(services).uid)
    is_signed = report is not None and report.status.is_signed
    return not is_signed, is_signed


def _writing(services: Services) -> tuple[Command, ...]:
    review = services.review

    def begin(study_uid: str = "") -> None:
        review.begin_report(shown_study(services, study_uid).uid)

    def set_section(heading: str, text: str, study_uid: str = "") -> None:
        review.set_section(shown_study(services, study_uid).uid, heading, text)

    def reset_section(heading: str, study_uid: str = "") -> None:
        review.reset_section(shown_study(services, study_uid).uid, heading)

    def illustrate(study_uid: str = "") -> None:
        services.export.illustrate(shown_study(services, study_uid).uid)

    def is_open() -> bool:
        return _report_of(services)[0]

    return (
        Command(
            "report.begin", "Begin report", begin, enabled=is_open, menu="Report",
            help="Draft the report of the study from what was accepted so far.",
        ),
        Command(
            "report.set_section", "Write section", set_section, enabled=is_open,
            help="Put text under a heading; the draft leaves it alone from then on.",
        ),
        Command(
            "report.reset_section", "Draft section again", reset_section, enabled=is_open,
            help="Give the section under a heading back to the draft.",
        ),
        Command(
            "report.illustrate", "Add pictures of all segments", illustrate, enabled=is_open,
            menu="Report", help="Add a key image of each plane with the accepted segments.",
        ),
    )  # fmt: skip


def _finishing(services: Services) -> tuple[Command, ...]:
    review = services.review

    def sign(by: str = "", despite_contradictions: bool = False, study_uid: str = "") -> None:
        uid = shown_study(services, study_uid).uid
        services.export.illustrate_now(uid)
        review.sign(uid, by, despite_contradictions=despite_contradictions)

    def amend(by: str = "", study_uid: str = "") -> None:
        review.amend(shown_study(services, study_uid).uid, by)

    def export(
        folder: str | Path = "",
        formats: Sequence[str] = USUAL_FORMATS,
        study_uid: str = "",
        proposals: bool = False,
        stale: bool = False,
    ) -> None:
        target = str(folder) or services.settings.text("export.folder")
        if not target:
            raise CommandError("Where to?", "Name a folder: folder=...")
        study = shown_study(services, study_uid)
        if proposals:
            services.first_read.require_seen(study.uid)
        if not stale:
            findings = services.workspace.findings_of(study.uid)
            leaving = [one for one in findings if proposals or one.review.state.counts]
            require_fresh(services.workspace, leaving)
        services.export.export(study.uid, Path(target), formats, proposals=proposals)

    return (
        Command(
            "report.sign", "Sign report", sign, enabled=lambda: _report_of(services)[0],
            shortcut="Ctrl+Return", menu="Report", undoable=False,
            help="Sign the report: it is frozen, and what led to it cannot be undone.",
        ),
        Command(
            "report.amend", "Amend report", amend, enabled=lambda: _report_of(services)[1],
            menu="Report",
            help="Begin the next version of a signed report; the signed one is kept.",
        ),
        Command(
            "report.export", "Export", export, enabled=_has_any(services), shortcut="Ctrl+E",
            menu="Report", undoable=False,
            help="Write segments, report, pictures and tables into a folder, each checked; results "
            "whose input changed only if stale is true.",
        ),
    )  # fmt: skip
