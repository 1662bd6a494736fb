"""Accepted findings become a report: sections from a template, and what the models did.

A template is lines of text with `$names` in them (`fields` lists what there is). A line stands
only where every one of its names is known, so nothing is said that was not found.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from medview.core.errors import ReportError
from medview.core.findings import Finding, Laterality, ModelAuthor, ReviewState
from medview.core.models import ModelCard
from medview.core.report import Report, Section, Subject
from medview.core.study import Series, Study
from medview.reporting import fields
from medview.reporting.changes import (
    NOTHING_KNOWN,
    Background,
    Originals,
    comparison_fields,
    what_changed,
)
from medview.reporting.live import resolved
from medview.reporting.template import Template, choose


def draft(
    study: Study,
    series: Series | None,
    findings: Sequence[Finding],
    cards: Sequence[ModelCard],
    *,
    templates: Sequence[Template],
    previous: Report | None = None,
    background: Background = NOTHING_KNOWN,
) -> Report:
    """The report as the findings now stand: all of the study are given, the accepted ones enter.

    From `previous` it keeps identity, version, key images, answers and every section the reader
    edited, with the live numbers in them brought up to date.
    ReportError for a signed one (amend it first) and where no template fits.
    """
    if previous is not None and previous.status.is_signed:
        raise ReportError(
            "A signed report is not redrafted", "Amend the report; the signed one is kept."
        )
    accepted = tuple(finding for finding in findings if finding.review.state.counts)
    report = previous
    if report is None:
        subject = Subject(study.patient, study.date, study.description)
        report = Report(study_uid=study.uid, subject=subject)
    template = choose(templates, study, series, accepted, report.template)
    known = _fields(template, study, series, accepted)
    known |= fields.answer_fields(report.answers) | comparison_fields(accepted, background.prior)
    return replace(
        report,
        sections=_sections(template, known, accepted, report.sections),
        findings=accepted,
        ai_statement=ai_statement(findings, cards, background.originals),
        prior_uid="" if background.prior is None else background.prior.uid,
    )


def _sections(
    template: Template,
    known: Mapping[str, str],
    accepted: Sequence[Finding],
    previous: Sequence[Section],
) -> tuple[Section, ...]:
    kept = {s.heading: with_numbers(s, accepted) for s in previous if s.edited}
    sections = [
        kept.pop(part.heading)
        if part.heading in kept
        else Section(part.heading, fill(part.text, known))
        for part in template.sections
    ]
    return (*sections, *kept.values())


def with_numbers(section: Section, findings: Sequence[Finding]) -> Section:
    """A section of the reader's with its live numbers as they are now."""
    if not section.source:
        return section
    return replace(section, text=resolved(section.source, findings))


def _fields(
    template: Template, study: Study, series: Series | None, accepted: Sequence[Finding]
) -> dict[str, str]:
    known = fields.study_fields(study, series)
    for name in template.structures:
        parts = fields.parts_text(accepted, name)
        known |= fields.pair_fields(fields.side_pair(accepted, name), parts)
    others = [f for f in accepted if not _is_in_a_pair(f, template.structures)]
    for key, chosen in (("findings", accepted), ("other_findings", others)):
        if chosen:
            known[key] = fields.sentences(chosen)
            measured = [f for f in chosen if fields.is_structure(f)]
            told = {
                "labels": fields.labels_of([f for f in chosen if f not in measured]),
                "structures": _listed(fields.labels_of(measured, ", ")),
            }
            known |= {f"{key}_{name}": words for name, words in told.items() if words}
    remarks = [fields.sentence(f) for f in accepted if f.text.strip() and f not in others]
    if remarks:
        known["remarks"] = "\n".join(remarks)
    if not accepted:
        known["no_findings"] = "No finding has been accepted."
    return known


def _listed(names: str) -> str:
    """Names as they go on within a sentence: those of one word with a capital lose it."""
    return ", ".join(
        name if name[1:] != name[1:].lower() else name[:1].lower() + name[1:]
        for name in names.split(", ")
    )


def _is_in_a_pair(finding: Finding, structures: Sequence[str]) -> bool:
    named = any(name.casefold() in finding.label.casefold() for name in structures)
    sided = finding.laterality in (Laterality.LEFT, Laterality.RIGHT)
    return named and sided and fields.volume_of(finding) is not None


def fill(text: str, known: Mapping[str, str]) -> str:
    """The lines of a template whose `$names` are all known, filled; `$$` is a dollar sign.

    Of lines between braces (`{first|second|third}` on one line) the first that can be filled
    stands. Neighbouring lines form a paragraph; an empty line parts two.
    """
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [_fill_line(line.strip(), known) for line in paragraph.splitlines()]
        told = " ".join(line for line in lines if line)
        if told:
            paragraphs.append(told)
    return "\n\n".join(paragraphs)


def _fill_line(line: str, known: Mapping[str, str]) -> str:
    choices = line[1:-1].split("|") if line.startswith("{") and line.endswith("}") else [line]
    for choice in choices:
        template = string.Template(choice)
        if all(name in known for name in template.get_identifiers()):
            return template.substitute(known).strip()
    return ""


def ai_statement(
    findings: Sequence[Finding],
    cards: Sequence[ModelCard],
    originals: Originals = MappingProxyType({}),
) -> str:
    """What models proposed and what the reader made of it, in words; never empty.

    `findings` are all of the study, rejected and undecided ones too.
    """
    titles = {card.id: card.title for card in cards}
    authors = [f.provenance.author for f in findings]
    models = list(dict.fromkeys(a for a in authors if isinstance(a, ModelAuthor)))
    told = [_model_statement(model, findings, titles, originals) for model in models]
    own = sum(not isinstance(author, ModelAuthor) for author in authors)
    aided = _aided(findings, titles)
    if not models and not aided:
        told.append("No AI model contributed to this report.")
    elif own:
        told.append(f"{_plural(own, 'finding was', 'findings were')} added by the reader.")
    told += aided
    return "\n".join(told)


def _model_statement(
    model: ModelAuthor,
    findings: Sequence[Finding],
    titles: Mapping[str, str],
    originals: Originals,
) -> str:
    mine = [finding for finding in findings if finding.provenance.author == model]
    states = Counter(finding.review.state for finding in mine)
    shown = _named(model, titles)
    proposed = _plural(len(mine), "finding", "findings")
    if states[ReviewState.PROPOSED] == len(mine):
        return (
            f"The AI model {shown} proposed {proposed}; nobody has reviewed them, "
            f"and they are not part of this report.{_outside(mine)}"
        )
    corrected = [f for f in mine if f.review.state is ReviewState.EDITED]
    parts = [
        f"{states[ReviewState.ACCEPTED]} accepted unchanged",
        f"{len(corrected)} corrected"
        + (f" ({_corrections(corrected, originals)})" if corrected else ""),
        f"{states[ReviewState.REJECTED]} rejected",
    ]
    if states[ReviewState.PROPOSED]:
        parts.append(f"{states[ReviewState.PROPOSED]} not decided and not part of this report")
    readers = sorted({finding.review.by for finding in mine if finding.review.by})
    by = f" by {', '.join(readers)}" if readers else ""
    reviewed = f"reviewed{by}: {'; '.join(parts)}."
    return f"The AI model {shown} proposed {proposed}; {reviewed}{_outside(mine)}"


def _named(model: ModelAuthor, titles: Mapping[str, str]) -> str:
    name = f"{model.model_id} version {model.version}"
    if model.weights_sha256:
        name += f", weights sha256 {model.weights_sha256[:12]}"
    title = titles.get(model.model_id, "")
    return f"{title} ({name})" if title else name


def _aided(findings: Sequence[Finding], titles: Mapping[str, str]) -> list[str]:
    """What models drew under the reader's hand, a sentence for each."""
    stand = [one for one in findings if one.review.state.counts]
    models = dict.fromkeys(model for one in stand for model in one.provenance.aids)
    return [
        f"The AI model {_named(model, titles)} helped the reader to draw "
        f"{fields.labels_of([f for f in stand if model in f.provenance.aids], ', ')}; "
        "the reader pointed, looked and accepted."
        for model in models
    ]


def _corrections(corrected: Sequence[Finding], originals: Originals) -> str:
    """What the reader changed, finding by finding; of many of one class only how many."""
    many = fields.counted(corrected)
    told = [
        "; ".join((fields.labelled(one), *what_changed(originals.get(one.uid), one))).replace(
            "; ", ": ", 1
        )
        for one in corrected
        if fields.class_of(one) not in many
    ]
    return "; ".join([*told, *(f"{name} ({count})" for name, count in many.items())])


def _outside(findings: Sequence[Finding]) -> str:
    """Where the images left the model's card: a sentence, or nothing."""
    cautions = dict.fromkeys(text for f in findings for text in f.provenance.cautions)
    return f" Outside the model's intended use: {' '.join(cautions)}" if cautions else ""


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
