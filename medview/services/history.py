"""Undo and redo: one list of edits for each study, bounded by bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from medview.services.edits import Edit, joined


@dataclass
class _Track:
    """Edits of one study: those that stand, and those taken back, the next to redo last."""

    done: list[Edit] = field(default_factory=list)
    undone: list[Edit] = field(default_factory=list)


class History:
    """What can be taken back in the study at hand, and what can be done again.

    `apply` and `revert` are the workspace's ways to turn one edit. Undo and redo work on the
    study in focus: the one last edited, opened or named by `focus`. Above `limit_bytes`
    the oldest entries of a study go, but its newest `keep` always stay.
    """

    def __init__(
        self,
        apply: Callable[[Edit], None],
        revert: Callable[[Edit], None],
        *,
        limit_bytes: int = 256 << 20,
        keep: int = 20,
    ) -> None:
        self._apply = apply
        self._revert = revert
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._tracks: dict[str, _Track] = {}
        self._focus = ""

    @property
    def study_uid(self) -> str:
        """The study that undo and redo work on; "" for none."""
        return self._focus

    def focus(self, study_uid: str) -> None:
        """Let undo and redo work on this study."""
        self._focus = study_uid

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return bool(self._track.done)

    @property
    def can_redo(self) -> bool:
        """Whether there is something to do again."""
        return bool(self._track.undone)

    @property
    def undo_title(self) -> str:
        """What undo would take back, "" for nothing."""
        return self._track.done[-1].title if self.can_undo else ""

    @property
    def redo_title(self) -> str:
        """What redo would do again, "" for nothing."""
        return self._track.undone[-1].title if self.can_redo else ""

    def entries(self, study_uid: str) -> tuple[Edit, ...]:
        """The edits of a study that can be taken back, oldest first."""
        return tuple(self._tracks.get(study_uid, _Track()).done)

    def undo(self) -> bool:
        """Take the last edit back; False if there is none."""
        return self._move(self._track.done, self._track.undone, self._revert)

    def redo(self) -> bool:
        """Do the last edit taken back again; False if there is none."""
        return self._move(self._track.undone, self._track.done, self._apply)

    def push(self, edit: Edit) -> None:
        """Remember an edit that was applied; the workspace calls this, nobody else."""
        track = self._tracks.setdefault(edit.study_uid, _Track())
        track.undone.clear()
        if edit.stroke and track.done and track.done[-1].stroke == edit.stroke:
            track.done[-1] = joined(track.done[-1], edit)
        else:
            track.done.append(edit)
        self._trim(track)
        self._focus = edit.study_uid

    def restore(self, study_uid: str, entries: Sequence[Edit]) -> None:
        """Take in the steps of an earlier run, oldest first, where none were done since."""
        if study_uid not in self._tracks:
            self._tracks[study_uid] = _Track(list(entries))

    def clear_report(self, study_uid: str) -> None:
        """Forget the steps that led to a report that is now signed.

        All of the study's steps go: later ones stand on earlier ones, and to take back a stroke
        or a decision behind a signed report would leave the two in contradiction.
        """
        self._tracks.pop(study_uid, None)

    def forget(self, study_uid: str) -> None:
        """Forget a study that is closed."""
        self._tracks.pop(study_uid, None)
        if self._focus == study_uid:
            self._focus = ""

    @property
    def _track(self) -> _Track:
        return self._tracks.get(self._focus) or _Track()

    @staticmethod
    def _move(source: list[Edit], target: list[Edit], turn: Callable[[Edit], None]) -> bool:
        """Move one edit over before it is turned, as listeners look here; back if that fails."""
        if not source:
            return False
        edit = source.pop()
        target.append(edit)
        turned = False
        try:
            turn(edit)
            turned = True
        finally:
            if not turned:
                source.append(target.pop())
        return True

    def _trim(self, track: _Track) -> None:
        spent = sum(edit.cost_bytes for edit in track.done)
        drop = 0
        while spent > self._limit_bytes and len(track.done) - drop > self._keep:
            spent -= track.done[drop].cost_bytes
            drop += 1
        del track.done[:drop]
