"""Labels as NIfTI, for studies that are no DICOM."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from medview.core.errors import ExportError
from medview.core.geometry import Geometry, lps_from_ras, reorder_kji
from medview.core.segmentation import LabelArray
from medview.io.dicom_write import write_file

_LABEL_INTENT = "label"


def write_labels(labels: LabelArray, geometry: Geometry, path: Path) -> None:
    """Write labels (slices, rows, columns) as a gzipped NIfTI-1 on the same grid, and compare.

    The sform carries the grid exactly; the qform too where the grid has no shear. ExportError
    if what was read back differs in a voxel or lies elsewhere.
    """
    affine = lps_from_ras(reorder_kji(geometry.affine))
    image = nib.Nifti1Image(np.ascontiguousarray(labels.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    image.header.set_intent(_LABEL_INTENT)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1 if _is_rigid(geometry) else 0)
    data = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    write_file(path, lambda file: file.write(data))
    again = nib.load(path)
    same = np.array_equal(np.asanyarray(again.dataobj).transpose(2, 1, 0), labels)
    if not (same and np.allclose(again.affine, affine, atol=1e-3)):
        raise ExportError(f"{path.name} does not read back as it was written")


def _is_rigid(geometry: Geometry) -> bool:
    steps = geometry.affine[:3, :3] / np.linalg.norm(geometry.affine[:3, :3], axis=0)
    return bool(np.allclose(steps.T @ steps, np.eye(3), atol=1e-6))
