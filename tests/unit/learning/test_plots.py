"""Drawn curves and tables: every number lies where it should."""

import math
from xml.etree import ElementTree

import pytest

from medview.learning.plots import write_lines, write_table

SVG = "{http://www.w3.org/2000/svg}"


def test_lines_lie_where_their_numbers_are(tmp_path):
    path = tmp_path / "more" / "a.svg"
    lines = {"up": [(0.0, 0.0), (10.0, 1.0)], "half": [(5.0, 0.5)], "none": [(1.0, math.nan)]}
    write_lines(path, "A & B", ("epoch", "loss"), lines)
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    (up, half) = root.findall(f"{SVG}polyline")
    (x0, y0), (x1, y1) = [tuple(map(float, p.split(","))) for p in up.get("points", "").split()]
    middle = tuple(map(float, half.get("points", "").split(",")))
    assert middle == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.1)
    assert x0 < x1
    assert y0 > y1  # up is up
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert {"A & B", "epoch", "loss", "up", "half"} <= set(words)
    assert "none" not in words


@pytest.mark.parametrize("values", [(0.0, 0.0), (1e-6, 2e-6), (-30.0, 4e4), (0.93, 0.99)])
def test_round_numbers_hold_every_value(values, tmp_path):
    path = tmp_path / "a.svg"
    write_lines(path, "", ("", ""), {"x": [(0.0, values[0]), (1.0, values[1])]})
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    labels = [float(t.text) for t in root.findall(f"{SVG}text") if t.get("text-anchor") == "end"]
    assert min(labels) <= min(values)
    assert max(labels) >= max(values)
    assert 2 <= len(labels) <= 9


def test_a_table_names_both_sides_and_counts_all(tmp_path):
    path = tmp_path / "t.svg"
    write_table(path, "Confusion", ["well", "sick"], [[90, 10], [5, 45]])
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    words = [text.text for text in root.findall(f"{SVG}text")]
    assert [w for w in words if w and w.isdigit()] == ["90", "10", "5", "45"]
    assert words.count("well") == words.count("sick") == 2
    shades = [float(r.get("fill-opacity", "0")) for r in root.findall(f"{SVG}rect")[1:]]
    assert shades == pytest.approx([1.0, 10 / 90, 5 / 90, 0.5], abs=1e-3)
