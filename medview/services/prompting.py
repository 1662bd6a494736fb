"""Prompting: what a reader marks becomes an outline to look at, again with every mark."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medview.core.errors import Cancelled, CommandError, MedviewError, ModelError
from medview.core.events import Level, StudyClosed, ViewChanged
from medview.core.findings import ModelAuthor, Point, SegmentRef
from medview.core.models import ModelCard
from medview.imaging.edit import Patch
from medview.inference.catalog import Catalog
from medview.services.changing import ground_of
from medview.services.effects import Effects, imaging
from medview.services.previews import Preview
from medview.services.rules import Ground
from medview.services.tasks import Task, Tasks
from medview.services.toolbox import PROMPT_TOOLS
from medview.services.viewing import Viewing

if TYPE_CHECKING:
    # Slow to import: looked up when first asked.
    from medview.imaging.prompted import Answer, Key, Mark
    from medview.imaging.prompts import Answerer

    #: Gives what answers marks, the model it is, and what is wrong with that which should.
    Ready = Callable[[], tuple[Answerer, ModelAuthor | None, str]]

#: How often marks in one dialogue are answered is up to the reader; so many are kept.
MOST_MARKS = 200


@dataclass(frozen=True)
class Marked:
    """A mark as it was drawn: what it says (adds, takes or box), where, across which grid axis."""

    kind: str
    points_lps_mm: tuple[Point, ...]
    axis: int


@dataclass(frozen=True, eq=False)
class _Dialogue:
    """Marks about one segment, and what they were answered; `aids` had a part in the answers."""

    ref: SegmentRef
    ground: Ground
    marks: tuple[Marked, ...] = ()
    answers: Mapping[Key, Answer] | None = None
    preview: Preview | None = None
    aids: tuple[ModelAuthor, ...] = ()


@dataclass(frozen=True)
class Outlined:
    """What marks were answered: by slice, the patch that the segment becomes, and by which model.

    `problem` says why it was not the model that should have answered.
    """

    answers: Mapping[Key, Answer]
    patch: Patch | None
    aid: ModelAuthor | None = None
    problem: str = ""


class Answering:
    """What answers marks: the first network that can be asked, else random walks, which need none.

    The reader's own comes before the one that is shipped. `wanted` says whether the reader wants
    a network.
    """

    def __init__(self, models: Catalog | None, wanted: Callable[[], bool]) -> None:
        self._models = models
        self._wanted = wanted
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], tuple[Answerer, ModelAuthor | None, str]] = {}

    def ready(self) -> tuple[Answerer, ModelAuthor | None, str]:
        """What answers, the model it is, and what is wrong with that which should; on the pool."""
        imaging("prompted")
        if self._models is None or not self._wanted():
            return imaging("walker").walked, None, ""
        with self._lock:
            key = tuple(card.sha256 for card in self._models.in_order())
            if key not in self._known:
                self._known = {key: self._first(self._models)}
            return self._known[key]

    def _first(self, models: Catalog) -> tuple[Answerer, ModelAuthor | None, str]:
        """The first that can be asked, and what is wrong with those before it."""
        problems = [one.reason for one in models.problems]
        for card in models.in_order():
            try:
                return _opened(models.folder(card.id)), _author(card), " ".join(problems)
            except ModelError as error:
                problems.append(error.user_text)
        missing = "The network that answers marks is missing."
        return imaging("walker").walked, None, " ".join(problems) or missing


def _opened(folder: Path) -> Answerer:
    answerer: Answerer = importlib.import_module("medview.inference.marks").open_answerer(folder)
    return answerer


def _author(card: ModelCard) -> ModelAuthor:
    return ModelAuthor(card.id, card.version, card.sha256)


class _Wanted:
    """Whether an answer that is being worked out is still waited for."""

    def __init__(self) -> None:
        self.still = True

    def __call__(self) -> bool:
        return self.still


class Prompting:
    """Marks of the reader and the preview that answers them.

    A mark in a slice is answered there; with `solid` set the answer is carried on through the
    slices beside it. The preview is one of `effects`: accepted it is one step of the history.
    """

    def __init__(
        self, viewing: Viewing, effects: Effects, tasks: Tasks, answering: Answering | None = None
    ) -> None:
        self._viewing = viewing
        self._effects = effects
        self._tasks = tasks
        self._ask_by = (answering or Answering(None, lambda: False)).ready
        self._told = ""
        self._dialogue: _Dialogue | None = None
        self._task: Task | None = None
        self._wanted = _Wanted()
        self._ready = False
        viewing.workspace.events.view_changed.connect(self._prepare)
        viewing.workspace.events.study_closed.connect(self._forget)

    @property
    def marks(self) -> tuple[Marked, ...]:
        """The marks of the dialogue that goes on, on the image on show."""
        dialogue = self._going_on()
        return () if dialogue is None else dialogue.marks

    def mark(self, ref: SegmentRef, mark: Marked) -> None:
        """Answer one more mark about a segment.

        CommandError if it is locked, for too many marks, or while an effect is at work.
        """
        if self._effects.busy:
            raise CommandError(
                f"“{self._effects.busy}” is still at work", "Wait for it, or cancel it."
            )
        ground = ground_of(self._viewing, ref)
        ground.require_free(ref)
        dialogue = self._going_on()
        if dialogue is None or dialogue.ref != ref:
            dialogue = _Dialogue(ref, ground)
        if len(dialogue.marks) >= MOST_MARKS:
            raise CommandError("Too many marks", "Accept the preview, then go on.")
        self._ask(replace(dialogue, ground=ground, marks=(*dialogue.marks, mark)))

    def take_back(self) -> None:
        """Take the last mark back; CommandError if there is none."""
        dialogue = self._going_on()
        if dialogue is None or not dialogue.marks:
            raise CommandError("There is no mark to take back")
        if len(dialogue.marks) == 1:
            self.drop()
            return
        self._ask(replace(dialogue, marks=dialogue.marks[:-1], answers=None, aids=()))

    def drop(self) -> None:
        """Forget all marks and the preview."""
        self._stop()
        self._dialogue = None
        self._effects.drop()
        self._viewing.workspace.emit(ViewChanged())

    def _forget(self, _event: StudyClosed) -> None:
        """Nothing of a closed study is kept in memory."""
        self._stop()
        self._dialogue = None

    def _prepare(self, _event: ViewChanged) -> None:
        """Load what answers while the first mark is still to come."""
        if not self._ready and self._viewing.toolbox.tool() in PROMPT_TOOLS:
            self._ready = True
            self._tasks.run(self._ask_by)

    # The course of an answer

    def _going_on(self) -> _Dialogue | None:
        """The dialogue, unless its preview was accepted or dropped or is about another image."""
        dialogue = self._dialogue
        if dialogue is None or dialogue.ground.volume is not self._viewing.volume:
            return None
        if dialogue.preview is not None and self._effects.preview is not dialogue.preview:
            self._stop()
            self._dialogue = None
        return self._dialogue

    def _stop(self) -> None:
        self._wanted.still = False
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _ask(self, dialogue: _Dialogue) -> None:
        self._stop()
        self._dialogue, self._wanted = dialogue, _Wanted()
        known = dialogue.answers or {}
        self._task = self._tasks.run(
            answer_slices, self._ask_by, dialogue.ground, dialogue.ref, dialogue.marks, known,
            on_done=lambda found: self._show(dialogue, found, goes_on=self._solid),
            on_error=self._failed,
        )  # fmt: skip
        self._viewing.workspace.emit(ViewChanged())

    @property
    def _solid(self) -> bool:
        return self._viewing.toolbox.prompts_solid

    def _show(self, dialogue: _Dialogue, found: Outlined, *, goes_on: bool) -> None:
        """Show what was found, and carry it on where that is wanted."""
        self._task = None
        self._tell(found)
        if self._dialogue is None or self._dialogue.marks is not dialogue.marks:
            return
        if self._effects.busy:  # begun meanwhile: it alone knows which labels it looked at
            self._dialogue = None
            return
        # Answers to earlier marks stay, whatever answers now: so does who gave them.
        aids = tuple(dict.fromkeys((*dialogue.aids, *(() if found.aid is None else (found.aid,)))))
        if found.patch is None:
            self._dialogue = replace(dialogue, answers=found.answers, aids=aids)
            self._tell_nothing()
            return
        label = self._viewing.overlay.find(dialogue.ref).label
        by = " and ".join(f"{one.model_id} {one.version}" for one in aids)
        title = f"Outline by {by}: {label}" if by else f"Outline: {label}"
        preview = self._effects.offer(dialogue.ref, title, found.patch, dialogue.ground, aids)
        self._dialogue = shown = replace(
            dialogue, answers=found.answers, preview=preview, aids=aids
        )
        if goes_on:
            self._task = self._tasks.run(
                answer_through, self._ask_by, shown.ground, shown.ref, shown.marks, found.answers,
                self._wanted,
                on_done=lambda more: self._show(shown, more, goes_on=False),
                on_error=self._failed,
            )  # fmt: skip

    def _tell(self, found: Outlined) -> None:
        """Say once that a network does not answer that should, and what does."""
        if found.problem and found.problem != self._told:
            self._told = found.problem
            by = "without a network, by random walks"
            if found.aid is not None:
                by = f"by {found.aid.model_id} {found.aid.version}"
            self._viewing.workspace.notify(
                Level.WARNING, found.problem, f"Marks are answered {by}."
            )

    def _tell_nothing(self) -> None:
        self._viewing.workspace.notify(
            Level.INFO, "Nothing was found here", "Mark it once more, or draw a box around it."
        )

    def _failed(self, error: MedviewError) -> None:
        if not isinstance(error, Cancelled):
            self._task = None
            self._viewing.workspace.notify(Level.WARNING, error.user_text, error.hint)


# On the pool


def answer_slices(
    ready: Ready,
    ground: Ground,
    ref: SegmentRef,
    marks: Sequence[Marked],
    known: Mapping[Key, Answer],
) -> Outlined:
    """What the marks mean in the slices they were drawn in, and what the segment becomes."""
    answer, aid, problem = ready()
    prompted, canvas, placed = _ready(ground, ref, marks)
    answers = prompted.in_slices(canvas, placed, known, answer)
    return Outlined(answers, prompted.patch_of(canvas, answers), aid, problem)


def answer_through(
    ready: Ready,
    ground: Ground,
    ref: SegmentRef,
    marks: Sequence[Marked],
    known: Mapping[Key, Answer],
    wanted: _Wanted,
) -> Outlined:
    """What the marks mean in all slices that the object goes through."""
    answer, aid, problem = ready()
    prompted, canvas, placed = _ready(ground, ref, marks)
    answers = prompted.through(canvas, placed, known, answer, wanted)
    return Outlined(answers, prompted.patch_of(canvas, answers), aid, problem)


def _ready(ground: Ground, ref: SegmentRef, marks: Sequence[Marked]) -> tuple[Any, Any, list[Mark]]:
    """The module that answers, the volume with the segment, and the marks on its grid."""
    prompted = imaging("prompted")
    canvas = prompted.Canvas(ground.volume, ground.of(ref).labels, ref.number)
    geometry = ground.volume.geometry
    placed = [
        prompted.Mark(
            prompted.MarkKind(mark.kind),
            mark.axis,
            tuple(map(tuple, geometry.to_index(np.array(mark.points_lps_mm)).tolist())),
        )
        for mark in marks
    ]
    return prompted, canvas, placed
