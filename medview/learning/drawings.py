"""The curves of an evaluation as pictures, and its cases as a table, beside its figures."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medview.learning.plots import Points, write_lines, write_table


@dataclass(frozen=True)
class _Kind:
    """What a table of curves shows; `reference` are lines to hold them against, by name."""

    title: str
    axes: tuple[str, str]
    reference: tuple[tuple[str, Points], ...] = ()


_DIAGONAL = ((0.0, 0.0), (1.0, 1.0))
_CURVES = MappingProxyType(
    {
        "roc": _Kind("ROC", ("1 - specificity", "sensitivity"), (("chance", _DIAGONAL),)),
        "precision_recall": _Kind("Precision and recall", ("recall", "precision")),
        "reliability": _Kind(
            "Reliability", ("probability stated", "share true"), (("perfect", _DIAGONAL),)
        ),
        "froc": _Kind("Free response", ("false positives an image", "sensitivity")),
        "overlap": _Kind("F1 by overlap", ("overlap asked of a match", "F1 of objects")),
        "cases": _Kind("Cases", ("Dice", "share of the cases with at most this")),
        "clips": _Kind("Clips", ("clips, best first", "end-point error (pixels)")),
    }
)


def draw(folder: Path, before: str, result: dict[str, Any], classes: Sequence[str]) -> list[str]:
    """Draw what an evaluation has tables of; gives Markdown with a picture each.

    The pictures are `folder`/`before`NAME.svg.
    """
    drawn = []
    tables = result.get("tables", {})
    if "confusion" in tables:
        path = folder / f"{before}confusion.svg"
        write_table(path, "Confusion matrix", classes, tables["confusion"])
        drawn.append(f"![confusion matrix]({path.name})")
    for name, kind in _CURVES.items():
        lines = {
            called: [(point[0], point[1]) for point in points]
            for called, points in tables.get(name, {}).items()
        }
        if lines:
            path = folder / f"{before}{name}.svg"
            write_lines(path, kind.title, kind.axes, {**lines, **dict(kind.reference)})
            drawn.append(f"![{kind.title}]({path.name})")
    return drawn


def case_table(result: dict[str, Any]) -> str:
    """Give the cases of an evaluation as CSV, one a line, all their numbers by column."""
    columns = dict.fromkeys(name for case in result["cases"] for name in case)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(result["cases"])
    return text.getvalue()
