"""The workspace: one way to change the reader's work, told by events, and honest undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psygnal import EmitLoopError

from medview.core import events
from medview.core.errors import ReportError
from medview.core.events import (
    Event,
    HistoryChanged,
    Level,
    LoadingChanged,
    SegmentationChanged,
    StudyClosed,
    StudyOpened,
    VolumeLoaded,
)
from medview.core.findings import Person, Provenance, utc_now
from medview.core.geometry import Box
from medview.core.segmentation import LabelEdit, Segmentation
from medview.core.study import Instance, Problem, Series
from medview.core.volume import Volume
from medview.services.edits import (
    AddSegmentation,
    ChangeFindings,
    ChangeSegments,
    Compound,
    Edit,
    FindingStep,
    PaintEdit,
)
from medview.services.history import History
from medview.services.workspace import SIGNAL_OF, Events, Workspace
from tests.helpers import desk
from tests.helpers.desk import SERIES, STUDY, VOLUME_UID


@pytest.fixture
def work() -> Workspace:
    made = desk.workspace()
    made.apply(AddSegmentation(STUDY, desk.segmentation(made), "Add"))
    return made


def listen(work: Workspace) -> list[Event]:
    heard: list[Event] = []
    for name in SIGNAL_OF.values():
        getattr(work.events, name).connect(heard.append)
    return heard


def test_every_event_has_its_signal() -> None:
    declared = set(events.Event.__args__)  # type: ignore[attr-defined]
    assert declared == set(SIGNAL_OF)
    assert sorted(SIGNAL_OF.values()) == sorted(Events().signals)


def test_opening_and_loading_are_told() -> None:
    work = Workspace()
    heard = listen(work)
    work.open_studies([desk.study()], [Problem(Path("a"), "torn")], sources=[Path("/d")])
    volume = Volume(VOLUME_UID, SERIES, desk.geometry(), np.zeros((6, 10, 12), np.int16))
    work.add_volume(volume)
    assert heard == [StudyOpened(STUDY), VolumeLoaded(VOLUME_UID)]
    assert work.volumes_of(SERIES) == (volume,)
    assert work.sources_of(STUDY) == (Path("/d"),)
    assert [problem.reason for problem in work.problems] == ["torn"]
    for uid in (STUDY, SERIES, VOLUME_UID):
        assert work.study_of(uid).uid == STUDY


def test_a_volume_of_no_open_study_is_refused() -> None:
    volume = Volume("v", "nowhere", desk.geometry(), np.zeros((6, 10, 12), np.int16))
    with pytest.raises(KeyError):
        Workspace().add_volume(volume)


def test_a_study_opened_again_grows() -> None:
    work = Workspace()
    first, second = (Instance(f"i{n}", "1", f"{n}") for n in (1, 2))
    old = replace(desk.study(), series=(Series("a", STUDY, "CT", "", (first,)),))
    more = (Series("a", STUDY, "CT", "", (first, second)), Series("b", STUDY, "CT", "", ()))
    work.open_studies([old])
    work.open_studies([replace(old, series=more)])
    assert [series.uid for series in work.studies[STUDY].series] == ["a", "b"]
    assert {i.sop_instance_uid for i in work.series("a").instances} == {"i1", "i2"}


def test_closing_frees_everything_of_a_study(work: Workspace) -> None:
    class Hold:
        closed = False

        def close(self) -> None:
            self.closed = True

    hold = Hold()
    volume = Volume("w", SERIES, desk.geometry(), np.zeros((6, 10, 12), np.int16))
    work.add_volume(volume, hold)
    assert work.hold_of("w") is hold
    work.put_job(desk.job(work))
    last_look: list[int] = []
    work.on_closing(lambda _uid: last_look.append(len(work.segmentations)))
    heard = listen(work)
    work.close_study(STUDY)
    assert heard == [StudyClosed(STUDY)]
    assert last_look == [1]
    assert hold.closed
    left = (work.studies, work.volumes, work.segmentations, work.findings, work.jobs)
    assert not any(left)
    assert not work.history.can_undo


def test_events_carry_the_box_and_revisions_rise(work: Workspace) -> None:
    heard = listen(work)
    uid, before = next((s.uid, s.revision) for s in work.segmentations.values())
    box = Box((0, 2, 3), (1, 5, 7))
    edit = desk.dab(work, box, 2)
    assert edit is not None
    work.apply(edit)
    assert heard == [SegmentationChanged(uid, box), HistoryChanged()]
    work.history.undo()
    work.history.redo()
    assert work.segmentations[uid].revision == before + 3


def test_labels_can_be_written_by_edits_alone(work: Workspace) -> None:
    shown = next(iter(work.segmentations.values()))
    with pytest.raises(ValueError, match="read-only"):
        shown.labels[0, 0, 0] = 1


def test_read_only_labels_are_copied_and_others_taken_over() -> None:
    work = desk.workspace()
    frozen = desk.segmentation(work)
    frozen.labels.setflags(write=False)
    work.apply(AddSegmentation(STUDY, frozen, "Add"))
    edit = desk.dab(work, Box((0, 0, 0), (1, 1, 1)), 1)
    assert edit is not None
    work.apply(edit)
    assert work.segmentations[frozen.uid].labels[0, 0, 0] == 1
    assert frozen.labels[0, 0, 0] == 0


def test_a_segmentation_that_comes_back_keeps_no_old_revision(work: Workspace) -> None:
    uid = next(iter(work.segmentations))
    revision = work.segmentations[uid].revision
    work.history.undo()
    assert uid not in work.segmentations
    work.history.redo()
    assert work.segmentations[uid].revision > revision


@pytest.mark.parametrize(
    "change",
    [
        lambda work: work.close_study(STUDY),
        lambda work: work.open_studies([desk.study("9")]),
        lambda work: work.history.undo(),
        lambda work: work.put_job(desk.job(work)),
    ],
)
def test_changing_state_inside_a_handler_raises(
    work: Workspace, change: Callable[[Workspace], None]
) -> None:
    before = desk.fingerprint(work)
    work.events.loading_changed.connect(lambda _event: change(work))
    with pytest.raises(EmitLoopError) as raised:
        work.emit(LoadingChanged(SERIES, 0.5))
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert desk.fingerprint(work) == before
    assert work.history.can_undo


def test_an_edit_made_for_another_state_changes_nothing(work: Workspace) -> None:
    edit = desk.dab(work, Box((1, 0, 0), (2, 2, 2)), 2)
    assert edit is not None
    work.apply(edit)
    before = desk.fingerprint(work)
    heard = listen(work)
    first = next(iter(work.segmentations.values()))
    renamed = tuple(replace(s, label="Other") for s in first.segments)
    change = ChangeSegments(STUDY, first.uid, first.segments, renamed, "Rename")
    with pytest.raises(ValueError, match="labels are not those"):
        work.apply(Compound(STUDY, "Both", (change, edit)))
    assert desk.fingerprint(work) == before
    assert heard == []
    assert work.history.undo_title == "Paint: 2"


def test_a_follower_that_fails_undoes_the_edit(work: Workspace) -> None:
    def refuse(_edit: Edit) -> Edit | None:
        raise ReportError("no")

    before = desk.fingerprint(work)
    work.follow(refuse)
    edit = desk.dab(work, Box((1, 0, 0), (2, 2, 2)), 2)
    assert edit is not None
    with pytest.raises(ReportError):
        work.apply(edit)
    assert desk.fingerprint(work) == before
    assert work.history.undo_title == "Add"


def test_what_cannot_be_undone_is_no_entry(work: Workspace) -> None:
    edit = desk.dab(work, Box((1, 0, 0), (2, 2, 2)), 2)
    assert edit is not None
    work.apply(edit, undoable=False)
    assert work.history.undo_title == "Add"


def test_notices_are_kept_for_those_who_come_later(work: Workspace) -> None:
    work.notify(Level.WARNING, "Mind the gap", "Look down")
    assert [(n.level, n.text, n.hint) for n in work.notices] == [
        (Level.WARNING, "Mind the gap", "Look down")
    ]


def test_the_reader_is_who_the_settings_say_unless_told_otherwise() -> None:
    work = desk.workspace(reader="")
    assert work.reader == ""
    assert work._settings is not None
    work._settings.set("reader.name", " Dr Bea ")
    assert work.reader == "Dr Bea"
    work.reader = "Dr Cid"
    assert work.reader == "Dr Cid"


# History


def test_dabs_of_one_stroke_are_one_entry(work: Workspace) -> None:
    before = desk.fingerprint(work)
    for row in range(5):
        edit = desk.dab(work, Box((0, row, 0), (1, row + 1, 4)), 1, stroke="s1")
        assert edit is not None
        work.apply(edit)
    assert len(work.history.entries(STUDY)) == 2
    work.history.undo()
    assert desk.fingerprint(work) == before
    work.history.redo()
    assert (next(iter(work.segmentations.values())).labels[0, :5, :4] == 1).all()


def test_each_study_has_its_own_history() -> None:
    work = desk.workspace()
    other = desk.study("7.7")
    work.open_studies([other])
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Add"))
    assert work.history.undo_title == "Add"
    work.history.focus("7.7")
    assert not work.history.can_undo
    assert not work.history.undo()
    work.history.focus(STUDY)
    assert work.history.undo()
    assert (work.history.redo_title, work.history.undo_title) == ("Add", "")


class _Costly:
    def __init__(self, name: str, cost_bytes: int) -> None:
        self.title, self.cost_bytes = name, cost_bytes
        self.study_uid, self.stroke = STUDY, ""

    def apply(self, _work: object) -> None: ...

    def revert(self, _work: object) -> None: ...


def test_old_entries_go_above_the_limit_but_the_newest_stay() -> None:
    history = History(lambda _edit: None, lambda _edit: None, limit_bytes=1000, keep=20)
    for number in range(30):
        history.push(_Costly(str(number), 10))
    assert len(history.entries(STUDY)) == 30
    history.push(_Costly("big", 5000))
    assert [edit.title for edit in history.entries(STUDY)] == [
        *(str(n) for n in range(11, 30)),
        "big",
    ]


def test_a_new_step_ends_redo(work: Workspace) -> None:
    work.history.undo()
    assert work.history.can_redo
    work.apply(AddSegmentation(STUDY, desk.segmentation(work), "Another"))
    assert not work.history.can_redo
    assert not work.history.redo()


def _random_edit(draw: st.DrawFn, work: Workspace) -> Edit | None:
    kind = draw(st.sampled_from(["paint", "paint", "stroke", "segments", "finding", "drop", "add"]))
    first = next(iter(work.segmentations.values()), None)
    if kind == "add" or first is None:
        return AddSegmentation(STUDY, desk.segmentation(work), "Add")
    if kind in ("paint", "stroke"):
        start = [draw(st.integers(0, n - 1)) for n in first.geometry.shape]
        stop = [
            draw(st.integers(a + 1, n)) for a, n in zip(start, first.geometry.shape, strict=True)
        ]
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return desk.dab(work, box, draw(st.integers(0, 2)), stroke="" if kind == "paint" else "s")
    if kind == "segments":
        renamed = tuple(replace(s, label=f"{s.label}'") for s in first.segments)
        return ChangeSegments(STUDY, first.uid, first.segments, renamed, "Rename")
    found = list(work.findings_of(STUDY))
    if kind == "drop" and found:
        return ChangeFindings(STUDY, (FindingStep(draw(st.sampled_from(found)), None),), "Remove")
    new = desk.finding(None, draw(st.floats(0, 9)), "New")
    author = Provenance(Person("A"), utc_now())
    return ChangeFindings(STUDY, (FindingStep(None, replace(new, provenance=author)),), "Add")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_undo_and_redo_lead_back_to_every_state_there_was(data: st.DataObject) -> None:
    """Random edits, undo, redo: every state reached again has the hash it had (promise W13)."""
    work = desk.workspace()
    draw = data.draw
    states = [desk.fingerprint(work)]
    at = 0
    for _ in range(draw(st.integers(5, 25))):
        step = draw(st.sampled_from(["edit", "edit", "undo", "redo"]))
        if step == "edit":
            count = len(work.history.entries(STUDY))
            edit = _random_edit(draw, work)
            if edit is None:
                continue
            work.apply(edit)
            joined = len(work.history.entries(STUDY)) == count
            at = at if joined else at + 1
            states[at:] = [desk.fingerprint(work)]
        elif step == "undo":
            at -= work.history.undo()
        else:
            at += work.history.redo()
        assert desk.fingerprint(work) == states[at]
    while work.history.undo():
        at -= 1
        assert desk.fingerprint(work) == states[at]
    assert at == 0
    while work.history.redo():
        at += 1
        assert desk.fingerprint(work) == states[at]
    assert at == len(states) - 1


@given(
    before=st.binary(min_size=60, max_size=60),
    after=st.binary(min_size=60, max_size=60),
    wide=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_reverting_a_label_edit_gives_back_every_voxel(
    before: bytes, after: bytes, wide: bool
) -> None:
    kind = np.uint16 if wide else np.uint8
    work = desk.workspace(shape=(3, 4, 5))
    volume = next(iter(work.volumes.values()))
    old = np.frombuffer(before, np.uint8).reshape(3, 4, 5).astype(kind)
    new = np.frombuffer(after, np.uint8).reshape(3, 4, 5).astype(kind)
    made = Segmentation(volume.uid, volume.geometry, old.copy(), ())
    work.apply(AddSegmentation(STUDY, made, "Add"))
    change = LabelEdit.between(work.segmentations[made.uid], Box.whole((3, 4, 5)), new, "All")
    if change is None:
        assert (old == new).all()
        return
    work.apply(PaintEdit(STUDY, change))
    assert (work.segmentations[made.uid].labels == new).all()
    work.history.undo()
    assert (work.segmentations[made.uid].labels == old).all()
