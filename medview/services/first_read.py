"""First read: the reader looks alone before what a model found is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from medview.core.errors import CommandError, ReportError
from medview.core.events import SettingChanged, StudyClosed, ViewChanged
from medview.core.findings import Finding, ModelAuthor, Review, ReviewState
from medview.core.segmentation import Segmentation
from medview.reporting.canonical import digest
from medview.services.audit import Audit
from medview.services.settings import Settings
from medview.services.workspace import Workspace

MODE = "ai.read_first"
COMMIT, REVEAL, SWITCH = "read.commit", "read.reveal", "read.mode"
_PROGRAM = "medview"


class FirstRead:
    """Whether proposals of models are hidden, study by study.

    With the setting `ai.read_first` they are, until the reader has committed a first read of the
    study: words, findings or segments of their own. What was decided before stays in sight.
    Every commitment, every switch of the mode, and every study that was revealed without a first
    read stands in the audit trail, which also tells the next start of the program.
    """

    def __init__(self, workspace: Workspace, settings: Settings, audit: Audit) -> None:
        self._workspace = workspace
        self._settings = settings
        self._audit = audit
        self._seen: dict[str, bool] = {}
        #: How who is at the desk sees a finding: with what they made of it; None: not at all.
        self.lens: Callable[[Finding], Finding | None] = _plainly
        settings.changed.connect(self._on_setting)
        workspace.events.study_closed.connect(self._forget)

    @property
    def is_on(self) -> bool:
        """Whether the mode is on."""
        return self._settings.flag(MODE)

    def hides(self, study_uid: str) -> bool:
        """Whether proposals of models are hidden in a study."""
        return self.is_on and not self._is_seen(study_uid)

    def visible(self, study_uid: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings that may be seen now."""
        seen = tuple(one for f in findings if (one := self.lens(f)) is not None)
        if not self.hides(study_uid):
            return seen
        return tuple(f for f in seen if not _is_proposal(f.provenance.author, f.review))

    def conceals(self, segmentation: Segmentation) -> bool:
        """Whether all of a segmentation is a proposal that must not be seen yet."""
        if not segmentation.segments or not self.is_on:
            return False
        if not all(_is_proposal(s.provenance.author, s.review) for s in segmentation.segments):
            return False
        return self.hides(self._workspace.study_of(segmentation.uid).uid)

    def waiting(self, study_uid: str) -> int:
        """How many findings wait behind the first read."""
        if not self.hides(study_uid):
            return 0
        seen = map(self.lens, self._workspace.findings_of(study_uid))
        return sum(_is_proposal(f.provenance.author, f.review) for f in seen if f is not None)

    def require_seen(self, study_uid: str) -> None:
        """CommandError while proposals of models are hidden in a study."""
        if self.waiting(study_uid):
            raise CommandError(
                "What the models propose is hidden", "Commit your first read: it is shown then."
            )

    def commit(self, study_uid: str, text: str = "", by: str = "") -> None:
        """Take down a first read and reveal what models found.

        ReportError without a name; CommandError where nothing is hidden, and where the reader
        said nothing at all: neither words nor findings nor segments.
        """
        if not self.hides(study_uid):
            raise CommandError("Nothing is hidden in this study")
        name = by or self._workspace.reader
        if not name:
            raise ReportError("A first read needs a name", "Say who reads.")
        findings = self.visible(study_uid, self._workspace.findings_of(study_uid))
        segments = self._own_segments(study_uid)
        if not (text.strip() or findings or segments):
            raise CommandError(
                "The first read says nothing yet",
                "Write what you see, also if it is nothing abnormal.",
            )
        made = f"{len(findings)} findings, {segments} segments before the reveal"
        report = self._workspace.report_of(study_uid)
        self._audit.record(
            name,
            COMMIT,
            study_uid,
            study_uid=study_uid,
            digests=("", "" if report is None else digest(report)),
            note=f"{text.strip()} ({made})" if text.strip() else made,
        )
        self._seen[study_uid] = True
        self._workspace.emit(ViewChanged())

    def switch(self, *, on: bool) -> None:
        """Turn the mode on or off."""
        self._settings.set(MODE, on)

    def _own_segments(self, study_uid: str) -> int:
        return sum(
            len(one.segments)
            for one in self._workspace.segmentations.values()
            if self._workspace.study_of(one.uid).uid == study_uid and not self.conceals(one)
        )

    def _on_setting(self, event: SettingChanged) -> None:
        """Turned on, it cannot unsee what was seen; turned off, it reveals what was not read."""
        if event.name != MODE:
            return
        actor = self._workspace.reader or _PROGRAM
        self._audit.record(actor, SWITCH, MODE, note="on" if self.is_on else "off")
        for study_uid in self._workspace.studies:
            if self._is_seen(study_uid) or not self._has_proposals(study_uid):
                continue
            self._seen[study_uid] = True
            why = "seen before the mode was on" if self.is_on else "without a first read"
            self._audit.record(actor, REVEAL, study_uid, study_uid=study_uid, note=why)

    def _has_proposals(self, study_uid: str) -> bool:
        return any(
            _is_proposal(f.provenance.author, f.review)
            for f in self._workspace.findings_of(study_uid)
        )

    def _is_seen(self, study_uid: str) -> bool:
        if study_uid not in self._seen:
            rows = self._audit.rows(study_uid)
            self._seen[study_uid] = any(row.action in (COMMIT, REVEAL) for row in rows)
        return self._seen[study_uid]

    def _forget(self, event: StudyClosed) -> None:
        self._seen.pop(event.uid, None)


def _plainly(finding: Finding) -> Finding:
    """As it is."""
    return finding


def _is_proposal(author: object, review: Review) -> bool:
    return isinstance(author, ModelAuthor) and review.state is ReviewState.PROPOSED
