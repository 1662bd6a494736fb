"""Commands for a report beside its text: kind, answers, critical result, places of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.services.commands import Command, Registry
from medview.services.commands_edit import shown_study

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    for command in (*_content(services), *_pictures(services), *_going_out(services)):
        registry.add(command)


def _is_open(services: Services) -> Callable[[], bool]:
    """Whether there may be a report to change: of the study on show, or of one that is named."""

    def is_open() -> bool:
        study = services.viewing.study
        if study is None:
            return bool(services.workspace.studies)
        report = services.workspace.report_of(study.uid)
        return report is None or not report.status.is_signed

    return is_open


def _content(services: Services) -> tuple[Command, ...]:
    parts, is_open = services.parts, _is_open(services)

    def template(name: str = "", study_uid: str = "") -> None:
        parts.choose_template(shown_study(services, study_uid).uid, name)

    def answer(field: str = "", values: Sequence[str] | str = (), study_uid: str = "") -> None:
        given = [values] if isinstance(values, str) else list(values)
        parts.answer(shown_study(services, study_uid).uid, field, given)

    def critical(
        finding: str = "",
        informed: str = "",
        how: str = "",
        at: str = "",
        by: str = "",
        study_uid: str = "",
    ) -> None:
        parts.flag_critical(
            shown_study(services, study_uid).uid, finding, informed, how=how, at=_moment(at), by=by
        )

    def clear(study_uid: str = "") -> None:
        parts.clear_critical(shown_study(services, study_uid).uid)

    return (
        Command(
            "report.template", "Kind of report", template, enabled=is_open,
            help="Draft the report by the template with that name; without one by what fits best. "
            "What you wrote stays.",
        ),
        Command(
            "report.answer", "Answer a field of the report", answer, enabled=is_open,
            help="Choose values of a field of the template, for example a RADS category.",
        ),
        Command(
            "report.critical", "Critical result", critical, enabled=is_open,
            shortcut="Ctrl+Alt+C", menu="Report",
            help="Note that a result that could not wait was passed on: finding, who was informed, "
            "how, at what time.",
        ),
        Command(
            "report.clear_critical", "No critical result", clear, enabled=is_open,
            help="Take the note of a critical result out of the report.",
        ),
    )  # fmt: skip


def _pictures(services: Services) -> tuple[Command, ...]:
    parts, is_open = services.parts, _is_open(services)

    def move(
        uid: str = "", section: str = "", place: int | None = None, study_uid: str = ""
    ) -> None:
        parts.move_image(shown_study(services, study_uid).uid, uid, section, place)

    def caption(uid: str = "", caption: str = "", study_uid: str = "") -> None:
        parts.caption_image(shown_study(services, study_uid).uid, uid, caption)

    return (
        Command(
            "report.move_key_image", "Place key image", move, enabled=is_open,
            help="Put a key image, by its UID, under the heading of a section, or at a place among "
            "the others.",
        ),
        Command(
            "report.caption_key_image", "Caption of key image", caption, enabled=is_open,
            help="Put other words under a key image, by its UID.",
        ),
    )  # fmt: skip


def _going_out(services: Services) -> tuple[Command, ...]:
    def release(by: str = "", study_uid: str = "") -> None:
        services.review.release(shown_study(services, study_uid).uid, by)

    def text(study_uid: str = "") -> str:
        return services.report_output.text(shown_study(services, study_uid).uid)

    return (
        Command(
            "report.release", "Release as preliminary", release, enabled=_is_open(services),
            menu="Report",
            help="Give the report out as preliminary: read but not verified. It can still be "
            "changed, and becomes final when it is signed.",
        ),
        Command(
            "report.text", "Report as text", text,
            enabled=lambda: bool(services.workspace.studies),
            help="The whole report in plain lines, for other programs.",
        ),
    )  # fmt: skip


def _moment(text: str) -> datetime | None:
    """A time in ISO 8601, local where it names no zone; None for now."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise CommandError(f"{text!r} is no time", "As in 2026-03-14T15:09.") from error
