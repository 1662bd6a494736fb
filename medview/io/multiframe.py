"""Frames of multi-frame objects: what the functional groups say of each (PS3.3 C.7.6.16)."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import DataElement, dcmread
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from medview.core.errors import ReadError
from medview.core.study import Instance
from medview.io.archives import read_all
from medview.io.functional_groups import share_groups
from medview.io.header import DEFLATED, deflated_start, inflate
from medview.io.members import Watch
from medview.io.phases import DIMENSION, PARAMETERS
from medview.io.plan import VIDEO_SYNTAXES, Look, unseen

#: Attributes of functional groups that place a frame, say what its values mean, or tell it from
#: others. Legacy converted objects keep attributes of the old slices in groups of their own.
_FRAME_KEYWORDS = frozenset(PARAMETERS) | frozenset(
    """ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness
    SpacingBetweenSlices RescaleSlope RescaleIntercept RescaleType WindowCenter WindowWidth
    WindowCenterWidthExplanation VOILUTFunction StackID InStackPositionNumber
    RepetitionTime Units SUVType DecayCorrection ActualFrameDuration FrameReferenceTime
    FrameAcquisitionDateTime FrameAcquisitionDuration ImagerPixelSpacing
    DistanceSourceToDetector DistanceSourceToPatient
    EstimatedRadiographicMagnificationFactor""".split()  # noqa: SIM905
)
#: Dimensions of multi-frame objects that say where a frame lies, not which of several it is.
_PLACES = frozenset(
    ("StackID", "InStackPositionNumber", "ImagePositionPatient", "ImagePositionVolume",
     "PlanePositionSequence", "SliceLocation", "RowPositionInTotalImagePixelMatrix",
     "ColumnPositionInTotalImagePixelMatrix")
)  # fmt: skip
_CONTENT = tag_for_keyword("FrameContentSequence")
#: Functional groups that say nothing of where a frame lies or what its values mean.
_ASIDE = {
    tag_for_keyword("DerivationImageSequence"), tag_for_keyword("SegmentIdentificationSequence")
}  # fmt: skip
_RENAMED = {"EffectiveEchoTime": "EchoTime", "FrameType": "ImageType"}


#: What the DICOM library and its decoders raise at damaged files.
_FAILURES = (InvalidDicomError, ValueError, KeyError, AttributeError, NotImplementedError,
             TypeError, OSError, RecursionError, EOFError, RuntimeError, IndexError,
             ArithmeticError, MemoryError, LookupError, struct.error, zlib.error,
             BytesLengthException)  # fmt: skip


@contextmanager
def damage_refused(user_text: str) -> Iterator[None]:
    """Turn what the DICOM library raises at a damaged file into a ReadError with that text.

    Its elements are parsed when they are first looked at: looking belongs inside. Its warnings
    are not for the reader; what matters of them is checked here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _FAILURES as error:
        raise ReadError(user_text, "Get the file again from its source", str(error)) from error


def data_set(instance: Instance, password: str = "", *, pixels: bool = False) -> Dataset:
    """The whole data set of an instance, without its pixels unless asked for.

    Raises ReadError if it cannot be parsed.
    """
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    return _parsed(entry.data, instance.transfer_syntax_uid, pixels=pixels)


def data_sets(
    instances: Sequence[Instance], password: str = "", look: Look = unseen
) -> dict[tuple[str, str], Dataset | ReadError]:
    """The headers of several instances by file and member, each archive gone through once.

    `look` is told each instance before it is read, and again while work on it goes on.
    """
    found: dict[tuple[str, str], Dataset | ReadError] = {}
    by_file: dict[str, dict[str, Instance]] = {}
    for instance in instances:
        by_file.setdefault(instance.file, {})[instance.member] = instance
    current: Instance | None = None
    watch = Watch(lambda _entry: look(current))
    for file, members in by_file.items():
        current = next(iter(members.values()))
        look(current)
        try:
            for entry in read_all(Path(file), list(members), password, watch):
                current = members[entry.member]
                look(current)
                syntax = current.transfer_syntax_uid
                try:
                    found[file, entry.member] = _parsed(
                        entry.data, syntax, pixels=syntax in VIDEO_SYNTAXES
                    )
                except ReadError as error:
                    found[file, entry.member] = error
        except ReadError as error:
            found.update({(file, member): error for member in members})
    return found


def _parsed(data: bytes, syntax: str, *, pixels: bool) -> Dataset:
    if syntax == DEFLATED:
        inflate(data, deflated_start(data))  # refuses what would grow without measure
    with damage_refused("The header of the file is damaged"):
        ds = dcmread(io.BytesIO(data), stop_before_pixels=not pixels, force=True)
        share_groups(ds)
        return ds


def frame_values(ds: Dataset, count: int, *, told_apart: bool = True) -> list[dict[str, str]]:
    """Header texts of each frame that differ from or add to those of the object.

    Without `told_apart` only what places a frame and gives its values a meaning: not what tells
    frames at one place apart, which stands in an element of every frame's own.
    """
    known: dict[int, dict[str, str]] = {}
    shared = _texts_of(_first(ds, "SharedFunctionalGroupsSequence"), known)
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    dimensions = _dimensions(ds) if told_apart else {}
    frames = []
    for n in range(count):
        item = per_frame[n] if n < len(per_frame) else None
        own = _texts_of(item, known, content=told_apart) | _on_dimensions(item, dimensions)
        frames.append(shared | own)
    return frames


def _dimensions(ds: Dataset) -> dict[int, str]:
    """Which of the dimension indices tell frames at one place apart, by name (C.7.6.17)."""
    names = {}
    for place, item in enumerate(ds.get("DimensionIndexSequence") or ()):
        pointer = item.get("DimensionIndexPointer")
        keyword = keyword_for_tag(pointer) if pointer is not None else ""
        if keyword not in _PLACES:
            given = str(item.get("DimensionDescriptionLabel", "") or keyword)
            names[place] = given or f"dimension {place + 1}"
    return names


def _on_dimensions(item: Dataset | None, dimensions: dict[int, str]) -> dict[str, str]:
    content = _first(item, "FrameContentSequence") if item is not None and dimensions else None
    indices = content.get("DimensionIndexValues") if content is not None else None
    if indices is None:
        return {}
    listed = list(indices) if isinstance(indices, Iterable) else [indices]
    return {DIMENSION + name: str(listed[n]) for n, name in dimensions.items() if n < len(listed)}


def _first(ds: Dataset, keyword: str) -> Dataset | None:
    sequence = ds.get(keyword)
    return sequence[0] if sequence else None


def _texts_of(
    groups: Dataset | None, known: dict[int, dict[str, str]], *, content: bool = True
) -> dict[str, str]:
    """What the functional groups of a frame say; of those that frames share once (`known`).

    Elements that are not looked at are not parsed either.
    """
    texts: dict[str, str] = {}
    groups = groups if groups is not None else Dataset()
    for tag in list(groups.keys()):
        if tag not in _ASIDE and (content or tag != _CONTENT):
            group = groups[tag]
            if id(group) not in known:
                known[id(group)] = _texts_in(group)
            texts |= known[id(group)]
    return texts


def _texts_in(group: DataElement) -> dict[str, str]:
    texts: dict[str, str] = {}
    for element in group.value[0] if group.VR == "SQ" and group.value else ():
        if element.keyword in _FRAME_KEYWORDS or element.keyword in _RENAMED:
            texts[_RENAMED.get(element.keyword, element.keyword)] = _text(element.value)
        elif element.keyword == "DiffusionGradientDirectionSequence" and element.value:
            direction = element.value[0].get("DiffusionGradientOrientation")
            texts["DiffusionGradientOrientation"] = _text(direction)
    return texts


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (str, int, float)):
        return str(value)
    return "\\".join(str(part) for part in value)
