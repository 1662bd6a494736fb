"""Comparison: two models, two runs, model and reader, or a model and its correction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medview.core.codes import ANATOMICAL_STRUCTURE, Code
from medview.core.findings import (
    Author,
    Finding,
    ModelAuthor,
    Person,
    Provenance,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.segmentation import Segment, Segmentation
from medview.core.volume import Volume
from medview.imaging.agreement import (
    BOTH,
    DIFFERENT,
    ONLY_FIRST,
    ONLY_SECOND,
    BoxArray,
    Overlap,
    difference,
    joint_counts,
    match_boxes,
    overlap,
)
from medview.services.first_read import FirstRead
from medview.services.kept_results import ModelOutput
from medview.services.originals import Original
from medview.services.workspace import Workspace

#: Boxes that share less of their joint content are two detections.
LEAST_OVERLAP = 0.1

_AS_PROPOSED = "as proposed"
_COMPARED = Code("112", "99MEDVIEW", "Difference between two readings")
_INKS = (
    (ONLY_FIRST, "Only the first", (255, 150, 40)),
    (ONLY_SECOND, "Only the second", (60, 170, 255)),
    (BOTH, "Both", (110, 200, 120)),
    (DIFFERENT, "Both, by other names", (235, 80, 200)),
)


@dataclass(frozen=True)
class Reading:
    """What one author said of an image: a reader, or one run of a model, as is or as proposed.

    `originals` has for each segmentation what it was, where this is what a model proposed and a
    reader changed since: `whole` puts that together.
    """

    key: str
    title: str
    segmentations: tuple[Segmentation, ...] = ()
    findings: tuple[Finding, ...] = ()
    originals: tuple[Original, ...] = ()

    def whole(self) -> Reading:
        """The reading with the labels it speaks of; takes a copy of them where they changed."""
        if not self.originals:
            return self
        pairs = zip(self.originals, self.segmentations, strict=True)
        restored = tuple(original.restored(now) for original, now in pairs)
        return replace(self, segmentations=restored, originals=())


@dataclass(frozen=True)
class StructureRow:
    """One structure in both readings, volumes in mL; None where one of them has no such segment."""

    label: str
    first_ml: float | None
    second_ml: float | None
    dice: float | None


@dataclass(frozen=True)
class Detections:
    """How many boxes both readings have, and how many only one."""

    both: int
    only_first: int
    only_second: int

    @property
    def f1(self) -> float | None:
        """2 both / (2 both + only one): agreement on detections; None where there are none."""
        total = 2 * self.both + self.only_first + self.only_second
        return 2 * self.both / total if total else None


@dataclass(frozen=True)
class Statement:
    """A finding without a place, by its name, and how sure each reading is of it."""

    label: str
    first: float | None
    second: float | None
    said_by_first: bool
    said_by_second: bool


@dataclass(frozen=True)
class Comparison:
    """How two readings of one image agree; `map` has the labels of `imaging.agreement`."""

    first: Reading
    second: Reading
    structures: tuple[StructureRow, ...]
    detections: Detections
    statements: tuple[Statement, ...]
    map: Segmentation | None


def readings(
    workspace: Workspace, first_read: FirstRead, volume: Volume, output: ModelOutput
) -> tuple[Reading, ...]:
    """Everybody who said something of an image, in the order they came; nothing hidden.

    What a reader changed of a model's labels comes twice: as proposed, and as corrected.
    """
    study_uid = workspace.study_of(volume.uid).uid
    found: dict[str, Reading] = {}

    def of(provenance: Provenance) -> Reading:
        key, title = _name(provenance)
        return found.setdefault(key, Reading(key, title))

    for one in workspace.segmentations_of(volume.uid):
        segments = one.segments or _proposed(output, one)
        if segments and not first_read.conceals(one):
            before = of(segments[0].provenance)
            found[before.key] = replace(before, segmentations=(*before.segmentations, one))
    for finding in first_read.visible(study_uid, workspace.findings_of(study_uid)):
        if is_about(finding, volume, workspace):
            before = of(finding.provenance)
            found[before.key] = replace(before, findings=(*before.findings, finding))
    return tuple(part for reading in found.values() for part in _versions(reading, output))


def keys_of(provenance: Provenance) -> tuple[str, str]:
    """The keys of a model's reading as it was proposed, and as it is now."""
    key, _ = _name(provenance)
    return f"{key} {_AS_PROPOSED}", key


def _versions(reading: Reading, output: ModelOutput) -> tuple[Reading, ...]:
    """A reading alone, or before it what the model proposed, where a reader changed its labels."""
    changed = [output.originals.changed(one.uid) for one in reading.segmentations]
    if not any(changed):
        return (reading,)
    originals = tuple(
        original or Original(one.segments)
        for original, one in zip(changed, reading.segmentations, strict=True)
    )
    jobs = {segment.provenance.job_uid for one in originals for segment in one.segments}
    results = [output.outcomes.find(uid) for uid in jobs]
    proposed = Reading(
        keys_of(originals[0].segments[0].provenance)[0],
        f"{reading.title}, {_AS_PROPOSED}",
        reading.segmentations,
        tuple(finding for one in results if one is not None for finding in one.findings),
        originals,
    )
    return proposed, replace(reading, title=f"{reading.title}, as corrected")


def _proposed(output: ModelOutput, segmentation: Segmentation) -> tuple[Segment, ...]:
    original = output.originals.of(segmentation.uid)
    return () if original is None else original.segments


def compare(first: Reading, second: Reading, volume: Volume) -> Comparison:
    """Structures by Dice and volume, boxes by overlap, other findings by name.

    Rejected segments and findings do not count. Structures are the same if code and label are,
    else if the code is and stands once on either side. Takes one pass over the labels.
    """
    first, second = first.whole(), second.whole()
    ours, theirs = _segments(first), _segments(second)
    pairs = _pairs(ours, theirs)
    rows, union = _structures(ours, theirs, pairs, volume)
    return Comparison(
        first, second, rows, _detections(first, second, volume), _statements(first, second), union
    )


_Placed = tuple[Segmentation, Segment]


def _segments(reading: Reading) -> list[_Placed]:
    return [
        (one, segment)
        for one in reading.segmentations
        for segment in one.segments
        if segment.review.state is not ReviewState.REJECTED
    ]


def _pairs(ours: Sequence[_Placed], theirs: Sequence[_Placed]) -> list[tuple[_Placed, _Placed]]:
    def exact(segment: Segment) -> tuple[str, ...]:
        return (segment.type.scheme, segment.type.value, segment.label.casefold())

    def by_code(segment: Segment) -> tuple[str, ...]:
        return (segment.type.scheme, segment.type.value)

    def by_label(segment: Segment) -> tuple[str, ...]:
        return (segment.label.casefold(),)

    found: list[tuple[_Placed, _Placed]] = []
    for key in (exact, by_code, by_label):
        # Left and right may share a code: it tells them apart only where it stands once.
        for one in ours:
            same = [other for other in theirs if key(other[1]) == key(one[1])]
            twins = [other for other in ours if key(other[1]) == key(one[1])]
            taken = any(one is a or same[:1] == [b] for a, b in found)
            if len(same) == 1 and len(twins) == 1 and not taken:
                found.append((one, same[0]))
    return found


def _structures(
    ours: Sequence[_Placed],
    theirs: Sequence[_Placed],
    pairs: Sequence[tuple[_Placed, _Placed]],
    volume: Volume,
) -> tuple[tuple[StructureRow, ...], Segmentation | None]:
    if not ours and not theirs:
        return (), None
    # Each side's labels in one array, every structure with a number of its own.
    labels_a, number_a = _flattened(ours, volume)
    labels_b, number_b = _flattened(theirs, volume)
    counts = joint_counts(labels_a, labels_b)
    one_ml = volume.geometry.voxel_volume_ml
    rows = []
    for mine, other in pairs:
        shared: Overlap = overlap(counts, number_a[_ref(mine)], number_b[_ref(other)])
        rows.append(
            StructureRow(mine[1].label, shared.first * one_ml, shared.second * one_ml, shared.dice)
        )
    paired_a, paired_b = {_ref(a) for a, _ in pairs}, {_ref(b) for _, b in pairs}
    for one in ours:
        if _ref(one) not in paired_a:
            count = overlap(counts, number_a[_ref(one)], 0).first
            rows.append(StructureRow(one[1].label, count * one_ml, None, None))
    for one in theirs:
        if _ref(one) not in paired_b:
            count = overlap(counts, 0, number_b[_ref(one)]).second
            rows.append(StructureRow(one[1].label, None, count * one_ml, None))
    numbers = [(number_a[_ref(a)], number_b[_ref(b)]) for a, b in pairs]
    provenance = Provenance(Person("medview"), utc_now())
    segments = tuple(
        Segment(number, label, ANATOMICAL_STRUCTURE, _COMPARED, color, provenance)
        for number, label, color in _INKS
    )
    union = difference(labels_a, labels_b, numbers)
    return tuple(rows), Segmentation(volume.uid, volume.geometry, union, segments, "Difference")


def _flattened(
    placed: Sequence[_Placed], volume: Volume
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint16]], dict[SegmentRef, int]]:
    """All structures of a side in one array, later ones over earlier ones, and their numbers."""
    out = np.zeros(volume.geometry.shape, np.uint16)
    numbers = {_ref(one): number for number, one in enumerate(placed, start=1)}
    by_array: dict[str, Segmentation] = {one.uid: one for one, _ in placed}
    for segmentation in by_array.values():
        table = np.zeros(int(np.iinfo(segmentation.labels.dtype).max) + 1, np.uint16)
        for ref, number in numbers.items():
            if ref.segmentation_uid == segmentation.uid:
                table[ref.number] = number
        for target, labels in zip(out, segmentation.labels, strict=True):
            if labels.any():
                here = table[labels]
                np.copyto(target, here, where=here > 0)
    return out, numbers


def _ref(placed: _Placed) -> SegmentRef:
    return SegmentRef(placed[0].uid, placed[1].number)


def _detections(first: Reading, second: Reading, volume: Volume) -> Detections:
    ours, theirs = _boxes(first.findings, volume), _boxes(second.findings, volume)
    both = len(match_boxes(ours, theirs, LEAST_OVERLAP))
    return Detections(both, len(ours) - both, len(theirs) - both)


def _boxes(findings: Iterable[Finding], volume: Volume) -> list[BoxArray]:
    """Boxes of findings without a segment, in index space of the image; rejected ones left out."""
    boxes = []
    for finding in findings:
        picture = finding.picture_box
        if finding.review.state is ReviewState.REJECTED or finding.segment_ref is not None:
            continue  # segments are compared by their voxels
        if picture is not None:
            top, left, bottom, right = picture.box_px
            at = picture.slice_index
            boxes.append(np.array([[at, top, left], [at + 1, bottom, right]], np.float64))
        elif finding.box_lps_mm is not None:
            ends = np.array([volume.geometry.to_index(point) for point in finding.box_lps_mm])
            boxes.append(np.array([ends.min(axis=0), ends.max(axis=0)]))
    return boxes


def _statements(first: Reading, second: Reading) -> tuple[Statement, ...]:
    said = [
        {f.label: f.probability for f in reading.findings if _is_statement(f)}
        for reading in (first, second)
    ]
    return tuple(
        Statement(label, said[0].get(label), said[1].get(label), label in said[0], label in said[1])
        for label in dict.fromkeys((*said[0], *said[1]))
    )


def _is_statement(finding: Finding) -> bool:
    placed = finding.picture_box or finding.box_lps_mm or finding.segment_ref
    return placed is None and finding.review.state is not ReviewState.REJECTED


def _name(provenance: Provenance) -> tuple[str, str]:
    """What tells one author's reading from another's, and what it is called."""
    author: Author = provenance.author
    if isinstance(author, ModelAuthor):
        when = f"{provenance.made_at.astimezone():%H:%M:%S}"
        key = f"{author.model_id} {author.version} {provenance.job_uid}"
        return key, f"{author.model_id} {author.version}, {when}"
    return f"reader {author.name}", author.name


def is_about(finding: Finding, volume: Volume, workspace: Workspace) -> bool:
    """Whether a finding was made on an image, or on a segment of it."""
    ref = finding.segment_ref
    if ref is not None:
        segmentation = workspace.segmentations.get(ref.segmentation_uid)
        return segmentation is not None and segmentation.volume_uid == volume.uid
    job = workspace.jobs.get(finding.provenance.job_uid)
    inputs = set() if job is None else {item.uid for item in job.inputs}
    return volume.uid in inputs | set(finding.provenance.derived_from)
