"""RT Structure Set (PS3.3 A.19) -> segments on the grid of the image that they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.codes import ANATOMICAL_STRUCTURE, TISSUE, Code
from medview.core.errors import ReadError
from medview.core.findings import Author, ModelAuthor, Person, Provenance
from medview.core.geometry import Box, Geometry
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Instance, Series
from medview.imaging.outlines import filled
from medview.io.drawn import Drawn
from medview.io.label_places import Parts, Piece
from medview.io.multiframe import damage_refused, data_set
from medview.io.seg_read import made_at

#: How far, in slices, a contour may lie from the plane of the image that it marks.
_OFF_PLANE = 0.45
#: Points of a structure set beyond which it is refused: it would take longer than anyone waits.
_MOST_POINTS = 20_000_000
_GREY = (160, 160, 160)


def drawn_on(series: Series, password: str = "") -> Drawn:
    """What a structure set was drawn on, as its headers say."""
    named: dict[str, None] = {}
    images: set[str] = set()
    frame = ""
    for instance in series.instances:
        ds = data_set(instance, password)
        with damage_refused("The structure set is damaged"):
            for item in ds.get("ReferencedFrameOfReferenceSequence") or ():
                frame = frame or str(item.get("FrameOfReferenceUID", ""))
                for study in item.get("RTReferencedStudySequence") or ():
                    for one in study.get("RTReferencedSeriesSequence") or ():
                        named[str(one.get("SeriesInstanceUID", ""))] = None
                        images |= {str(image.get("ReferencedSOPInstanceUID", ""))
                                   for image in one.get("ContourImageSequence") or ()}  # fmt: skip
    return Drawn(frame, tuple(named), frozenset(images))


def read_structures(
    series: Series, geometry: Geometry, volume_uid: str = "", password: str = ""
) -> tuple[Segmentation, ...]:
    """All structures of a series of structure sets on a grid, that of their image.

    A voxel belongs to a structure where its centre lies inside an odd number of its closed
    contours. Structures that overlap come in separate segmentations. Raises ReadError where the
    frame of reference is another, or contours lie between the planes of the image.
    """
    found: list[Segmentation] = []
    for instance in series.instances:
        ds = data_set(instance, password)
        with damage_refused("The structure set is damaged"):
            _require_frame(ds, geometry)
            found += _on_grid(ds, instance, geometry, volume_uid)
    return tuple(found)


def _require_frame(ds: Dataset, geometry: Geometry) -> None:
    ours = geometry.frame_of_reference_uid
    theirs = {str(item.get("ReferencedFrameOfReferenceUID", ""))
              for item in ds.get("StructureSetROISequence") or ()}  # fmt: skip
    if ours and theirs - {""} and ours not in theirs:
        raise ReadError(
            "The structures belong to another frame of reference than the image",
            "Open the image they were drawn on",
        )


def _on_grid(
    ds: Dataset, instance: Instance, geometry: Geometry, volume_uid: str
) -> list[Segmentation]:
    segments = _segments(ds)
    largest = max(segments, default=0)
    parts = Parts(geometry.shape, np.dtype(np.uint8 if largest < 256 else np.uint16))
    for number, mask in regions_of(ds, geometry):
        box = Box.of(mask) if number in segments else None
        if box is not None:
            parts.mark(number, Piece(box.slices, mask[box.slices].copy()))
    title = str(ds.get("StructureSetName", "") or ds.get("StructureSetLabel", "") or "Structures")
    return [
        Segmentation(
            volume_uid=volume_uid,
            geometry=geometry,
            labels=labels,
            segments=tuple(segments[number] for number in sorted(members)),
            title=title,
            uid=instance.sop_instance_uid + (f"#{count}" if count else ""),
        )
        for count, (labels, members) in enumerate(parts.done)
    ]


def regions_of(ds: Dataset, geometry: Geometry) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Number and mask of each structure that has closed contours, by the even-odd rule."""
    points = 0
    for item in ds.get("ROIContourSequence") or ():
        mask = np.zeros(geometry.shape, dtype=np.bool_)
        for contour in item.get("ContourSequence") or ():
            if not str(contour.get("ContourGeometricType", "")).startswith("CLOSED"):
                continue
            data = np.array(contour.get("ContourData") or (), dtype=np.float64)
            points += data.size // 3
            if points > _MOST_POINTS:
                raise ReadError(f"The structure set has more than {_MOST_POINTS} points")
            if data.size >= 9:
                _mark(mask, data[: data.size // 3 * 3].reshape(-1, 3), geometry)
        yield int(item.ReferencedROINumber), mask


def _mark(mask: npt.NDArray[np.bool_], points: npt.NDArray[np.float64], geometry: Geometry) -> None:
    """Turn over what one contour encloses; a contour beyond the volume marks nothing."""
    if not np.isfinite(points).all():
        raise ReadError("A contour of the structure set has places that are no numbers")
    index = geometry.to_index(points)
    k = round(float(np.median(index[:, 0])))
    if not 0 <= k < geometry.shape[0]:
        return
    if np.abs(index[:, 0] - k).max() > _OFF_PLANE:
        raise ReadError(
            "The structures lie across the planes of the image",
            "Open the image they were drawn on",
        )
    mask[k] ^= filled(index[:, 1:], geometry.shape[1:])


def _segments(ds: Dataset) -> dict[int, Segment]:
    at = made_at(ds)
    colours = {
        int(item.ReferencedROINumber): item.get("ROIDisplayColor")
        for item in ds.get("ROIContourSequence") or ()
    }
    kinds = {
        int(item.get("ReferencedROINumber", 0)): item
        for item in ds.get("RTROIObservationsSequence") or ()
    }
    segments = {}
    for item in ds.get("StructureSetROISequence") or ():
        number = int(item.get("ROINumber", 0))
        if not 1 <= number <= 65535:
            continue
        colour = [int(part) for part in colours.get(number) or _GREY]
        provenance = Provenance(
            _author(ds, item), at, derived_from=(str(ds.get("SOPInstanceUID", "")),)
        )
        segments[number] = Segment(
            number=number,
            label=str(item.get("ROIName", "")).strip() or f"Structure {number}",
            category=TISSUE,
            type=_type(kinds.get(number)),
            color_rgb=(colour[0], colour[1], colour[2]),
            provenance=provenance,
        )
    return segments


def _type(observation: Dataset | None) -> Code:
    coded = None if observation is None else observation.get("RTROIIdentificationCodeSequence")
    if not coded:
        return ANATOMICAL_STRUCTURE
    parts = [str(coded[0].get(name, "")) for name in
             ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")]  # fmt: skip
    return Code(*parts) if all(parts) else ANATOMICAL_STRUCTURE


def _author(ds: Dataset, item: Dataset) -> Author:
    """Who drew it: an algorithm that is named, else a person."""
    described = str(item.get("ROIGenerationDescription", "")).strip()
    kind = str(item.get("ROIGenerationAlgorithm", ""))
    if kind in ("AUTOMATIC", "SEMIAUTOMATIC") and described:
        name, _, version = described.rpartition(" ")
        return ModelAuthor(name or described, version if name else "", "")
    return Person(str(ds.get("OperatorsName", "")).replace("^", " ").strip() or "unknown")
