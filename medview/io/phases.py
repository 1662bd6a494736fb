"""Slices that share a place: which belong to which echo, moment, direction or pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from medview.io.values import Values

#: What tells slices at one place apart, the most telling first: its name for people, its unit.
PARAMETERS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "EchoTime": ("Echo time", "ms"),
    "EchoNumbers": ("Echo", ""),
    "InversionTime": ("Inversion time", "ms"),
    "InversionTimes": ("Inversion time", "ms"),
    "FlipAngle": ("Flip angle", "degrees"),
    "DiffusionBValue": ("b", "s/mm2"),
    "SiemensBValue": ("b", "s/mm2"),
    "GEBValue": ("b", "s/mm2"),
    "PhilipsBValue": ("b", "s/mm2"),
    "DiffusionGradientOrientation": ("Gradient direction", ""),
    "VelocityEncodingDirection": ("Velocity direction", ""),
    "ASLContext": ("Spin labelling", ""),
    "ImageType": ("Image type", ""),
    "ComplexImageComponent": ("Component", ""),
    "SliceThickness": ("Slice thickness", "mm"),
    "KVP": ("Tube voltage", "kV"),
    "ConvolutionKernel": ("Kernel", ""),
    "EnergyWindowNumber": ("Energy window", ""),
    "TemporalPositionIdentifier": ("Time point", ""),
    "TemporalPositionIndex": ("Time point", ""),
    "TemporalPositionTimeOffset": ("Time", "s"),
    "TimeSlotNumber": ("Time slot", ""),
    "NominalPercentageOfCardiacPhase": ("Phase", "%"),
    "NominalPercentageOfRespiratoryPhase": ("Breathing phase", "%"),
    "TriggerTime": ("Trigger time", "ms"),
    "NominalCardiacTriggerDelayTime": ("Trigger delay", "ms"),
    "FrameReferenceTime": ("Frame time", "ms"),
    "AcquisitionNumber": ("Acquisition", ""),
    "FrameAcquisitionNumber": ("Acquisition", ""),
    "AcquisitionDateTime": ("Acquired at", ""),
    "AcquisitionTime": ("Acquired at", ""),
    "FrameAcquisitionDateTime": ("Acquired at", ""),
    "ContentTime": ("Made at", ""),
})  # fmt: skip
#: Marks header values that a multi-frame object names as its own dimensions (PS3.3 C.7.6.17).
DIMENSION = "Dimension "
#: Digits of a time with hours, minutes and seconds, and of a date before it.
_CLOCKS = (6, 14)
#: General Electric adds this to some b values.
_GE_OFFSET = 100_000


@dataclass(frozen=True)
class Phase:
    """Slices of which no two share a place. `label` says what they share: `Echo time 4.92 ms`."""

    members: tuple[int, ...]
    label: str = ""


@dataclass(frozen=True)
class _Part:
    members: list[int]
    labels: tuple[str, ...] = ()


def phases_of(
    places: Sequence[Sequence[int]], values: Sequence[Values], numbers: Sequence[int]
) -> tuple[list[Phase], tuple[str, ...]]:
    """Slices, gathered by place, sorted into sets with at most one slice a place.

    Gives the sets in the order of what tells them apart, and the names of that; no name is given
    where nothing in the headers does, and `numbers` (the order of acquisition) decides.
    """
    place_of = {index: number for number, place in enumerate(places) for index in place}
    parts, told = [_Part(sorted(place_of))], []
    shared = any(len(place) > 1 for place in places)
    for keyword in _keywords(values) if shared else ():
        finer = [piece for part in parts for piece in _split(part, keyword, place_of, values)]
        if len(finer) > len(parts):
            told.append(_name(keyword))
        parts = finer
    ranked = [piece for part in parts for piece in _ranked(part, place_of, values, numbers)]
    if len(ranked) > len(parts):
        telling = next((n for part in parts if (n := _rank_name(part, place_of, values))), "")
        told = [*told, telling] if telling else []
    phases = [Phase(tuple(part.members), ", ".join(part.labels)) for part in ranked]
    return phases, tuple(dict.fromkeys(told))


def parameter_text(keyword: str, text: str) -> str:
    """A header value in words: its name, its number, its unit."""
    name, unit = PARAMETERS.get(keyword, (_name(keyword), ""))
    shown = _shown(keyword, text)
    return " ".join(part for part in (name, shown or "not given", unit if shown else "") if part)


def _name(keyword: str) -> str:
    if keyword.startswith(DIMENSION):
        return keyword.removeprefix(DIMENSION)
    return PARAMETERS[keyword][0]


def _shown(keyword: str, text: str) -> str:
    if keyword.endswith("Time") and not PARAMETERS.get(keyword, ("", ""))[1]:
        whole, point, part = text.partition(".")
        clock = f"{whole[-6:-4]}:{whole[-4:-2]}:{whole[-2:]}{point}{part}"
        return clock if whole.isdigit() and len(whole) in _CLOCKS else text
    numbers = _numeric_first(text)[1]
    if keyword == "GEBValue" and numbers:
        numbers = (numbers[0] % _GE_OFFSET,)
    return ", ".join(f"{number:.6g}" for number in numbers) if numbers else text


def _keywords(values: Sequence[Values]) -> list[str]:
    """What may tell these slices apart, the dimensions that the object itself names last."""
    own = {key: None for one in values for key in one if key.startswith(DIMENSION)}
    present = [key for key in PARAMETERS if len({one.get(key, "") for one in values}) > 1]
    return [*present, *own]


def _is_single(part: Sequence[int], place_of: dict[int, int]) -> bool:
    return len({place_of[index] for index in part}) == len(part)


def _split(
    part: _Part, keyword: str, place_of: dict[int, int], values: Sequence[Values]
) -> list[_Part]:
    """The part by values of one attribute, if its pieces usually cover most of the places."""
    if _is_single(part.members, place_of):
        return [part]
    pieces: defaultdict[str, list[int]] = defaultdict(list)
    for index in part.members:
        pieces[values[index].get(keyword, "")].append(index)
    if len(pieces) == 1:
        return [part]
    whole = len({place_of[index] for index in part.members})
    covered = sorted(len({place_of[i] for i in piece}) for piece in pieces.values())
    if 2 * covered[len(covered) // 2] < whole:
        return [part]
    return [
        _Part(pieces[text], (*part.labels, parameter_text(keyword, text)))
        for text in sorted(pieces, key=_numeric_first)
    ]


def _numeric_first(text: str) -> tuple[int, tuple[float, ...], str]:
    try:
        return 0, tuple(float(part) for part in text.split("\\")), ""
    except ValueError:
        return 1, (), text


def _at_places(part: Sequence[int], place_of: dict[int, int]) -> list[list[int]]:
    """The slices of a part by their place."""
    places: defaultdict[int, list[int]] = defaultdict(list)
    for index in part:
        places[place_of[index]].append(index)
    return list(places.values())


def _ranking(part: _Part, place_of: dict[int, int], values: Sequence[Values]) -> str:
    """The attribute whose numbers differ at every place, though no two places agree; or ""."""
    crowded = [place for place in _at_places(part.members, place_of) if len(place) > 1]
    for keyword in PARAMETERS:
        known = [[_numeric_first(values[i].get(keyword, "")) for i in place] for place in crowded]
        if all(len(set(keys)) == len(keys) and not any(k[0] for k in keys) for keys in known):
            return keyword
    return ""


def _rank_name(part: _Part, place_of: dict[int, int], values: Sequence[Values]) -> str:
    if _is_single(part.members, place_of):
        return ""
    keyword = _ranking(part, place_of, values)
    return _name(keyword) if keyword else ""


def _ranked(
    part: _Part, place_of: dict[int, int], values: Sequence[Values], numbers: Sequence[int]
) -> list[_Part]:
    """The first at each place, then the second at each place, and so on."""
    if _is_single(part.members, place_of):
        return [part]
    keyword = _ranking(part, place_of, values)

    def order(index: int) -> tuple[object, ...]:
        value = _numeric_first(values[index].get(keyword, ""))[1] if keyword else ()
        return value, numbers[index], index

    ranks: defaultdict[int, list[int]] = defaultdict(list)
    for place in _at_places(part.members, place_of):
        for rank, index in enumerate(sorted(place, key=order)):
            ranks[rank].append(index)
    pieces = []
    for rank in sorted(ranks):
        label = parameter_text(keyword, values[ranks[rank][0]].get(keyword, "")) if keyword else ""
        pieces.append(_Part(ranks[rank], (*part.labels, label) if label else part.labels))
    return pieces
