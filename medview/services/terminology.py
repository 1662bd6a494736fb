"""Terminology: what a segment can be said to be, searched by words; data under `resources`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from medview.core.codes import Code
from medview.core.errors import MedviewError


@dataclass(frozen=True)
class Term:
    """One type of structure with its category, the colour that stands for it, and other names."""

    category: Code
    type: Code
    color_rgb: tuple[int, int, int]
    names: str = ""

    def fits(self, words: list[str]) -> bool:
        """Whether every word begins a word of its names, its category or its code."""
        text = f"{self.type.meaning} {self.names} {self.category.meaning} {self.type.value}"
        parts = text.lower().replace(",", " ").split()
        return all(any(part.startswith(word) for part in parts) for word in words)


class Terminology:
    """All terms, in the order of the file."""

    def __init__(self, terms: tuple[Term, ...]) -> None:
        self.terms = terms

    def search(self, text: str) -> tuple[Term, ...]:
        """The terms that fit all words; those whose own meaning begins with the text first."""
        words = text.lower().split()
        found = [term for term in self.terms if term.fits(words)]
        start = " ".join(words)
        found.sort(key=lambda term: not term.type.meaning.lower().startswith(start))
        return tuple(found)

    def find(self, code: str, category: str = "") -> Term | None:
        """The first term of that code, of that category where one is named."""
        for term in self.terms:
            if term.type.value == code and category in ("", term.category.value):
                return term
        return None


def load_terminology(path: Path) -> Terminology:
    """Read the file of terms; MedviewError with file and reason where it is damaged."""
    try:
        with path.open("rb") as file:
            content = tomllib.load(file)
        terms = []
        for category in content["category"]:
            group = Code(category["code"], "SCT", category["meaning"])
            for code, meaning, (red, green, blue), names in category["types"]:
                terms.append(Term(group, Code(code, "SCT", meaning), (red, green, blue), names))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise MedviewError(f"The terminology {path} cannot be read: {error}") from error
    return Terminology(tuple(terms))
