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
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation as SegmentationObject
from highdicom.seg import SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom import DataElement, Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

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
from medview.core.study import Instance
from medview.io.dicom_write import (
    MANUFACTURER,
    MODEL_NAME,
    NOT_CLINICAL,
    SIDES,
    UTF8,
    Encoded,
    coding_schemes,
    concept,
    dicom_uid_of,
    foreign_values,
    identity_of,
    models_as_equipment,
    new_dicom_uid,
    person_name,
    tracking_uid,
    write_dataset,
)
from medview.io.functional_groups import PER_FRAME, encoded_groups, share_groups
from medview.io.label_places import marked_part
from medview.io.request import SegmentationExport
from medview.io.seg_history import history_of
from medview.io.sources import SourceFrame, Sources

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
    tail = (Encoded(PER_FRAME, "SQ", groups), Encoded(stored.tag, stored.VR, pixels))
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
        there[place] = np.bincount(plane[marked_part(plane)].ravel(), minlength=most + 1) > 0
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
    with foreign_values(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset: Dataset = SegmentationObject(
            source_images=stand_ins(geometry, export.instance_uids, sources),
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
) -> Iterator[list[DataElement]]:
    """The functional groups of each frame: those of its slice, its segment, and its indices.

    `sample` are the groups of one frame; `pointers` are the tags that its indices stand for.
    """
    ranks = {place: n for n, place in enumerate(sorted({one.place for one in frames}), start=1)}
    segments = dict[int, DataElement]()
    own = {one.tag for one in next(iter(places.values()))}
    others = [
        one for one in sample if one.tag not in own and one.tag not in (_CONTENT, _IDENTIFICATION)
    ]
    for frame in frames:
        if frame.segment not in segments:
            item = Dataset()
            item.ReferencedSegmentNumber = frame.segment
            segments[frame.segment] = _sequence(_IDENTIFICATION, item)
        content = Dataset(sample.FrameContentSequence[0])
        content.DimensionIndexValues = [
            frame.segment if pointer == _SEGMENT_NUMBER else ranks[frame.place]
            for pointer in pointers
        ]
        named = [segments[frame.segment]] if _IDENTIFICATION in sample else []
        yield [*others, *places[frame.place], *named, _sequence(_CONTENT, content)]


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
            derived = [_derived_from(slices[place])] if place in slices else []
            elements.append(_sequence(Tag("DerivationImageSequence"), *derived))
    return found


def _sequence(tag: BaseTag, *items: Dataset) -> DataElement:
    return DataElement(tag, "SQ", Items(items))


def _pixels(labels: LabelArray, frames: Sequence[_Frame], bits: int) -> bytes:
    """The frames one after the other without a gap (PS3.5 8.1.1), in whole pairs of bytes."""
    if bits > 1:
        stored = labels[[one.place for one in frames]].astype(f"<u{bits // 8}").tobytes()
        return stored + b"\0" * (len(stored) % 2)
    area = math.prod(labels.shape[1:])
    size = (len(frames) * area + 7) // 8
    packed = np.zeros(size + size % 2, dtype=np.uint8)
    for first in range(0, len(frames), 8):  # eight frames are whole bytes, whatever their size
        some = frames[first : first + 8]
        marked = np.concatenate([(labels[one.place] == one.segment).ravel() for one in some])
        start = first * area // 8
        packed[start : start + (len(marked) + 7) // 8] = np.packbits(marked, bitorder="little")
    return packed.tobytes()


def models_drawing(export: SegmentationExport) -> tuple[ModelAuthor, ...]:
    """The models among the authors of the segments, each once."""
    authors = (segment.provenance.author for segment in export.segments)
    return tuple(dict.fromkeys(one for one in authors if isinstance(one, ModelAuthor)))


def refer_slice_by_slice(
    dataset: Dataset, geometry: Geometry, slices: Mapping[int, SourceFrame]
) -> None:
    """Where some slices have no image (they were missing), only the others refer to theirs."""
    if not slices or len(slices) == geometry.shape[0]:
        return
    for group in dataset.PerFrameFunctionalGroupsSequence:
        frame = slices.get(_slice_of(group, geometry))
        if frame is None:
            group.DerivationImageSequence = []
            continue
        group.DerivationImageSequence = [_derived_from(frame)]


def _derived_from(frame: SourceFrame) -> Dataset:
    """Item of the Derivation Image functional group (PS3.3 C.7.6.16.2.6)."""
    source = Dataset()
    source.ReferencedSOPClassUID = UID(frame.instance.sop_class_uid)
    source.ReferencedSOPInstanceUID = UID(frame.instance.sop_instance_uid)
    if frame.number is not None:
        source.ReferencedFrameNumber = frame.number
    source.PurposeOfReferenceCodeSequence = [
        CodedConcept.from_code(codes.cid7202.SourceImageForImageProcessingOperation)
    ]
    source.SpatialLocationsPreserved = "YES"
    item = Dataset()
    item.DerivationCodeSequence = [
        CodedConcept.from_code(codes.cid7203.SegmentationImageDerivation)
    ]
    item.SourceImageSequence = [source]
    return item


def drop_references(dataset: Dataset) -> None:
    """Point to no image: a reference to a UID that no file carries would be a lie."""
    dataset.pop("ReferencedSeriesSequence", None)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.DerivationImageSequence = []


def _series_description(export: SegmentationExport) -> str:
    reviewed = all(segment.review.state.counts for segment in export.segments)
    state = "Segmentation" if reviewed else "Segmentation, proposed by AI, not reviewed"
    return f"{state}. {NOT_CLINICAL}"[:64]


# -- places ----------------------------------------------------------------------------------


def placement(
    geometry: Geometry, sources: Sources, *, slices: int | None = None
) -> dict[str, object]:
    """Position of each of the first `slices` (of all), directions and distances, by the grid."""
    if not geometry.in_patient_space:
        return {}
    origins = [geometry.to_lps_mm((k, 0, 0)) for k in range(geometry.shape[0])[:slices]]
    spacing, thickness, between = _distances(geometry, sources)
    return {
        "plane_positions": [
            PlanePositionSequence("PATIENT", [float(value) for value in origin])
            for origin in origins
        ],
        "plane_orientation": PlaneOrientationSequence("PATIENT", _cosines(geometry)),
        "pixel_measures": PixelMeasuresSequence(
            pixel_spacing=spacing, slice_thickness=thickness, spacing_between_slices=between
        ),
    }


def _cosines(geometry: Geometry) -> list[float]:
    """(0020,0037): direction of growing column index, then of growing row index."""
    across, down = geometry.affine[:3, 2], geometry.affine[:3, 1]
    both = np.concatenate([across / np.linalg.norm(across), down / np.linalg.norm(down)])
    return [float(value) for value in both]


def _distances(
    geometry: Geometry, sources: Sources
) -> tuple[tuple[float, float], float, float | None]:
    """Pixel Spacing (row, column), Slice Thickness, distance of slices along their normal."""
    between, rows_mm, columns_mm = map(_tidy, geometry.spacing_mm)
    if geometry.shape[0] > 1:
        return (rows_mm, columns_mm), between, between
    return (rows_mm, columns_mm), _thickness(sources) or between, None


def _tidy(distance_mm: float) -> float:
    """Without the last digits, which computing with direction cosines leaves behind."""
    return float(f"{distance_mm:.10g}")


def _thickness(sources: Sources) -> float:
    try:
        return max(0.0, float(sources.first.get("SliceThickness") or 0))
    except ValueError:
        return 0.0


def stand_ins(geometry: Geometry, instance_uids: Sequence[str], sources: Sources) -> list[Dataset]:
    """Sources as the grid sees them: references to the real images, places from the grid."""
    volumes_frames = sources.slices_of(geometry) if geometry.in_patient_space else {}
    multi = [f for f in volumes_frames.values() if f.number is not None]
    if multi:
        return [_multi_frame_stand_in(geometry, sources, multi[0], volumes_frames)]
    placed = {f.instance: geometry.to_lps_mm((k, 0, 0)) for k, f in volumes_frames.items()}
    places = {f.instance: f.position_lps_mm for f in sources.frames if f.number is None} | placed
    shown = set(instance_uids)
    chosen = [one for one in sources.instances if one.sop_instance_uid in shown]
    # Copies of one image are one image; without patient space there is only one.
    distinct = list({one.sop_instance_uid: one for one in chosen or sources.instances}.values())
    made = []
    pattern = _pattern(geometry, sources)
    for instance in distinct if geometry.in_patient_space else distinct[:1]:
        stand_in = _stand_in(pattern, sources, instance)
        if geometry.in_patient_space:
            place = places.get(instance, geometry.to_lps_mm((0, 0, 0)))
            stand_in.ImagePositionPatient = [float(value) for value in place]
        made.append(stand_in)
    return made


def _pattern(geometry: Geometry, sources: Sources) -> Dataset:
    """What all stand-ins of a source have in common."""
    pattern = identity_of(sources)
    pattern.SeriesInstanceUID = UID(sources.first.SeriesInstanceUID)
    pattern.Modality = sources.first.get("Modality", "OT")
    pattern.Rows, pattern.Columns = geometry.shape[1], geometry.shape[2]
    if geometry.in_patient_space:
        spacing, thickness, between = _distances(geometry, sources)
        pattern.FrameOfReferenceUID = _frame_of_reference(geometry, sources)
        pattern.PositionReferenceIndicator = ""
        pattern.ImageOrientationPatient = _cosines(geometry)
        pattern.PixelSpacing = list(spacing)
        pattern.SliceThickness = thickness
        if between is not None:
            pattern.SpacingBetweenSlices = between
    return pattern


def _stand_in(pattern: Dataset, sources: Sources, instance: Instance) -> Dataset:
    stand_in = Dataset()
    stand_in.update(pattern)
    stand_in.SOPClassUID = UID(instance.sop_class_uid)
    known = sources.can_be_referred_to
    stand_in.SOPInstanceUID = UID(instance.sop_instance_uid if known else new_dicom_uid())
    return stand_in


def _frame_of_reference(geometry: Geometry, sources: Sources) -> UID:
    """That of the source; where it names none, one that stands for its series."""
    own = geometry.frame_of_reference_uid or str(sources.first.get("FrameOfReferenceUID", ""))
    return UID(own or dicom_uid_of(str(sources.first.SeriesInstanceUID)))


def _multi_frame_stand_in(
    geometry: Geometry,
    sources: Sources,
    frame: SourceFrame,
    slices: Mapping[int, SourceFrame],
) -> Dataset:
    instance = frame.instance
    stand_in = _stand_in(_pattern(geometry, sources), sources, instance)
    own = [f for f in sources.frames if f.instance == instance]
    places = {f.number: k for k, f in slices.items()}
    spacing, thickness, between = _distances(geometry, sources)
    shared = Dataset()
    shared.PlaneOrientationSequence = PlaneOrientationSequence("PATIENT", _cosines(geometry))
    shared.PixelMeasuresSequence = PixelMeasuresSequence(spacing, thickness, between)
    stand_in.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for one in sorted(own, key=lambda f: f.number or 0):
        k = places.get(one.number)
        # A frame of another stack or phase must not be taken for one of ours: it is put aside.
        aside = geometry.to_lps_mm((-10.0 * geometry.shape[0], 0, 0))
        place = aside if k is None else geometry.to_lps_mm((k, 0, 0))
        group = Dataset()
        group.PlanePositionSequence = PlanePositionSequence("PATIENT", [float(v) for v in place])
        groups.append(group)
    stand_in.PerFrameFunctionalGroupsSequence = groups
    stand_in.NumberOfFrames = len(groups)
    return stand_in


# -- segments --------------------------------------------------------------------------------


def algorithm_type(provenance: Provenance, review: Review) -> str:
    """(0062,0008): AUTOMATIC, SEMIAUTOMATIC once a person changed it, MANUAL when drawn."""
    if isinstance(provenance.author, Person):
        return "SEMIAUTOMATIC" if provenance.derived_from else "MANUAL"
    return "SEMIAUTOMATIC" if review.state is ReviewState.EDITED else "AUTOMATIC"


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
    author = segment.provenance.author
    if not isinstance(author, ModelAuthor):
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
    seen = np.zeros_like(labels)
    for place, marked, numbers in _planes(dataset, geometry, labels.shape[1:]):
        np.copyto(seen[place], numbers, where=marked, casting="unsafe")
    if not np.array_equal(seen, labels):
        wrong = int(np.count_nonzero(seen != labels))
        raise ExportError(
            f"{path.name} does not read back as it was written ({wrong} voxels differ)",
            "Nothing was lost; export again, and report this.",
        )


def _planes(
    dataset: Dataset, geometry: Geometry, shape: tuple[int, ...]
) -> Iterator[tuple[int, npt.NDArray[np.bool_], npt.NDArray[Any]]]:
    """Slice, marked pixels and their numbers, frame by frame."""
    label_map = dataset.SegmentationType == "LABELMAP"
    stored = np.frombuffer(dataset.PixelData, dtype=f"<u{max(dataset.BitsAllocated // 8, 1)}")
    count = math.prod(shape)
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        place = _slice_of(group, geometry)
        if label_map:
            frame = stored[number * count : (number + 1) * count].reshape(shape)
            yield place, frame > 0, frame
        else:
            segment = _segment_of(group, dataset)
            yield place, _frame(stored, number, shape), np.array(segment, dtype=np.uint16)


def _frame(bits: npt.NDArray[Any], number: int, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """One frame of packed bits: frames follow each other without a gap (PS3.5 8.1.1)."""
    count = math.prod(shape)
    first = number * count
    packed = bits[first // 8 : (first + count + 7) // 8]
    frame = np.unpackbits(packed, bitorder="little")[first % 8 : first % 8 + count]
    return frame.view(np.bool_).reshape(shape)


def _slice_of(group: Dataset, geometry: Geometry) -> int:
    if "PlanePositionSequence" not in group:
        return 0
    position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
    k, j, i = (float(value) for value in geometry.to_index(position))
    if max(abs(k - round(k)), abs(j), abs(i)) > 0.01 or not 0 <= round(k) < geometry.shape[0]:
        raise ExportError("A slice of the exported segmentation lies beside its grid")
    return round(k)


def _segment_of(group: Dataset, dataset: Dataset) -> int:
    shared = dataset.SharedFunctionalGroupsSequence[0]
    holder = group if "SegmentIdentificationSequence" in group else shared
    return int(str(holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber))
