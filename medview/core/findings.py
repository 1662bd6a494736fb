"""Findings and measurements, who made them, and what the reader decided."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum

from medview.core.codes import Code
from medview.core.plain import LATE

Point = tuple[float, float, float]


def new_uid() -> str:
    """A fresh identifier for things that DICOM does not name."""
    return str(uuid.uuid4())


def utc_now() -> datetime:
    """The time now, aware, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Person:
    """A reader, by the name they sign with."""

    name: str

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("A person needs a name")


@dataclass(frozen=True)
class ModelAuthor:
    """A model, by what identifies it beyond doubt."""

    model_id: str
    version: str
    weights_sha256: str


Author = Person | ModelAuthor


@dataclass(frozen=True)
class Provenance:
    """Who made a thing, when, in which job and from what.

    `cautions` say in words where the input left what the author was made for, so that a
    model's result carries its limits wherever it goes. `aids` are models that a person drew it
    with.
    """

    author: Author
    made_at: datetime
    job_uid: str = ""
    derived_from: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    aids: tuple[ModelAuthor, ...] = field(default=(), metadata=LATE)

    def aided_by(self, model: ModelAuthor) -> Provenance:
        """The same, with the help of a model besides."""
        return self if model in self.models else replace(self, aids=(*self.aids, model))

    @property
    def models(self) -> tuple[ModelAuthor, ...]:
        """The models that had a part in it: as its author, or as an aid."""
        own = (self.author,) if isinstance(self.author, ModelAuthor) else ()
        return (*own, *(one for one in self.aids if one not in own))

    def __post_init__(self) -> None:
        if self.made_at.tzinfo is None:
            raise ValueError("Times carry their zone; this one does not")


class ReviewState(StrEnum):
    """What the reader decided about a proposal."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    EDITED = "edited"
    REJECTED = "rejected"

    @property
    def counts(self) -> bool:
        """Whether it may stand in a report: a person has said yes."""
        return self in (ReviewState.ACCEPTED, ReviewState.EDITED)


@dataclass(frozen=True)
class Review:
    """The decision, by whom, when and why. A proposal has nobody."""

    state: ReviewState = ReviewState.PROPOSED
    by: str = ""
    at: datetime | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.state is not ReviewState.PROPOSED and (not self.by or self.at is None):
            raise ValueError("A decision names the person and the time")


class Laterality(StrEnum):
    """Side of the body, from patient coordinates, never from the picture."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"


@dataclass(frozen=True)
class SegmentRef:
    """One segment of one segmentation."""

    segmentation_uid: str
    number: int


@dataclass(frozen=True)
class Measurement:
    """A number with its unit (UCUM) and how it was taken.

    `points_lps_mm` are the points it was drawn with, in LPS millimetres, or pixels
    (0, row, column) where the image has no patient space; `sop_instance_uid` names the image then.
    """

    kind: Code
    value: float
    unit: str
    method: str
    provenance: Provenance
    name: str = ""
    points_lps_mm: tuple[Point, ...] = ()
    sop_instance_uid: str = ""
    uid: str = field(default_factory=new_uid)


@dataclass(frozen=True)
class PictureBox:
    """A box on one picture: `box_px` is (top, left, bottom, right) in pixels.

    Its edges count from the outer corner of the first pixel, as PS3.3 C.18.6.1.2 has it: a box
    around pixel (row, column) alone is (row, column, row + 1, column + 1). `slice_index` is the
    picture's place in its volume or clip, from 0; `sop_instance_uid` and `frame_number` (from 1)
    are those of the object it came in, "" where it was none of DICOM's. ValueError for a box
    without extent.
    """

    box_px: tuple[float, float, float, float]
    slice_index: int = 0
    sop_instance_uid: str = ""
    frame_number: int = 1

    def __post_init__(self) -> None:
        top, left, bottom, right = self.box_px
        if not (top < bottom and left < right and math.isfinite(sum(self.box_px))):
            raise ValueError(f"A box needs an extent, not {self.box_px}")


@dataclass(frozen=True)
class ClassProbability:
    """How probable (0-1) one of a model's classes is.

    `spread` is the standard deviation of what mirrored views, members of an ensemble or draws of
    dropout give one by one; None where there is but one opinion.
    """

    label: str
    code: Code
    probability: float
    spread: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"A probability lies between 0 and 1, not {self.probability}")


@dataclass(frozen=True)
class Opinion:
    """What one of several readers made of a finding: the decision, and what else may change."""

    review: Review
    label: str
    code: Code
    laterality: Laterality | None = None
    text: str = ""
    measurements: tuple[Measurement, ...] = ()
    location_lps_mm: Point | None = None
    box_lps_mm: tuple[Point, Point] | None = None
    picture_box: PictureBox | None = None
    key_boxes: tuple[PictureBox, ...] = field(default=(), metadata=LATE)


@dataclass(frozen=True)
class Finding:
    """One statement about the patient that a report may carry.

    `probability` is 0-1 and says how sure its author is; `calibrated` whether that number was
    checked against outcomes. `classes` has it beside those of the other classes its author
    weighed. `box_lps_mm` are two opposite corners; `picture_box` is the box on the picture it was
    found on, which pictures without a place in the patient have alone; on a clip `key_boxes` are
    those on further frames, between which it runs evenly. `opinions` are those of several readers,
    each apart, where it is read so.
    """

    label: str
    code: Code
    provenance: Provenance
    site: Code | None = None
    laterality: Laterality | None = None
    text: str = ""
    probability: float | None = None
    calibrated: bool = False
    measurements: tuple[Measurement, ...] = ()
    segment_ref: SegmentRef | None = None
    location_lps_mm: Point | None = None
    box_lps_mm: tuple[Point, Point] | None = None
    picture_box: PictureBox | None = None
    classes: tuple[ClassProbability, ...] = ()
    review: Review = field(default_factory=Review)
    uid: str = field(default_factory=new_uid)
    opinions: tuple[Opinion, ...] = field(default=(), metadata=LATE)
    key_boxes: tuple[PictureBox, ...] = field(default=(), metadata=LATE)

    def __post_init__(self) -> None:
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"A probability lies between 0 and 1, not {self.probability}")
        if self.key_boxes and self.picture_box is None:
            raise ValueError("Key frames belong to a box on a picture")

    def opinion_of(self, reader: str) -> Opinion | None:
        """What one of several readers made of it; None for nothing yet."""
        return next((one for one in self.opinions if one.review.by == reader), None)

    def as_opinion(self) -> Opinion:
        """All of it that a reader may change, with the decision."""
        return Opinion(**{one.name: getattr(self, one.name) for one in fields(Opinion)})

    def with_opinion(self, opinion: Opinion) -> Finding:
        """The finding as a reader sees it who is of that opinion."""
        return replace(self, **{one.name: getattr(opinion, one.name) for one in fields(opinion)})

    def reviewed(self, review: Review) -> Finding:
        """The same finding with another decision."""
        return replace(self, review=review)
