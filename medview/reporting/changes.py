"""What became of things, in words: between a model's proposal and the reader's, and two reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from medview.core.findings import Finding, Measurement
from medview.core.report import Report
from medview.reporting.fields import labelled, measured_text, measurement_text

#: Findings as their models gave them, by UID.
Originals = Mapping[str, Finding]


@dataclass(frozen=True)
class Background:
    """What a report is drafted before: the patient's earlier report, and what models had found."""

    prior: Report | None = None
    originals: Originals = field(default_factory=dict)


NOTHING_KNOWN = Background()

#: Numbers that agree to so much are told as unchanged.
_SAME = 5e-4


def what_changed(before: Finding | None, after: Finding) -> Iterator[str]:
    """What a reader changed of a model's finding, thing by thing; nothing where it is not known."""
    if before is None:
        return
    if before.label != after.label:
        yield f"was called {before.label}"
    if before.laterality is not after.laterality:
        was = "no side" if before.laterality is None else before.laterality.value
        now = "no side" if after.laterality is None else after.laterality.value
        yield f"side {was} to {now}"
    if (before.box_lps_mm, before.picture_box) != (after.box_lps_mm, after.picture_box):
        yield "box moved or resized"
    if before.key_boxes != after.key_boxes:
        yield f"box placed on {len(after.key_boxes) + 1} frames"
    old = {m.uid: m for m in before.measurements}
    for measured in after.measurements:
        known = old.get(measured.uid)
        if known is None or known.value == measured.value:
            continue
        was, now = measured_text(known), measurement_text(measured)
        yield f"{now}, proposed {was}" if not now.endswith(f" {was}") else f"{now} as proposed"
    if after.text.strip() and after.text != before.text:
        yield "described in the reader's words"


def comparison_fields(findings: Sequence[Finding], prior: Report | None) -> dict[str, str]:
    """Fields of the comparison with an earlier report: its date, impression, and what changed."""
    if prior is None:
        return {"no_prior": "No earlier report of this patient is kept here."}
    about = prior.subject
    told = {
        "prior_date": _date(about.study_date if about is not None else ""),
        "prior_description": about.description if about is not None else "",
        "prior_status": prior.status.value,
        "prior_changes": "\n".join(_differences(findings, prior.findings)),
    }
    return {name: text for name, text in told.items() if text}


def _differences(now: Sequence[Finding], before: Sequence[Finding]) -> Iterator[str]:
    """Numbers then and now for findings of one name, then what is new and what is gone."""
    names = [labelled(finding) for finding in before]
    old = {name: one for name, one in zip(names, before, strict=True) if names.count(name) == 1}
    new_names = [labelled(finding) for finding in now]
    for finding, name in zip(now, new_names, strict=True):
        if name not in old or new_names.count(name) > 1:
            continue
        for measured in finding.measurements:
            known = _like(measured, old[name].measurements)
            if known is not None:
                yield f"{name}: {measurement_text(measured)}, before {_then(measured, known)}."
    fresh = [name for name in dict.fromkeys(new_names) if name not in names]
    gone = [name for name in dict.fromkeys(names) if name not in new_names]
    if fresh:
        yield f"Not in the earlier report: {'; '.join(fresh)}."
    if gone:
        yield f"In the earlier report only: {'; '.join(gone)}."


def _like(measured: Measurement, others: Sequence[Measurement]) -> Measurement | None:
    same = [
        one
        for one in others
        if (one.kind, one.unit, one.name) == (measured.kind, measured.unit, measured.name)
    ]
    return same[0] if len(same) == 1 else None


def _then(now: Measurement, before: Measurement) -> str:
    told = measured_text(before)
    if _agree(before.value, now.value) or before.value == 0:
        return told
    change = 100 * (now.value - before.value) / before.value
    return f"{told} ({change:+.1f} %)".replace("-", "\N{MINUS SIGN}")


def _agree(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME * max(abs(one), abs(other), 1e-12)


def _date(date: str) -> str:
    known = len(date) == 8 and date.isdecimal()
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if known else ""
