"""Colours for many structures: told apart by colour-blind readers first, then around the circle."""

from __future__ import annotations

#: Okabe and Ito's (2008), without black.
_FIRST = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167),
)  # fmt: skip
_GOLDEN = 0.618034


def tint(position: int) -> tuple[int, int, int]:
    """The colour of the structure at a position, counted from 0; neighbours differ."""
    if position < len(_FIRST):
        return _FIRST[position]
    hue = position * _GOLDEN % 1.0 * 6.0
    sector, rise = int(hue), hue % 1.0
    parts = (
        (1.0, rise, 0.0), (1 - rise, 1.0, 0.0), (0.0, 1.0, rise), (0.0, 1 - rise, 1.0),
        (rise, 0.0, 1.0), (1.0, 0.0, 1 - rise),
    )[sector]  # fmt: skip
    red, green, blue = (round(60 + 180 * part) for part in parts)
    return red, green, blue
