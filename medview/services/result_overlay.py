"""What of a model's result lies over the pictures beside segments: boxes, and one map at a time."""

from __future__ import annotations

from medview.core.errors import CommandError
from medview.core.events import StudyClosed, ViewChanged
from medview.core.findings import Finding
from medview.core.maps import MapKind, ScalarMap
from medview.core.volume import Volume
from medview.services.first_read import FirstRead
from medview.services.outcomes import Outcomes
from medview.services.thresholds import Thresholds
from medview.services.viewing import Viewing


class ResultOverlay:
    """The finding at hand, the boxes of findings, and the map that was asked for.

    Maps are off until somebody asks: first the box, a line of text and the confidence, then the
    explanation. Of several maps of a kind the one about the finding at hand is shown, else the
    newest.
    """

    def __init__(
        self, viewing: Viewing, outcomes: Outcomes, thresholds: Thresholds, first_read: FirstRead
    ) -> None:
        self._viewing = viewing
        self._workspace = viewing.workspace
        self._outcomes = outcomes
        self._thresholds = thresholds
        self._first_read = first_read
        self._kind: MapKind | None = None
        self._finding_uid = ""
        self._workspace.events.study_closed.connect(self._forget)

    @property
    def finding_uid(self) -> str:
        """The finding at hand; "" for none."""
        return self._finding_uid if self._finding_uid in self._workspace.findings else ""

    def take_up(self, finding_uid: str) -> None:
        """Have a finding at hand: its box stands out, maps are about it."""
        if finding_uid != self._finding_uid:
            self._finding_uid = finding_uid
            self._workspace.emit(ViewChanged())

    @property
    def kind(self) -> MapKind | None:
        """The kind of map that was asked for."""
        return self._kind

    @property
    def map(self) -> ScalarMap | None:
        """The map on show; None where none was asked for or the image on show has none."""
        return None if self._kind is None else self._best(self._kind)

    @property
    def maps(self) -> tuple[ScalarMap, ...]:
        """The map on show, and what its run said of other places of the image."""
        shown = self.map
        return () if shown is None else self._outcomes.maps_beside(shown)

    def has(self, kind: MapKind) -> bool:
        """Whether the image on show has such a map."""
        return self._best(kind) is not None

    def toggle(self, kind: MapKind) -> bool:
        """Show a kind of map, or none if it is shown; gives whether it is shown now.

        CommandError where no run gave such a map.
        """
        if self._kind is kind:
            self._kind = None
        elif self.has(kind):
            self._kind = kind
        else:
            raise CommandError(
                f"No run on this image gave a map of {kind.value}",
                "Models that offer it give it when it is ticked in Preferences.",
            )
        self._workspace.emit(ViewChanged())
        return self._kind is kind

    def boxed(self) -> tuple[Finding, ...]:
        """Findings with boxes that may be seen on the image on show, the least probable first."""
        volume, study = self._viewing.picture, self._viewing.study
        if volume is None or study is None or not self._viewing.overlay.shown:
            return ()
        known = self._workspace.findings_of(study.uid)
        if not known and not self._outcomes.has_any:
            return ()
        findings = self._thresholds.looked_at(known)
        boxed = [
            finding
            for finding in self._first_read.visible(study.uid, findings)
            if finding.segment_ref is None  # the contour of a segment says more than a box
            and (finding.box_lps_mm or finding.picture_box)
            and self.lies_on(finding, volume)
        ]
        return tuple(sorted(boxed, key=lambda one: one.probability or 0.0))

    def lies_on(self, finding: Finding, volume: Volume) -> bool:
        """Whether a finding was made on this image, or in the patient space it shares."""
        job = self._workspace.jobs.get(finding.provenance.job_uid)
        sources = {*finding.provenance.derived_from}
        sources |= set() if job is None else {item.uid for item in job.inputs}
        if volume.uid in sources:
            return True
        box = finding.picture_box
        if box is not None and box.sop_instance_uid:
            return box.sop_instance_uid in volume.instance_uids
        space = volume.geometry.frame_of_reference_uid
        others = (self._workspace.volumes[uid] for uid in sources & self._workspace.volumes.keys())
        shares = any(one.geometry.frame_of_reference_uid == space for one in others)
        return finding.box_lps_mm is not None and bool(space) and shares

    def _best(self, kind: MapKind) -> ScalarMap | None:
        volume, study = self._viewing.volume, self._viewing.study
        if volume is None or study is None or self._first_read.hides(study.uid):
            return None
        maps = [one for one in self._outcomes.maps_of(volume.uid) if one.kind is kind]
        about = [one for one in maps if self.finding_uid and one.finding_uid == self.finding_uid]
        return next(reversed(about or maps), None)

    def _forget(self, _event: StudyClosed) -> None:
        self._finding_uid = self.finding_uid
