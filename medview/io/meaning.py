"""What the numbers of frames mean beyond Rescale Slope and Intercept.

Modality and VOI LUTs, uptake of PET, real-world value maps and what vendors keep for themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from pydicom.dataset import Dataset

from medview.core.clip import Region
from medview.core.codes import ACTIVITY, SUV, SUV_OF_UNIT, UNSPECIFIED
from medview.core.errors import ReadError
from medview.core.study import Series
from medview.core.volume import ValueScale, Window
from medview.io.cine import regions_of
from medview.io.frames import Frame
from medview.io.lookup import Table, modality_table, voi_windows
from medview.io.multiframe import damage_refused, data_sets
from medview.io.pet import Uptake, uptake_of
from medview.io.plan import Look, unseen
from medview.io.real_world import Mapping, frame_mappings, maps_of_study, scale_of
from medview.io.values import SUV_FACTOR, Rescale, Scale, number, rescale_of

_BEYOND_16_BITS = 2
#: Activity in the units of PS3.16 CID 84, and what is no offset of it.
_BQ_ML, _NO_OFFSET_BQ_ML = "Bq/ml", 1e-3
_DAMAGED_LUT = "The Modality LUT of the file is damaged: stored values are shown"
_DAMAGED_VOI = "The display curves (VOI LUT) of the file are damaged: not used"
_NO_TABLE: tuple[Table | None, str] = (None, _DAMAGED_LUT)
_NO_CURVES: tuple[tuple[Window, ...], tuple[str, ...]] = ((), (_DAMAGED_VOI,))
_NO_REGIONS: tuple[tuple[Region, ...], tuple[str, ...]] = ((), ())

T = TypeVar("T")


def with_tables(frames: list[Frame], ds: Dataset | None) -> list[Frame]:
    """Frames of one instance with its lookup tables and maps, `ds` being its header.

    What of them is damaged is left out and said so: the picture itself is whole.
    """
    if ds is None or not frames or frames[0].form is None:
        return frames
    form, values = frames[0].format, frames[0].values
    signed = form.signed or (number(values, "RescaleIntercept") or 0) < 0
    table, note = _whole(lambda: modality_table(ds, signed=form.signed), _NO_TABLE)
    if table is not None and np.dtype(form.dtype).itemsize > _BEYOND_16_BITS:
        table, note = None, "A Modality LUT of 32-bit pixels is not applied"
    windows, curve_notes = _whole(lambda: voi_windows(ds, signed=signed), _NO_CURVES)
    nothing: list[tuple[Mapping, ...]] = [()]
    mappings = _whole(lambda: frame_mappings(ds, form.frames), nothing)
    regions, astray = _whole(lambda: regions_of(ds, form.rows, form.columns), _NO_REGIONS)
    texts: dict[str, str] = {}
    if table is not None:
        form = replace(form, lut=(table.first, table.outputs))
        texts = {"RescaleType": table.kind, "RescaleSlope": "", "RescaleIntercept": ""}
    elif note:
        texts = {"RescaleType": "US"}
    return [
        replace(
            frame,
            form=form,
            values={**frame.values, **texts},
            notes=(*frame.notes, *((note,) if note else ()), *curve_notes, *astray),
            regions=regions,
            curves=windows,
            mappings=mappings[min(frame.number, len(mappings) - 1)],
        )
        for frame in frames
    ]


def _whole(read: Callable[[], T], otherwise: T) -> T:
    """What is read, or something else where the data set is damaged there."""
    try:
        with damage_refused("The header of the file is damaged"):
            return read()
    except ReadError:
        return otherwise


def with_meaning(
    frames: list[Frame],
    companions: Sequence[Series] = (),
    password: str = "",
    look: Look = unseen,
) -> list[Frame]:
    """All frames of a series with what other objects and the series as a whole say of them."""
    maps = maps_of_study(companions, password, look) if companions else {}
    if maps:
        frames = [
            replace(
                frame,
                mappings=(*frame.mappings, *maps.get(frame.instance.sop_instance_uid, ())),
            )
            for frame in frames
        ]
    readable = [frame for frame in frames if frame.form is not None]
    if not readable or readable[0].values.get("Modality") != "PT":
        return frames
    uptake = _uptake(readable, password, look)
    return frames if uptake is None else _with_uptake(frames, readable, uptake)


def _uptake(frames: Sequence[Frame], password: str, look: Look) -> Uptake | None:
    """SUV of a PET series, whose facts about the patient and dose are those of any of its files."""
    instance = frames[0].instance
    ds = data_sets([instance], password, look).get((instance.file, instance.member))
    look(None)
    if not isinstance(ds, Dataset):
        return Uptake(notes=("No SUV: the header cannot be read",))
    try:
        with damage_refused("a value of the header is damaged"):
            if any(one.unit in SUV_OF_UNIT for one in frames[0].mappings):
                return None
            return uptake_of(ds, [frame.values for frame in frames], _to_activity(frames))
    except ReadError as error:
        return Uptake(notes=(f"No SUV: {error.user_text}",))


def _to_activity(frames: Sequence[Frame]) -> float | None:
    """What brings rescaled values to Bq/ml by the maps of all images; None where none does."""
    maps = [one for frame in frames for one in frame.mappings if one.unit == _BQ_ML]
    if len(maps) != len(frames):
        return None
    scale = scale_of(maps, [rescale_of(frame.values) for frame in frames])
    if scale is None or scale.table is not None or scale.slope <= 0:
        return None
    return scale.slope if abs(scale.intercept) < _NO_OFFSET_BQ_ML else None


def _with_uptake(frames: Sequence[Frame], readable: Sequence[Frame], uptake: Uptake) -> list[Frame]:
    offered = tuple(
        ValueScale(name, unit, SUV_OF_UNIT.get(unit, SUV), ratio)
        for (name, unit), ratio in uptake.ratios.items()
    )
    factors = dict(zip(map(id, readable), uptake.factors, strict=False))
    result = []
    for frame in frames:
        told = replace(frame, notes=(*frame.notes, *uptake.notes))
        if id(frame) in factors:
            values = {**frame.values, SUV_FACTOR: repr(factors[id(frame)])}
            told = replace(told, values=values, offered=offered)
        result.append(told)
    return result


def scale_name_of(frame: Frame) -> str:
    """What the values of a frame are called where there are others."""
    if frame.values.get(SUV_FACTOR):
        return "SUVbw"
    if frame.values.get("Modality") == "PT":
        return {"GML": "SUV", "BQML": "Activity concentration", "CNTS": "Counts"}.get(
            frame.values.get("Units", ""), "Values of the file"
        )
    return "Values of the file"


def scales_of(frames: Sequence[Frame], scale: Scale) -> tuple[ValueScale, ...]:
    """Other meanings that the values of a volume have, besides those it is opened with."""
    if not scale.trusted or scale.channels != 1:
        return ()
    rescales = [rescale_of(frame.values) for frame in frames]
    found = [*_uptake_scales(frames)]
    if not any(frame.format.lut is not None for frame in frames):
        found += _mapped_scales(frames, rescales, kept_as_stored=not scale.real_values)
        found += _philips_scale(frames, rescales)
    # One name stands for one meaning.
    return tuple({one.name: one for one in reversed(found)}.values())[::-1]


def _uptake_scales(frames: Sequence[Frame]) -> list[ValueScale]:
    values = frames[0].values
    factors = {frame.values.get(SUV_FACTOR, "") for frame in frames}
    if factors == {""}:
        return []
    found = list(frames[0].offered)
    # Images that were not corrected for decay each have a factor of their own: no way back.
    if len(factors) == 1:
        unit = {"BQML": "Bq/ml", "CNTS": "{counts}"}.get(values.get("Units", ""), "1")
        name = {"Bq/ml": "Activity concentration", "{counts}": "Counts"}.get(unit, "Stored")
        quantity = ACTIVITY if unit == "Bq/ml" else UNSPECIFIED
        found.append(ValueScale(name, unit, quantity, 1 / float(factors.pop())))
    return found


def _mapped_scales(
    frames: Sequence[Frame], rescales: Sequence[Rescale], *, kept_as_stored: bool
) -> list[ValueScale]:
    """Real-world value maps that all frames of the volume have under one name."""
    names: dict[str, list[Mapping]] = {}
    for frame in frames:
        for mapping in {one.name: one for one in frame.mappings}.values():
            names.setdefault(mapping.name, []).append(mapping)
    found = []
    for mappings in names.values():
        if len(mappings) == len(frames):
            made = scale_of(mappings, rescales)
            if made is not None and (made.table is None or kept_as_stored):
                found.append(made)
    return found


def _philips_scale(frames: Sequence[Frame], rescales: Sequence[Rescale]) -> list[ValueScale]:
    """Philips MR keeps the signal before it was scaled for display (Chenevert et al. 2014).

    With displayed = RS stored + RI and SS of (2005,100E) it is displayed / (RS SS).
    """
    if not frames[0].values.get("Manufacturer", "").upper().startswith("PHILIPS"):
        return []
    slopes = [number(frame.values, "PhilipsScaleSlope") for frame in frames]
    if any(slope is None or slope <= 0 for slope in slopes):
        return []
    mappings = [
        Mapping(
            "Philips floating point",
            "1",
            slope=1 / slope,
            intercept=rescale.intercept / (rescale.slope * slope),
        )
        for slope, rescale in zip(slopes, rescales, strict=True)
        if slope
    ]
    made = scale_of(mappings, rescales)
    return [] if made is None else [made]
