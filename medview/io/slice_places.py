"""What an object on a grid says of its slices: where they lie, and which images they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from medview.core.errors import ExportError
from medview.core.geometry import Geometry
from medview.core.study import Instance
from medview.io.dicom_write import dicom_uid_of, identity_of, new_dicom_uid
from medview.io.sources import SourceFrame, Sources


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


def refer_slice_by_slice(
    dataset: Dataset, geometry: Geometry, slices: Mapping[int, SourceFrame]
) -> None:
    """Where some slices have no image (they were missing), only the others refer to theirs."""
    if not slices or len(slices) == geometry.shape[0]:
        return
    for group in dataset.PerFrameFunctionalGroupsSequence:
        frame = slices.get(slice_of(group, geometry))
        if frame is None:
            group.DerivationImageSequence = []
            continue
        group.DerivationImageSequence = [derived_from(frame)]


def derived_from(frame: SourceFrame) -> Dataset:
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


def at_first_slice(geometry: Geometry, pictures: list[Dataset]) -> list[Dataset]:
    """The one of several stand-ins that lies where the grid begins; all of them if none does.

    Enough to make an object of that slice alone: each one is looked at again and again.
    """
    origin = geometry.to_lps_mm((0, 0, 0))
    there = [
        one
        for one in pictures
        if np.allclose(one.get("ImagePositionPatient") or np.inf, origin, rtol=0, atol=1e-4)
    ]
    return there if len(there) == 1 else pictures


def refer_to(
    dataset: Dataset, pictures: Sequence[Dataset], frames: Iterable[SourceFrame] = ()
) -> None:
    """Name the images of one series (Common Instance Reference, PS3.3 C.12.2; C.7.6.1).

    Those that stand-ins stand for, and those that frames are of: a stack may be made of several
    multi-frame images, which one stands in for.
    """
    classes = {picture.SOPInstanceUID: picture.SOPClassUID for picture in pictures}
    for frame in frames:
        uid = UID(frame.instance.sop_instance_uid)
        if frame.number is not None and uid not in classes:
            classes[uid] = UID(frame.instance.sop_class_uid)
    named = []
    for uid, sop_class in classes.items():
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = uid
        named.append(item)
    series = Dataset()
    series.SeriesInstanceUID = pictures[0].SeriesInstanceUID
    series.ReferencedInstanceSequence = named
    dataset.ReferencedSeriesSequence = [series]
    dataset.SourceImageSequence = named


def drop_references(dataset: Dataset) -> None:
    """Point to no image: a reference to a UID that no file carries would be a lie."""
    dataset.pop("ReferencedSeriesSequence", None)
    dataset.pop("SourceImageSequence", None)
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.DerivationImageSequence = []


def slice_of(group: Dataset, geometry: Geometry) -> int:
    """The slice that a frame says it lies on; ExportError where none lies there."""
    if "PlanePositionSequence" not in group:
        return 0
    position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
    k, j, i = (float(value) for value in geometry.to_index(position))
    if max(abs(k - round(k)), abs(j), abs(i)) > 0.01 or not 0 <= round(k) < geometry.shape[0]:
        raise ExportError("A slice of the exported segmentation lies beside its grid")
    return round(k)
