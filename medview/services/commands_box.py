"""Commands for boxes of findings: given another shape, joined, added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medview.core.errors import CommandError
from medview.imaging.boxes import IndexBox
from medview.services.commands import Command, Registry
from medview.services.viewing import Viewing

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services

#: So many boxes that are added at the crosshair lie side by side in an image.
_SHARE = 8.0


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    for command in (*_boxes(services), *_key_frames(services)):
        registry.add(command)


def _seen(services: Services) -> None:
    """CommandError where findings are still hidden from who reads first."""
    if services.viewing.study is not None:
        services.first_read.require_seen(services.viewing.study.uid)


def _chosen(services: Services, uid: str) -> str:
    """The finding named, else the one at hand."""
    uid = uid or services.results.finding_uid
    if uid not in services.workspace.findings:
        raise CommandError("No finding is chosen", "Choose one in the list of findings.")
    _seen(services)
    return uid


def _boxes(services: Services) -> tuple[Command, ...]:
    viewing, detections = services.viewing, services.detections

    def shows_image() -> bool:
        return viewing.picture is not None and viewing.study is not None

    def reshape(
        uid: str = "", low: Sequence[float] = (), high: Sequence[float] = (), by: str = ""
    ) -> None:
        detections.reshape(_chosen(services, uid), _box(low, high), by)

    def add(
        low: Sequence[float] = (), high: Sequence[float] = (), label: str = "", by: str = ""
    ) -> str:
        box = _box(low, high) if len(low) or len(high) else _at_crosshair(services.viewing)
        uid = detections.add(box, label, by)
        services.results.take_up(uid)
        return uid

    def merge(uids: Sequence[str] = (), by: str = "") -> str:
        if any(uid not in services.workspace.findings for uid in uids):
            raise CommandError("There is no such finding", "Choose some in the list of findings.")
        _seen(services)
        uid = detections.merge(uids, by)
        services.results.take_up(uid)
        return uid

    return (
        Command(
            "finding.reshape", "Change the box of a finding", reshape, enabled=shows_image,
            help="Give a finding's box other corners, low and high (slice, row, column), in voxels "
            "of the image on show; the first voxel reaches from 0 to 1.",
        ),
        Command(
            "finding.add_box", "Add a finding by its box", add, enabled=shows_image,
            help="Add a finding that no model made: a box between the corners low and high, else "
            "around the crosshair, an eighth of the image wide.",
        ),
        Command(
            "finding.merge", "Join boxes", merge, enabled=shows_image, shortcut="Ctrl+J",
            context="findings", menu="Report",
            help="Make one box of the chosen ones (Shift and Ctrl choose several); they count as "
            "rejected, and say what they went into.",
        ),
    )  # fmt: skip


def _key_frames(services: Services) -> tuple[Command, ...]:
    detections = services.detections

    def put(uid: str = "", by: str = "") -> None:
        detections.put_key_frame(_chosen(services, uid), by)

    def drop(uid: str = "", by: str = "") -> None:
        detections.drop_key_frame(_chosen(services, uid), by)

    def shows_clip() -> bool:
        return services.viewing.clip is not None

    return (
        Command(
            "finding.key_frame", "Key frame of the box", put, enabled=shows_clip,
            shortcut="Alt+K", menu="Report",
            help="Place the box of the chosen finding on the frame on show; between such key "
            "frames it runs evenly. Dragging it there does the same.",
        ),
        Command(
            "finding.drop_key_frame", "Drop key frame of the box", drop, enabled=shows_clip,
            shortcut="Alt+Shift+K", menu="Report",
            help="The frame on show is no key frame of the chosen finding's box any more.",
        ),
    )  # fmt: skip


def _at_crosshair(viewing: Viewing) -> IndexBox:
    """A box around the crosshair on the image on show, one picture deep."""
    geometry = viewing.require_picture().geometry
    middle = np.asarray(geometry.to_index(viewing.crosshair_lps_mm), np.float64) + 0.5
    if viewing.clip is not None:
        middle[0] = viewing.cine.state.frame + 0.5
    half = np.array([0.5, *(max(1.0, n / _SHARE / 2) for n in geometry.shape[1:])])
    return middle - half, middle + half


def _box(low: Sequence[float], high: Sequence[float]) -> IndexBox:
    if len(low) != 3 or len(high) != 3:
        raise CommandError("Which box?", "Name two corners: low=[k, j, i], high=[k, j, i].")
    return np.array(low, np.float64), np.array(high, np.float64)
