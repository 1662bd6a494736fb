"""Segments as closed surfaces in STL: binary triangles in mm, their axes said in the header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medview.core.errors import ExportError
from medview.core.geometry import Box
from medview.core.segmentation import LabelArray
from medview.imaging.surface import Triangles, surface_of
from medview.io.dicom_write import write_file
from medview.io.request import SegmentationExport

#: One triangle: normal, three corners, and an attribute that nobody uses.
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
#: The convention of 3D Slicer: a header that says LPS is not taken for RAS.
_HEADER = "medview SPACE=LPS mm"


def write_surface(export: SegmentationExport, labels: LabelArray, number: int, path: Path) -> None:
    """Write one segment of the labels of an export as binary STL, read it back, compare.

    ExportError for a segment without voxels, images without millimetres, or another file than
    was meant.
    """
    if not export.geometry.in_patient_space:
        raise ExportError(
            "Surfaces need images with a place in the patient", "Export the segments as NIfTI."
        )
    triangles = triangles_of(export, labels, number)
    rows = np.zeros(len(triangles.faces), TRIANGLE)
    corners = triangles.points[triangles.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    rows["normal"] = normal / np.where(length > 0, length, 1)
    rows["corners"] = corners
    data = _HEADER.encode("ascii").ljust(80) + np.uint32(len(rows)).tobytes() + rows.tobytes()
    write_file(path, lambda file: file.write(data))
    seen = path.read_bytes()
    again = np.frombuffer(seen[84:], TRIANGLE)
    same = int.from_bytes(seen[80:84], "little") == len(rows)
    if not (same and np.array_equal(again["corners"], rows["corners"])):
        raise ExportError(f"{path.name} does not read back as it was written")


def triangles_of(export: SegmentationExport, labels: LabelArray, number: int) -> Triangles:
    """The surface of a segment in LPS millimetres, turned outwards."""
    mask = labels[export.box.slices] == number
    inner = Box.of(mask)
    if inner is None:
        raise ExportError("A segment without voxels has no surface")
    affine = export.geometry.affine.copy()
    affine[:3, 3] = export.geometry.to_lps_mm(np.add(export.box.start, inner.start))
    return surface_of(mask[inner.slices]).placed(affine)
