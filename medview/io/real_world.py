"""Real World Value Maps: other meanings that a file, or another object, gives stored values.

PS3.3 C.7.6.16.2.11 in the image, A.46 as an object of its own that names the images it maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.codes import UNSPECIFIED, Code
from medview.core.errors import ReadError
from medview.core.study import Instance, Series
from medview.core.volume import ValueScale
from medview.io.multiframe import damage_refused, data_sets
from medview.io.plan import Look, unseen
from medview.io.values import Rescale

_STORAGE = "1.2.840.10008.5.1.4.1.1.67"
#: Units that DICOM writes in front of the brace, as this program writes them.
_UNITS = {
    "{SUVbw}g/ml": "g/ml{SUVbw}",
    "{SUVlbm}g/ml": "g/ml{SUVlbm}",
    "{SUVlbm(Janma)}g/ml": "g/ml{SUVlbm(Janma)}",
    "{SUVlbm(James128)}g/ml": "g/ml{SUVlbm(James128)}",
    "{SUVibw}g/ml": "g/ml{SUVibw}",
    "{SUVbsa}cm2/ml": "cm2/ml{SUVbsa}",
    "no units": "1",
}
_QUANTITY = ("246205007", "G-C1C6")


@dataclass(frozen=True, eq=False)
class Mapping:
    """One real-world value map of one image: of stored values, by a line or by a table."""

    name: str
    unit: str
    quantity: Code = UNSPECIFIED
    slope: float = 1.0
    intercept: float = 0.0
    first: int = 0
    table: npt.NDArray[np.float64] | None = None


def mappings_of(items: Sequence[Dataset] | None) -> tuple[Mapping, ...]:
    """The maps of one Real World Value Mapping Sequence; senseless ones are left out."""
    found = (_mapping(item, number) for number, item in enumerate(items or (), start=1))
    return tuple(mapping for mapping in found if mapping is not None)


def _mapping(item: Dataset, number: int) -> Mapping | None:
    unit, meaning = _unit(item)
    explanation = str(item.get("LUTExplanation") or item.get("LUTLabel") or "")
    name = explanation or meaning or f"Real-world value map {number}"
    table = item.get("RealWorldValueLUTData")
    first = item.get("RealWorldValueFirstValueMapped")
    if table is not None and isinstance(first, int):
        values = np.atleast_1d(np.asarray(table, dtype=np.float64))
        last = item.get("RealWorldValueLastValueMapped")
        if isinstance(last, int) and values.size != last - first + 1:
            return None
        return Mapping(name, unit, _quantity(item), first=first, table=values)
    slope, intercept = item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept")
    if slope is None or intercept is None:
        return None
    slope, intercept = float(slope), float(intercept)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope):
        return None
    return Mapping(name, unit, _quantity(item), slope, intercept)


def _unit(item: Dataset) -> tuple[str, str]:
    for code in item.get("MeasurementUnitsCodeSequence") or ():
        value = str(code.get("CodeValue") or "")
        return _UNITS.get(value, value) or "1", str(code.get("CodeMeaning") or "")
    return "1", ""


def _quantity(item: Dataset) -> Code:
    """What the values are of: the concept that the quantity definition names."""
    for part in item.get("QuantityDefinitionSequence") or ():
        names = part.get("ConceptNameCodeSequence") or ()
        concepts = part.get("ConceptCodeSequence") or ()
        if names and concepts and str(names[0].get("CodeValue")) in _QUANTITY:
            code = concepts[0]
            texts = (code.get("CodeValue"), code.get("CodingSchemeDesignator"))
            if all(texts):
                meaning = str(code.get("CodeMeaning") or texts[0])
                return Code(str(texts[0]), str(texts[1]), meaning)
    return UNSPECIFIED


def frame_mappings(ds: Dataset, count: int) -> list[tuple[Mapping, ...]]:
    """The maps of each frame: its own, the shared ones, those of the object."""
    whole = mappings_of(ds.get("RealWorldValueMappingSequence"))
    shared = _in_groups((ds.get("SharedFunctionalGroupsSequence") or (None,))[0])
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or ()
    own = [_in_groups(item) for item in per_frame[:count]]
    own += [()] * (count - len(own))
    return [(*whole, *shared, *mine) for mine in own]


def _in_groups(groups: Dataset | None) -> tuple[Mapping, ...]:
    return () if groups is None else mappings_of(groups.get("RealWorldValueMappingSequence"))


def is_map(instance: Instance) -> bool:
    """Whether an instance is a Real World Value Mapping object."""
    return instance.sop_class_uid == _STORAGE


def maps_of_study(
    companions: Sequence[Series], password: str = "", look: Look = unseen
) -> dict[str, list[Mapping]]:
    """Maps of separate objects, by the SOP Instance UID of the image they are for.

    An object that cannot be read maps nothing.
    """
    instances = [one for series in companions for one in series.instances if is_map(one)]
    headers = data_sets(instances, password, look)
    found: dict[str, list[Mapping]] = {}
    for instance in instances:
        look(instance)
        ds = headers.get((instance.file, instance.member))
        if not isinstance(ds, Dataset):
            continue
        with suppress(ReadError), damage_refused("The real-world value map is damaged"):
            for uid, mapping in list(_referenced(ds)):
                found.setdefault(uid, []).append(mapping)
    return found


def _referenced(ds: Dataset) -> Iterator[tuple[str, Mapping]]:
    for item in ds.get("ReferencedImageRealWorldValueMappingSequence") or ():
        mappings = mappings_of(item.get("RealWorldValueMappingSequence"))
        for reference in item.get("ReferencedImageSequence") or ():
            uid = str(reference.get("ReferencedSOPInstanceUID") or "")
            yield from ((uid, mapping) for mapping in mappings)


def scale_of(mappings: Sequence[Mapping], rescales: Sequence[Rescale]) -> ValueScale | None:
    """One map of all images of a volume as a scale of its values; None if it is not one line.

    `rescales` are what makes the volume's values out of the stored ones of each image:
    v = S s + I and r = m s + b give r = m/S v + b - I m/S.
    """
    first = mappings[0]
    if first.table is not None:
        same = len({(r.slope, r.intercept) for r in rescales}) == 1 and all(
            m.table is not None and m.first == first.first and np.array_equal(m.table, first.table)
            for m in mappings
        )
        kept = (first.name, first.unit, first.quantity)
        return ValueScale(*kept, first=first.first, table=first.table) if same else None
    lines = np.array(
        [
            (m.slope / r.slope, m.intercept - r.intercept * m.slope / r.slope)
            for m, r in zip(mappings, rescales, strict=True)
            if m.table is None
        ]
    )
    if len(lines) != len(mappings) or not np.allclose(lines, lines[0], rtol=1e-6, atol=1e-12):
        return None
    slope, intercept = lines[0]
    return ValueScale(first.name, first.unit, first.quantity, float(slope), float(intercept))
