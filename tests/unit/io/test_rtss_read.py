"""Structure sets of other programs on the grid of their images, against masks of the same data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import Dataset, dcmread

from medview.core.errors import ReadError
from medview.core.geometry import Geometry
from medview.core.study import Series, SeriesKind
from medview.io.reading import load
from medview.io.rtss_read import read_structures, regions_of
from medview.io.scan import scan
from tests.helpers.phantoms import Phantom

GRID = Phantom(shape=(4, 12, 10)).geometry


def series_in(path: Path, kind: SeriesKind) -> Series:
    (study,) = scan([path]).studies
    (series,) = (one for one in study.series if one.kind is kind)
    return series


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["CT", "MR_T1", "PET"])
def test_contours_of_a_tumour_fill_the_mask_made_of_them(shared: Path, name: str) -> None:
    folder = shared / "data/pet_ct_mr_rtstruct/STS_012"
    images = series_in(folder / f"dicom/STS_012/{name}/image", SeriesKind.VOLUME)
    geometry = load(images).volumes[0].geometry
    structures = series_in(folder / f"dicom/STS_012/{name}/mask", SeriesKind.STRUCTURE_SET)
    found = read_structures(structures, geometry)
    (tumour,) = (one for one in found if one.labels.any())
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"nifti/STS_012/{name}_mask.nii.gz")))
    assert mask.shape == tumour.labels.shape
    both = np.count_nonzero((mask > 0) & (tumour.labels > 0))
    dice = 2 * both / (np.count_nonzero(mask) + np.count_nonzero(tumour.labels))
    assert dice > 0.99


def contour(points: np.ndarray, kind: str = "CLOSED_PLANAR") -> Dataset:
    item = Dataset()
    item.ContourGeometricType = kind
    item.ContourData = [float(value) for value in points.ravel()]
    return item


def structure(*contours: Dataset) -> Dataset:
    region = Dataset()
    region.ReferencedROINumber = 1
    region.ContourSequence = list(contours)
    ds = Dataset()
    ds.ROIContourSequence = [region]
    return ds


def square(geometry: Geometry, k: float, low: float, high: float) -> np.ndarray:
    corners = [(k, low, low), (k, low, high), (k, high, high), (k, high, low)]
    return geometry.to_lps_mm(corners)


@pytest.mark.parametrize("kind", ["CLOSED_PLANAR", "CLOSEDPLANAR_XOR"])
def test_a_contour_inside_another_is_a_hole(kind: str) -> None:
    outer, inner = square(GRID, 2, 0.5, 8.5), square(GRID, 2, 3.5, 5.5)
    ((number, mask),) = regions_of(structure(contour(outer, kind), contour(inner, kind)), GRID)
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[2, 1:9, 1:9] = True
    expected[2, 4:6, 4:6] = False
    assert number == 1
    assert np.array_equal(mask, expected)


def test_points_and_open_contours_enclose_nothing() -> None:
    ((_, mask),) = regions_of(
        structure(contour(square(GRID, 1, 1, 5), "OPEN_PLANAR"), contour(np.zeros(3), "POINT")),
        GRID,
    )
    assert not mask.any()


def test_what_lies_beyond_the_image_is_clipped() -> None:
    outside, over = square(GRID, 9, 1, 5), square(GRID, 0, -4.5, 3.5)
    ((_, mask),) = regions_of(structure(contour(outside), contour(over)), GRID)
    expected = np.zeros(GRID.shape, dtype=bool)
    expected[0, :4, :4] = True
    assert np.array_equal(mask, expected)


def test_contours_between_the_slices_are_refused() -> None:
    tilted = GRID.to_lps_mm([(0, 1, 1), (1, 1, 5), (2, 5, 5), (1, 5, 1)])
    with pytest.raises(ReadError, match="across the planes"):
        list(regions_of(structure(contour(tilted)), GRID))


def test_places_that_are_no_numbers_are_refused() -> None:
    points = square(GRID, 1, 1, 5)
    points[2, 1] = np.nan
    with pytest.raises(ReadError, match="no numbers"):
        list(regions_of(structure(contour(points)), GRID))


@pytest.mark.shared
def test_another_frame_of_reference_is_refused(shared: Path) -> None:
    path = shared / "data/pet_ct_mr_rtstruct/STS_012/dicom/STS_012/CT/mask"
    series = series_in(path, SeriesKind.STRUCTURE_SET)
    assert dcmread(series.instances[0].path).StructureSetROISequence
    elsewhere = replace(GRID, frame_of_reference_uid="1.2.3.4")
    with pytest.raises(ReadError, match="another frame of reference"):
        read_structures(series, elsewhere)
