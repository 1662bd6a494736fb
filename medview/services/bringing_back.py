"""Bringing back: kept work returns to the workspace when its study is open again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from medview.core.errors import MedviewError
from medview.core.events import HistoryChanged, Level, StudyClosed, StudyOpened
from medview.core.report import Report
from medview.core.segmentation import Segmentation
from medview.services.batch import Saved
from medview.services.edits import (
    AddSegmentation,
    ChangeFindings,
    ChangeReport,
    ChangeTracks,
    Compound,
    Edit,
    FindingStep,
    TrackStep,
)
from medview.services.input_check import InputCheck
from medview.services.kept import KeptWork, read_kept
from medview.services.kept_results import ModelOutput
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

_TITLE = "Bring work back"


class BringingBack:
    """Reads what is kept of a study that was opened, loads the images it lies on, puts it back.

    Labels return only onto a volume with the same UID and the same grid. `is_putting` is True
    while the workspace takes it in, so that it is not saved once more. `on_idle` is called when
    nothing is on its way any more.
    """

    def __init__(
        self,
        store: Path,
        workspace: Workspace,
        tasks: Tasks,
        loading: Loading,
        *,
        output: ModelOutput | None,
        saved: Saved,
    ) -> None:
        self._store = store
        self._workspace = workspace
        self._tasks = tasks
        self._loading = loading
        self._output = output
        self._saved = saved
        self._inputs = None if output is None else InputCheck(workspace, tasks, output.outcomes)
        self._under_way: set[str] = set()
        self.is_putting = False
        self.on_idle: Callable[[], object] = lambda: None
        workspace.events.study_opened.connect(self._on_opened)
        workspace.events.study_closed.connect(self._on_closed)

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._under_way

    def restore(self, study_uid: str, sources: Sequence[Path]) -> None:
        """Bring a study's work back, opening the study first if need be."""
        if study_uid in self._workspace.studies:
            self._begin(study_uid)
            return
        gone = [path.name for path in sources if not path.exists()]
        if gone or not sources:
            self._workspace.notify(
                Level.ERROR,
                f"The images are not where they were: {', '.join(gone)}",
                "Open the study from its new place; the work comes back then.",
            )
            return
        self._loading.open_paths(sources)

    def _on_opened(self, event: StudyOpened) -> None:
        if event.uid not in self._under_way:
            self._under_way.add(event.uid)
            self._tasks.post(partial(self._begin, event.uid))

    def _on_closed(self, event: StudyClosed) -> None:
        self._end(event.uid)

    def _begin(self, study_uid: str) -> None:
        self._under_way.add(study_uid)
        self._tasks.run(
            read_kept,
            self._store,
            study_uid,
            None if self._output is None else self._output.maps,
            on_done=self._load_images,
            on_error=partial(self._fail, study_uid),
        )

    def _end(self, study_uid: str) -> None:
        self._under_way.discard(study_uid)
        if not self._under_way:
            self.on_idle()

    def _fail(self, study_uid: str, error: MedviewError) -> None:
        self._end(study_uid)
        self._workspace.notify(Level.ERROR, error.user_text, error.hint)

    def _load_images(self, work: KeptWork) -> None:
        """Load the series that labels lie on; when the last has come or failed, put back."""
        if not work or work.study_uid not in self._workspace.studies:
            self._end(work.study_uid)
            return
        study = self._workspace.studies[work.study_uid]
        known = {series.uid for series in study.series}
        wanted = {series_uid for series_uid, _ in work.segmentations} & known
        waiting = set(wanted)

        def came(series_uid: str, _what: object) -> None:
            waiting.discard(series_uid)
            if not waiting:
                self._put_back(work)

        for series_uid in wanted:
            answer = partial(came, series_uid)
            self._loading.load_series(series_uid, on_done=answer, on_error=answer)
        if not wanted:
            self._put_back(work)

    def _put_back(self, work: KeptWork) -> None:
        try:
            if work.study_uid in self._workspace.studies:
                self._put(work)
        finally:
            self._end(work.study_uid)

    def _put(self, work: KeptWork) -> None:
        edits = self._edits(work)
        if edits:
            self.is_putting = True
            try:
                self._workspace.apply(
                    Compound(work.study_uid, _TITLE, tuple(edits)), undoable=False
                )
            finally:
                self.is_putting = False
            self._put_originals(work)
            whole = len(work.segmentations) + bool(work.findings) + len(work.reports)
            if len(edits) == whole + bool(work.tracks):
                self._workspace.history.restore(work.study_uid, work.steps)
                self._workspace.emit(HistoryChanged())
            day = work.saved_at[:16].replace("T", " ")
            self._workspace.notify(Level.INFO, f"Your work on this study of {day} UTC is back")
        self._put_runs(work)
        missing = sum(not self._fits(labels) for _, labels in work.segmentations)
        if missing or work.losses:
            self._workspace.notify(
                Level.WARNING,
                f"Of the saved work, {missing} segmentations do not fit the images at hand and"
                f" {work.losses} parts could not be read",
                "They stay saved. Open all images of the study to see the rest.",
            )

    def _put_originals(self, work: KeptWork) -> None:
        """What the models proposed; nothing is known where the store kept none."""
        if self._output is None:
            return
        for _, labels in work.segmentations:
            if labels.uid in self._workspace.segmentations:
                original = work.originals.get(labels.uid)
                self._output.originals.put(work.study_uid, labels.uid, original)
                if original is not None:
                    self._saved.patches[labels.uid] = len(original.patches)

    def _put_runs(self, work: KeptWork) -> None:
        """How runs went that ended well, unless they are known: before those that are newer."""
        if self._output is None or self._inputs is None:
            return
        for job, result in work.runs:
            if job.uid in self._workspace.jobs:
                continue
            self._saved.results.add(job.uid)
            self._output.outcomes.put(result)
            self.is_putting = True
            try:
                self._workspace.put_job(job)
            finally:
                self.is_putting = False
            self._inputs.expect(job.uid, result.inputs)

    def _edits(self, work: KeptWork) -> list[Edit]:
        study_uid = work.study_uid
        edits: list[Edit] = [
            AddSegmentation(study_uid, labels, _TITLE)
            for _, labels in work.segmentations
            if self._fits(labels) and labels.uid not in self._workspace.segmentations
        ]
        placed = {labels.uid for _, labels in work.segmentations if self._fits(labels)}
        steps = tuple(
            FindingStep(None, finding)
            for finding in work.findings
            if finding.uid not in self._workspace.findings
            and (finding.segment_ref is None or finding.segment_ref.segmentation_uid in placed)
        )
        if steps:
            edits.append(ChangeFindings(study_uid, steps, _TITLE))
        tracks = tuple(
            TrackStep(None, track)
            for track in work.tracks
            if track.uid not in self._workspace.tracks
        )
        if tracks:
            edits.append(ChangeTracks(study_uid, tracks, _TITLE))
        if self._workspace.report_of(study_uid) is None:
            before: Report | None = None
            for report in work.reports:
                edits.append(ChangeReport(study_uid, before, report, _TITLE))
                before = report
        return edits

    def _fits(self, segmentation: Segmentation) -> bool:
        volume = self._workspace.volumes.get(segmentation.volume_uid)
        return volume is not None and volume.geometry.agrees_with(segmentation.geometry)
