"""Closed surfaces in STL as segments of the image that they lie in."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medview.core.codes import ANATOMICAL_STRUCTURE
from medview.core.errors import ReadError
from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.geometry import Geometry
from medview.core.segmentation import Segment, Segmentation
from medview.core.structures import readable, structure_of
from medview.core.tints import tint
from medview.imaging.enclosed import enclosed
from medview.io.mesh_write import TRIANGLE

_HEAD = 84
_SPACE = re.compile(rb"SPACE\s*=\s*(LPS|RAS)")
_NUMBER = rb"\s+([-+0-9.eEnaifNAIF]+)"
_VERTEX = re.compile(rb"vertex" + 3 * _NUMBER)


def read_surface(path: Path, geometry: Geometry, volume_uid: str) -> Segmentation:
    """What a surface encloses, on the grid of an image.

    Corners are millimetres in LPS, or in RAS where the header says `SPACE=RAS` as 3D Slicer
    writes it; the title tells where nothing is said. ReadError for what is no STL, is not closed,
    or encloses no voxel of the image.
    """
    if not geometry.in_patient_space:
        raise ReadError("A surface lies in millimetres, and this image has no place in the patient")
    data = path.read_bytes()
    packed = _binary(data)
    corners = _text(data) if packed is None else packed
    if not len(corners) or not np.isfinite(corners).all():
        raise ReadError(f"{path.name} is no surface in STL")
    said = _SPACE.search(data[: 1024 if packed is None else _HEAD])
    if said is not None and said[1] == b"RAS":
        corners = corners * (-1.0, -1.0, 1.0)
    index = geometry.to_index(corners.reshape(-1, 3)).reshape(-1, 3, 3)
    try:
        mask = enclosed(index, geometry.shape)
    except ValueError as error:
        raise ReadError(f"{path.name} holds a surface that is not closed") from error
    if not mask.any():
        raise ReadError(
            f"{path.name} lies elsewhere: it encloses no voxel of this image",
            "Show the image it was made from.",
        )
    name = path.stem
    made_by = Provenance(ModelAuthor(path.name, "unknown", ""), utc_now())
    segment = Segment(
        1, readable(name) or name, ANATOMICAL_STRUCTURE, structure_of(name)[0], tint(0), made_by
    )
    title = path.name if said is not None else f"{path.name} (taken as LPS)"
    return Segmentation(volume_uid, geometry, mask.astype(np.uint8), (segment,), title=title)


def _binary(data: bytes) -> npt.NDArray[np.float64] | None:
    """The corners (n, 3, 3) of a binary file; None where its length tells that it is none."""
    count = int.from_bytes(data[_HEAD - 4 : _HEAD], "little")
    if len(data) < _HEAD or len(data) != _HEAD + count * TRIANGLE.itemsize:
        return None
    return np.frombuffer(data[_HEAD:], TRIANGLE)["corners"].astype(np.float64)


def _text(data: bytes) -> npt.NDArray[np.float64]:
    """The corners of a file in words; none where it is something else."""
    found = _VERTEX.findall(data) if data.lstrip().startswith(b"solid") else []
    try:
        values = np.array(found, dtype=np.float64).reshape(-1, 3)
    except ValueError:
        return np.zeros((0, 3, 3))
    return values[: len(values) // 3 * 3].reshape(-1, 3, 3)
