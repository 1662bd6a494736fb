"""Export: a study's accepted findings, segments and report, rendered, written and read back."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medview.core.errors import MedviewError, ReportError
from medview.core.events import Level
from medview.core.findings import ReviewState
from medview.core.report import KeyImage, Report
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.io.request import (
    USUAL_FORMATS,
    ExportedFiles,
    ExportFormat,
    ExportRequest,
    SegmentationExport,
    counts,
    gather,
    places,
)
from medview.reporting.canonical import digest
from medview.reporting.fhir import bundle_of
from medview.reporting.tables import findings_csv, result_json
from medview.services.audit import Audit
from medview.services.leaving import ACTION, Leaving, Material, note_of
from medview.services.review import ReviewDesk
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

#: SEG of a large study, compressed, read back and validated.
_TIME_LIMIT_S = 1800.0
_CLOSED = "The study was closed before its export was written"

_ILLUSTRATED = frozenset({
    ExportFormat.KEY_IMAGES, ExportFormat.PDF, ExportFormat.PDF_DICOM, ExportFormat.KEY_OBJECTS,
    ExportFormat.CAPTURES, ExportFormat.HTML,
})  # fmt: skip

_MAPPED = frozenset({ExportFormat.MAPS, ExportFormat.PROBABILITIES})


def _nothing(_what: object) -> None:
    """Nobody waits."""


def _nobody() -> None:
    """Nobody waits."""


@dataclass(frozen=True, eq=False)
class _Order:
    """One export on its way."""

    study: Study
    series: Series
    folder: Path
    formats: tuple[ExportFormat, ...]
    proposals: bool
    on_done: Callable[[ExportedFiles], object]
    on_error: Callable[[MedviewError], object]


class Export:
    """Writes what leaves the program: rendering on the task pool, files in an import worker.

    Every file is read back before it counts; what fails is named in an ExportError. A draft
    without key images gets one of each plane, so that what was segmented can be seen.
    """

    def __init__(
        self,
        workspace: Workspace,
        review: ReviewDesk,
        leaving: Leaving,
        tasks: Tasks,
        audit: Audit,
        resources: Path,
    ) -> None:
        self._workspace = workspace
        self._review = review
        self._leaving = leaving
        self._tasks = tasks
        self._audit = audit
        self._resources = resources

    def export(
        self,
        study_uid: str,
        folder: Path,
        formats: Sequence[ExportFormat | str] = USUAL_FORMATS,
        *,
        series_uid: str = "",
        proposals: bool = False,
        on_done: Callable[[ExportedFiles], object] = _nothing,
        on_error: Callable[[MedviewError], object] = _nothing,
    ) -> None:
        """Export a study into a folder, which is made if missing; the reader is told the outcome.

        `series_uid` is what the report speaks of, the one of the first finding if empty. With
        `proposals` segments nobody decided on are written too, marked as proposals.
        """
        study = self._workspace.studies[study_uid]
        self._review.begin_report(study_uid)
        series = (
            study.find_series(series_uid)
            if series_uid
            else self._review.series_of_report(study_uid)
        )
        if series is None:
            raise ReportError("There is nothing to export: no image of the study was opened")
        order = _Order(
            study,
            series,
            folder.absolute(),
            tuple(ExportFormat(name) for name in formats),
            proposals,
            on_done,
            on_error,
        )
        if self._needs_pictures(order):
            self.illustrate(
                study_uid,
                proposals=proposals,
                on_done=partial(self._assemble, order),
                on_error=partial(self._failed, order),
            )
        else:
            self._assemble(order)

    def export_now(
        self,
        study_uid: str,
        folder: Path,
        series_uid: str = "",
        *,
        proposals: bool = False,
        formats: Sequence[ExportFormat | str] = USUAL_FORMATS,
    ) -> dict[str, Any]:
        """Export and wait for it; gives the content of result.json. The errors are raised."""
        files: list[ExportedFiles] = []
        errors: list[MedviewError] = []
        self.export(
            study_uid,
            folder,
            formats,
            series_uid=series_uid,
            proposals=proposals,
            on_done=files.append,
            on_error=errors.append,
        )
        while not files and not errors:
            self._tasks.wait(0.1)
            self._tasks.pump()
        if errors:
            raise errors[0]
        written = files[0].folder / "result.json"
        result: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
        return result

    def illustrate(
        self,
        study_uid: str,
        *,
        proposals: bool = False,
        on_done: Callable[[], object] = _nobody,
        on_error: Callable[[MedviewError], object] = _nothing,
    ) -> None:
        """Put a picture of each plane, with the segments outlined, into the open report."""
        shown = self._leaving.segmentations(study_uid)
        keep = _undecided_too if proposals else counts
        volumes = {one.volume_uid: self._workspace.volumes[one.volume_uid] for one in shown}

        def drawn(images: tuple[KeyImage, ...]) -> None:
            if study_uid not in self._workspace.studies:
                on_error(ReportError(_CLOSED))
                return
            for image in images:
                self._review.add_key_image(study_uid, image)
            on_done()

        self._tasks.run(
            _draw, shown, volumes, keep, self._resources, on_done=drawn, on_error=on_error
        )

    def illustrate_now(self, study_uid: str) -> None:
        """Give a draft without pictures its key images and wait for them; errors are raised.

        For signing, after which nothing can be added. Nothing to draw, nothing done.
        """
        if not self._lacks_pictures(self._review.begin_report(study_uid)):
            return
        drawn: list[None] = []
        errors: list[MedviewError] = []
        self.illustrate(study_uid, on_done=lambda: drawn.append(None), on_error=errors.append)
        while not drawn and not errors:
            self._tasks.wait(0.1)
            self._tasks.pump()
        if errors:
            raise errors[0]

    # On the way

    def _needs_pictures(self, order: _Order) -> bool:
        report = self._workspace.reports[order.study.uid]
        return bool(_ILLUSTRATED & set(order.formats)) and self._lacks_pictures(report)

    @staticmethod
    def _lacks_pictures(report: Report) -> bool:
        return not report.key_images and not report.status.is_signed

    def _assemble(self, order: _Order) -> None:
        """Render and gather on the pool; once more if the reader painted meanwhile."""
        if order.study.uid not in self._workspace.studies:
            self._failed(order, ReportError(_CLOSED))
            return
        material = self._leaving.material(order.study.uid, order.series)
        revisions = {one.uid: one.revision for one in material.segmentations}

        def assembled(request: ExportRequest) -> None:
            now = {one.uid: one.revision for one in self._leaving.segmentations(order.study.uid)}
            if now == revisions and self._workspace.report_of(order.study.uid) == material.report:
                self._write(order, request)
            else:
                self._assemble(order)

        self._tasks.run(
            _request,
            order,
            material,
            self._resources,
            self._workspace.reader,
            self._workspace.password_of(order.study.uid),
            on_done=assembled,
            on_error=partial(self._failed, order),
        )

    def _write(self, order: _Order, request: ExportRequest) -> None:
        self._tasks.call_import(
            "medview.io.export:export",
            request,
            on_done=partial(self._written, order, request),
            on_error=partial(self._failed, order),
            timeout_s=_TIME_LIMIT_S,
        )

    def _written(self, order: _Order, request: ExportRequest, files: ExportedFiles) -> None:
        self._audit.record(
            self._workspace.reader or "medview",
            ACTION,
            request.report.uid,
            study_uid=order.study.uid,
            digests=("", digest(request.report)),
            note=note_of(files),
        )
        notes = " ".join(files.notes)
        text = f"Exported {len(files.files)} files to {order.folder}"
        self._workspace.notify(Level.INFO, text, notes)
        order.on_done(files)

    def _failed(self, order: _Order, error: MedviewError) -> None:
        self._workspace.notify(Level.ERROR, f"The export failed: {error.user_text}", error.hint)
        order.on_error(error)


def _undecided_too(segment: Segment) -> bool:
    return segment.review.state is not ReviewState.REJECTED


def _draw(
    segmentations: Sequence[Segmentation],
    volumes: dict[str, Volume],
    keep: Callable[[Segment], bool],
    resources: Path,
) -> tuple[KeyImage, ...]:
    """On the pool: pictures of every segmentation with something to show."""
    # Named, not imported: Pillow and fonts are slow to load and not needed before this.
    pictures = importlib.import_module("medview.reporting.pictures")
    drawn: list[KeyImage] = []
    for one in segmentations:
        numbers = [segment.number for segment in one.segments if keep(segment)]
        if numbers:
            volume = volumes[one.volume_uid]
            drawn += pictures.key_images(volume, one, fonts=resources / "fonts", numbers=numbers)
    return tuple(drawn)


def _request(
    order: _Order, material: Material, resources: Path, reader: str, password: str
) -> ExportRequest:
    """On the pool: everything rendered and compressed."""
    render = importlib.import_module("medview.reporting.render")
    documents = render.documents(
        material.report, order.study, material.cards, resources=resources, series=order.series
    )
    keep = _undecided_too if order.proposals else counts
    exports: tuple[SegmentationExport, ...] = gather(
        material.segmentations, material.volumes, order.study, keep=keep
    )
    result = result_json(
        order.study,
        order.series,
        material.runs,
        material.findings,
        places=places(exports),
        notes=[note for volume in material.volumes.values() for note in volume.notes],
        report=material.report,
    )
    fhir = ""
    if ExportFormat.FHIR in order.formats:
        bundle = bundle_of(material.report, order.study, documents.pdf)
        fhir = json.dumps(bundle, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return ExportRequest(
        folder=order.folder,
        study=order.study,
        series=order.series,
        report=material.report,
        result={**result, "audit": material.trail},
        segmentations=exports,
        pdf=documents.pdf,
        html=documents.html,
        csv=findings_csv(order.study, material.findings),
        reader=reader,
        formats=order.formats,
        password=password,
        frames=material.frames,
        predecessors=material.predecessors,
        shown=material.shown,
        fhir=fhir,
        maps=material.maps if _MAPPED & set(order.formats) else (),
    )
