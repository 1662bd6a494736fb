"""What became of a segment, as words in its description: there is no attribute of DICOM for it.

`accepted by Dr Ada on 2026-03-04 05:06 UTC; work: done; locked; drawn by Dr Ada with it; helped by
"clicks" "2.1.0" 0123...`, where "it" is the algorithm that the segment names, beside which there
is no room for others: those follow by name, version and SHA-256 of their weights. A description
has 1024 characters (VR ST); of more models than fit the last are counted, as `3 more`. The object
names them all as contributing equipment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

from medview.core.findings import ModelAuthor, Person, Review, ReviewState
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
_QUOTED = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-f]{4}))*"'
_MODEL = re.compile(rf"({_QUOTED}) ({_QUOTED})(?: ([0-9a-f]{{64}}))?")
_EACH = rf"(?:{_MODEL.pattern}|\d+ more)"
_HELPED = re.compile(rf"; helped by {_EACH}(?:, {_EACH})*$")
#: Characters of a description (PS3.5 6.2, VR ST), and of a name and a version in it.
_LENGTH, _OF_PERSON, _OF_MODEL = 1024, 256, 64


def history_of(segment: Segment) -> str:
    """The decision, how far the work is, whether it is locked, and who drew it with which models.

    The first model is left out: the segment names it as its algorithm.
    """
    review = segment.review
    told = str(review.state)
    if review.state.counts and review.at is not None:
        by, at = review.by[:_OF_PERSON], review.at.astimezone(UTC)
        told = f"{review.state} by {by} on {at:%Y-%m-%d %H:%M:%S} UTC"
    parts = [told]
    if segment.state is not SegmentState.NOT_STARTED:
        parts.append(f"{_WORK}{segment.state.value}")
    if segment.locked:
        parts.append(_LOCKED)
    author = segment.provenance.author
    if segment.provenance.aids and isinstance(author, Person):
        parts.append(f"drawn by {author.name[:_OF_PERSON]} with it")
    words = "; ".join(parts)
    return words + _helpers(segment.provenance.models[1:], _LENGTH - len(words))


def _helpers(models: Sequence[ModelAuthor], room: int) -> str:
    """As many models as there is room for, and how many more there are."""
    for count in range(len(models), -1, -1):
        named = [_named(one) for one in models[:count]]
        more = [f"{len(models) - count} more"] if count < len(models) else []
        words = f"; helped by {', '.join(named + more)}" if models else ""
        if len(words) <= room:
            return words
    return ""


def _named(model: ModelAuthor) -> str:
    name, version = (
        json.dumps(text[:_OF_MODEL], ensure_ascii=False) for text in (model.model_id, model.version)
    )
    return f"{name} {version} {model.weights_sha256}".rstrip()


def told_by(description: str) -> tuple[Review, SegmentState, bool]:
    """Decision, state of work and lock from a description that medview wrote."""
    rest = _DRAWN.sub("", _HELPED.sub("", description))
    review, state = Review(), SegmentState.NOT_STARTED
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
    drawn = _DRAWN.search(_HELPED.sub("", description))
    return drawn[1] if drawn else ""


def helped_by(description: str) -> tuple[ModelAuthor, ...]:
    """The models that had a part in a segment beside the algorithm that it names."""
    helped = _HELPED.search(description)
    return tuple(
        ModelAuthor(json.loads(name), json.loads(version), weights or "")
        for name, version, weights in (_MODEL.findall(helped[0]) if helped else ())
    )
