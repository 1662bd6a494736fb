"""Names to codes: held against pydicom's own dictionary of the codes DICOM uses."""

from __future__ import annotations

import pytest
from pydicom.sr._concepts_dict import concepts

from medview.core.findings import Laterality
from medview.core.structures import _NAMES, ANY_STRUCTURE, readable, structure_of

MEANINGS: dict[str, set[str]] = {}
for entries in concepts["SCT"].values():
    for code_value, (meaning, _) in entries.items():
        MEANINGS.setdefault(code_value, set()).add(meaning.lower())


@pytest.mark.parametrize("code", sorted({*_NAMES.values(), ANY_STRUCTURE}, key=lambda c: c.value))
def test_every_code_is_what_dicom_says_it_is(code: object) -> None:
    words = code.meaning.lower()  # type: ignore[attr-defined]
    said = MEANINGS[code.value]  # type: ignore[attr-defined]
    assert any(words in one for one in said) or words.removeprefix("urinary ") in said, said


@pytest.mark.parametrize(
    ("name", "value", "side"),
    [
        ("Cerebral-White-Matter", "68523003", None),
        ("Left-Thalamus-Proper*", "42695009", Laterality.LEFT),
        ("lung_upper_lobe_left", "44714003", Laterality.LEFT),
        ("lung_upper_lobe_right", "45653009", Laterality.RIGHT),
        ("heart_ventricle_left", "87878005", Laterality.LEFT),
        ("rib_right_10", "113197003", Laterality.RIGHT),
        ("vertebrae_T12", "23215003", None),
        ("small_bowel", "30315005", None),
        ("Brain-Stem", "119238007", None),
        ("brainstem", "119238007", None),
        ("Grey Matter", "389081007", None),
        ("3rd-Ventricle", "49841001", None),
    ],
)
def test_names_of_other_programs_are_understood(
    name: str, value: str, side: Laterality | None
) -> None:
    code, found = structure_of(name)
    assert (code.value, found) == (value, side)


@pytest.mark.parametrize(
    "name", ["VentralDC", "portal_vein_and_splenic_vein", "Label 3", "", "left", "white"]
)
def test_what_is_in_doubt_gets_no_code_of_its_own(name: str) -> None:
    assert structure_of(name)[0] == ANY_STRUCTURE


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lung_upper_lobe_left", "Left lung upper lobe"),
        ("vertebrae_T12", "Vertebrae T12"),
        ("VentralDC", "VentralDC"),
        ("Cerebral-Cortex", "Cerebral cortex"),
        ("ADC map", "ADC map"),
    ],
)
def test_names_are_written_for_people(name: str, words: str) -> None:
    assert readable(name) == words
