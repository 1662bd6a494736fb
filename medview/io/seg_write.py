"""Segmentation -> DICOM SEG (PS3.3 A.51), binary or label map, on the grid of its source."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import (
    AlgorithmIdentificationSequence,
    ContentQualificationValues,
    PlanePositionSequence,
)
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation as SegmentationObject
from highdicom.seg import SegmentationTypeValues, SegmentDescription
from pydicom import DataElement, Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag, Tag

from medview import __version__
from medview.core.errors import ExportError
from medview.core.findings import (
    Laterality,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
)
from medview.core.geometry import Geometry
from medview.core.segmentation import LabelArray, Segment
from medview.io.dicom_write import (
    MANUFACTURER,
    MODEL_NAME,
    NOT_CLINICAL,
    SIDES,
    UTF8,
    Encoded,
    coding_schemes,
    concept,
    foreign_values,
    models_as_equipment,
    new_dicom_uid,
    person_name,
    tracking_uid,
    write_dataset,
)
from medview.io.functional_groups import PER_FRAME, Numbered, Ready, encoded_groups, share_groups
from medview.io.label_places import numbers_in
from medview.io.request import SegmentationExport
from medview.io.seg_history import history_of
from medview.io.slice_places import (
    at_first_slice,
    derived_from,
    drop_references,
    placement,
    refer_to,
    slice_of,
    stand_ins,
)
from medview.io.sources import Sources

_CONTENT = Tag("FrameContentSequence")
_IDENTIFICATION = Tag("SegmentIdentificationSequence")
_SEGMENT_NUMBER = Tag("ReferencedSegmentNumber")


@dataclass(frozen=True)
class SegmentTracking:
    """What ties a segment to its finding: identifier, side, and the reader's decision."""

    uid: str
    identifier: str
    laterality: Laterality | None = None


@dataclass(frozen=True)
class SegOptions:
    """`tracking` by segment number in the file. `creator` is the person at the desk.

    With `label_map` frames hold the numbers of segments (Label Map Segmentation, PS3.3 A.51 with
    Segmentation Type LABELMAP), else a frame of bits for each segment.
    """

    now: datetime
    tracking: Mapping[int, SegmentTracking] = field(default_factory=dict)
    creator: str = ""
    series_number: int = 9901
    instance_number: int = 1
    series_uid: str = ""
    label_map: bool = False


def write_segmentation(
    export: SegmentationExport, sources: Sources, path: Path, options: SegOptions
) -> str:
    """Write one SEG, read it back, compare; returns its SOP Instance UID.

    Positions and spacing come from the grid, never from Spacing Between Slices of the source.
    ExportError if the source has no place in the patient (unless it is a single image) or if
    what was read back differs in any voxel.
    """
    labels = export.labels()
    frames = _frames_of(labels, label_map=options.label_map)
    dataset = _begun(export, sources, options, labels[[frames[0].place]])
    sample = dataset.PerFrameFunctionalGroupsSequence[0]
    pointers = [item.DimensionIndexPointer for item in dataset.DimensionIndexSequence]
    places = _of_slices(frames, sample, export.geometry, sources)
    groups = encoded_groups(_groups(frames, sample, pointers, places))
    dataset.NumberOfFrames = len(frames)
    pixels = _pixels(labels, frames, dataset.BitsAllocated)
    stored = dataset["PixelData"]
    tail = (Encoded(PER_FRAME, "SQ", [groups]), Encoded(stored.tag, stored.VR, pixels))
    uid = write_dataset(dataset, path, tail)
    del tail, pixels, groups, stored
    verify_segmentation(path, labels, export.geometry)
    return uid


@dataclass(frozen=True)
class _Frame:
    """One frame: the slice that it lies on, and the segment that it shows, 0 for all of them."""

    place: int
    segment: int


def _frames_of(labels: LabelArray, *, label_map: bool) -> list[_Frame]:
    """The frames that show anything, by segment and slice; one that is empty where none does."""
    most = int(labels.max())
    there = np.zeros((labels.shape[0], most + 1), dtype=np.bool_)
    for place, plane in enumerate(labels):
        there[place, numbers_in(plane)] = True
    there[:, 0] = False
    if label_map:
        found = [_Frame(int(place), 0) for place in np.flatnonzero(there.any(axis=1))]
    else:
        found = [_Frame(int(place), int(number)) for number, place in np.argwhere(there.T)]
    return found or [_Frame(0, 0 if label_map else 1)]


def _begun(
    export: SegmentationExport, sources: Sources, options: SegOptions, plane: LabelArray
) -> Dataset:
    """The SEG with all that is said of the whole, and with a single frame.

    `plane` are the labels (1, rows, columns) of that frame.
    """
    geometry = export.geometry
    if not geometry.in_patient_space and geometry.shape[0] > 1:
        raise ExportError(
            "The segmentation cannot be written as DICOM: its images have no place in the patient",
            "Export it as NIfTI or as pictures.",
        )
    placed = placement(geometry, sources, slices=1)
    pictures = stand_ins(geometry, export.instance_uids, sources)
    with foreign_values(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset: Dataset = SegmentationObject(
            source_images=at_first_slice(geometry, pictures),
            pixel_array=plane,
            segmentation_type=SegmentationTypeValues.LABELMAP
            if options.label_map
            else SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(s, options.tracking) for s in export.segments],
            series_instance_uid=options.series_uid or new_dicom_uid(),
            series_number=options.series_number,
            sop_instance_uid=new_dicom_uid(),
            instance_number=options.instance_number,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=__version__,
            device_serial_number=__version__,
            content_label="SEGMENTATION",
            content_description=(export.title or "Segmentation")[:64],
            content_creator_name=person_name(options.creator) or None,
            series_description=_series_description(export),
            content_qualification=ContentQualificationValues.RESEARCH,
            specific_character_set=UTF8,
            coding_schemes=coding_schemes(
                code for s in export.segments for code in (s.category, s.type)
            ),
            contributing_equipment=models_as_equipment(models_drawing(export)),
            **placed,
        )
        refer_to(dataset, pictures, sources.slices_of(geometry).values())
    dataset.BurnedInAnnotation = "NO"
    if not geometry.in_patient_space:
        dataset.PatientOrientation = sources.first.get("PatientOrientation") or ""
    if not sources.can_be_referred_to:
        drop_references(dataset)
    return dataset


def _groups(
    frames: Sequence[_Frame],
    sample: Dataset,
    pointers: Sequence[int],
    places: Mapping[int, Sequence[DataElement]],
) -> Iterator[list[DataElement | Ready]]:
    """The functional groups of each frame: those of its slice, its segment, and its indices.

    `sample` are the groups of one frame; `pointers` are the tags that its indices stand for.
    """
    ranks = {place: n for n, place in enumerate(sorted({one.place for one in frames}), start=1)}
    segments = dict[int, DataElement]()
    own = {one.tag for one in next(iter(places.values()))}
    others = [
        one for one in sample if one.tag not in own and one.tag not in (_CONTENT, _IDENTIFICATION)
    ]
    content = Numbered(sample[_CONTENT], Tag("DimensionIndexValues"))
    for frame in frames:
        if frame.segment not in segments:
            item = Dataset()
            item.ReferencedSegmentNumber = frame.segment
            segments[frame.segment] = _sequence(_IDENTIFICATION, item)
        indices = [
            frame.segment if pointer == _SEGMENT_NUMBER else ranks[frame.place]
            for pointer in pointers
        ]
        named = [segments[frame.segment]] if _IDENTIFICATION in sample else []
        yield [*others, *places[frame.place], *named, content.numbered(indices)]


def _of_slices(
    frames: Sequence[_Frame], sample: Dataset, geometry: Geometry, sources: Sources
) -> dict[int, list[DataElement]]:
    """For each slice with frames: where it lies, and which image it was made from.

    Where no slice has an image, all refer to what the sample does.
    """
    told = sources.can_be_referred_to and geometry.in_patient_space
    slices = sources.slices_of(geometry) if told else {}
    found = dict[int, list[DataElement]]()
    for place in {one.place for one in frames}:
        elements = found.setdefault(place, [])
        if "PlanePositionSequence" in sample:
            position = [float(value) for value in geometry.to_lps_mm((place, 0, 0))]
            (item,) = PlanePositionSequence("PATIENT", position)
            elements.append(_sequence(Tag("PlanePositionSequence"), item))
        if slices:
            derived = [derived_from(slices[place])] if place in slices else []
            elements.append(_sequence(Tag("DerivationImageSequence"), *derived))
    return found


def _sequence(tag: BaseTag, *items: Dataset) -> DataElement:
    return DataElement(tag, "SQ", Items(items))


def _pixels(labels: LabelArray, frames: Sequence[_Frame], bits: int) -> list[memoryview]:
    """The frames one after the other without a gap (PS3.5 8.1.1), in whole pairs of bytes.

    Those of a label map are the slices themselves where they lie, not copies.
    """
    area = math.prod(labels.shape[1:])
    if bits > 1:
        kind = np.dtype(f"<u{bits // 8}")
        slices = [labels[one.place].astype(kind, order="C", copy=False) for one in frames]
        odd = area * len(frames) * kind.itemsize % 2
        return [one.data for one in slices] + [memoryview(bytes(odd))]
    size = (len(frames) * area + 7) // 8
    packed = np.zeros(size + size % 2, dtype=np.uint8)
    for first in range(0, len(frames), 8):  # eight frames are whole bytes, whatever their size
        some = frames[first : first + 8]
        marked = np.concatenate([(labels[one.place] == one.segment).ravel() for one in some])
        start = first * area // 8
        packed[start : start + (len(marked) + 7) // 8] = np.packbits(marked, bitorder="little")
    return [packed.data]


def models_drawing(export: SegmentationExport) -> tuple[ModelAuthor, ...]:
    """The models that made the segments or helped a person with them, each once."""
    models = (model for segment in export.segments for model in segment.provenance.models)
    return tuple(dict.fromkeys(models))


def _series_description(export: SegmentationExport) -> str:
    reviewed = all(segment.review.state.counts for segment in export.segments)
    state = "Segmentation" if reviewed else "Segmentation, proposed by AI, not reviewed"
    return f"{state}. {NOT_CLINICAL}"[:64]


# -- segments --------------------------------------------------------------------------------


def algorithm_type(provenance: Provenance, review: Review) -> str:
    """(0062,0008): AUTOMATIC, SEMIAUTOMATIC with a person and a model or source, MANUAL drawn."""
    if isinstance(provenance.author, Person):
        return "SEMIAUTOMATIC" if provenance.derived_from or provenance.aids else "MANUAL"
    by_hand = review.state is ReviewState.EDITED or provenance.aids
    return "SEMIAUTOMATIC" if by_hand else "AUTOMATIC"


def _description(segment: Segment, tracking: Mapping[int, SegmentTracking]) -> SegmentDescription:
    kind = algorithm_type(segment.provenance, segment.review)
    known = tracking.get(segment.number)
    item = SegmentDescription(
        segment_number=segment.number,
        segment_label=segment.label[:64],
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.type),
        algorithm_type=kind,
        algorithm_identification=None if kind == "MANUAL" else _algorithm(segment),
        tracking_uid=tracking_uid(known.uid) if known is not None else None,
        tracking_id=known.identifier[:64] if known is not None else None,
        display_color=CIELabColor.from_rgb(*segment.color_rgb),
    )
    if known is not None and known.laterality is not None:
        side = concept(SIDES[known.laterality])
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    item.SegmentDescription = history_of(segment)
    return item


def _algorithm(segment: Segment) -> AlgorithmIdentificationSequence:
    author = next(iter(segment.provenance.models), None)
    if author is None:
        return AlgorithmIdentificationSequence(
            name="segment editor",
            family=codes.DCM.ArtificialIntelligence,
            version=__version__,
            source=MANUFACTURER,
        )
    parameters = {"weights_sha256": author.weights_sha256} if author.weights_sha256 else None
    return AlgorithmIdentificationSequence(
        name=author.model_id[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=author.version[:64],
        source=MANUFACTURER,
        parameters=parameters,
    )


# -- reading back ----------------------------------------------------------------------------


def verify_segmentation(path: Path, labels: LabelArray, geometry: Geometry) -> None:
    """Read the file and compare every voxel in its place; ExportError if one differs."""
    with foreign_values():
        dataset = dcmread(path)
        share_groups(dataset)
    try:
        differ = _differing(dataset, labels, geometry)
        why = f"{differ} voxels differ" if differ else ""
    except ValueError as error:
        why = str(error)
    if why:
        raise ExportError(
            f"{path.name} does not read back as it was written ({why})",
            "Nothing was lost; export again, and report this.",
        )


def _differing(dataset: Dataset, labels: LabelArray, geometry: Geometry) -> int:
    """In how many voxels what a file says differs from the labels."""
    wrong = np.intp(0)
    if dataset.SegmentationType == "LABELMAP":
        unseen = set(range(len(labels)))
        for place, frame in _slices(dataset, geometry, labels.shape[1:]):
            wrong += np.count_nonzero(frame != labels[place])
            unseen.discard(place)
        return int(wrong + sum(np.count_nonzero(labels[place]) for place in unseen))
    marked, shown = np.intp(0), set[tuple[int, int]]()
    for place, segment, frame in _planes(dataset, geometry, labels.shape[1:]):
        due = labels[place] == segment
        wrong += np.count_nonzero(frame != due)
        if (place, segment) not in shown:
            shown.add((place, segment))
            marked += np.count_nonzero(due)
    return int(wrong + np.count_nonzero(labels) - marked)


def _slices(
    dataset: Dataset, geometry: Geometry, shape: tuple[int, ...]
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Slice and numbers, frame by frame of a label map."""
    groups = dataset.PerFrameFunctionalGroupsSequence
    kind, count = f"<u{dataset.BitsAllocated // 8}", len(groups) * math.prod(shape)
    frames = np.frombuffer(dataset.PixelData, kind, count).reshape(-1, *shape)
    for frame, group in zip(frames, groups, strict=True):
        yield slice_of(group, geometry), frame


def _planes(
    dataset: Dataset, geometry: Geometry, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, npt.NDArray[np.bool_]]]:
    """Slice, number of the segment and marked pixels, frame by frame of bits."""
    stored = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        yield slice_of(group, geometry), _segment_of(group, dataset), _frame(stored, number, shape)


def _frame(bits: npt.NDArray[Any], number: int, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """One frame of packed bits: frames follow each other without a gap (PS3.5 8.1.1)."""
    count = math.prod(shape)
    first = number * count
    packed = bits[first // 8 : (first + count + 7) // 8]
    frame = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + count]
    return frame.view(np.bool_).reshape(shape)


def _segment_of(group: Dataset, dataset: Dataset) -> int:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    holder = group if "SegmentIdentificationSequence" in group else shared
    return int(str(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber))
