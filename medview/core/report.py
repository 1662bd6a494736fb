"""Report: sections, findings and signatures, from draft to amendment."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from medview.core.findings import Finding, Point, new_uid


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
    """A headed part of the report, in the reader's words where `edited`."""

    heading: str
    text: str
    edited: bool = False


@dataclass(frozen=True)
class Signature:
    """Who signed which text: sha256 over the canonical JSON of the report without signatures."""

    by: str
    at: datetime
    sha256: str


@dataclass(frozen=True)
class KeyImage:
    """A picture worth showing: a place and a plane in one volume, with a caption.

    `plane` is axial, coronal or sagittal. `png` is the rendered picture.
    """

    volume_uid: str
    plane: str
    point_lps_mm: Point
    caption: str
    png: bytes = field(default=b"", repr=False)
    sop_instance_uid: str = ""
    uid: str = field(default_factory=new_uid)


@dataclass(frozen=True)
class Report:
    """What leaves the room: only accepted or edited findings, and what models contributed.

    `ai_statement` names every model with id and version and cannot be left out.
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

    def __post_init__(self) -> None:
        if any(not finding.review.state.counts for finding in self.findings):
            raise ValueError("A finding that nobody accepted cannot stand in a report")
        if self.status.is_signed and not self.signatures:
            raise ValueError("A final report carries a signature")
