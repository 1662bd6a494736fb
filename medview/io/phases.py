"""Slices that share a place: which belong to which echo, moment, direction or pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from medview.io.values import Values

#: What tells slices at one place apart, the most telling first.
_DISCRIMINATORS = (
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "DiffusionBValue",
    "SiemensBValue",
    "GEBValue",
    "PhilipsBValue",
    "DiffusionGradientOrientation",
    "ImageType",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "FrameReferenceTime",
    "AcquisitionNumber",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
)


def phases_of(
    places: Sequence[Sequence[int]], values: Sequence[Values], numbers: Sequence[int]
) -> tuple[list[list[int]], str]:
    """Slices, gathered by place, sorted into sets with at most one slice a place.

    Gives the sets in the order of what tells them apart, and its name; the name is empty where
    nothing in the headers does, and `numbers` (the order of acquisition) decides.
    """
    place_of = {index: number for number, place in enumerate(places) for index in place}
    if len(place_of) == len(places):
        return [sorted(place_of)], ""
    parts, told = [sorted(place_of)], []
    for keyword in _DISCRIMINATORS:
        finer = [piece for part in parts for piece in _split(part, keyword, place_of, values)]
        if len(finer) > len(parts):
            parts = finer
            told.append(keyword)
    if all(_is_single(part, place_of) for part in parts):
        return parts, told[0] if told else ""
    ranked = [piece for part in parts for piece in _by_rank(part, place_of, numbers)]
    return ranked, ""


def _is_single(part: Sequence[int], place_of: dict[int, int]) -> bool:
    return len({place_of[index] for index in part}) == len(part)


def _split(
    part: list[int], keyword: str, place_of: dict[int, int], values: Sequence[Values]
) -> list[list[int]]:
    """The part by values of one attribute, if every piece still covers most of its places."""
    if _is_single(part, place_of):
        return [part]
    pieces: defaultdict[str, list[int]] = defaultdict(list)
    for index in part:
        pieces[values[index].get(keyword, "")].append(index)
    if len(pieces) == 1:
        return [part]
    covered = len({place_of[index] for index in part})
    if any(2 * len({place_of[i] for i in piece}) < covered for piece in pieces.values()):
        return [part]
    return [pieces[text] for text in sorted(pieces, key=_numeric_first)]


def _numeric_first(text: str) -> tuple[int, tuple[float, ...], str]:
    try:
        return 0, tuple(float(part) for part in text.split("\\")), ""
    except ValueError:
        return 1, (), text


def _by_rank(part: list[int], place_of: dict[int, int], numbers: Sequence[int]) -> list[list[int]]:
    """First comers at each place, then second comers, and so on."""
    seen: defaultdict[int, int] = defaultdict(int)
    ranks: defaultdict[int, list[int]] = defaultdict(list)
    for index in sorted(part, key=lambda i: (numbers[i], i)):
        place = place_of[index]
        ranks[seen[place]].append(index)
        seen[place] += 1
    return [ranks[rank] for rank in sorted(ranks)]
