"""What a DICOM SR says beside its measurement groups: text, answers, the critical result."""

from __future__ import annotations

from collections.abc import Iterator

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    DateTimeContentItem,
    PnameContentItem,
    RelationshipTypeValues,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom import Dataset

from medview.core.codes import Code
from medview.core.report import Answer, CriticalResult, Report
from medview.io.dicom_write import concept, date_time_zone, person_name, tracking_uid
from medview.io.sr_terms import (
    AI_SHARE,
    COMMENT,
    CRITICAL,
    EVALUATIONS,
    INFORMED,
    INFORMED_AT,
    INFORMED_BY,
    INFORMED_HOW,
    PRIOR,
    SCHEME,
    TEMPLATE,
    answer_code,
    heading_code,
)

_CONTAINS = RelationshipTypeValues.CONTAINS
_PROPERTY = RelationshipTypeValues.HAS_PROPERTIES


def words_of(report: Report) -> Dataset | None:
    """The container of qualitative evaluations of TID 1500; None where there is nothing to say.

    Sections in their order as texts, the share of models, answers, the critical result with
    persons and time, and which earlier report the findings are compared with.
    """
    items = list(_items(report))
    if not items:
        return None
    container: Dataset = ContainerContentItem(
        name=concept(EVALUATIONS), relationship_type=_CONTAINS
    )
    container.ContentSequence = items
    return container


def _items(report: Report) -> Iterator[ContentItem]:
    if not report.findings:
        yield text_item(COMMENT, "No finding has been accepted by a reader.")
    for number, section in enumerate(report.sections, start=1):
        if section.text.strip():
            yield text_item(heading_code(section.heading, number), section.text)
    if report.ai_statement.strip():
        yield text_item(AI_SHARE, report.ai_statement)
    for answer in report.answers:
        yield _answer(answer)
    if report.critical is not None:
        yield _critical(report.critical)
    if report.prior_uid:
        uid = tracking_uid(report.prior_uid)
        yield UIDRefContentItem(concept(PRIOR), uid, relationship_type=_CONTAINS)
    if report.template:
        yield text_item(TEMPLATE, report.template)


def text_item(
    name: Code, text: str, relation: RelationshipTypeValues = _CONTAINS
) -> TextContentItem:
    """Words under a name."""
    return TextContentItem(concept(name), text, relationship_type=relation)


def person_item(name: Code, person: str, relation: RelationshipTypeValues) -> PnameContentItem:
    """A person under a name."""
    return PnameContentItem(concept(name), person_name(person), relationship_type=relation)


def _answer(answer: Answer) -> CodeContentItem:
    """The chosen value as a code; what was chosen in the template's own words stays beside it."""
    meaning = answer.meaning or answer.value
    code = answer.code or Code(answer.value, SCHEME, meaning)
    item = CodeContentItem(
        concept(answer_code(answer.field, answer.title)), concept(code), relationship_type=_CONTAINS
    )
    if answer.code is not None:
        item.ContentSequence = [text_item(COMMENT, f"{answer.value}\n{answer.meaning}", _PROPERTY)]
    return item


def _critical(critical: CriticalResult) -> TextContentItem:
    item = text_item(CRITICAL, critical.finding)
    at = date_time_zone(critical.at)
    about: list[ContentItem] = [
        person_item(INFORMED, critical.informed, _PROPERTY),
        DateTimeContentItem(concept(INFORMED_AT), at, relationship_type=_PROPERTY),
        person_item(INFORMED_BY, critical.by, _PROPERTY),
    ]
    if critical.how.strip():
        about.append(text_item(INFORMED_HOW, critical.how, _PROPERTY))
    item.ContentSequence = about
    return item
