"""How the reader's work is written down: core objects as JSON texts and back, checked."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from medview.core.errors import StoreError
from medview.core.geometry import Calibration, Geometry
from medview.core.plain import from_plain, to_plain
from medview.core.report import Report
from medview.core.segmentation import LabelArray, Segment, Segmentation

T = TypeVar("T")


@dataclass(frozen=True)
class KeptGrid:
    """A geometry in plain fields."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    frame_of_reference_uid: str
    calibration: Calibration

    @staticmethod
    def of(geometry: Geometry) -> KeptGrid:
        """Of a geometry."""
        affine = tuple(tuple(float(n) for n in row) for row in geometry.affine)
        frame = geometry.frame_of_reference_uid
        return KeptGrid(geometry.shape, affine, frame, geometry.calibration)

    def geometry(self) -> Geometry:
        """The geometry again."""
        affine = np.array(self.affine, dtype=np.float64)
        return Geometry(self.shape, affine, self.frame_of_reference_uid, self.calibration)


@dataclass(frozen=True)
class KeptSegmentation:
    """Everything of a segmentation but its labels, which are kept slice by slice.

    `series_uid` says what to load before it can be shown.
    """

    uid: str
    volume_uid: str
    series_uid: str
    title: str
    dtype: str
    grid: KeptGrid
    segments: tuple[Segment, ...]

    @staticmethod
    def of(segmentation: Segmentation, series_uid: str) -> KeptSegmentation:
        """Of a segmentation on a volume of that series."""
        return KeptSegmentation(
            uid=segmentation.uid,
            volume_uid=segmentation.volume_uid,
            series_uid=series_uid,
            title=segmentation.title,
            dtype=segmentation.labels.dtype.str,
            grid=KeptGrid.of(segmentation.geometry),
            segments=segmentation.segments,
        )

    def segmentation(self, labels: LabelArray) -> Segmentation:
        """The segmentation again, with its labels."""
        return Segmentation(
            volume_uid=self.volume_uid,
            geometry=self.grid.geometry(),
            labels=labels,
            segments=self.segments,
            title=self.title,
            uid=self.uid,
        )


@dataclass(frozen=True)
class KeptReport:
    """A report whose pictures are kept apart: image UID -> sha256 of the picture."""

    report: Report
    pictures: Mapping[str, str]

    @staticmethod
    def of(report: Report) -> tuple[KeptReport, dict[str, bytes]]:
        """A report, and its pictures by sha256."""
        digests = {image.uid: hashlib.sha256(image.png).hexdigest() for image in report.key_images}
        pictures = {digests[image.uid]: image.png for image in report.key_images}
        bare = tuple(replace(image, png=b"") for image in report.key_images)
        return KeptReport(replace(report, key_images=bare), digests), pictures

    def whole(self, pictures: Mapping[str, bytes]) -> Report:
        """The report again, with the pictures that are there."""
        images = tuple(
            replace(image, png=pictures.get(self.pictures.get(image.uid, ""), b""))
            for image in self.report.key_images
        )
        return replace(self.report, key_images=images)


def to_text(value: object) -> str:
    """A core object as canonical JSON: sorted keys, no spaces."""
    return json.dumps(to_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def from_text(kind: type[T], text: str) -> T:
    """The object again; StoreError where the text is not one."""
    try:
        return from_plain(kind, json.loads(text))
    except ValueError as error:
        raise StoreError(
            "A part of the saved work cannot be read",
            "The rest is not affected.",
            f"{kind.__name__}: {type(error).__name__}",
        ) from error


def digest(value: object) -> str:
    """sha256 of the object as it is written down."""
    return hashlib.sha256(to_text(value).encode("utf-8")).hexdigest()


def pack_slice(labels: npt.NDArray[Any]) -> bytes:
    """One slice of labels, compressed (zlib, C order); empty for background alone."""
    if not labels.any():
        return b""
    return zlib.compress(np.ascontiguousarray(labels).tobytes(), 1)


def unpack_slice(packed: bytes, target: npt.NDArray[Any]) -> None:
    """Write one compressed slice into `target` (rows, columns); StoreError if it is damaged."""
    try:
        flat: npt.NDArray[Any] = np.frombuffer(zlib.decompress(packed), dtype=target.dtype)
        target[...] = flat.reshape(target.shape)
    except (zlib.error, ValueError) as error:
        raise StoreError("A slice of saved labels is damaged", detail=str(error)) from error
