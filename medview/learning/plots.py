"""Curves and tables as SVG, drawn with nothing but words and numbers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 560, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 36, 48
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")


def write_lines(path: Path, title: str, axes: tuple[str, str], lines: Mapping[str, Points]) -> None:
    """Draw named lines over common axes; points that are not finite are left out."""
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        for name, points in lines.items()
    }
    drawn = {name: points for name, points in finite.items() if points}
    every = [point for points in drawn.values() for point in points] or [(0.0, 0.0)]
    across = _ticks(min(x for x, _ in every), max(x for x, _ in every))
    up = _ticks(min(y for _, y in every), max(y for _, y in every))
    parts = [_text(_WIDTH / 2, 20, title, "middle", 14)]
    for value in across:
        x = _place(value, across, _LEFT, _WIDTH - _RIGHT)
        parts.append(_rule(x, _TOP, x, _HEIGHT - _BOTTOM))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{value:g}", "middle"))
    for value in up:
        y = _place(value, up, _HEIGHT - _BOTTOM, _TOP)
        parts.append(_rule(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", "end"))
    for number, (name, points) in enumerate(drawn.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = " ".join(
            f"{_place(x, across, _LEFT, _WIDTH - _RIGHT):.1f},"
            f"{_place(y, up, _HEIGHT - _BOTTOM, _TOP):.1f}"
            for x, y in points
        )
        parts.append(
            f'<polyline points="{placed}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        y = _TOP + 14 + 18 * number
        x = _WIDTH - _RIGHT + 12
        parts.append(f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(x + 20, y, name, "start"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, axes[0], "middle"))
    parts.append(_text(_LEFT - 6, _TOP - 10, axes[1], "middle"))
    _write(path, parts, _WIDTH, _HEIGHT)


def write_table(
    path: Path, title: str, names: Sequence[str], counts: Sequence[Sequence[int]]
) -> None:
    """Draw a table of counts, truth by row and answer by column, darker where there are more."""
    side, left, top = 84, 150, 84
    most = max((max(row) for row in counts), default=0) or 1
    width = left + side * len(names) + 24
    parts = [
        _text(width / 2, 20, title, "middle", 14),
        _text(left + side * len(names) / 2, 44, "answer", "middle"),
        _text(20, 64, "truth", "start"),
    ]
    for row, (name, numbers) in enumerate(zip(names, counts, strict=True)):
        middle = top + side * row + side / 2
        parts.append(_text(left - 10, middle + 4, name, "end"))
        parts.append(_text(left + side * row + side / 2, 64, name, "middle"))
        for column, number in enumerate(numbers):
            share = number / most
            parts.append(
                f'<rect x="{left + side * column}" y="{top + side * row}" width="{side}" '
                f'height="{side}" fill="#0072b2" fill-opacity="{share:.3f}" stroke="#888"/>'
            )
            colour = "#fff" if share > 0.6 else "#000"
            x = left + side * column + side / 2
            parts.append(_text(x, middle + 5, str(number), "middle", 16, colour))
    _write(path, parts, width, top + side * len(names) + 24)


def _ticks(low: float, high: float) -> list[float]:
    """Give four to eight round numbers that hold a range between them."""
    span = (high - low) or max(abs(high), 1.0)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (factor * step) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]


def _place(value: float, ticks: Sequence[float], start: float, end: float) -> float:
    return start + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (end - start)


def _text(x: float, y: float, words: str, anchor: str, size: int = 11, colour: str = "#000") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(words)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _write(path: Path, parts: Sequence[str], width: float, height: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "\n".join(parts)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'font-family="sans-serif">\n<rect width="{width:g}" height="{height:g}" fill="#fff"/>\n'
        f"{body}\n"
        "</svg>\n",
        encoding="utf-8",
    )
