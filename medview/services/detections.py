"""Detections: boxes that a reader moves, resizes, names anew, joins, or adds where a model missed.

Every correction is one step of the history with a title of its own. The finding keeps its author,
and what a model had proposed stays in the outcome of its run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medview.core.codes import LENGTH, Code
from medview.core.errors import CommandError
from medview.core.findings import (
    Finding,
    Measurement,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    new_uid,
    utc_now,
)
from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.imaging.boxes import (
    IndexBox,
    box_on,
    index_box,
    joined_box,
    key_boxes,
    moved_to,
    overlap_of,
    patient_box,
    with_index_box,
    with_key_box,
    without_key_box,
)
from medview.services.corrections import Correction
from medview.services.edits import FindingStep
from medview.services.outcomes import Outcomes
from medview.services.review import ReviewDesk
from medview.services.viewing import Viewing

#: What a box is called that nobody named.
UNNAMED_BOX = "Finding"
#: What is said of a finding that nobody named a kind of.
OF_NO_KIND = Code("404684003", "SCT", "Clinical finding")
#: Models measure this of their boxes; it is measured again when the box changes.
_EXTENT = "Extent"
#: Boxes that agree so well are one: edges come back from millimetres by rounding.
_SAME = 1 - 1e-9


class Detections:
    """Changes boxes of findings on the image on show.

    CommandError where there is no image, no such box, or a box without extent; ReportError
    without a name.
    """

    def __init__(self, viewing: Viewing, review: ReviewDesk, outcomes: Outcomes) -> None:
        self._viewing = viewing
        self._workspace = viewing.workspace
        self._review = review
        self._outcomes = outcomes
        self._last: tuple[str, Code] = (UNNAMED_BOX, OF_NO_KIND)

    def original_of(self, finding: Finding) -> Finding | None:
        """A finding as its model gave it; None for a reader's own, and where it is not kept."""
        result = self._outcomes.find(finding.provenance.job_uid)
        known = () if result is None else (*result.findings, *result.candidates)
        return next((one for one in known if one.uid == finding.uid), None)

    def correction_of(self, finding: Finding) -> Correction | None:
        """How far a box is from its model's: Dice, change of its content; None for no change."""
        original = self.original_of(finding)
        dice = None if original is None else overlap_of(original, finding)
        if original is None or dice is None or dice > _SAME:
            return None
        before, after = _content(original), _content(finding)
        what = "volume" if finding.box_lps_mm is not None else "area"
        return Correction(dice, after / before - 1 if before else None, what)

    def classes(self, finding: Finding, cards: Sequence[ModelCard] = ()) -> dict[str, Code]:
        """The classes a finding may be given, by name: those its model knows or has weighed."""
        found = {finding.label: finding.code}
        found |= {one.label: one.code for one in finding.classes}
        author = finding.provenance.author
        for card in cards:
            if not isinstance(author, Person) and card.id != author.model_id:
                continue
            found |= {one.label: one.code for one in card.outputs.channels if one.label}
        return found

    def reshape(self, uid: str, box: IndexBox, by: str = "") -> None:
        """Give a finding another box, in voxels of the image on show: it counts as corrected."""
        name = self._review.name_of(by)
        old = self._review.finding_of(uid)
        volume = self._viewing.require_picture()
        new = self._fitted(old, _inside(box, volume), volume, name)
        frame = round(float(np.minimum(*box)[0]))
        if self._viewing.clip is not None and _is_elsewhere(old, frame):
            self._put_key(old, picture_box(_inside(box, volume), volume), name)
            return
        if new == old:
            return
        verb = "Move box" if _same_size(old, new, volume) else "Resize box"
        review = Review(ReviewState.EDITED, name, utc_now())
        step = FindingStep(old, new.reviewed(review))
        self._review.decide([step], f"{verb}: {old.label}", "finding.reshape")

    def put_key_frame(self, uid: str, by: str = "") -> None:
        """Place a finding's box on the frame on show, where it runs or as on the nearest key frame.

        CommandError where no clip is shown, or the finding has no box on it.
        """
        name, frame = self._review.name_of(by), self._frame
        old = self._review.finding_of(uid)
        keys = key_boxes(old)
        if not keys or old.box_lps_mm is not None:
            raise CommandError("The finding has no box on this clip")
        nearest = min(keys, key=lambda box: abs(box.slice_index - frame))
        self._put_key(old, box_on(old, frame) or moved_to(nearest, frame), name)

    def drop_key_frame(self, uid: str, by: str = "") -> None:
        """Take away the box placed on the frame on show; CommandError for none, or the only one."""
        name, old = self._review.name_of(by), self._review.finding_of(uid)
        try:
            new = without_key_box(old, self._frame)
        except ValueError as error:
            raise CommandError(
                "This frame is no key frame of the finding, or its only one", "Go to one that is."
            ) from error
        self._decide_keys(old, new, f"Drop key frame: {old.label}", name)

    def _put_key(self, old: Finding, box: PictureBox, name: str) -> None:
        title = f"Key frame {box.slice_index + 1}: {old.label}"
        self._decide_keys(old, with_key_box(old, box), title, name)

    def _decide_keys(self, old: Finding, new: Finding, title: str, name: str) -> None:
        if new != old:
            review = Review(ReviewState.EDITED, name, utc_now())
            self._review.decide([FindingStep(old, new.reviewed(review))], title, "finding.reshape")

    @property
    def _frame(self) -> int:
        """The frame of the clip on show."""
        if self._viewing.clip is None:
            raise CommandError("No clip is shown", "Key frames are for clips.")
        return self._viewing.cine.state.frame

    def add(self, box: IndexBox, label: str = "", by: str = "") -> str:
        """Add a finding of the reader's own, a box in voxels of the image on show; its UID.

        Without a label it takes that of the last box that was added or named.
        """
        name = self._review.name_of(by)
        volume = self._viewing.require_picture()
        low, high = _inside(box, volume)
        known, code = self._last
        if label and label != known:
            known, code = label, OF_NO_KIND
        self._last = known, code
        now = utc_now()
        made = Finding(
            label=known,
            code=code,
            provenance=Provenance(Person(name), now, derived_from=(volume.uid,)),
            review=Review(ReviewState.ACCEPTED, name, now),
        )
        made = _placed(made, (low, high), volume)
        title = f"Add: {known}"
        self._review.decide([FindingStep(None, made)], title, "finding.add", study_uid=self._study)
        return made.uid

    def merge(self, uids: Sequence[str], by: str = "") -> str:
        """Join boxes into one of the reader's own that holds them all; its UID.

        It is called like the most probable of them. They are rejected by that, and say into what
        they went. CommandError for fewer than two boxes on one image.
        """
        name = self._review.name_of(by)
        volume = self._viewing.require_picture()
        findings = [self._review.finding_of(uid) for uid in dict.fromkeys(uids)]
        boxes = [
            box
            for one in findings
            if one.segment_ref is None and (box := index_box(one, volume.geometry)) is not None
        ]
        if len(boxes) < 2 or len(boxes) < len(findings):
            raise CommandError(
                "Two or more boxes are needed to make one", "Choose them in the list of findings."
            )
        best = max(findings, key=lambda one: one.probability or 0.0)
        now = utc_now()
        sources = (volume.uid, *(one.uid for one in findings))
        made = replace(
            best,
            uid=new_uid(),
            provenance=Provenance(Person(name), now, derived_from=sources),
            probability=None,
            calibrated=False,
            classes=(),
            measurements=(),
            opinions=(),
            key_boxes=(),
            review=Review(ReviewState.ACCEPTED, name, now),
        )
        made = _placed(made, joined_box(boxes), volume)
        review = Review(ReviewState.REJECTED, name, now, f"Joined with others: {made.label}")
        steps = [FindingStep(one, one.reviewed(review)) for one in findings]
        title = f"Join {len(findings)} boxes: {made.label}"
        self._review.decide([*steps, FindingStep(None, made)], title, "finding.merge")
        return made.uid

    def code_for(self, uid: str, label: str | None, cards: Sequence[ModelCard] = ()) -> Code | None:
        """The code that goes with a name given to a finding: of that class, else as it was.

        None without a name. Boxes added from now on take it too.
        """
        if label is None:
            return None
        finding, label = self._workspace.findings[uid], label.strip()
        code = self.classes(finding, cards).get(label, finding.code)
        if finding.segment_ref is None:
            self._last = label, code
        return code

    @property
    def _study(self) -> str:
        study = self._viewing.study
        if study is None:
            raise CommandError("No study is shown", "Open one first.")
        return study.uid

    def _fitted(self, old: Finding, box: IndexBox, volume: Volume, name: str) -> Finding:
        try:
            new = with_index_box(old, box, volume.geometry)
        except ValueError as error:
            raise CommandError(str(error)) from error
        return replace(new, measurements=tuple(_measured(m, new, name) for m in old.measurements))


def _content(finding: Finding) -> float:
    """Of a box, in mm3 or, on a picture alone, in pixels."""
    if finding.box_lps_mm is not None:
        return float(np.prod(np.ptp(np.array(finding.box_lps_mm), axis=0)))
    top, left, bottom, right = finding.picture_box.box_px if finding.picture_box else (0, 0, 0, 0)
    return (bottom - top) * (right - left)


def _inside(box: IndexBox, volume: Volume) -> IndexBox:
    """A box held to the image; CommandError if nothing of it is left."""
    shape = np.array(volume.geometry.shape, np.float64)
    low, high = np.clip(np.minimum(*box), 0, shape), np.clip(np.maximum(*box), 0, shape)
    if not (low < high).all():
        raise CommandError("The box lies beside the image or has no extent")
    return low, high


def _same_size(old: Finding, new: Finding, volume: Volume) -> bool:
    pair = index_box(old, volume.geometry), index_box(new, volume.geometry)
    sizes = [box[1] - box[0] for box in pair if box is not None]
    return len(sizes) == 2 and bool(np.allclose(sizes[0], sizes[1], atol=1e-6))


def _placed(finding: Finding, box: IndexBox, volume: Volume) -> Finding:
    """A finding put into a box: in the patient for volumes, on its picture for single ones."""
    low, high = box
    picture = None
    if high[0] - low[0] <= 1 + 1e-9 or not volume.geometry.in_patient_space:
        picture = picture_box(box, volume)
    corners = patient_box(box, volume.geometry) if volume.geometry.in_patient_space else None
    place = None
    if corners is not None:
        x, y, z = (float(value) for value in np.mean(corners, axis=0))
        place = (x, y, z)
    return replace(finding, picture_box=picture, box_lps_mm=corners, location_lps_mm=place)


def picture_box(box: IndexBox, volume: Volume) -> PictureBox:
    """A box on the picture that its first slice is."""
    low, high = box
    at = int(low[0])
    uids = volume.instance_uids
    edges = (float(low[1]), float(low[2]), float(high[1]), float(high[2]))
    one_file = len(uids) == 1
    uid = uids[0] if one_file else uids[at] if at < len(uids) else ""
    return PictureBox(edges, at, uid, at + 1 if one_file else 1)


def _is_elsewhere(finding: Finding, frame: int) -> bool:
    """Whether a box is placed on another frame than the first one of a finding, or one of many."""
    own = finding.picture_box
    if own is None or finding.box_lps_mm is not None:
        return False
    return bool(finding.key_boxes) or own.slice_index != frame


def _measured(measurement: Measurement, finding: Finding, name: str) -> Measurement:
    """The longest side of a box, measured again; other measurements as they are."""
    corners = finding.box_lps_mm
    if measurement.kind != LENGTH or measurement.name != _EXTENT or corners is None:
        return measurement
    value = float(np.ptp(np.array(corners), axis=0).max())
    old = measurement.provenance
    if value == measurement.value:
        return measurement
    provenance = Provenance(Person(name), utc_now(), old.job_uid, (*old.derived_from,))
    return replace(measurement, value=value, provenance=provenance)
