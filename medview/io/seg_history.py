"""What became of a segment, as words in its description: there is no attribute of DICOM for it.

`accepted by Dr Ada on 2026-03-04 05:06 UTC; work: done; locked; drawn by Dr Ada with it`, where
"it" is the algorithm that the segment names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from medview.core.findings import Person, Review, ReviewState
from medview.core.segmentation import Segment, SegmentState

#: How 3D Slicer tags how far the work on a segment is.
STATUS = "Segmentation.Status"
STATUSES: Mapping[SegmentState, str] = MappingProxyType({
    SegmentState.NOT_STARTED: "notstarted", SegmentState.IN_PROGRESS: "inprogress",
    SegmentState.DONE: "completed", SegmentState.FLAGGED: "flagged",
})  # fmt: skip
_DECIDED = re.compile(r"(accepted|edited) by (.+) on (\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?) UTC")
_WORK, _LOCKED = "work: ", "locked"
_DRAWN = re.compile(r"(?:^|; )drawn by (.+) with it$")


def history_of(segment: Segment) -> str:
    """The decision, how far the work is, whether it is locked, and who drew it with a model."""
    review = segment.review
    told = str(review.state)
    if review.state.counts and review.at is not None:
        told = f"{review.state} by {review.by} on {review.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    parts = [told]
    if segment.state is not SegmentState.NOT_STARTED:
        parts.append(f"{_WORK}{segment.state.value}")
    if segment.locked:
        parts.append(_LOCKED)
    author = segment.provenance.author
    if segment.provenance.aids and isinstance(author, Person):
        parts.append(f"drawn by {author.name} with it")
    return "; ".join(parts)


def told_by(description: str) -> tuple[Review, SegmentState, bool]:
    """Decision, state of work and lock from a description that medview wrote."""
    rest, review, state = _DRAWN.sub("", description), Review(), SegmentState.NOT_STARTED
    locked = rest.endswith(f"; {_LOCKED}")
    rest = rest.removesuffix(f"; {_LOCKED}")
    before, mark, word = rest.rpartition(f"; {_WORK}")
    if mark and word in set(SegmentState):
        rest, state = before, SegmentState(word)
    decided = _DECIDED.fullmatch(rest)
    if decided:
        at = datetime.fromisoformat(decided[3]).replace(tzinfo=UTC)
        review = Review(ReviewState(decided[1]), decided[2], at)
    return review, state, locked


def drawn_by(description: str) -> str:
    """The person who drew a segment with the algorithm that it names; "" if the algorithm did."""
    drawn = _DRAWN.search(description)
    return drawn[1] if drawn else ""
