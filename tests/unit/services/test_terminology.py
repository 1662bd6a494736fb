"""The terms that ship: true codes that stand once, meanings as elsewhere, found by words."""

from __future__ import annotations

from pathlib import Path

import pytest

from medview.core.errors import MedviewError
from medview.core.structures import structure_of
from medview.services.terminology import load_terminology

PATH = Path(__file__).resolve().parents[3] / "resources" / "terminology" / "segments.toml"


def test_codes_are_whole_and_stand_once_in_a_category() -> None:
    terms = load_terminology(PATH).terms
    assert len(terms) > 120
    seen = [(term.category.value, term.type.value) for term in terms]
    assert len(set(seen)) == len(seen)
    for term in terms:
        assert _checks(term.type.value), term.type
        assert _checks(term.category.value), term.category
        assert all(0 <= part <= 255 for part in term.color_rgb)


def _checks(identifier: str) -> bool:
    """The last digit of a SNOMED CT identifier is Verhoeff's check digit (SNOMED TIG 6.5)."""
    check = 0
    for place, digit in enumerate(reversed(identifier)):
        check = _product(check, _permuted(place, int(digit)))
    return check == 0


def _product(a: int, b: int) -> int:
    """Of the dihedral group of order ten: turns 0-4, reflections 5-9."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def _permuted(place: int, digit: int) -> int:
    table = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    for _ in range(place % 8):
        digit = table[digit]
    return digit


def test_meanings_are_those_of_named_structures() -> None:
    for term in load_terminology(PATH).terms:
        known, _ = structure_of(term.type.meaning)
        if known.value == term.type.value:
            assert known.meaning == term.type.meaning


@pytest.mark.parametrize(
    ("text", "first"),
    [("liv", "Liver"), ("tumour prim", "Neoplasm, Primary"), ("fat", "Adipose tissue"),
     ("10200004", "Liver"), ("oedema", "Edema")],
)  # fmt: skip
def test_words_find_terms(text: str, first: str) -> None:
    assert load_terminology(PATH).search(text)[0].type.meaning == first


def test_damage_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(MedviewError, match=r"none\.toml"):
        load_terminology(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text('[[category]]\ncode = "1"\n', encoding="utf-8")
    with pytest.raises(MedviewError, match="broken"):
        load_terminology(broken)
