"""Label maps (NIfTI, NRRD, MetaImage) and surfaces (STL) as segments of the image they lie on.

Names come from a JSON file beside the map: `{"1": "aorta"}` as TotalSegmentator writes it, or
`{"labels": ["background", "aorta"]}`; without one the labels keep their numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK

from medview.core.codes import ANATOMICAL_STRUCTURE, Code
from medview.core.errors import GeometryError, ReadError
from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.geometry import FloatArray, Geometry, lps_from_ras, reorder_kji
from medview.core.segmentation import LabelArray, Segment, Segmentation, SegmentState, as_labels
from medview.core.structures import readable, structure_of
from medview.core.tints import tint
from medview.imaging.resample import resample_labels
from medview.io.mesh_read import read_surface
from medview.io.seg_history import STATUS, STATUSES

_STATES = {word: state for state, word in STATUSES.items()}
_NIFTI = (".nii", ".nii.gz", ".hdr", ".img")
_MOST_LABELS = 65535
#: How much of what is marked has to lie within the image.
_LEAST_INSIDE = 0.5


def read_label_map(
    path: Path, geometry: Geometry, volume_uid: str, names: Path | None = None
) -> Segmentation:
    """The map on the grid of an image, each place taking the nearest label.

    `names` is the JSON file with its names; without it one beside the map is looked for.
    ReadError for what holds no whole numbers, does not say where it lies, or lies elsewhere.
    A surface (STL) is what it encloses.
    """
    if path.suffix.casefold() == ".stl":
        return read_surface(path, geometry, volume_uid)
    labels, affine = _read(path)
    try:
        source = Geometry(labels.shape, affine)
        on_grid = source.agrees_with(geometry, tolerance_mm=1e-2)
    except GeometryError as error:
        raise ReadError(f"{path.name} does not say where it lies", detail=str(error)) from error
    placed = labels if on_grid else resample_labels(labels, source, geometry)
    _refuse_elsewhere(labels, source, placed, geometry, path)
    told = segments_told(path) if path.name.endswith(".nrrd") and names is None else {}
    known = {} if told else _names_for(path, names)
    made_by = Provenance(ModelAuthor(path.name, "unknown", ""), utc_now())
    segments = tuple(
        replace(told[number], provenance=made_by)
        if number in told
        else _segment(number, known.get(number, f"Label {number}"), place, made_by)
        for place, number in enumerate(int(n) for n in np.unique(placed) if n)
    )
    return Segmentation(volume_uid, geometry, placed, segments, title=path.name)


def segments_told(path: Path) -> dict[int, Segment]:
    """The segments that the header of a seg.nrrd (3D Slicer, medview) tells, by label."""
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return {}  # read in full, it says what is wrong with it
    told = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    nobody = Provenance(ModelAuthor(path.name, "unknown", ""), utc_now())
    found: dict[int, Segment] = {}
    for key, value in told.items():
        match = re.fullmatch(r"(Segment\d+)_LabelValue", key)
        if match is None or not value.strip().isdigit() or not 1 <= int(value) <= _MOST_LABELS:
            continue
        name, number = match[1], int(value)
        tags = dict(one.partition(":")[::2] for one in told.get(f"{name}_Tags", "").split("|"))
        category, kind = _terms(tags.get("TerminologyEntry", ""))
        label = told.get(f"{name}_Name", "").strip() or f"Label {number}"
        found[number] = Segment(
            number, label, category, kind or structure_of(label)[0],
            _colour(told.get(f"{name}_Color", "")) or tint(len(found)), nobody,
            state=_STATES.get(tags.get(STATUS, ""), SegmentState.NOT_STARTED),
        )  # fmt: skip
    return found


def _terms(entry: str) -> tuple[Code, Code | None]:
    """Category and type of a terminology entry: `context~S^V^M~S^V^M~...`."""
    codes = [part.split("^") for part in entry.split("~")[1:3]]
    made = [Code(one[1], one[0], one[2]) if len(one) == 3 and all(one) else None for one in codes]
    category, kind = (*made, None, None)[:2]
    return category or ANATOMICAL_STRUCTURE, kind


def _colour(text: str) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (min(255, max(0, round(255 * float(part)))) for part in text.split())
    except (ValueError, OverflowError):
        return None
    return red, green, blue


def _segment(number: int, name: str, place: int, made_by: Provenance) -> Segment:
    code, _ = structure_of(name)
    label = readable(name) or f"Label {number}"
    return Segment(number, label, ANATOMICAL_STRUCTURE, code, tint(place), made_by)


def _read(path: Path) -> tuple[LabelArray, FloatArray]:
    """Labels (k, j, i) and the matrix to LPS millimetres."""
    try:
        values, affine = _nifti(path) if path.name.endswith(_NIFTI) else _by_sitk(path)
    except (OSError, RuntimeError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise ReadError(f"{path.name} cannot be read as a label map", detail=repr(error)) from error
    if values.ndim != 3:
        raise ReadError(f"{path.name} has {values.ndim} dimensions; a label map has three")
    whole = np.rint(values) if values.dtype.kind == "f" else values
    if not np.isfinite(values).all() or (values != whole).any():
        raise ReadError(f"{path.name} holds no whole numbers: it is an image, not a label map")
    if whole.min() < 0 or whole.max() > _MOST_LABELS:
        raise ReadError(f"{path.name} has labels beyond 0 to {_MOST_LABELS}")
    return as_labels(whole), affine


def _nifti(path: Path) -> tuple[npt.NDArray[Any], FloatArray]:
    image = nibabel.load(path)
    values = np.asanyarray(image.dataobj)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if image.affine is None:
        raise ValueError("no affine")
    return values.transpose(), reorder_kji(lps_from_ras(image.affine))


def _by_sitk(path: Path) -> tuple[npt.NDArray[Any], FloatArray]:
    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("not three dimensions of one number")
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image), reorder_kji(affine)


def _refuse_elsewhere(
    labels: LabelArray, source: Geometry, placed: LabelArray, geometry: Geometry, path: Path
) -> None:
    marked = int(np.count_nonzero(labels)) * source.voxel_volume_ml
    inside = int(np.count_nonzero(placed)) * geometry.voxel_volume_ml
    if marked == 0:
        raise ReadError(f"{path.name} marks nothing")
    if inside < _LEAST_INSIDE * marked:
        raise ReadError(
            f"{path.name} lies elsewhere: {100 * inside / marked:.0f} % of what it marks is in"
            " this image",
            "Show the image it was made from.",
        )


def _names_for(path: Path, names: Path | None) -> dict[int, str]:
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    places = [names] if names else [path.with_name(f"{stem}.json"), path.with_name("labels.json")]
    for place in places:
        if place.is_file():
            return _names_in(place)
    return {}


def _names_in(path: Path) -> dict[int, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path.name} cannot be read as names of labels") from error
    listed = content.get("labels") if isinstance(content, dict) else content
    if isinstance(listed, list):
        return {number: str(name) for number, name in enumerate(listed)}
    pairs = listed if isinstance(listed, dict) else content
    names = {}
    for one, other in pairs.items() if isinstance(pairs, dict) else ():
        if str(one).isdigit():
            names[int(one)] = str(other)
        elif str(other).isdigit():  # nnU-Net writes names first
            names[int(other)] = str(one)
    if not names:
        raise ReadError(f"{path.name} names no labels")
    return names
