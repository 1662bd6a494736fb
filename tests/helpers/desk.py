"""A desk to test at: a workspace with one study, one volume, and things found on it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME, Code
from medview.core.findings import (
    Finding,
    Laterality,
    Measurement,
    ModelAuthor,
    Provenance,
    SegmentRef,
    utc_now,
)
from medview.core.geometry import Box, Geometry
from medview.core.jobs import InferenceJob, InferenceResult, JobInput
from medview.core.plain import to_plain
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.study import Patient, Series, Study
from medview.core.volume import Volume
from medview.reporting.template import Template, TemplateSection
from medview.services.audit import Audit
from medview.services.edits import PaintEdit
from medview.services.journal import to_text
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.store import Store
from medview.services.workspace import Workspace

STUDY, SERIES, VOLUME_UID = "1.2.3", "1.2.3.4", "1.2.3.4.5"
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
MODEL = ModelAuthor("finder", "1.0", "ab" * 32)
TEMPLATES = (
    Template(
        "general",
        "General",
        (TemplateSection("Findings", "{$findings|$no_findings}"), TemplateSection("Advice", "")),
    ),
)


def study(uid: str = STUDY) -> Study:
    series = Series(f"{uid}.4", uid, "MR", "T1", ())
    return Study(uid, Patient("7", "DOE^JANE"), "Brain", "20260102", series=(series,))


def geometry(shape: tuple[int, int, int] = (6, 10, 12)) -> Geometry:
    return Geometry(shape, np.diag([2.0, 1.0, 1.0, 1.0]))


def workspace(
    reader: str = "Dr Ada", shape: tuple[int, int, int] = (6, 10, 12), uid: str = STUDY
) -> Workspace:
    made = Workspace(Settings(None))
    made.reader = reader
    made.open_studies([study(uid)])
    grid = geometry(shape)
    made.add_volume(Volume(f"{uid}.4.5", f"{uid}.4", grid, np.zeros(shape, np.int16)))
    return made


def desk(work: Workspace, store: Store | None = None) -> tuple[ReviewDesk, Audit]:
    audit = Audit(store or Store(None))
    return ReviewDesk(work, audit, TEMPLATES), audit


def segment(number: int) -> Segment:
    return Segment(
        number=number,
        label=f"Structure {number}",
        category=ANATOMICAL_STRUCTURE,
        type=HIPPOCAMPUS,
        color_rgb=(200, 10 * number, 0),
        provenance=Provenance(MODEL, utc_now(), "job"),
    )


def segmentation(work: Workspace, numbers: Sequence[int] = (1, 2)) -> Segmentation:
    """Segment n fills slice n: every voxel of it."""
    volume = next(iter(work.volumes.values()))
    labels: npt.NDArray[np.uint8] = np.zeros(volume.geometry.shape, np.uint8)
    for number in numbers:
        labels[number] = number
    segments = tuple(segment(number) for number in numbers)
    return Segmentation(volume.uid, volume.geometry, labels, segments, "Proposal")


def finding(ref: SegmentRef | None, volume_ml: float, label: str) -> Finding:
    provenance = Provenance(MODEL, utc_now(), "job")
    measured = Measurement(VOLUME, volume_ml, "mL", "Voxel count", provenance, "Volume")
    return Finding(
        label=label,
        code=HIPPOCAMPUS,
        provenance=provenance,
        laterality=Laterality.LEFT,
        measurements=(measured,),
        segment_ref=ref,
    )


def result(work: Workspace, numbers: Sequence[int] = (1, 2)) -> InferenceResult:
    proposed = segmentation(work, numbers)
    slice_ml = proposed.labels[0].size * proposed.geometry.voxel_volume_ml
    findings = tuple(
        finding(SegmentRef(proposed.uid, n), slice_ml, f"Left structure {n}") for n in numbers
    )
    return InferenceResult("job", (proposed,), findings)


def job(work: Workspace) -> InferenceJob:
    volume = next(iter(work.volumes.values()))
    study_uid = work.study_of(volume.uid).uid
    return InferenceJob("finder", "1.0", (JobInput(volume.uid),), study_uid, uid="job")


def propose(work: Workspace, review: ReviewDesk) -> tuple[str, ...]:
    return review.propose(result(work), job(work))


def dab(
    work: Workspace, box: Box, number: int, *, stroke: str = "", segmentation_uid: str = ""
) -> PaintEdit | None:
    """A box of one segment, in the first segmentation if none is named; None if it is there."""
    first = work.segmentations[segmentation_uid or next(iter(work.segmentations))]
    after = np.full(box.shape, number, first.labels.dtype)
    change = LabelEdit.between(first, box, after, f"Paint: {number}")
    study_uid = work.study_of(first.uid).uid
    return None if change is None else PaintEdit(study_uid, change, stroke)


def fingerprint(work: Workspace) -> str:
    """A hash over all of the reader's work but revisions, which only ever rise."""
    digest = hashlib.sha256()
    for one in work.segmentations.values():
        digest.update(one.uid.encode() + one.labels.tobytes())
        digest.update(str(to_plain(one.segments)).encode())
    for uid in work.studies:
        for found in work.findings_of(uid):
            digest.update(to_text(found).encode())
        for report in work.versions_of(uid):
            digest.update(to_text(report).encode())
    return digest.hexdigest()
