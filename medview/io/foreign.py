"""Image files that are not DICOM: which format a file has, and who plans it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from medview.core.study import Series, SeriesKind
from medview.io.nifti import is_nifti, plan_nifti, unpacked_head
from medview.io.nrrd import is_meta_image, is_nrrd, plan_meta_image, plan_nrrd
from medview.io.plan import SeriesPlan
from medview.io.raster import plan_raster


@dataclass(frozen=True)
class Foreign:
    """A recognised format and what a file of it holds."""

    format: str
    kind: SeriesKind


PLANNERS: Mapping[str, Callable[[Series, str], SeriesPlan]] = {
    "nifti": plan_nifti,
    "nrrd": plan_nrrd,
    "meta": plan_meta_image,
    "raster": plan_raster,
}
_RASTER_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*")


def recognise(name: str, head: bytes) -> Foreign | None:
    """The format of a file that begins so, or None if it is none that is read."""
    lower = name.lower()
    if lower.endswith((".img", ".img.gz", ".svs")):
        return None
    if is_nrrd(head):
        return Foreign("nrrd", SeriesKind.VOLUME)
    if lower.endswith((".mha", ".mhd")) and is_meta_image(head):
        return Foreign("meta", SeriesKind.VOLUME)
    if head.startswith(_RASTER_STARTS):
        return Foreign("raster", SeriesKind.IMAGES)
    if is_nifti(unpacked_head(head)):
        return Foreign("nifti", SeriesKind.VOLUME)
    return None
