"""Concepts of structured reports, by what writing and reading mean with them.

Where the standard (PS3.16) has no concept, there is a private one of the scheme 99MEDVIEW.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from medview.core.codes import Code
from medview.core.findings import ReviewState

SCHEME = "99MEDVIEW"

# Within a measurement group
OBSERVER = Code("121008", "DCM", "Person Observer Name")
DECISION = Code("decision", SCHEME, "Decision of the reader")
STATES: Mapping[ReviewState, Code] = MappingProxyType({
    ReviewState.ACCEPTED: Code("accepted", SCHEME, "Accepted as proposed"),
    ReviewState.EDITED: Code("edited", SCHEME, "Accepted after changes"),
    ReviewState.REJECTED: Code("rejected", SCHEME, "Rejected"),
    ReviewState.PROPOSED: Code("proposed", SCHEME, "Not decided"),
})  # fmt: skip
CAUTION = Code("caution", SCHEME, "Limit of the algorithm for this input")
#: Who drew what the algorithm of the group helped with.
DRAWN_BY = Code("drawn_by", SCHEME, "Person who drew it with the algorithm")
#: The class that a probability is of, as a modifier of the number.
CLASS = Code("121071", "DCM", "Finding")
SPREAD = Code("386136009", "SCT", "Standard Deviation")
REGION = Code("place", SCHEME, "Another way to tell where it is")

# Beside the measurement groups
COMMENT = Code("121106", "DCM", "Comment")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
AI_SHARE = Code("ai_share", SCHEME, "Share of algorithms in this report")
CRITICAL = Code("critical", SCHEME, "Critical result")
INFORMED = Code("informed", SCHEME, "Person informed of the critical result")
INFORMED_AT = Code("informed_at", SCHEME, "Time the critical result was passed on")
INFORMED_BY = Code("informed_by", SCHEME, "Person who passed the critical result on")
INFORMED_HOW = Code("informed_how", SCHEME, "Way the critical result was passed on")
PRIOR = Code("prior", SCHEME, "Earlier report this one is compared with")
TEMPLATE = Code("template", SCHEME, "Template of the report")

#: Headings that the standard has a concept for; others are private ones that say them in words.
_HEADINGS: Mapping[str, Code] = MappingProxyType({
    "Findings": Code("121071", "DCM", "Finding"),
    "Impression": Code("121073", "DCM", "Impression"),
    "Recommendation": Code("121075", "DCM", "Recommendation"),
    "Conclusion": Code("121077", "DCM", "Conclusion"),
    "Indication": Code("121109", "DCM", "Indications for Procedure"),
})  # fmt: skip
_SECTION, _ANSWER = "section.", "answer."


def heading_code(heading: str, number: int) -> Code:
    """The concept of a heading; `number` tells private ones of a report apart."""
    return _HEADINGS.get(heading) or Code(f"{_SECTION}{number}", SCHEME, heading[:64])


def heading_of(code: Code) -> str:
    """The heading that a concept stands for; "" where it is none."""
    known = {one: heading for heading, one in _HEADINGS.items()}
    if code in known:
        return known[code]
    private = code.scheme == SCHEME and code.value.startswith(_SECTION)
    return code.meaning if private else ""


def answer_code(field: str, title: str) -> Code:
    """The concept of a field of a template."""
    return Code(f"{_ANSWER}{field}", SCHEME, title[:64] or field)


def field_of(code: Code) -> str:
    """The field of a template that a concept stands for; "" where it is none."""
    private = code.scheme == SCHEME and code.value.startswith(_ANSWER)
    return code.value.removeprefix(_ANSWER) if private else ""
