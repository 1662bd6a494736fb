"""Scalar maps -> Parametric Map (PS3.3 A.75), and probabilities as a fractional SEG (A.51)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence, ContentQualificationValues
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import (
    Segmentation,
    SegmentationFractionalTypeValues,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.sr import CodedConcept
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from medview import __version__
from medview.core.codes import ANATOMICAL_STRUCTURE, PROBABILITY, Code
from medview.core.errors import ExportError
from medview.core.findings import ModelAuthor
from medview.core.maps import MapKind, ScalarMap
from medview.core.structures import structure_of
from medview.io.dicom_write import (
    MANUFACTURER,
    MODEL_NAME,
    NOT_CLINICAL,
    UTF8,
    coding_schemes,
    concept,
    foreign_values,
    models_as_equipment,
    new_dicom_uid,
    write_dataset,
)
from medview.io.map_read import SALIENCY, UNCERTAINTY, VALUE, frames_of
from medview.io.request import MapExport
from medview.io.slice_places import drop_references, placement, refer_slice_by_slice, stand_ins
from medview.io.sources import Sources

#: What the values of each kind of map are.
_QUANTITIES: Mapping[MapKind, Code] = MappingProxyType({
    MapKind.PROBABILITY: PROBABILITY, MapKind.UNCERTAINTY: UNCERTAINTY,
    MapKind.SALIENCY: SALIENCY, MapKind.QUANTITY: VALUE,
})  # fmt: skip
_NO_UNIT = CodedConcept("1", "UCUM", "no units")
#: Steps of a fractional segmentation of 8 bits.
_STEPS = 255


@dataclass(frozen=True)
class MapOptions:
    """What tells one map from others of its export."""

    now: datetime
    series_uid: str
    series_number: int
    instance_number: int = 1


def write_map(export: MapExport, sources: Sources, path: Path, options: MapOptions) -> str:
    """One map as floating point values, read back and compared; its SOP Instance UID.

    The range of its colours is written as the window of the frames. ExportError for a map of
    images without a place in the patient.
    """
    one = export.map
    low, high = one.value_range
    values = np.asarray(one.values, np.float32)
    quantity = _QUANTITIES[one.kind]
    mapping = RealWorldValueMapping(
        lut_label=one.kind.value.upper()[:16],
        lut_explanation=(one.subject or one.caption)[:64],
        unit=_NO_UNIT,
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(quantity),
    )
    with foreign_values(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = ParametricMap(
            source_images=stand_ins(one.geometry, export.instance_uids, sources),
            pixel_array=values,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            window_center=(low + high) / 2,
            window_width=high - low,
            **_common(export, sources, options, "Map", [quantity]),
        )
    _finish(dataset, one, sources)
    # 2C: required where the body part has sides, which a map does not know.
    dataset.Laterality = ""
    uid = write_dataset(dataset, path)
    _verify(one, path, tolerance=0.0)
    return uid


def write_probabilities(
    export: MapExport, sources: Sources, path: Path, options: MapOptions
) -> str:
    """A map of probabilities as a fractional SEG of one segment, in steps of 1/255."""
    one = export.map
    values = np.clip(np.asarray(one.values, np.float32), 0, 1)
    kind, _ = structure_of(one.subject)
    algorithm = _algorithm(export.author)
    segment = SegmentDescription(
        segment_number=1,
        segment_label=(one.subject or "Probability")[:64],
        segmented_property_category=concept(ANATOMICAL_STRUCTURE),
        segmented_property_type=concept(kind),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
    )
    with foreign_values(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset = Segmentation(
            source_images=stand_ins(one.geometry, export.instance_uids, sources),
            pixel_array=values,
            segmentation_type=SegmentationTypeValues.FRACTIONAL,
            fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
            max_fractional_value=_STEPS,
            segment_descriptions=[segment],
            **_common(export, sources, options, "Probabilities", [kind]),
        )
    _finish(dataset, one, sources)
    dataset.BurnedInAnnotation = "NO"
    uid = write_dataset(dataset, path)
    _verify(one, path, tolerance=0.5 / _STEPS + 1e-6)
    return uid


def _common(
    export: MapExport, sources: Sources, options: MapOptions, name: str, used: list[Code]
) -> dict[str, Any]:
    """What both kinds of object take in the same way."""
    one = export.map
    if not one.geometry.in_patient_space:
        raise ExportError(
            f"The {name.lower()} cannot be written as DICOM: its images have no place in the"
            " patient",
            "Export pictures of it instead.",
        )
    models = () if export.author is None else (export.author,)
    return {
        "series_instance_uid": options.series_uid,
        "series_number": options.series_number,
        "sop_instance_uid": new_dicom_uid(),
        "instance_number": options.instance_number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": __version__,
        "device_serial_number": __version__,
        "content_label": one.kind.value.upper(),
        "content_description": (one.method or one.caption)[:64],
        "series_description": f"{name}, not reviewed. {NOT_CLINICAL}"[:64],
        "content_qualification": ContentQualificationValues.RESEARCH,
        "specific_character_set": UTF8,
        "coding_schemes": coding_schemes(used),
        "contributing_equipment": models_as_equipment(models),
        **placement(one.geometry, sources),
    }


def _finish(dataset: Dataset, one: ScalarMap, sources: Sources) -> None:
    if sources.can_be_referred_to:
        refer_slice_by_slice(dataset, one.geometry, sources.slices_of(one.geometry))
    else:
        drop_references(dataset)


def _algorithm(author: ModelAuthor | None) -> AlgorithmIdentificationSequence:
    made_by = author or ModelAuthor(MODEL_NAME, __version__, "")
    weights = {"weights_sha256": made_by.weights_sha256} if made_by.weights_sha256 else None
    return AlgorithmIdentificationSequence(
        name=made_by.model_id[:64],
        family=codes.DCM.ArtificialIntelligence,
        version=made_by.version[:64],
        source=MANUFACTURER,
        parameters=weights,
    )


def _verify(one: ScalarMap, path: Path, tolerance: float) -> None:
    """Read the file and compare every value in its place."""
    with foreign_values():
        (again,) = frames_of(dcmread(path)).values()
    wanted: npt.NDArray[np.float32] = np.asarray(one.values, np.float32)
    if tolerance:
        wanted = np.clip(wanted, 0, 1)
    seen = again.on_grid(one.geometry)
    if seen is None or not np.allclose(seen, wanted, rtol=0, atol=tolerance):
        raise ExportError(
            f"{path.name} does not read back as it was written",
            "Nothing was lost; export again, and report this.",
        )
