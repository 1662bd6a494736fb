"""What leaves with an export: everything it is made from, taken at one moment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from medview.core.findings import Finding
from medview.core.jobs import JobState
from medview.core.models import ModelCard
from medview.core.report import Report
from medview.core.segmentation import Segmentation
from medview.core.study import Series
from medview.core.volume import Volume, Window
from medview.io.request import (
    ExportedFiles,
    ExportFormat,
    MapExport,
    Predecessor,
    ShownImages,
)
from medview.reporting.tables import ModelRun
from medview.services.audit import Audit, AuditRow
from medview.services.jobs import Jobs
from medview.services.workspace import Workspace

#: What the trail calls an export.
ACTION = "report.export"
#: What the trail calls it when a document was brought in.
IMPORTED = "report.import"
#: Values of one map that cross to the import worker.
_MOST_MAP_VALUES = 1 << 26
_SR = re.compile(r"\bsr:([0-9.]+)/([0-9.]+)(?:/([0-9.]+))?")


@dataclass(frozen=True, eq=False)
class Material:
    """What an export is made from.

    `frames` says for findings in which frame of reference their millimetres count.
    """

    report: Report
    segmentations: tuple[Segmentation, ...]
    volumes: dict[str, Volume]
    findings: tuple[Finding, ...]
    cards: tuple[ModelCard, ...]
    runs: tuple[ModelRun, ...]
    trail: list[dict[str, Any]]
    frames: dict[str, str]
    predecessors: tuple[Predecessor, ...]
    shown: ShownImages | None
    maps: tuple[MapExport, ...] = ()


class Leaving:
    """Finds together what an export of a study is made from; on the owner's thread."""

    def __init__(
        self,
        workspace: Workspace,
        jobs: Jobs,
        cards: Callable[[], Sequence[ModelCard]],
        audit: Audit,
        grey_of: Callable[[str], tuple[Window, bool] | None],
    ) -> None:
        self._workspace = workspace
        self._grey_of = grey_of
        self._jobs = jobs
        self._cards = cards
        self._audit = audit

    def material(self, study_uid: str, series: Series) -> Material:
        """Everything of a study as it is now; its report speaks of the series."""
        segmentations = self.segmentations(study_uid)
        findings = self._workspace.findings_of(study_uid)
        rows = self._audit.rows(study_uid)
        return Material(
            report=self._workspace.reports[study_uid],
            segmentations=segmentations,
            volumes={s.volume_uid: self._workspace.volumes[s.volume_uid] for s in segmentations},
            findings=findings,
            cards=tuple(self._cards()),
            runs=self._runs(study_uid),
            trail=[asdict(row) for row in rows],
            frames={one.uid: frame for one in findings if (frame := self._frame_of(one))},
            predecessors=predecessors_in(rows),
            shown=self.shown(series),
            maps=tuple(self._maps(study_uid)),
        )

    def _maps(self, study_uid: str) -> Iterator[MapExport]:
        """The maps on images of a study; very large ones as means of blocks."""
        workspace, outcomes = self._workspace, self._jobs.outcomes
        for volume in workspace.volumes.values():
            if workspace.study_of(volume.uid).uid != study_uid:
                continue
            for one in outcomes.maps_of(volume.uid):
                author = outcomes.author_of(one)
                series = workspace.series(volume.series_uid)
                small = one.coarser(_MOST_MAP_VALUES)
                yield MapExport(small, series, volume.instance_uids, author)

    def segmentations(self, study_uid: str) -> tuple[Segmentation, ...]:
        """The segmentations of a study."""
        return tuple(
            one
            for one in self._workspace.segmentations.values()
            if self._workspace.study_of(one.uid).uid == study_uid
        )

    def shown(self, series: Series) -> ShownImages | None:
        """The images of a series as they are seen; None where none of it is open."""
        volumes = self._workspace.volumes_of(series.uid)
        if not volumes or not volumes[0].instance_uids:
            return None
        volume = volumes[0]
        grey = self._grey_of(volume.uid)
        window, turned = grey if grey is not None else (None, False)
        return ShownImages(
            series,
            volume.instance_uids,
            volume.geometry,
            window if not volume.scale_name else None,
            inverted=volume.inverted != turned,
            frame_numbers=volume.frame_numbers,
            one_scale=volume.voxels.dtype.kind != "f",
        )

    def _frame_of(self, finding: Finding) -> str:
        """The frame of reference of the images a finding was made on; "" if it is in doubt."""
        geometries = [one.geometry for one in self._images_of(finding)]
        frames = {one.frame_of_reference_uid for one in geometries if one.in_patient_space}
        return frames.pop() if len(frames) == 1 else ""

    def _images_of(self, finding: Finding) -> Iterator[Segmentation | Volume]:
        """What it lies on as far as that is known, else all images of its study."""
        workspace = self._workspace
        ref, provenance = finding.segment_ref, finding.provenance
        if ref is not None and ref.segmentation_uid in workspace.segmentations:
            yield workspace.segmentations[ref.segmentation_uid]
            return
        job = workspace.jobs.get(provenance.job_uid)
        sources = {*provenance.derived_from, *(item.uid for item in (job.inputs if job else ()))}
        named = [workspace.volumes[uid] for uid in sources & workspace.volumes.keys()]
        study_uid = workspace.study_of(finding.uid).uid
        every = [one for one in workspace.volumes.values()
                 if workspace.study_of(one.uid).uid == study_uid]  # fmt: skip
        yield from named or every

    def _runs(self, study_uid: str) -> tuple[ModelRun, ...]:
        """Runs of this session, and models of an earlier one that findings still name."""
        known = {card.id: card for card in self._cards()}
        runs = [
            ModelRun.of(known[job.model_id], self._jobs.outcomes.result(job.uid))
            for job in self._workspace.jobs.values()
            if job.study_uid == study_uid and job.state is JobState.DONE and job.model_id in known
        ]
        named = {(run.id, run.version) for run in runs}
        for finding in self._workspace.findings_of(study_uid):
            for model in finding.provenance.models:
                if (model.model_id, model.version) not in named:
                    named.add((model.model_id, model.version))
                    runs.append(ModelRun(model.model_id, model.version, model.weights_sha256))
        return tuple(runs)


def note_of(files: ExportedFiles) -> str:
    """What the trail says of an export: names and hashes, and which SR it wrote."""
    words = [f"{one.path.name}:{one.sha256[:16]}" for one in files.files]
    words += [
        f"sr:{one.sop_instance_uid}/{one.series_uid}"
        for one in files.files
        if one.format is ExportFormat.SR
    ]
    return " ".join(words)


def predecessors_in(rows: tuple[AuditRow, ...]) -> tuple[Predecessor, ...]:
    """The SR that was exported or brought in last of a study: the next one takes its place."""
    for row in reversed(rows):
        if row.action in (ACTION, IMPORTED) and (found := _SR.search(row.note)):
            return (Predecessor(found[3] or row.study_uid, found[2], found[1]),)
    return ()
