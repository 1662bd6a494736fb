"""A reader at random: changes the work in every way, and knows where undo must lead back to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medview.core.errors import CommandError, MedviewError
from medview.core.findings import Finding, ReviewState, SegmentRef
from medview.core.report import Report
from medview.core.segmentation import Segmentation, SegmentState
from medview.core.timeline import ClipTrack
from medview.core.volume import Volume
from medview.services.commands import Registry
from medview.services.edits import Edit
from medview.services.journal import to_text
from medview.services.kept import read_kept
from medview.services.steps import KEPT_STEPS
from medview.services.workspace import Workspace

#: Codes that the shipped list of structures knows: liver, kidney, spleen.
_TYPES = ("10200004", "64033007", "78961009")
_PEOPLE = ("Dr Ada", "Dr Bea", "Dr Cay")
_WORDS = ("clear", "a nodule", "5 mm", "unchanged", "Läsion links", "=SUM(A1)", "none")
_TEMPLATES = ("chest_ct", "general", "abdomen_ct", "")


def state_of(workspace: Workspace) -> str:
    """A digest of all that readers and models made of the open studies."""
    return _digest(
        workspace.segmentations.values(),
        [one for uid in sorted(workspace.studies) for one in workspace.findings_of(uid)],
        [one for uid in sorted(workspace.studies) for one in workspace.versions_of(uid)],
        workspace.tracks.values(),
    )


def state_kept(store: Path, study_uid: str) -> str:
    """The same digest of what a store holds of one study."""
    kept = read_kept(store, study_uid)
    return _digest([one for _, one in kept.segmentations], kept.findings, kept.reports, kept.tracks)


def _digest(
    segmentations: Iterable[Segmentation],
    findings: Iterable[Finding],
    reports: Iterable[Report],
    tracks: Iterable[ClipTrack],
) -> str:
    digest = hashlib.sha256()
    for one in sorted(segmentations, key=lambda one: one.uid):
        digest.update(f"{one.uid}{one.title}{to_text(list(one.segments))}".encode())
        digest.update(np.ascontiguousarray(one.labels).tobytes())
    for finding in sorted(findings, key=lambda one: one.uid):
        digest.update(to_text(finding).encode())
    for report in reports:
        digest.update(to_text(report).encode())
    for track in sorted(tracks, key=lambda one: one.uid):
        digest.update(to_text(track).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class _Known:
    """The states before and after one entry of the history, which is kept so that its id is."""

    edit: Edit
    before: str
    after: str


class Editor:
    """Does one thing after the other with the study that is open, and watches the history.

    `on_state(state, stack)` is told every state, with those that undo must lead back to, the
    oldest first. What undo or redo led to instead of what it should is kept in `faults`.
    """

    def __init__(
        self,
        workspace: Workspace,
        commands: Registry,
        seed: int,
        on_state: Callable[[str, list[str]], object] = lambda _state, _stack: None,
    ) -> None:
        self.faults: list[str] = []
        self.done: dict[str, int] = {}
        self._workspace = workspace
        self._commands = commands
        self._chance = random.Random(seed)  # noqa: S311
        self._on_state = on_state
        self._known: dict[int, _Known] = {}
        self._entries: tuple[Edit, ...] = ()
        self._state = ""
        self._actions = [name for name in dir(self) if name.startswith("do_")]

    # Watching

    @property
    def state(self) -> str:
        """The state noted last."""
        return self._state

    @property
    def stack(self) -> list[str]:
        """The states before each of the steps that are kept, the oldest first."""
        return [self._known[id(edit)].before for edit in self._entries[-KEPT_STEPS:]]

    def begin(self, stack: Sequence[str] = ()) -> None:
        """Start from the work as it is; `stack` is what undo must lead back to."""
        self._state, self._entries = state_of(self._workspace), self._history()
        after = [*stack[1:], self._state]
        for edit, old, new in zip(self._entries, stack, after, strict=False):
            self._known[id(edit)] = _Known(edit, old, new)
        for edit in self._entries[len(stack) :]:  # of which nothing is known
            self._known[id(edit)] = _Known(edit, self._state, self._state)
        self._workspace.events.history_changed.connect(self._look)

    def end(self) -> None:
        """Watch no longer."""
        self._workspace.events.history_changed.disconnect(self._look)

    def _look(self, _event: object) -> None:
        self.note()

    def note(self) -> None:
        """Take in what changed; a fault where undo or redo led elsewhere."""
        entries, state = self._history(), state_of(self._workspace)
        old = self._entries
        if len(entries) == len(old) - 1 and entries == old[:-1]:
            self._expect(self._known[id(old[-1])].before, state, f"undo {old[-1].title}")
        elif entries and id(entries[-1]) in self._known and len(entries) == len(old) + 1:
            self._expect(self._known[id(entries[-1])].after, state, f"redo {entries[-1].title}")
        elif entries and id(entries[-1]) not in self._known:
            joins = len(entries) == len(old) and entries[-1].stroke and old[-1].stroke
            before = self._known[id(old[-1])].before if joins else self._state
            self._known[id(entries[-1])] = _Known(entries[-1], before, state)
        told = state != self._state or entries != old
        self._entries, self._state = entries, state
        if told:
            self._on_state(state, self.stack)

    def _expect(self, wanted: str, found: str, what: str) -> None:
        if wanted != found:
            self.faults.append(f"{what}: {found} instead of {wanted}")

    def _history(self) -> tuple[Edit, ...]:
        return self._workspace.history.entries(next(iter(self._workspace.studies), ""))

    # Doing

    def step(self) -> str:
        """Do something, or be refused; what it was."""
        name = self._chance.choice([*self._actions, *["do_undo", "do_redo", "do_paint"] * 4])
        try:
            getattr(self, name)()
        except MedviewError:
            return ""
        finally:
            self.note()
        self.done[name] = self.done.get(name, 0) + 1
        return name

    def pick(self, things: Sequence[Any]) -> Any:
        """One of several things, by the same chance."""
        return self._chance.choice(list(things))

    def undo_all(self, most: int = 1000) -> int:
        """Take steps back and do them again; how many."""
        count = 0
        while count < most and self._workspace.history.can_undo:
            self._run("edit.undo")
            count += 1
        for _ in range(count):
            self._run("edit.redo")
        return count

    def _run(self, command: str, **arguments: Any) -> Any:
        return self._commands.run(command, **arguments)

    @property
    def _volume(self) -> Volume:
        return next(iter(self._workspace.volumes.values()))

    def _place(self) -> list[float]:
        grid = self._volume.geometry
        index = [self._chance.uniform(0.15, 0.85) * n for n in grid.shape]
        return [float(value) for value in grid.to_lps_mm(np.array(index))]

    def _outline(self) -> list[list[float]]:
        grid = self._volume.geometry
        k, j, i = (self._chance.uniform(0.25, 0.75) * n for n in grid.shape)
        turns = np.linspace(0, 2 * np.pi, 9)[:-1]
        reach = self._chance.uniform(2, 9)
        corners = [(k, j + reach * np.sin(t), i + reach * np.cos(t)) for t in turns]
        return [[float(v) for v in grid.to_lps_mm(np.array(corner))] for corner in corners]

    def _any_segment(self) -> SegmentRef:
        known = [
            SegmentRef(one.uid, segment.number)
            for one in self._workspace.segmentations.values()
            for segment in one.segments
        ]
        return self._one_of(known)

    def _one_of(self, things: Sequence[Any]) -> Any:
        if not things:
            raise CommandError("Nothing is there to choose from")
        return self.pick(things)

    def _any_finding(self) -> str:
        study_uid = next(iter(self._workspace.studies))
        return str(self._one_of([one.uid for one in self._workspace.findings_of(study_uid)]))

    def _on(self, command: str, **arguments: Any) -> None:
        ref = self._any_segment()
        uid, number = ref.segmentation_uid, ref.number
        self._run(command, segment=number, segmentation_uid=uid, **arguments)

    # Segments

    def do_paint(self) -> None:
        """A dab or a stroke, flat or as a ball."""
        points = [self._place() for _ in range(self._chance.choice((1, 1, 3)))]
        reach, sphere = self._chance.uniform(2, 8), self._chance.random() < 0.5
        self._run("segment.paint", points_lps_mm=points, radius_mm=reach, sphere=sphere)

    def do_erase(self) -> None:
        """The eraser, in one segment or all."""
        if self._chance.random() < 0.2:
            self._run("brush.erase_all")
        self._run("segment.erase", center_lps_mm=self._place(), radius_mm=7.0, sphere=True)

    def do_add(self) -> None:
        """A new segment."""
        self._run("segment.add", label=self._one_of(("", "Lesion", "Liver", "Läsion")))

    def do_select(self) -> None:
        """Another segment to work on."""
        self._on("segment.select")

    def do_name(self) -> None:
        """Other words and colours for a segment."""
        if self._chance.random() < 0.5:
            self._on("segment.rename", label=f"Part {self._chance.randrange(99)}")
        else:
            self._on("segment.recolor", color_rgb=[self._chance.randrange(256) for _ in range(3)])

    def do_classify(self) -> None:
        """A type from the list."""
        self._on("segment.classify", type=self._one_of(_TYPES))

    def do_stand(self) -> None:
        """State of work, and the lock."""
        if self._chance.random() < 0.6:
            self._on("segment.state", state=str(self._one_of(tuple(SegmentState))))
        else:
            self._on("segment.lock", locked=self._chance.random() < 0.3)

    def do_rules(self) -> None:
        """Another overlap rule or mask rule for what follows."""
        if self._chance.random() < 0.6:
            self._run("segment.overlap", rule=self._one_of(("group", "all", "spare", "share")))
        else:
            self._run("segment.mask", where=self._one_of(("everywhere", "everywhere", "outside")))

    def do_contour(self) -> None:
        """A closed contour, or scissors."""
        points = self._outline()
        if self._chance.random() < 0.6:
            erases = self._chance.random() < 0.3
            self._run("segment.contour", points_lps_mm=points, erases=erases)
        else:
            self._run("segment.cut", points_lps_mm=points, what=self._one_of(("erase", "fill")))

    def do_threshold(self) -> None:
        """A range of values, looked at and accepted or dropped."""
        low = float(np.quantile(self._volume.value_of(self._volume.voxels[::4, ::4, ::4]), 0.9))
        self._run("segment.threshold", low=low, high=low + self._chance.uniform(1, 400))
        self._run(self._one_of(("segment.accept", "segment.accept", "segment.drop")))

    def do_effect(self) -> None:
        """An effect on the chosen segment, worked out beside the window."""
        command, arguments = self._one_of((
            ("segment.keep_largest", {}), ("segment.remove_small", {"least_ml": 0.05}),
            ("segment.split", {}), ("segment.divide", {}), ("segment.between", {}),
            ("segment.fill", {"solid": True}), ("segment.margin", {"distance_mm": 2.0}),
            ("segment.margin", {"distance_mm": -1.5}), ("segment.hollow", {"thickness_mm": 2.0}),
            ("segment.smooth", {"method": "median"}), ("segment.smooth", {"method": "closing"}),
            ("segment.smooth", {"method": "opening"}), ("segment.smooth", {"method": "joint"}),
            ("segment.mirror", {"adds": True}), ("segment.mirror", {}),
        ))  # fmt: skip
        self._run(command, **arguments)

    def do_combine(self) -> None:
        """Two segments made one, cut, or copied."""
        operation = self._one_of(("union", "subtract", "intersect", "copy"))
        other = self._any_segment()
        uid, number = other.segmentation_uid, other.number
        self._run("segment.combine", operation=operation, other=number, other_uid=uid)

    def do_paste(self) -> None:
        """What one segment has, into another."""
        self._run(self._one_of(("segment.copy", "segment.copy_slice")))
        self._on("segment.select")
        self._run("segment.paste")

    def do_delete(self) -> None:
        """A segment with all its voxels."""
        if self._chance.random() < 0.5:
            self._on("segment.delete")

    # Findings

    def do_box(self) -> None:
        """A finding of the reader's own."""
        low, high = self._corners()
        self._run("finding.add_box", low=low, high=high, label=self._one_of(("Nodule", "Cyst")))

    def do_reshape(self) -> None:
        """Another box for a finding."""
        low, high = self._corners()
        self._run("finding.reshape", uid=self._any_finding(), low=low, high=high)

    def do_merge(self) -> None:
        """Two boxes made one."""
        self._run("finding.merge", uids=[self._any_finding(), self._any_finding()])

    def do_decide(self) -> None:
        """Accept, reject with or without a reason, or edit."""
        uid = self._any_finding()
        which = self._chance.randrange(4)
        if which == 0:
            self._run("finding.accept", uid=uid)
        elif which == 1:
            self._run("finding.reject", uid=uid, reason=self._one_of(("", "vessel")))
        elif which == 2:
            side = self._one_of(("left", "right", None))
            self._run("finding.edit", uid=uid, text=self._one_of(_WORDS), laterality=side)
        else:
            self._run("finding.edit", uid=uid, label=f"Finding {self._chance.randrange(50)}")

    def do_decide_all(self) -> None:
        """All that waits, at once."""
        if self._chance.random() < 0.3:
            self._run("finding.accept_all")

    # Report

    def do_write(self) -> None:
        """A section by hand, or given back to the draft."""
        heading = self._one_of([section.heading for section in self._report().sections])
        if self._chance.random() < 0.8:
            text = " ".join(self._chance.choices(_WORDS, k=6))
            self._run("report.set_section", heading=heading, text=text)
        else:
            self._run("report.reset_section", heading=heading)

    def do_template(self) -> None:
        """Another kind of report, an answer to one of its fields."""
        if self._chance.random() < 0.5:
            self._run("report.template", name=self._one_of(_TEMPLATES))
        else:
            self._run("report.answer", field="lung_rads", values=self._one_of((["2"], ["4A"], [])))

    def do_critical(self) -> None:
        """A critical result noted, or taken out."""
        if self._chance.random() < 0.7:
            self._run("report.critical", finding="Bleeding", informed=self._one_of(_PEOPLE))
        else:
            self._run("report.clear_critical")

    def do_finish(self) -> None:
        """Seldom: end a reading, release, or sign and amend."""
        if self._chance.random() > 0.15:
            return
        how = self._one_of(("finish", "release", "sign"))
        if how == "finish":  # which is refused where one reader decides
            self._run("reading.finish")
            self._workspace.reader = self._one_of(_PEOPLE)
        elif how == "release":
            self._run("report.release")
        else:
            self._run("report.sign", despite_contradictions=True)
            self._run("report.amend")

    def do_settle(self) -> None:
        """What two readers differ in, settled by a third."""
        waiting = [
            one.uid
            for one in self._workspace.findings.values()
            if one.opinions and one.review.state is ReviewState.PROPOSED
        ]
        self._run("reading.settle", uid=self._one_of(waiting), reader=self._one_of(_PEOPLE))

    # The way back

    def do_undo(self) -> None:
        """The last step back."""
        self._run("edit.undo")

    def do_redo(self) -> None:
        """And again."""
        self._run("edit.redo")

    def _corners(self) -> tuple[list[float], list[float]]:
        shape = self._volume.geometry.shape
        low = [self._chance.uniform(0, 0.6) * n for n in shape]
        return low, [
            a + self._chance.uniform(0.05, 0.3) * n for a, n in zip(low, shape, strict=True)
        ]

    def _report(self) -> Any:
        report = self._workspace.report_of(next(iter(self._workspace.studies)))
        if report is None:
            self._run("report.begin")
            report = self._workspace.report_of(next(iter(self._workspace.studies)))
        return report
