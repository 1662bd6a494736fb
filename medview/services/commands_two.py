"""Commands for two readers and the one who settles what they differ in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.services.commands import Command, Registry
from medview.services.commands_edit import shown_study

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    two, workspace = services.two_readers, services.workspace

    def finish(by: str = "", study_uid: str = "") -> None:
        two.finish(shown_study(services, study_uid).uid, by)

    def settle(uid: str = "", reader: str = "", reason: str = "", by: str = "") -> None:
        if uid not in workspace.findings:
            raise CommandError("No finding is chosen", "Choose one that the readers differ in.")
        two.settle(uid, reader, reason, by)

    def is_read_by_two() -> bool:
        return two.is_on and bool(workspace.studies)

    for command in (
        Command(
            "reading.finish", "Finish reading", finish, enabled=is_read_by_two,
            shortcut="Ctrl+Shift+F", menu="Report", undoable=False,
            help="Of two readers: say that you have decided everything in this study. It cannot be "
            "undone; when both have, what they agree on holds.",
        ),
        Command(
            "reading.settle", "Settle a finding", settle, enabled=is_read_by_two,
            help="Settle a finding that two readers differ in: as the reader has it, or neither.",
        ),
    ):  # fmt: skip
        registry.add(command)
