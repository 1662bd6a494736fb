"""What a reader drew becomes a finding of the report: segments with their size, tracks of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from medview.core.clip import Clip
from medview.core.codes import AREA, LENGTH, RATIO, Code
from medview.core.errors import CommandError, MedviewError
from medview.core.events import Level
from medview.core.findings import (
    Finding,
    Measurement,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.segmentation import Segmentation
from medview.core.timeline import ClipTrack, Track
from medview.imaging.edit import segment_box
from medview.imaging.structure import finding_of
from medview.imaging.tracks import figures_of, origin_of
from medview.services.detections import OF_NO_KIND, picture_box
from medview.services.edits import ChangeTracks, FindingStep
from medview.services.originals import Originals, Patch, count_changes
from medview.services.result_overlay import ResultOverlay
from medview.services.review import ReviewDesk
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

#: A box around a track leaves so many pixels of room.
_ROOM_PX = 8.0


class OwnFindings:
    """Puts what was drawn by hand into the report, once; what tracks measure follows them there."""

    def __init__(
        self,
        workspace: Workspace,
        review: ReviewDesk,
        results: ResultOverlay,
        tasks: Tasks,
        originals: Originals,
    ) -> None:
        self._workspace = workspace
        self._review = review
        self._results = results
        self._tasks = tasks
        self._originals = originals
        review.remeasure = self._followed

    def of_segment(self, ref: SegmentRef) -> Finding | None:
        """The finding about a segment that was not rejected; None: there is none."""
        return next((one for one in self._standing() if one.segment_ref == ref), None)

    def report_segment(self, ref: SegmentRef, by: str = "") -> None:
        """Make a finding of a segment, accepted, its size counted beside the window's thread.

        One that is there already is accepted. CommandError for a segment without a voxel.
        """
        name = self._review.name_of(by)
        there = self.of_segment(ref)
        if there is not None:
            self._review.accept(there.uid, name)
            self._results.take_up(there.uid)
            return
        one = self._workspace.segmentations[ref.segmentation_uid]
        original = self._originals.changed(one.uid)
        self._tasks.run(
            _measured, one, ref.number, name, original.patches if original is not None else (),
            on_done=lambda found: self._take(ref, one.revision, found, name),
            on_error=self._failed,
        )  # fmt: skip

    def report_track(self, track: Track, clip: Clip, by: str = "") -> str:
        """Make a finding of what a track comes to, accepted; its UID.

        CommandError for a track that is seen on one frame only.
        """
        name = self._review.name_of(by)
        there = self._of_track(track.uid)
        if there is not None:
            self._review.accept(there.uid, name)
            self._results.take_up(there.uid)
            return there.uid
        aids = self._workspace.tracks[track.uid].provenance.aids
        source = (clip.uid, track.uid)
        made_by = Provenance(Person(name), utc_now(), derived_from=source, aids=aids)
        numbers = _numbers(track, clip, made_by)
        if not numbers:
            raise CommandError(
                f"{track.name} is seen on one frame only",
                "Let it be followed, or correct it there.",
            )
        made = Finding(
            track.name,
            OF_NO_KIND,
            made_by,
            measurements=numbers,
            picture_box=_around(track, clip),
            review=Review(ReviewState.ACCEPTED, name, utc_now()),
        )
        study_uid = self._workspace.study_of(clip.uid).uid
        self._add(made, study_uid)
        return made.uid

    def _take(self, ref: SegmentRef, revision: int, found: Finding, name: str) -> None:
        one = self._workspace.segmentations.get(ref.segmentation_uid)
        if one is None or ref.number not in {segment.number for segment in one.segments}:
            return
        if one.revision != revision or self.of_segment(ref) is not None:
            self.report_segment(ref, name)  # it was changed, or told, while it was counted
            return
        review = Review(ReviewState.ACCEPTED, name, utc_now())
        self._add(found.reviewed(review), self._workspace.study_of(one.uid).uid)

    def _add(self, made: Finding, study_uid: str) -> None:
        title = f"Add to the report: {made.label}"
        self._review.decide([FindingStep(None, made)], title, "finding.add", study_uid=study_uid)
        self._results.take_up(made.uid)

    def _failed(self, error: MedviewError) -> None:
        self._workspace.notify(Level.WARNING, error.user_text, error.hint)

    def _of_track(self, track_uid: str) -> Finding | None:
        return next((one for one in self._standing() if _is_about(one, track_uid)), None)

    def _standing(self) -> Iterator[Finding]:
        """Findings that were not rejected: of two who read, both tell of what both see."""
        for finding in self._workspace.findings.values():
            if finding.review.state is not ReviewState.REJECTED:
                yield finding

    def _followed(self, change: ChangeTracks) -> list[FindingStep]:
        """Findings about tracks that changed, with their new numbers; of one that goes as it is."""
        steps = []
        for step in change.steps:
            finding = None if step.after is None else self._of_track(step.uid)
            if step.after is not None and finding is not None:
                now = self._again(finding, step.before or step.after, step.after)
                steps.append(FindingStep(finding, now))
        return [step for step in steps if step.before != step.after]

    def _again(self, finding: Finding, before: ClipTrack, now: ClipTrack) -> Finding:
        """With the numbers of a track now, and its name and place where they were the track's."""
        clip = self._workspace.clips[now.clip_uid]
        name = self._workspace.reader or finding.review.by
        aids = now.provenance.aids
        made_by = replace(finding.provenance, author=Person(name), made_at=utc_now(), aids=aids)
        numbers = _numbers(now.track, clip, made_by)
        known = {one.name: one for one in finding.measurements}
        kept = tuple(
            old if (old := known.get(one.name)) and old.value == one.value else one
            for one in numbers
        )
        told = replace(finding, provenance=replace(finding.provenance, aids=aids))
        if finding.label == before.track.name:
            told = replace(told, label=now.track.name)
        if finding.picture_box == _around(before.track, clip):
            told = replace(told, picture_box=_around(now.track, clip))
        return replace(told, measurements=kept) if kept else told


def _is_about(finding: Finding, track_uid: str) -> bool:
    return finding.segment_ref is None and track_uid in finding.provenance.derived_from


def _measured(one: Segmentation, number: int, name: str, patches: Sequence[Patch]) -> Finding:
    """On the pool: a segment as a finding, of who drew it; CommandError where it has no voxel.

    What a model proposed and a reader changed since (`patches`) is the reader's, the model helped.
    """
    segment, box = one.find_segment(number), segment_box(one, number)
    if box is None:
        raise CommandError(f"{segment.label} has no voxels yet", "Paint it first.")
    drawn = segment.provenance
    made_by = replace(drawn, made_at=utc_now())
    counts = count_changes(one.labels, patches).get(number) if patches else None
    changed = counts is not None and not counts.first == counts.second == counts.both
    if isinstance(drawn.author, Person) or changed:
        source = (one.volume_uid,)
        made_by = replace(made_by, author=Person(name), derived_from=source, aids=drawn.models)
    k, j, i = box.slices
    count = int(np.count_nonzero(one.labels[k, j, i] == number))
    return finding_of(segment, count, (k, j, i), one, made_by)


def _numbers(track: Track, clip: Clip, made_by: Provenance) -> tuple[Measurement, ...]:
    return tuple(
        Measurement(_kind(one.name), one.value, one.unit, one.method, made_by, one.name)
        for one in figures_of(track, clip)
    )


def _kind(name: str) -> Code:
    words: Sequence[tuple[str, Code]] = (
        ("change", RATIO), ("strain", RATIO), ("area", AREA), ("", LENGTH),
    )  # fmt: skip
    return next(code for word, code in words if word in name)


def _around(track: Track, clip: Clip) -> PictureBox:
    """The box around a track on the frame that it is measured against."""
    frame = origin_of(track)
    places = np.array(track.places[frame], dtype=np.float64) + 0.5
    low = np.array([frame, *(places.min(axis=0) - _ROOM_PX)])
    high = np.array([frame + 1, *(places.max(axis=0) + _ROOM_PX)])
    shape = np.array(clip.pictures.geometry.shape, dtype=np.float64)
    return picture_box((np.maximum(low, 0), np.minimum(high, shape)), clip.pictures)
