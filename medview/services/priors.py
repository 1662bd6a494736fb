"""Priors: earlier reports of the same patient, open now or kept in the profile."""

from __future__ import annotations

from medview.core.events import ReportChanged, StudyClosed, StudyOpened
from medview.core.report import Report
from medview.core.study import Patient
from medview.services.store import Store
from medview.services.workspace import Workspace


class Priors:
    """Finds what to compare a report with; asks the store once for each study and patient."""

    def __init__(self, workspace: Workspace, store: Store) -> None:
        self._workspace = workspace
        self._store = store
        self._known: dict[str, tuple[Report, ...]] = {}
        workspace.events.study_opened.connect(self._forget)
        workspace.events.study_closed.connect(self._forget)
        workspace.events.report_changed.connect(self._on_report)

    def of(self, study_uid: str) -> Report | None:
        """The report of the latest earlier examination of the patient; None if none is kept."""
        return next(iter(self.all_of(study_uid)), None)

    def all_of(self, study_uid: str) -> tuple[Report, ...]:
        """The newest report of every earlier examination, the latest examination first."""
        if study_uid not in self._known:
            self._known[study_uid] = self._found(study_uid)
        return self._known[study_uid]

    def _found(self, study_uid: str) -> tuple[Report, ...]:
        study = self._workspace.studies[study_uid]
        if not study.patient.id or not study.date:
            return ()
        kept = {one.study_uid: one for one in self._store.reports_about(study.patient.id)}
        kept |= self._workspace.reports
        earlier = [
            report
            for uid, report in kept.items()
            if uid != study_uid
            and report.subject is not None
            and _is_same(report.subject.patient, study.patient)
            and len(report.subject.study_date) > 0
            and report.subject.study_date <= study.date
        ]
        return tuple(sorted(earlier, key=_when, reverse=True))

    def _forget(self, _event: StudyOpened | StudyClosed) -> None:
        self._known.clear()

    def _on_report(self, event: ReportChanged) -> None:
        mine = self._known.get(event.uid)
        self._known.clear()
        if mine is not None:
            self._known[event.uid] = mine  # a report is no prior of its own


def _when(report: Report) -> tuple[str, bool]:
    return (report.subject.study_date if report.subject else ""), report.status.is_signed


def _is_same(one: Patient, other: Patient) -> bool:
    """One ID of one issuer, and nothing known of both that differs."""
    pairs = (
        (one.issuer, other.issuer),
        (one.name.casefold(), other.name.casefold()),
        (one.birth_date, other.birth_date),
    )
    return one.id == other.id and all(a == b for a, b in pairs if a and b)
