"""Image files that are not DICOM: which format a file has, and who plans it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from medview.core.study import Series, SeriesKind
from medview.io.meta_image import is_meta_image, plan_meta_image
from medview.io.nifti import is_analyze, is_nifti, plan_analyze, plan_nifti, unpacked_head
from medview.io.nrrd import is_nrrd, plan_nrrd
from medview.io.plan import SeriesPlan
from medview.io.raster import plan_raster
from medview.io.results_format import format_of
from medview.io.video import container_of
from medview.io.video_files import plan_video


@dataclass(frozen=True)
class Foreign:
    """A recognised format and what a file of it holds."""

    format: str
    kind: SeriesKind


def _plan_guest(series: Series, password: str) -> SeriesPlan:
    # nibabel takes a second to import, and few ever need it.
    guests = importlib.import_module("medview.io.guests")
    return cast("SeriesPlan", guests.plan_guest(series, password))


PLANNERS: Mapping[str, Callable[[Series, str], SeriesPlan]] = {
    "nifti": plan_nifti,
    "analyze": plan_analyze,
    "nrrd": plan_nrrd,
    "meta": plan_meta_image,
    "raster": plan_raster,
    "video": plan_video,
    "guest": _plan_guest,
}
_RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Endings of files that hold only the voxels of a header beside them, with the headers' endings.
_VOXELS_OF: Mapping[str, tuple[str, ...]] = {
    ".img": (".hdr",),
    ".img.gz": (".hdr", ".hdr.gz"),
    ".raw": (".mhd", ".nhdr"),
    ".raw.gz": (".nhdr",),
    ".zraw": (".mhd",),
    ".rec": (".par",),
    ".brik": (".head",),
    ".brik.gz": (".head",),
}
#: Formats that are known, but read by no library here, by the name of the file.
_NOT_READ: Mapping[str, str] = {
    ".v": "ECAT files older than version 7 are not read",
    ".img": "The header that belongs to this file (.hdr) is not beside it",
    ".brik": "The header that belongs to this file (.HEAD) is not beside it",
    ".rec": "The header that belongs to this file (.PAR) is not beside it",
    ".svs": "Whole-slide pictures are not opened",
    ".ndpi": "Whole-slide pictures are not opened",
    ".mrxs": "Whole-slide pictures are not opened",
}


def recognise(name: str, head: bytes) -> Foreign | None:
    """The format of a file that begins so, or None if it is none that is read."""
    lower = name.lower()
    if results := format_of(name, head):
        return Foreign(results, SeriesKind.REPORT)
    if lower.endswith((".img", ".img.gz", ".svs", ".ndpi")):
        return None
    if is_nrrd(head):
        return Foreign("nrrd", SeriesKind.VOLUME)
    if lower.endswith((".mha", ".mhd")) and is_meta_image(head):
        return Foreign("meta", SeriesKind.VOLUME)
    if head.startswith(_RASTER_STARTS):
        return Foreign("raster", SeriesKind.IMAGES)
    if container_of(head):
        return Foreign("video", SeriesKind.CLIP)
    if _is_guest(lower, head):
        return Foreign("guest", SeriesKind.VOLUME)
    start = unpacked_head(head)
    analyze = lower.endswith((".hdr", ".hdr.gz")) and is_analyze(start)
    kind = "nifti" if is_nifti(start) else "analyze" if analyze else ""
    return Foreign(kind, SeriesKind.VOLUME) if kind else None


def _is_guest(lower: str, head: bytes) -> bool:
    """Whether nibabel reads such a file: MGH, PAR/REC, MINC, AFNI, ECAT 7."""
    return (
        lower.endswith((".mgz", ".mgh"))
        or (lower.endswith(".par") and head.lstrip().startswith(b"#"))
        or (lower.endswith(".mnc") and head.startswith((b"CDF", b"\x89HDF\r\n\x1a\n")))
        or (lower.endswith(".head") and b"DATASET_DIMENSIONS" in head)
        or (lower.endswith(".v") and head[:6] == b"MATRIX")
    )


def is_companion(path: Path) -> bool:
    """Whether a file holds only the voxels of a header beside it, which is opened in its place."""
    lower = path.name.lower()
    for ending, headers in _VOXELS_OF.items():
        if lower.endswith(ending):
            stem = path.name[: -len(ending)]
            names = [stem + text for header in headers for text in (header, header.upper())]
            return any(path.with_name(name).is_file() for name in names)
    return False


def why_not(name: str, head: bytes) -> str:
    """In plain words, why a file that says by its name that it is an image is not opened."""
    if not head:
        return "The file is empty"
    return _NOT_READ.get(Path(name).suffix.lower(), "This is no image that can be opened")
