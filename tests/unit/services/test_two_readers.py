"""Two readers and an adjudicator: kept apart while they read, compared when both are done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from medview.core.errors import CommandError, ReportError
from medview.core.findings import (
    Finding,
    ModelAuthor,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    utc_now,
)
from medview.core.geometry import Box
from medview.imaging.agreement import cohen_kappa
from medview.services.audit import Audit
from medview.services.edits import ChangeSegments, FindingStep
from medview.services.originals import Originals
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.store import Store
from medview.services.two_readers import NEITHER, TwoReaders
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import STUDY

ADA, BEA, CARL = "Dr Ada", "Dr Bea", "Dr Carl"
HELPER = ModelAuthor("clicks", "2.1.0", "cd" * 32)


@dataclass
class Room:
    """A desk where two read."""

    work: Workspace
    review: ReviewDesk
    two: TwoReaders
    settings: Settings
    audit: Audit
    uids: tuple[str, ...]

    def sit(self, name: str) -> None:
        self.work.reader = name

    def state(self, uid: str) -> ReviewState:
        return self.work.findings[uid].review.state

    def seen(self) -> dict[str, Finding]:
        both = (self.two.lens(one) for one in self.work.findings_of(STUDY))
        return {one.uid: one for one in both if one is not None}


@pytest.fixture
def room() -> Room:
    work = desk.workspace()
    originals = Originals(work)
    review, audit = desk.desk(work)
    settings = Settings(None)
    settings.set("reading.readers", "two")
    two = TwoReaders(work, review, settings, audit, originals)
    uids = desk.propose(work, review)
    return Room(work, review, two, settings, audit, uids)


def test_kappa_is_the_published_one() -> None:
    # Table of Cohen's kappa as it is taught: 20, 5, 10, 15 of 50 give 0.4.
    assert cohen_kappa(20, 5, 10, 15) == pytest.approx(0.4)
    assert cohen_kappa(25, 0, 0, 25) == 1
    assert cohen_kappa(0, 25, 25, 0) == -1
    assert cohen_kappa(0, 0, 0, 0) is None
    assert cohen_kappa(9, 0, 0, 0) is None


def test_neither_sees_the_other_and_nothing_counts_before_both_are_done(room: Room) -> None:
    first, second = room.uids
    room.review.accept(first)
    room.review.reject(second, "False positive")
    assert room.seen()[first].review.state is ReviewState.ACCEPTED
    assert room.state(first) is ReviewState.PROPOSED
    assert room.work.report_of(STUDY) is None
    room.sit(BEA)
    assert room.seen()[first].review.state is ReviewState.PROPOSED
    assert room.seen()[second].review.reason == ""
    with pytest.raises(CommandError, match="2 findings are not decided"):
        room.two.finish(STUDY)
    with pytest.raises(CommandError, match="finish first"):
        room.two.agreement(STUDY)


def test_what_both_say_holds_and_a_third_settles_the_rest(room: Room) -> None:
    first, second = room.uids
    for name, keeps in ((ADA, True), (BEA, False)):
        room.sit(name)
        room.review.accept(first)
        if keeps:
            room.review.edit(second, label="Cyst")
        else:
            room.review.reject(second, "Artefact")
        room.two.finish(STUDY)
        with pytest.raises(ReportError, match="has finished"):
            room.review.reject(first)
    assert room.state(first) is ReviewState.ACCEPTED
    assert room.work.findings[first].review.by == f"{ADA} and {BEA}"
    assert room.state(second) is ReviewState.PROPOSED
    agreement = room.two.agreement(STUDY)
    assert (agreement.both, agreement.only_first, agreement.only_second, agreement.neither) == (
        1, 1, 0, 0,
    )  # fmt: skip
    assert [one.uid for one in agreement.disputed] == [second]
    with pytest.raises(CommandError, match="one of the two"):
        room.two.settle(second, ADA)
    room.sit(CARL)
    with pytest.raises(CommandError, match="has not read"):
        room.two.settle(second, "Nobody")
    room.two.settle(second, ADA, "Seen on both planes")
    settled = room.work.findings[second]
    assert (settled.label, settled.review.state, settled.review.by) == (
        "Cyst",
        ReviewState.EDITED,
        CARL,
    )
    assert "as Dr Ada" in settled.review.reason
    report = room.work.report_of(STUDY)
    assert report is not None
    assert {finding.uid for finding in report.findings} == {first, second}
    assert not room.two.agreement(STUDY).disputed
    room.work.history.undo()
    room.two.settle(second, NEITHER)
    assert room.state(second) is ReviewState.REJECTED
    assert room.audit.verify() == ()


def test_a_third_reader_is_refused(room: Room) -> None:
    for name in (ADA, BEA):
        room.sit(name)
        room.review.accept(room.uids[0])
    room.sit(CARL)
    with pytest.raises(ReportError, match="read this study"):
        room.review.accept(room.uids[0])


def test_labels_go_back_for_the_second_reader_and_are_compared_by_dice(room: Room) -> None:
    first = room.uids[0]
    (segmentation,) = room.work.segmentations.values()
    before = segmentation.labels.copy()
    edit = desk.dab(room.work, Box((4, 0, 0), (5, 5, 12)), 1)  # 60 voxels more than the 120
    assert edit is not None
    room.work.apply(edit)
    for uid in room.uids:
        room.review.accept(uid)
    room.two.finish(STUDY)
    now = room.work.segmentations[segmentation.uid]
    np.testing.assert_array_equal(now.labels, before)
    copies = [s for s in room.work.segmentations.values() if s.uid != segmentation.uid]
    assert [int((one.labels == 1).sum()) for one in copies] == [180]
    assert not room.two.conceals(copies[0])
    room.sit(BEA)
    assert room.two.conceals(copies[0])
    assert room.seen()[first].measurements[0].value == pytest.approx(0.24)
    for uid in room.uids:
        room.review.accept(uid)
    room.two.finish(STUDY)
    agreement = room.two.agreement(STUDY)
    dice = {one.label: one.dice for one in agreement.structures}
    assert dice["Left structure 1"] == pytest.approx(2 * 120 / (120 + 180))
    assert dice["Left structure 2"] == 1
    assert [one.uid for one in agreement.disputed] == [first]
    room.sit(CARL)
    room.two.settle(first, ADA)
    labels = room.work.segmentations[segmentation.uid].labels
    assert int((labels == 1).sum()) == 180
    finding = room.work.findings[first]
    assert finding.measurements[0].value == pytest.approx(0.36)
    assert finding.review.state is ReviewState.EDITED


def test_what_both_corrected_alike_holds_in_the_labels_too(room: Room) -> None:
    (one,) = room.work.segmentations.values()
    for name in (ADA, BEA):
        room.sit(name)
        for box, number in ((Box((4, 0, 0), (5, 5, 12)), 1), (Box((5, 0, 0), (6, 5, 12)), 2)):
            edit = desk.dab(room.work, box, number)
            assert edit is not None
            room.work.apply(edit)
        for uid in room.uids:
            room.review.accept(uid)
        room.two.finish(STUDY)
    assert not room.two.agreement(STUDY).disputed
    labels = room.work.segmentations[one.uid].labels
    for number, uid in enumerate(room.uids, start=1):
        finding = room.work.findings[uid]
        assert finding.review.by == f"{ADA} and {BEA}"
        assert finding.measurements[0].value == pytest.approx(0.36)
        assert int((labels == number).sum()) == 180


def test_what_one_added_is_hidden_from_the_other_and_disputed(room: Room) -> None:
    now = utc_now()
    mine = Finding(
        "Mass", desk.HIPPOCAMPUS, Provenance(Person(ADA), now),
        picture_box=PictureBox((1, 1, 4, 4)), review=Review(ReviewState.ACCEPTED, ADA, now),
    )  # fmt: skip
    room.review.decide([FindingStep(None, mine)], "Add: Mass", "finding.add", study_uid=STUDY)
    for name in (ADA, BEA):
        room.sit(name)
        assert (mine.uid in room.seen()) == (name == ADA)
        for uid in room.uids:
            room.review.accept(uid)
        room.two.finish(STUDY)
    agreement = room.two.agreement(STUDY)
    assert [one.uid for one in agreement.disputed] == [mine.uid]
    assert (agreement.both, agreement.only_first) == (2, 1)


def test_boxes_of_both_are_compared(room: Room) -> None:
    now = utc_now()
    box = PictureBox((0, 0, 4, 4))
    one = Finding("Mass", desk.HIPPOCAMPUS, Provenance(desk.MODEL, now, "job"), picture_box=box)
    room.work.reader = ADA
    for name, edges in ((ADA, (0, 0, 4, 4)), (BEA, (0, 2, 4, 6))):
        room.sit(name)
        for uid in room.uids:
            room.review.reject(uid)
        review = Review(ReviewState.EDITED, name, utc_now())
        known = room.work.findings.get(one.uid)
        after = replace(one, picture_box=PictureBox(edges), review=review)
        step = FindingStep(known, after)
        room.review.decide([step], "Move box", "finding.reshape", study_uid=STUDY)
        room.two.finish(STUDY)
    agreement = room.two.agreement(STUDY)
    assert [shared.dice for shared in agreement.boxes] == [pytest.approx(0.5)]
    assert agreement.kappa == 1


def test_who_has_finished_adds_nothing_either(room: Room) -> None:
    for uid in room.uids:
        room.review.accept(uid)
    room.two.finish(STUDY)
    now = utc_now()
    late = Finding(
        "Mass", desk.HIPPOCAMPUS, Provenance(Person(ADA), now),
        picture_box=PictureBox((1, 1, 4, 4)), review=Review(ReviewState.ACCEPTED, ADA, now),
    )  # fmt: skip
    with pytest.raises(ReportError, match="Dr Ada has finished reading this study"):
        room.review.decide([FindingStep(None, late)], "Add", "finding.add", study_uid=STUDY)
    assert late.uid not in room.work.findings


def test_models_that_helped_a_reader_stand_with_what_that_reader_made(room: Room) -> None:
    (one,) = room.work.segmentations.values()
    edit = desk.dab(room.work, Box((4, 0, 0), (5, 5, 12)), 1)
    assert edit is not None
    room.work.apply(edit)
    first, second = one.segments
    helped = replace(first, provenance=first.provenance.aided_by(HELPER))
    segments = (helped, second)
    room.work.apply(ChangeSegments(STUDY, one.uid, one.segments, segments, "Clicks"))
    for name in (ADA, BEA):
        room.sit(name)
        for uid in room.uids:
            room.review.accept(uid)
        room.two.finish(STUDY)
    (copy,) = (s for s in room.work.segmentations.values() if s.uid != one.uid)
    assert [segment.provenance.aids for segment in copy.segments] == [(HELPER,), ()]
    assert {segment.provenance.author for segment in copy.segments} == {Person(ADA)}

    def aids() -> list[tuple[ModelAuthor, ...]]:
        things = (*room.work.segmentations[one.uid].segments, *room.work.findings_of(STUDY))
        return [thing.provenance.aids for thing in things]

    assert aids() == [(), (), (), ()]
    assert [m.value for m in room.work.findings[room.uids[0]].measurements] == [pytest.approx(0.24)]
    room.sit(CARL)
    room.two.settle(room.uids[0], ADA)
    assert aids() == [(HELPER,), (), (HELPER,), ()]
    assert [m.value for m in room.work.findings[room.uids[0]].measurements] == [pytest.approx(0.36)]
    room.work.history.undo()
    assert aids() == [(), (), (), ()]


def test_who_has_finished_is_known_after_a_new_start(room: Room) -> None:
    for uid in room.uids:
        room.review.accept(uid)
    room.two.finish(STUDY)
    again = TwoReaders(room.work, room.review, room.settings, room.audit, Originals(room.work))
    assert again.finished(STUDY) == (ADA,)


def test_one_reader_decides_as_ever() -> None:
    work = desk.workspace()
    review = ReviewDesk(work, Audit(Store(None)), desk.TEMPLATES)
    two = TwoReaders(work, review, Settings(None), Audit(Store(None)), Originals(work))
    uids = desk.propose(work, review)
    review.accept(uids[0])
    assert work.findings[uids[0]].review.state is ReviewState.ACCEPTED
    assert work.findings[uids[0]].opinions == ()
    with pytest.raises(CommandError, match="One reader"):
        two.finish(STUDY)
