"""Overlays, shutters and presentation states as files have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from tests.helpers.dicom_phantoms import Who, new_dataset, uid

GRAYSCALE = "1.2.840.10008.5.1.4.1.1.11.1"


def item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def add_overlay(
    ds: Dataset,
    mask: np.ndarray,
    *,
    group: int = 0x6000,
    origin: tuple[int, int] = (1, 1),
    first_frame: int = 1,
    kind: str = "G",
) -> None:
    """An overlay plane (rows, columns) or (frames, rows, columns), bits packed as PS3.5 says."""
    frames = mask if mask.ndim == 3 else mask[None]
    ds.add_new((group, 0x10), "US", frames.shape[1])
    ds.add_new((group, 0x11), "US", frames.shape[2])
    ds.add_new((group, 0x40), "CS", kind)
    ds.add_new((group, 0x50), "SS", list(origin))
    ds.add_new((group, 0x100), "US", 1)
    ds.add_new((group, 0x102), "US", 0)
    if mask.ndim == 3:
        ds.add_new((group, 0x15), "IS", len(frames))
        ds.add_new((group, 0x51), "US", first_frame)
    packed = np.packbits(frames.reshape(-1), bitorder="little").tobytes()
    ds.add_new((group, 0x3000), "OW", packed + b"\0" * (len(packed) % 2))


def graphic(kind: str, points: Sequence[float], units: str = "PIXEL", filled: str = "N") -> Dataset:
    return item(
        GraphicAnnotationUnits=units,
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(points) // 2,
        GraphicData=[float(x) for x in points],
        GraphicType=kind,
        GraphicFilled=filled,
    )


def words(text: str, x: float, y: float) -> Dataset:
    return item(UnformattedTextValue=text, AnchorPoint=[x, y], AnchorPointAnnotationUnits="PIXEL")


def presentation_state(
    images: Sequence[Dataset],
    *,
    label: str = "MARKED",
    graphics: Sequence[Dataset] = (),
    texts: Sequence[Dataset] = (),
    window: Mapping[str, str] | None = None,
    area: tuple[int, int, int, int] | None = None,
    **attributes: Any,
) -> Dataset:
    """A state of images; `area` is left, top, right, bottom, counted from 1."""
    ds = new_dataset(Who(), GRAYSCALE, uid("state", label), "PR", uid("states"))
    ds.ContentLabel, ds.ContentDescription = label, "For the reader"
    ds.PresentationCreationDate, ds.PresentationCreationTime = "20240502", "120000"
    references = [
        item(ReferencedSOPClassUID=one.SOPClassUID, ReferencedSOPInstanceUID=one.SOPInstanceUID)
        for one in images
    ]
    ds.ReferencedSeriesSequence = DicomSequence(
        [
            item(
                SeriesInstanceUID=images[0].SeriesInstanceUID,
                ReferencedImageSequence=DicomSequence(references),
            )
        ]
    )
    if graphics or texts:
        drawn = item(GraphicLayer="ONE")
        drawn.GraphicObjectSequence = DicomSequence(graphics)
        drawn.TextObjectSequence = DicomSequence(texts)
        ds.GraphicAnnotationSequence = DicomSequence([drawn])
    if window:
        ds.SoftcopyVOILUTSequence = DicomSequence([item(**window)])
    if area:
        ds.DisplayedAreaSelectionSequence = DicomSequence(
            [
                item(
                    DisplayedAreaTopLeftHandCorner=list(area[:2]),
                    DisplayedAreaBottomRightHandCorner=list(area[2:]),
                    PresentationSizeMode="SCALE TO FIT",
                )
            ]
        )
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds
