"""Commands for boxes of findings: given another shape, joined, added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medview.core.errors import CommandError
from medview.imaging.boxes import IndexBox
from medview.services.commands import Command, Registry

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    viewing, detections = services.viewing, services.detections

    def shows_image() -> bool:
        return viewing.picture is not None and viewing.study is not None

    def seen() -> None:
        if viewing.study is not None:
            services.first_read.require_seen(viewing.study.uid)

    def reshape(
        uid: str = "", low: Sequence[float] = (), high: Sequence[float] = (), by: str = ""
    ) -> None:
        if uid not in services.workspace.findings:
            raise CommandError("No finding is chosen", "Choose one in the list of findings.")
        seen()
        detections.reshape(uid, _box(low, high), by)

    def add(
        low: Sequence[float] = (), high: Sequence[float] = (), label: str = "", by: str = ""
    ) -> str:
        uid = detections.add(_box(low, high), label, by)
        services.results.take_up(uid)
        return uid

    def merge(uids: Sequence[str] = (), by: str = "") -> str:
        if any(uid not in services.workspace.findings for uid in uids):
            raise CommandError("There is no such finding", "Choose some in the list of findings.")
        seen()
        uid = detections.merge(uids, by)
        services.results.take_up(uid)
        return uid

    for command in (
        Command(
            "finding.reshape", "Change the box of a finding", reshape, enabled=shows_image,
            help="Give a finding's box other corners, low and high (slice, row, column), in voxels "
            "of the image on show; the first voxel reaches from 0 to 1.",
        ),
        Command(
            "finding.add_box", "Add a finding by its box", add, enabled=shows_image,
            help="Add a finding that no model made: a box between the corners low and high.",
        ),
        Command(
            "finding.merge", "Join boxes", merge, enabled=shows_image, shortcut="Ctrl+J",
            context="findings", menu="Report",
            help="Make one box of the chosen ones (Shift and Ctrl choose several); they count as "
            "rejected, and say what they went into.",
        ),
    ):  # fmt: skip
        registry.add(command)


def _box(low: Sequence[float], high: Sequence[float]) -> IndexBox:
    if len(low) != 3 or len(high) != 3:
        raise CommandError("Which box?", "Name two corners: low=[k, j, i], high=[k, j, i].")
    return np.array(low, np.float64), np.array(high, np.float64)
