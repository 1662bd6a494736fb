"""Mutants through the product: refused, warned of, or the same pixels. Nothing else."""

from __future__ import annotations

import pytest

from tests.helpers.mutation import mutant, run, seeds

pytestmark = pytest.mark.session_processes


def test_no_mutant_kills_hangs_or_shows_other_pixels_without_a_word() -> None:
    verdicts = list(run(330))
    faults = [f"{one.mutant.name}: {one.outcome}" for one in verdicts if one.is_fault]
    assert faults == []
    # Both happen: a run that refuses everything, or harms nothing, proves nothing.
    outcomes = [one.outcome for one in verdicts]
    assert outcomes.count("refused") > 50
    assert outcomes.count("same") > 50
    assert sum(outcome.startswith("unseen") for outcome in outcomes) <= 1


def test_a_mutant_is_made_again_from_its_name() -> None:
    for number, seed in enumerate(seeds()):
        assert mutant(seed, number) == mutant(seed, number)
        assert mutant(seed, number).data != mutant(seed, number + 1000).data
