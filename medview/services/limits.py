"""The limit of a model's card that matters most to one finding."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medview.core.findings import Finding
from medview.core.models import ModelCard

_WORD = re.compile(r"[a-z]{4,}")


@dataclass(frozen=True)
class Limit:
    """What limits a finding, in words; `is_crossed` where this very image left the card."""

    text: str
    is_crossed: bool


def nearest_limit(finding: Finding, card: ModelCard | None) -> Limit | None:
    """The limit to be read beside a finding; None where none is known.

    First what of this image lies outside the card. Else the limitation of the card that speaks
    of what was found: the one that shares most words with the finding, the first of equals.
    """
    if finding.provenance.cautions:
        return Limit(finding.provenance.cautions[0], is_crossed=True)
    if card is None or not card.limitations:
        return None
    site = "" if finding.site is None else finding.site.meaning
    about = _words(f"{finding.label} {finding.code.meaning} {site}")
    return Limit(max(card.limitations, key=lambda text: len(about & _words(text))), False)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
