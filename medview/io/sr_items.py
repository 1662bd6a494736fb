"""Content items of structured reports as others write them: walked with bounds, read in words.

The library that writes our reports refuses documents that leave its templates; what other
programs wrote is read here as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sr._snomed_dict import mapping as snomed_mapping
from pydicom.valuerep import DT

from medview.core.codes import Code
from medview.core.errors import ReadError

#: Content items and levels beyond which a report is refused.
_MOST_ITEMS, _DEEPEST = 200_000, 60


def items_below(root: Dataset) -> Iterator[Dataset]:
    """All content items, parents first. ReadError where there are too many, or too deep.

    Items that refer to others by number (PS3.3 C.17.3.2.4) are not followed: circles are nothing.
    """
    pending = [(item, 1) for item in reversed(children(root))]
    count = 0
    while pending:
        item, depth = pending.pop()
        count += 1
        if count > _MOST_ITEMS or depth > _DEEPEST:
            raise ReadError(
                "The report is nested deeper, or longer, than a report can be",
                "Ask its sender for another form of it",
            )
        yield item
        pending += [(below, depth + 1) for below in reversed(children(item))]


def children(item: Dataset) -> list[Dataset]:
    """The content items right below one."""
    return list(item.get("ContentSequence") or ())


def name_of(item: Dataset) -> Code | None:
    """What an item is about."""
    return code_in(item, "ConceptNameCodeSequence")


def value_of(item: Dataset) -> Code | None:
    """The value of a coded item."""
    return code_in(item, "ConceptCodeSequence")


def code_in(item: Dataset, keyword: str) -> Code | None:
    """The first code of a sequence, retired SNOMED RT as SNOMED CT; None where there is none."""
    found = (item.get(keyword) or [None])[0]
    if found is None:
        return None
    value = next(
        (str(found.get(name)).strip() for name in ("CodeValue", "LongCodeValue", "URNCodeValue")
         if found.get(name)), "",
    )  # fmt: skip
    scheme = str(found.get("CodingSchemeDesignator") or "").strip()
    meaning = str(found.get("CodeMeaning") or "").strip() or value
    if scheme in ("SRT", "SNM3", "99SDM"):
        known = snomed_mapping["SRT"].get(value)
        value, scheme = (known, "SCT") if known else (value, scheme)
    return Code(value, scheme or "99UNKNOWN", meaning) if value else None


def find(items: list[Dataset], *wanted: Code) -> Dataset | None:
    """The first of some items that is about one of the wanted concepts."""
    return next((item for item in items if name_of(item) in wanted), None)


def text_of(item: Dataset | None) -> str:
    """The words of an item, whatever kind of value it has."""
    if item is None:
        return ""
    for keyword in ("TextValue", "PersonName", "UID", "DateTime"):
        if item.get(keyword) is not None:
            return str(item[keyword].value).strip()
    code = value_of(item)
    return "" if code is None else code.meaning


def moment(value: Any, fallback: datetime | None = None) -> datetime | None:
    """A DICOM date and time as an aware one, in UTC where no zone is given."""
    try:
        found = DT(str(value)) if value else None
    except (ValueError, TypeError, OverflowError):
        found = None
    if found is None:
        return fallback
    plain = datetime.fromisoformat(found.isoformat())
    return plain.replace(tzinfo=UTC) if plain.tzinfo is None else plain.astimezone(UTC)


def number_of(item: Dataset) -> tuple[float, str] | None:
    """The value and UCUM unit of a numeric item; None where it has none."""
    values = item.get("MeasuredValueSequence") or ()
    if not values:
        return None
    floating = values[0].get("FloatingPointValue")
    given = values[0].get("NumericValue") if floating is None else floating
    if given is None or given == "":
        return None
    unit = code_in(values[0], "MeasurementUnitsCodeSequence")
    return float(given), "1" if unit is None else unit.value
