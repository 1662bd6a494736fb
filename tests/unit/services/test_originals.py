"""What a model proposed is known to the voxel, whatever a reader did to it since."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.codes import AREA
from medview.core.findings import Finding, Person, Provenance, SegmentRef, utc_now
from medview.core.geometry import Box
from medview.imaging.measure import PIXELS_OF_SEGMENT
from medview.services.comparison import compare, readings
from medview.services.corrections import Corrections
from medview.services.edits import AddSegmentation, ChangeFindings, FindingStep
from medview.services.first_read import FirstRead
from medview.services.kept_results import ModelOutput
from medview.services.map_files import MapFiles
from medview.services.originals import Original, Originals, count_changes
from medview.services.outcomes import Outcomes
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import STUDY, VOLUME_UID

SHAPE = (6, 10, 12)


def _box(numbers: Sequence[int]) -> Box:
    """A box inside the grid from six numbers of any size."""
    ends = [sorted((a % (n + 1), b % (n + 1))) for n, a, b in
            zip(SHAPE, numbers[:3], numbers[3:], strict=True)]  # fmt: skip
    starts = [min(low, n - 1) for n, (low, _) in zip(SHAPE, ends, strict=True)]
    stops = [max(high, low + 1) for low, (_, high) in zip(starts, ends, strict=True)]
    return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))


def _proposed() -> tuple[Workspace, ReviewDesk, Originals, str]:
    work = desk.workspace(shape=SHAPE)
    originals = Originals(work)
    review, _ = desk.desk(work)
    desk.propose(work, review)
    return work, review, originals, next(iter(work.segmentations))


#: What a reader does: paint a box with a label, take a step back, or do it again.
ACTS = st.lists(
    st.one_of(
        st.tuples(st.lists(st.integers(0, 50), min_size=6, max_size=6), st.integers(0, 2)),
        st.sampled_from(["undo", "redo"]),
    ),
    max_size=12,
)


@given(ACTS)
def test_the_original_is_the_proposal_after_any_strokes_and_steps_back(
    acts: list[tuple[list[int], int] | str],
) -> None:
    work, _, originals, uid = _proposed()
    before = work.segmentations[uid]
    kept = before.labels.copy()
    for act in acts:
        if act == "undo":
            if work.history.undo_title.startswith("Paint"):
                work.history.undo()
        elif act == "redo":
            work.history.redo()
        elif (edit := desk.dab(work, _box(act[0]), int(act[1]))) is not None:
            work.apply(edit)
    now = work.segmentations[uid]
    original = originals.of(uid)
    assert original is not None
    whole = original.restored(now)
    np.testing.assert_array_equal(whole.labels, kept)
    assert whole.segments == before.segments
    counts = count_changes(now.labels, original.patches)
    for number in (1, 2):
        there, here = kept == number, now.labels == number
        counted = counts.get(number)
        # Where nothing was changed both agree: the difference of the counts is that of all voxels.
        gained = 0 if counted is None else counted.second - counted.both
        lost = 0 if counted is None else counted.first - counted.both
        assert (gained, lost) == ((here & ~there).sum(), (there & ~here).sum())


def test_deleting_a_structure_keeps_what_it_was() -> None:
    work, review, originals, uid = _proposed()
    review.delete_segment(SegmentRef(uid, 2))
    original = originals.changed(uid)
    assert original is not None
    whole = original.restored(work.segmentations[uid])
    assert [segment.number for segment in whole.segments] == [1, 2]
    assert (whole.labels == 2).sum() == 120


def test_what_a_reader_painted_has_no_original() -> None:
    work = desk.workspace(shape=SHAPE)
    originals = Originals(work)
    mine = desk.segmentation(work)
    author = Provenance(Person("Dr Ada"), utc_now(), "")
    segments = tuple(replace(segment, provenance=author) for segment in mine.segments)
    work.apply(AddSegmentation(STUDY, replace(mine, segments=segments), "New"))
    edit = desk.dab(work, Box((3, 0, 0), (4, 2, 2)), 1)
    assert edit is not None
    work.apply(edit)
    assert originals.of(mine.uid) is None


def test_many_dabs_of_a_stroke_cost_little() -> None:
    work, _, originals, uid = _proposed()
    for _ in range(5):
        for number in (1, 0):
            edit = desk.dab(work, Box((3, 0, 0), (4, 5, 5)), number)
            assert edit is not None
            work.apply(edit)
    original = originals.changed(uid)
    assert original is not None
    assert len(original.patches) == 1


def test_a_closed_study_is_forgotten() -> None:
    work, _, originals, uid = _proposed()
    work.close_study(STUDY)
    assert originals.of(uid) is None


def _settled(tasks: Tasks, until: object) -> None:
    end = time.monotonic() + 20
    while not until():  # type: ignore[operator]
        assert time.monotonic() < end
        tasks.wait(0.02)
        tasks.pump()


def test_a_correction_is_told_in_dice_and_volume() -> None:
    """120 voxels proposed; the reader adds 60 and takes 20 away: Dice 2 x 100 / (120 + 160)."""
    work, _, originals, uid = _proposed()
    tasks = Tasks(preload=())
    corrections = Corrections(work, originals, tasks)
    first, second = (_of(work, uid, number) for number in (1, 2))
    assert corrections.of(first) is None
    for box, number in ((Box((3, 0, 0), (4, 5, 12)), 1), (Box((1, 0, 0), (2, 2, 10)), 0)):
        edit = desk.dab(work, box, number)
        assert edit is not None
        work.apply(edit)
    _settled(tasks, lambda: corrections.of(_of(work, uid, 1)) is not None)
    told = corrections.of(_of(work, uid, 1))
    assert told is not None
    assert told.dice == pytest.approx(200 / 280)
    assert told.change == pytest.approx(160 / 120 - 1)
    assert corrections.of(second) is None
    while work.history.undo_title.startswith("Paint"):
        work.history.undo()
    _settled(tasks, lambda: corrections.of(_of(work, uid, 1)) is None)
    tasks.close()


def test_a_correction_of_a_picture_is_told_in_its_area() -> None:
    """The reader adds 60 pixels to 120."""
    work, _, originals, uid = _proposed()
    tasks = Tasks(preload=())
    corrections = Corrections(work, originals, tasks)
    first = _of(work, uid, 1)
    (volume,) = first.measurements
    _, down, across = work.segmentations[uid].geometry.spacing_mm
    area = replace(
        volume, kind=AREA, value=120 * down * across, unit="mm2", method=PIXELS_OF_SEGMENT
    )
    step = FindingStep(first, replace(first, measurements=(area,)))
    work.apply(ChangeFindings(STUDY, (step,), "Measured as a picture"))
    edit = desk.dab(work, Box((3, 0, 0), (4, 5, 12)), 1)
    assert edit is not None
    work.apply(edit)
    _settled(tasks, lambda: corrections.of(_of(work, uid, 1)) is not None)
    told = corrections.of(_of(work, uid, 1))
    assert told is not None
    assert (told.what, told.change) == ("area", pytest.approx(60 / 120))
    bare = FindingStep(_of(work, uid, 1), replace(_of(work, uid, 1), measurements=()))
    work.apply(ChangeFindings(STUDY, (bare,), "Not measured"))
    assert corrections.of(_of(work, uid, 1)) is None
    tasks.close()


def _of(work: Workspace, uid: str, number: int) -> Finding:
    ref = SegmentRef(uid, number)
    return next(one for one in work.findings.values() if one.segment_ref == ref)


def test_original_and_correction_are_two_readings(tmp_path: object) -> None:
    work, review, originals, _ = _proposed()
    output = ModelOutput(Outcomes(), originals, MapFiles(tmp_path, 0))  # type: ignore[arg-type]
    first_read = FirstRead(work, Settings(None), review._audit)
    volume = work.volumes[VOLUME_UID]
    (only,) = readings(work, first_read, volume, output)
    edit = desk.dab(work, Box((1, 0, 0), (2, 5, 12)), 2)  # half of structure 1 becomes 2
    assert edit is not None
    work.apply(edit)
    proposed, corrected = readings(work, first_read, volume, output)
    assert corrected.key == only.key
    assert proposed.title.endswith("as proposed")
    found = compare(proposed, corrected, volume)
    assert [row.dice for row in found.structures] == pytest.approx([120 / 180, 240 / 300])
    assert [row.second_ml / row.first_ml for row in found.structures] == pytest.approx([0.5, 1.5])  # type: ignore[operator]
    assert found.first.segmentations[0].labels is not work.segmentations


def test_an_original_without_patches_is_the_segmentation_itself() -> None:
    work, _, _, uid = _proposed()
    now = work.segmentations[uid]
    np.testing.assert_array_equal(Original(now.segments).restored(now).labels, now.labels)
