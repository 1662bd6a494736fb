"""What a file of results brings, in plain values that cross from the import workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medview.core.findings import Finding, SegmentRef
from medview.core.report import Answer, CriticalResult, Section
from medview.core.study import Patient
from medview.io.request import Predecessor


@dataclass(frozen=True)
class Words:
    """What a report says beside its findings; `signed` tells who verified it, in words."""

    sections: tuple[Section, ...] = ()
    answers: tuple[Answer, ...] = ()
    critical: CriticalResult | None = None
    template: str = ""
    signed: str = ""

    @property
    def are_none(self) -> bool:
        """Whether it says nothing."""
        return not (self.sections or self.answers or self.critical)


@dataclass(frozen=True)
class KeyPicture:
    """An image that was chosen as worth seeing: its SOP Instance UID, and frame from 1."""

    sop_instance_uid: str
    frame_number: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Brought:
    """One document of results.

    `images` are all SOP Instance UIDs of images that it refers to, `frames` the frames of
    reference that its millimetres count in. `segments` says for findings, by uid, which segment of
    a SEG shows them: SOP Instance UID and number there. `document` is set where a report that
    follows from this one has to name it.
    """

    name: str
    patient: Patient
    study_uid: str = ""
    findings: tuple[Finding, ...] = ()
    segments: Mapping[str, SegmentRef] = field(default_factory=dict)
    images: frozenset[str] = frozenset()
    frames: frozenset[str] = frozenset()
    words: Words = Words()
    pictures: tuple[KeyPicture, ...] = ()
    document: Predecessor | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to bring in."""
        return not (self.findings or self.pictures) and self.words.are_none
