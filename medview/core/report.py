"""Report: sections, findings and signatures, from draft to amendment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from medview.core.codes import Code
from medview.core.findings import Finding, Point, new_uid
from medview.core.plain import LATE
from medview.core.study import Patient


class ReportStatus(StrEnum):
    """How final a report is. A final one is frozen; it changes by amendment."""

    DRAFT = "draft"
    PRELIMINARY = "preliminary"
    FINAL = "final"
    AMENDED = "amended"

    @property
    def is_signed(self) -> bool:
        """Whether the text may no longer change."""
        return self in (ReportStatus.FINAL, ReportStatus.AMENDED)


@dataclass(frozen=True)
class Section:
    """A headed part of the report, in the reader's words where `edited`.

    `source` is the text with marks in the place of measurements, where it has any: `text` is made
    of it whenever they change, until the report is signed.
    """

    heading: str
    text: str
    edited: bool = False
    source: str = field(default="", metadata=LATE)


@dataclass(frozen=True)
class Signature:
    """Who signed which text: sha256 over the canonical JSON of the report without signatures."""

    by: str
    at: datetime
    sha256: str


@dataclass(frozen=True)
class KeyImage:
    """A picture worth showing: a place and a plane in one volume, with a caption.

    `plane` is axial, coronal or sagittal. `png` is the rendered picture. `section` is the heading
    it was placed under, "" for none. `frame_number` is that of a clip, from 1, and 0 for all else.
    """

    volume_uid: str
    plane: str
    point_lps_mm: Point
    caption: str
    png: bytes = field(default=b"", repr=False)
    sop_instance_uid: str = ""
    uid: str = field(default_factory=new_uid)
    section: str = field(default="", metadata=LATE)
    frame_number: int = field(default=0, metadata=LATE)


@dataclass(frozen=True)
class Answer:
    """What was chosen in a field of the template: a RADS category, a diagnosis by its code.

    `field` names it in the template, `title` and `meaning` are for people; `code` where the value
    is one of a coding scheme.
    """

    field: str
    title: str
    value: str
    meaning: str = ""
    code: Code | None = None


@dataclass(frozen=True)
class CriticalResult:
    """A result that could not wait: what it is, who was told, how, when, and by whom."""

    finding: str
    informed: str
    at: datetime
    by: str
    how: str = ""

    def __post_init__(self) -> None:
        if not (self.finding.strip() and self.informed.strip() and self.by.strip()):
            raise ValueError("A critical result names what was found, who was told and who told")
        if self.at.tzinfo is None:
            raise ValueError("Times carry their zone; this one does not")


@dataclass(frozen=True)
class Subject:
    """Whom and what a report was begun about, as it stood then."""

    patient: Patient
    study_date: str = ""
    description: str = ""


@dataclass(frozen=True)
class Report:
    """What leaves the room: only accepted or edited findings, and what models contributed.

    `ai_statement` names every model with id and version and cannot be left out. `template` is the
    one the reader chose, "" for the one that fits best; `prior_uid` the report it is compared
    with; `released` who gave it out as preliminary, and which text.
    """

    study_uid: str
    status: ReportStatus = ReportStatus.DRAFT
    version: int = 1
    sections: tuple[Section, ...] = ()
    findings: tuple[Finding, ...] = ()
    key_images: tuple[KeyImage, ...] = ()
    signatures: tuple[Signature, ...] = ()
    ai_statement: str = ""
    predecessor_uid: str = ""
    uid: str = field(default_factory=new_uid)
    template: str = field(default="", metadata=LATE)
    answers: tuple[Answer, ...] = field(default=(), metadata=LATE)
    critical: CriticalResult | None = field(default=None, metadata=LATE)
    subject: Subject | None = field(default=None, metadata=LATE)
    prior_uid: str = field(default="", metadata=LATE)
    released: Signature | None = field(default=None, metadata=LATE)

    def __post_init__(self) -> None:
        if any(not finding.review.state.counts for finding in self.findings):
            raise ValueError("A finding that nobody accepted cannot stand in a report")
        if self.status.is_signed and not self.signatures:
            raise ValueError("A final report carries a signature")
