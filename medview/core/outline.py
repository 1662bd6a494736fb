"""Outlines: what an object that is no picture says, as lines of plain text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line: how deep it stands, what it is about, and what it says."""

    depth: int
    name: str
    text: str


@dataclass(frozen=True)
class Outline:
    """What an object is called in words, and its lines in order. All text is inert."""

    title: str
    lines: tuple[Line, ...]

    @property
    def summary(self) -> str:
        """The title and how much there is to read, in a few words."""
        count = len(self.lines)
        return f"{self.title}, {count} line{'' if count == 1 else 's'}"
