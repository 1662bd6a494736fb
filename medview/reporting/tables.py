"""Findings and timelines as tables for other programs: result.json, findings.csv, timeline.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from medview.core.codes import Code
from medview.core.findings import Finding, Measurement, ModelAuthor, PictureBox, SegmentRef
from medview.core.jobs import InferenceResult, InputHash
from medview.core.models import ModelCard
from medview.core.plain import to_plain
from medview.core.report import Report
from medview.core.study import Series, Study
from medview.core.timeline import Timeline

#: Where a segment stands in the exported files: file name and number there.
SegmentPlaces = Mapping[SegmentRef, tuple[str, int]]

#: A cell that starts like this would be run as a formula by a spreadsheet.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class ModelRun:
    """One run of a model, as result.json names it."""

    id: str
    version: str
    weights_sha256: str
    device: str = ""
    seconds: float = 0.0
    fallbacks: tuple[str, ...] = ()
    out_of_scope: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    inputs: tuple[InputHash, ...] = ()

    @staticmethod
    def of(card: ModelCard, result: InferenceResult) -> ModelRun:
        """The run of that model which gave that result."""
        return ModelRun(
            id=card.id,
            version=card.version,
            weights_sha256=card.sha256,
            device=result.device,
            seconds=round(result.seconds, 3),
            fallbacks=result.fallbacks,
            out_of_scope=result.out_of_scope,
            parameters=result.parameters,
            threshold=result.threshold,
            inputs=result.inputs,
        )


def result_json(
    study: Study,
    series: Series,
    runs: Sequence[ModelRun],
    findings: Sequence[Finding],
    *,
    places: SegmentPlaces,
    notes: Sequence[str] = (),
    report: Report | None = None,
) -> dict[str, Any]:
    """The content of result.json (schema: resources/schemas/result.schema.json).

    All findings are told, with their state. `inputs` is empty here: the export, which opens the
    source files anyway, fills in their checksums.
    """
    return {
        "study_uid": study.uid,
        "series_uid": series.uid,
        "models": [_run(run) for run in runs],
        "findings": [_finding(finding, places) for finding in findings],
        "report": None if report is None else _report(report),
        "inputs": [],
        "notes": list(notes),
    }


def _report(report: Report) -> dict[str, Any]:
    """Everything a report says, pictures apart: words, answers, the critical result, the prior."""
    critical = report.critical
    return {
        "uid": report.uid,
        "version": report.version,
        "status": report.status.value,
        "predecessor_uid": report.predecessor_uid or None,
        "template": report.template or None,
        "sections": [{"heading": one.heading, "text": one.text} for one in report.sections],
        "ai_statement": report.ai_statement,
        "answers": [
            {
                "field": one.field,
                "title": one.title,
                "value": one.value,
                "meaning": one.meaning,
                "code": _code(one.code),
            }
            for one in report.answers
        ],
        "critical": None
        if critical is None
        else {
            "finding": critical.finding,
            "informed": critical.informed,
            "at": _time(critical.at),
            "by": critical.by,
            "how": critical.how,
        },
        "compared_with": report.prior_uid or None,
        "signatures": [
            {"by": one.by, "at": _time(one.at), "sha256": one.sha256} for one in report.signatures
        ],
    }


def _run(run: ModelRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "version": run.version,
        "weights_sha256": run.weights_sha256,
        "device": run.device,
        "seconds": run.seconds,
        "fallbacks": list(run.fallbacks),
        "out_of_scope": list(run.out_of_scope),
        "parameters": to_plain(run.parameters),
        "threshold": run.threshold,
        "voxels_sha256": [one.sha256 for one in run.inputs],
    }


def _code(code: Code | None) -> dict[str, str] | None:
    if code is None:
        return None
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def _finding(finding: Finding, places: SegmentPlaces) -> dict[str, Any]:
    place = places.get(finding.segment_ref) if finding.segment_ref is not None else None
    box = finding.box_lps_mm
    review = finding.review
    author = finding.provenance.author
    return {
        "uid": finding.uid,
        "label": finding.label,
        "code": _code(finding.code),
        "site": _code(finding.site),
        "laterality": finding.laterality.value if finding.laterality is not None else None,
        "probability": finding.probability,
        "calibrated": finding.calibrated,
        "state": review.state.value,
        "by": review.by or None,
        "at": _time(review.at),
        "reason": review.reason or None,
        "text": finding.text,
        "model": author.model_id if isinstance(author, ModelAuthor) else None,
        "made": {
            "by": None if isinstance(author, ModelAuthor) else author.name,
            "version": author.version if isinstance(author, ModelAuthor) else None,
            "weights_sha256": author.weights_sha256 if isinstance(author, ModelAuthor) else None,
            "at": finding.provenance.made_at.isoformat(),
            "cautions": list(finding.provenance.cautions),
            "aids": [
                {"model": m.model_id, "version": m.version, "weights_sha256": m.weights_sha256}
                for m in finding.provenance.aids
            ],
        },
        "location_lps_mm": list(finding.location_lps_mm) if finding.location_lps_mm else None,
        "box_lps_mm": [list(corner) for corner in box] if box is not None else None,
        "picture_box": _picture_box(finding.picture_box),
        "key_boxes": [_picture_box(box) for box in finding.key_boxes],
        "classes": [
            {
                "label": one.label,
                "code": _code(one.code),
                "probability": one.probability,
                "spread": one.spread,
            }
            for one in finding.classes
        ],
        "measurements": [_measurement(measurement) for measurement in finding.measurements],
        "segment": {"file": place[0], "number": place[1]} if place is not None else None,
    }


def _picture_box(box: PictureBox | None) -> dict[str, Any] | None:
    if box is None:
        return None
    return {
        "box_px": list(box.box_px),
        "sop_instance_uid": box.sop_instance_uid or None,
        "frame_number": box.frame_number,
        "slice_index": box.slice_index,
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    return {
        "name": measurement_name(measurement),
        "value": measurement.value,
        "unit": measurement.unit,
        "method": measurement.method,
        "code": _code(measurement.kind),
        "uid": measurement.uid,
        "points": [list(point) for point in measurement.points_lps_mm],
        "sop_instance_uid": measurement.sop_instance_uid or None,
    }


def measurement_name(measurement: Measurement) -> str:
    """What a measurement is called: its own name or the meaning of its code."""
    return measurement.name or measurement.kind.meaning


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment is not None else None


_COLUMNS = (
    "study_uid",
    "finding_uid",
    "label",
    "laterality",
    "state",
    "by",
    "at",
    "probability",
    "measurement",
    "value",
    "unit",
    "method",
    "text",
    "key_frames",
)


def findings_csv(study: Study, findings: Sequence[Finding]) -> str:
    """One row per measurement (or per finding without one), RFC 4180 with a header row.

    Cells that a spreadsheet would run as a formula are quoted with a leading apostrophe;
    numbers stay numbers.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for finding in findings:
        for measurement in finding.measurements or (None,):
            writer.writerow(_row(study, finding, measurement))
    return out.getvalue()


def _row(study: Study, finding: Finding, measurement: Measurement | None) -> list[str]:
    review = finding.review
    text = [
        study.uid,
        finding.uid,
        finding.label,
        finding.laterality.value if finding.laterality is not None else "",
        review.state.value,
        review.by,
        _time(review.at) or "",
    ]
    numbers = ["" if finding.probability is None else repr(finding.probability)]
    frames = sorted(box.frame_number for box in (finding.picture_box, *finding.key_boxes) if box)
    keys = " ".join(map(str, frames)) if finding.key_boxes else ""
    rest = ["", "", "", finding.text, keys]
    if measurement is not None:
        rest = [repr(measurement.value), measurement.unit, measurement.method, finding.text, keys]
    name = measurement_name(measurement) if measurement is not None else ""
    value, *tail = rest
    return [*map(_inert, text), *numbers, _inert(name), value, *map(_inert, tail)]


def _inert(cell: str) -> str:
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def timeline_csv(timeline: Timeline) -> str:
    """The content of timeline.csv: a row for each frame, counted from 1, with its time.

    A column for each curve, with its UCUM unit, and for each class; empty where there is no
    value. The last column names the events of the frame.
    """
    names = {track.uid: track.name for track in timeline.tracks}
    columns: list[tuple[str, Sequence[float | None]]] = []
    for curve in timeline.curves:
        owner = f"{names[curve.track_uid]}: " if curve.track_uid in names else ""
        columns.append((f"{owner}{curve.name} [{curve.unit}]", curve.values))
    columns += [(f"{one.label} [probability]", one.probabilities) for one in timeline.classes]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["frame", "time_s", *(_inert(name) for name, _ in columns), "events"])
    for frame, time_s in enumerate(timeline.frame_times_s):
        events = "; ".join(event.label for event in timeline.events if event.frame == frame)
        values = ["" if row[frame] is None else f"{row[frame]:.6g}" for _, row in columns]
        writer.writerow([frame + 1, f"{time_s:.6g}", *values, _inert(events)])
    return out.getvalue()
