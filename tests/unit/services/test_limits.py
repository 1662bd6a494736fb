"""The limit that stands beside a finding."""

from __future__ import annotations

from dataclasses import replace

from medview.core.models import InputSpec, ModelCard, OutputSpec, Scope, Task
from medview.services.limits import Limit, nearest_limit
from tests.helpers import desk as made

CARD = ModelCard(
    "m", "1", "M", Task.DETECTION, "a:B", "", ("Trained on one scanner.", "Misses small nodules."),
    Scope(), InputSpec(), OutputSpec("boxes", ()),
)  # fmt: skip


def test_what_this_image_crosses_comes_first() -> None:
    finding = made.finding(None, 1.0, "Nodule")
    caution = "The model is for ages 18 to 90; this patient is 9."
    crossed = replace(finding, provenance=replace(finding.provenance, cautions=(caution,)))
    assert nearest_limit(crossed, CARD) == Limit(caution, is_crossed=True)


def test_else_the_limit_that_speaks_of_what_was_found() -> None:
    nodules = made.finding(None, 1.0, "Several nodules")
    assert nearest_limit(nodules, CARD) == Limit("Misses small nodules.", is_crossed=False)
    other = made.finding(None, 1.0, "Effusion")
    assert nearest_limit(other, CARD) == Limit("Trained on one scanner.", is_crossed=False)


def test_without_a_card_or_limits_there_is_nothing_to_say() -> None:
    finding = made.finding(None, 1.0, "Nodule")
    assert nearest_limit(finding, None) is None
    assert nearest_limit(finding, replace(CARD, limitations=())) is None
