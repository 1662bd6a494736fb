"""SEG objects as highdicom writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from tests.helpers.dicom_phantoms import uid


def segmentation_object(
    datasets: list[Dataset], masks: npt.NDArray[Any], folder: Path, kind: str = "BINARY"
) -> None:
    """A SEG written by highdicom: masks (slices, rows, columns, segments)."""
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=n + 1,
            segment_label=f"Part {n + 1}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
            display_color=highdicom.color.CIELabColor.from_rgb(200, 30, 90),
        )
        for n in range(masks.shape[3])
    ]
    seg = highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=masks,
        segmentation_type=highdicom.seg.SegmentationTypeValues[kind],
        segment_descriptions=segments,
        series_instance_uid=uid("seg series"),
        series_number=50,
        sop_instance_uid=uid("seg"),
        instance_number=1,
        manufacturer="tests",
        manufacturer_model_name="tests",
        software_versions="1",
        device_serial_number="1",
        content_creator_name="Painter^Pat",
    )
    seg.save_as(folder / "seg.dcm")
