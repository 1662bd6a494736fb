"""Thresholds: how probable a finding of a run must be to stand before the reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from medview.core.errors import CommandError
from medview.core.events import StudyClosed, ViewChanged
from medview.core.findings import Finding, ReviewState
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.services.audit import Audit
from medview.services.edits import ChangeFindings, FindingStep
from medview.services.outcomes import Outcomes
from medview.services.remembered import Remembered
from medview.services.report_desk import UNNAMED
from medview.services.workspace import Workspace


@dataclass(frozen=True)
class Count:
    """How many findings of a run stand at a threshold, and how many are less probable."""

    above: int
    below: int


class Thresholds:
    """Moves the line between proposals and candidates of a run, as a step that can be undone.

    What is less probable than the line and not yet decided leaves the workspace; what is more
    probable comes in as a proposal. A decided finding stays where it is, and so does one that
    speaks of a segment, whose voxels were not drawn by this line. While a slider is dragged,
    `preview` holds the line that is only looked at. The line set last for a model is remembered
    in `usual`: its next run begins there.
    """

    def __init__(
        self,
        workspace: Workspace,
        outcomes: Outcomes,
        audit: Audit,
        usual: Remembered | None = None,
    ) -> None:
        self._usual = usual or Remembered()
        self._workspace = workspace
        self._outcomes = outcomes
        self._audit = audit
        self._preview: dict[str, float] = {}
        workspace.events.study_closed.connect(self._forget)

    def movable(self, job_uid: str) -> bool:
        """Whether a finished run has findings that a threshold can tell apart."""
        return bool(self._pool(job_uid))

    def line(self, job_uid: str) -> float:
        """The threshold that holds: as chosen, else the run's own, if the work agrees with it.

        After undo it may not; then the least probable proposal tells.
        """
        pool = self._pool(job_uid)
        there = [_probability(f) for f in pool if self._stands(f, undecided=True)]
        gone = [_probability(f) for f in pool if f.uid not in self._workspace.findings]
        own = self._result(job_uid)
        job = self._workspace.jobs.get(job_uid)
        chosen = None if job is None else job.line
        for line in (chosen, None if own is None else own.threshold):
            if line is not None and all(p >= line for p in there) and all(p < line for p in gone):
                return line
        return min(there, default=1.0)

    def shown_line(self, job_uid: str) -> float:
        """The line that is looked at: of the slider in hand, else the one that holds."""
        return self._preview.get(job_uid, self.line(job_uid))

    def count(self, job_uid: str, line: float) -> Count:
        """What stands and what does not at a line; what was decided stands at every line."""
        pool = self._pool(job_uid)
        above = sum(_probability(f) >= line or self._is_decided(f) for f in pool)
        return Count(above, len(pool) - above)

    def preview(self, job_uid: str, line: float) -> None:
        """Look at another line without deciding anything."""
        if self._preview.get(job_uid) != line:
            self._preview[job_uid] = line
            self._workspace.emit(ViewChanged())

    def set(self, job_uid: str, line: float) -> Count:
        """Let a line hold; gives what stands now.

        CommandError for a run that is not known or a number that is no probability.
        """
        if not 0 <= line <= 1:
            raise CommandError(f"A threshold is a number from 0 to 1, not {line:g}")
        result = self._result(job_uid)
        if result is None or not self.movable(job_uid):
            raise CommandError("That run has no findings with probabilities", "Run it again.")
        self._preview.pop(job_uid, None)
        job = self._workspace.jobs[job_uid]
        steps = [step for finding in self._pool(job_uid) if (step := self._step(finding, line))]
        if steps:
            title = f"Threshold {line:.2f}"
            self._workspace.apply(ChangeFindings(job.study_uid, tuple(steps), title))
            come = sum(step.before is None for step in steps)
            self._audit.record(
                self._workspace.reader or UNNAMED,
                "ai.threshold",
                job_uid,
                study_uid=job.study_uid,
                model=f"{job.model_id} {job.version}",
                note=f"{line:.2f}: {come} proposed, {len(steps) - come} withdrawn",
            )
        self._usual.put(_key(job.model_id, job.version), line)
        self._workspace.put_job(replace(job, line=line))
        self._workspace.emit(ViewChanged())
        return self.count(job_uid, line)

    def usual(self, card: ModelCard) -> Mapping[str, float]:
        """The parameter that lets a run begin at the line the reader set last for this model."""
        line = self._usual.get(_key(card.id, card.version))
        return (
            {"threshold": float(line)} if isinstance(line, float | int) and 0 <= line <= 1 else {}
        )

    def looked_at(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The findings as they would be at the lines that are only looked at."""
        shown = [f for f in findings if self._would_stand(f)]
        known = set(self._workspace.findings)
        for job_uid, line in self._preview.items():
            shown += [f for f in self._pool(job_uid)
                      if f.uid not in known and _probability(f) >= line]  # fmt: skip
        return tuple(shown)

    def _would_stand(self, finding: Finding) -> bool:
        line = self._preview.get(finding.provenance.job_uid)
        fixed = line is None or not _can_move(finding) or self._is_decided(finding)
        return fixed or _probability(finding) >= (line or 0.0)

    def _step(self, finding: Finding, line: float) -> FindingStep | None:
        now = self._workspace.findings.get(finding.uid)
        if now is None:
            return FindingStep(None, finding) if _probability(finding) >= line else None
        if now.review.state is ReviewState.PROPOSED and _probability(finding) < line:
            return FindingStep(now, None)
        return None

    def _pool(self, job_uid: str) -> tuple[Finding, ...]:
        """All that a run said with a probability, proposed or not."""
        result = self._result(job_uid)
        both = () if result is None else (*result.findings, *result.candidates)
        return tuple(finding for finding in both if _can_move(finding))

    def _result(self, job_uid: str) -> InferenceResult | None:
        return self._outcomes.find(job_uid)

    def _stands(self, finding: Finding, *, undecided: bool) -> bool:
        there = finding.uid in self._workspace.findings
        return there and not (undecided and self._is_decided(finding))

    def _is_decided(self, finding: Finding) -> bool:
        now = self._workspace.findings.get(finding.uid)
        return now is not None and now.review.state is not ReviewState.PROPOSED

    def _forget(self, _event: StudyClosed) -> None:
        for uid in self._preview.keys() - self._workspace.jobs.keys():
            del self._preview[uid]


def _key(model_id: str, version: str) -> str:
    """What the line of a model is remembered under: another version says other probabilities."""
    return f"{model_id} {version}"


def _can_move(finding: Finding) -> bool:
    return finding.probability is not None and finding.segment_ref is None


def _probability(finding: Finding) -> float:
    return 0.0 if finding.probability is None else finding.probability
