"""Commands that put what the reader drew into the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medview.core.errors import CommandError
from medview.services import painting
from medview.services.commands import Command, Registry
from medview.services.own_findings import OwnFindings

if TYPE_CHECKING:
    # The bundle builds the registry and calls `register`: it knows this module, not the reverse.
    from medview.services.bundle import Services


def register(registry: Registry, services: Services) -> None:
    """Add the commands."""
    viewing, tracking, results = services.viewing, services.tracking, services.results
    originals = services.corrections.originals
    own = OwnFindings(services.workspace, services.review, results, services.tasks, originals)

    def segment(segment: int | None = None, segmentation_uid: str = "", by: str = "") -> None:
        ref = painting.find_segment(viewing, segment, segmentation_uid)
        if own.of_segment(ref) is None:  # told now, not when its size has been counted
            study_uid = services.workspace.study_of(ref.segmentation_uid).uid
            services.two_readers.require_reading(study_uid, services.review.name_of(by))
        own.report_segment(ref, by)

    def track(track: str = "", by: str = "") -> str:
        clip = viewing.clip
        known = {one.uid: one for one in tracking.tracks}
        chosen = known.get(track) if track else tracking.selected
        if clip is None or chosen is None:
            raise CommandError("There is no such track on this clip", "Place a point or contour.")
        if tracking.is_following(chosen.uid):
            raise CommandError(f"{chosen.name} is still being followed", "Wait for it.")
        return own.report_track(chosen, clip, by)

    for command in (
        Command(
            "segment.report", "Add segment to the report", segment, menu="Segment",
            enabled=lambda: viewing.overlay.active is not None,
            help="Make an accepted finding of a segment, with its volume or area; both follow it.",
        ),
        Command(
            "track.report", "Add track to the report", track, menu="Track",
            enabled=lambda: tracking.selected is not None,
            help="Make an accepted finding of what the chosen track measures over the clip: how "
            "far it moved, largest and smallest length or area.",
        ),
    ):  # fmt: skip
        registry.add(command)
