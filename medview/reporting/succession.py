"""A new model against the one it came from, in words."""

from __future__ import annotations

from medview.core.succession import FEWEST_PATIENTS, Difference, Succession, Verdict
from medview.reporting.content import metric_text

_SAID = {
    Verdict.BETTER: "The new model is better than",
    Verdict.WORSE: "The new model is worse than",
    Verdict.UNCLEAR: "The new model cannot be told apart from",
}


def verdict_text(succession: Succession) -> str:
    """In plain words: better, worse or not told apart, by which figures, on how many cases."""
    told = succession.headlines or succession.metrics
    figures = "; ".join(f"{metric_text(name)} {_change(one)}" for name, one in told.items())
    patients = f"{succession.patients} patient" + "s" * (succession.patients != 1)
    few = (
        f" Fewer than {FEWEST_PATIENTS} patients cannot tell models apart."
        if succession.patients < FEWEST_PATIENTS
        else ""
    )
    return (
        f"{_SAID[succession.verdict]} {succession.old.id} {succession.old.version} on the same "
        f"{succession.count} held-out cases of {patients}: {figures or 'nothing could be told'}."
        f"{few}"
    )


def _change(one: Difference) -> str:
    span = "{:+.3f} to {:+.3f}".format(*one.ci95)
    return f"{one.old:.3f} before, {one.new:.3f} now ({one.difference:+.3f}, {span})"


def succession_table(succession: Succession) -> tuple[tuple[str, ...], ...]:
    """Rows of every figure: name, old, new, difference with its interval, verdict; titles first."""
    rows = [("Measure", "Before", "Now", "Difference (95 % interval)", "The new one is")]
    for name, one in succession.metrics.items():
        low, high = one.ci95
        span = f"{one.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        told = one.verdict.value if succession.patients >= FEWEST_PATIENTS else Verdict.UNCLEAR
        rows.append((metric_text(name), f"{one.old:.3f}", f"{one.new:.3f}", span, told))
    return tuple(rows)
