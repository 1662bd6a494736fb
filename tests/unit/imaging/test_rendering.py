"""Pictures of slices: plain against formulas and scipy, compiled against plain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from medview.core.geometry import Geometry
from medview.core.volume import Volume, Window
from medview.imaging import kernels
from medview.imaging.rendering import (
    LabelInk,
    Pens,
    compiled_pens,
    label_ink,
    shrink,
)
from medview.imaging.windowing import LookupTable, lookup_table

BOTH = [pytest.param(Pens(), id="plain"), pytest.param(kernels.pens(), id="compiled")]
STRAIGHT = np.array([[0.6, 0.0, -3.0], [0.0, 0.45, -2.0]])
MIRRORED = np.array([[-0.6, 0.0, 30.0], [0.0, 0.45, -2.0]])
SHEARED = np.array([[0.6, 0.1, -3.0], [0.05, 0.45, -2.0]])
MATRICES = [STRAIGHT, MIRRORED, SHEARED]
BLACK = 0xFF000000


def table_for(image: np.ndarray) -> LookupTable:
    volume = Volume("v", "s", Geometry((1, *image.shape), np.eye(4)), image[None])
    return lookup_table(volume, Window(50, 200))


def image_of(kind: type) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (rng.integers(0, 200, (24, 31))).astype(kind)


def places(shape: tuple[int, int], matrix: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.stack([matrix[a, 0] * y + matrix[a, 1] * x + matrix[a, 2] for a in (0, 1)])


def inside_of(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    rows, columns = image.shape[:2]
    return (at[0] >= -0.5) & (at[0] < rows - 0.5) & (at[1] >= -0.5) & (at[1] < columns - 0.5)


@pytest.mark.parametrize("pens", BOTH)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32, np.int32, np.float64])
@pytest.mark.parametrize("matrix", MATRICES)
def test_grey_is_interpolated_then_windowed(pens: Pens, kind: type, matrix: np.ndarray) -> None:
    image = image_of(kind)
    table = table_for(image)
    out = np.zeros((60, 80), dtype=np.uint32)
    pens.grey(image, matrix, table, out)
    at = places(out.shape, matrix)
    inside = inside_of(image, at)
    values = map_coordinates(image.astype(float), at, order=1, mode="nearest")
    wanted = table.colors_of(values) & 0xFF
    apart = np.abs((out & 0xFF).astype(int) - wanted.astype(int))
    assert apart[inside].max() <= 2  # a value rounded the other way is one entry of the table off
    assert (apart[inside] == 0).mean() > 0.98
    assert (out[~inside] == BLACK).all()
    assert inside.any()
    assert not inside.all()


@pytest.mark.parametrize("pens", BOTH)
@pytest.mark.parametrize("matrix", MATRICES)
def test_nearest_shows_measured_values_only(pens: Pens, matrix: np.ndarray) -> None:
    image = image_of(np.int16)
    table = table_for(image)
    out = np.zeros((60, 80), dtype=np.uint32)
    pens.grey(image, matrix, table, out, smooth=False)
    at = places(out.shape, matrix)
    inside = inside_of(image, at)
    row, column = (np.floor(a[inside] + 0.5).astype(int) for a in at)
    np.testing.assert_array_equal(out[inside], table.colors_of(image[row, column]))


@pytest.mark.parametrize("pens", BOTH)
def test_what_is_no_number_is_blank(pens: Pens) -> None:
    image = np.full((4, 4), 100, dtype=np.float32)
    image[1, 1] = np.nan
    out = np.zeros((4, 4), dtype=np.uint32)
    table = table_for(image)
    pens.grey(image, np.eye(2, 3), table, out, smooth=False)
    assert out[1, 1] == BLACK
    assert (out != BLACK).sum() == 15


@pytest.mark.parametrize("pens", BOTH)
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("smooth", [True, False])
def test_colour_channels_are_interpolated_each(
    pens: Pens, matrix: np.ndarray, smooth: bool
) -> None:
    rng = np.random.default_rng(6)
    image = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    out = np.zeros((60, 80), dtype=np.uint32)
    pens.rgb(image, matrix, out, smooth=smooth)
    at = places(out.shape, matrix)
    inside = inside_of(image, at)
    for channel, bits in enumerate((16, 8, 0)):
        where = at if smooth else np.floor(at + 0.5)
        plane = image[..., channel].astype(float)
        wanted = map_coordinates(plane, where, order=1, mode="nearest")
        found = (out >> np.uint32(bits)) & np.uint32(0xFF)
        assert np.abs(found[inside] - wanted[inside]).max() <= 0.5 + 1e-6
    assert (out[~inside] == BLACK).all()


def ink_of(fill: float, *, outline: bool) -> LabelInk:
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 100]], dtype=float)
    strength = np.array([0, fill, fill])
    return LabelInk(colors, strength, np.array([False, outline, outline]))


@pytest.mark.parametrize("pens", BOTH)
def test_labels_cover_by_their_opacity(pens: Pens) -> None:
    labels = np.zeros((6, 6), dtype=np.uint8)
    labels[2:4, 2:5] = 2
    labels[5, 5] = 9  # no segment of that number: not drawn
    out = np.full((6, 6), 0xFF646464, dtype=np.uint32)
    pens.labels(labels, np.eye(2, 3), ink_of(0.25, outline=False), 1, out)
    red, green, blue = 75, 125, 100  # 100 * 0.75 + color * 0.25
    assert (out[2:4, 2:5] == 0xFF000000 | red << 16 | green << 8 | blue).all()
    assert (out[labels != 2] == 0xFF646464).all()


@pytest.mark.parametrize("pens", BOTH)
@pytest.mark.parametrize("width", [1, 2])
def test_outlines_are_as_wide_as_asked_however_large_a_voxel_is(pens: Pens, width: int) -> None:
    labels = np.zeros((4, 4), dtype=np.uint16)
    labels[1:3, 1:3] = 1
    zoom = 16
    matrix = np.array([[1 / zoom, 0, 0.5 / zoom - 0.5], [0, 1 / zoom, 0.5 / zoom - 0.5]])
    out = np.full((4 * zoom, 4 * zoom), BLACK, dtype=np.uint32)
    pens.labels(labels, matrix, ink_of(0.0, outline=True), width, out)
    expected = np.zeros(out.shape, dtype=bool)
    expected[zoom : 3 * zoom, zoom : 3 * zoom] = True
    expected[zoom + width : 3 * zoom - width, zoom + width : 3 * zoom - width] = False
    np.testing.assert_array_equal(out == 0xFFFF0000, expected)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("outline", [True, False])
def test_compiled_labels_are_the_plain_ones(matrix: np.ndarray, outline: bool) -> None:
    rng = np.random.default_rng(7)
    labels = (rng.random((24, 31)) > 0.7).astype(np.uint8) * rng.integers(1, 4, (24, 31))
    under = rng.integers(0, 2**24, (60, 80)).astype(np.uint32)
    pictures = []
    for pens in (Pens(), compiled_pens()):
        out = under.copy()
        pens.labels(labels.astype(np.uint8), matrix, ink_of(0.4, outline=outline), 1, out)
        pictures.append(out)
    np.testing.assert_array_equal(pictures[0] & 0xFFFFFF, pictures[1] & 0xFFFFFF)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_shrinking_takes_means_of_blocks(kind: type) -> None:
    image = np.arange(7 * 9).reshape(7, 9).astype(kind)
    found = shrink(image, 3)
    wanted = [[image[r : r + 3, c : c + 3].mean() for c in (0, 3, 6)] for r in (0, 3)]
    np.testing.assert_allclose(found, wanted)
    assert found.dtype == kind
    assert shrink(image, 1) is image
    assert shrink(image, 99).shape == (1, 1)
    assert shrink(np.zeros((8, 8, 3), np.uint8), 2).shape == (4, 4, 3)


def test_ink_follows_the_display_of_each_segment() -> None:
    from medview.core.codes import TISSUE
    from medview.core.findings import Person, Provenance, utc_now
    from medview.core.segmentation import Segment, Segmentation
    from medview.core.views import SegmentDisplay

    def segment(number: int) -> Segment:
        made = Provenance(Person("A"), utc_now())
        return Segment(number, f"S{number}", TISSUE, TISSUE, (number, 20, 30), made)

    grid = Geometry((1, 2, 2), np.eye(4))
    labels = np.zeros((1, 2, 2), dtype=np.uint8)
    both = Segmentation("v", grid, labels, (segment(1), segment(4)))
    ink = label_ink(both, {4: SegmentDisplay(opacity=0.7, outline=False)})
    assert ink.fill.tolist() == [0, 0.4, 0, 0, 0.7]
    assert ink.outline.tolist() == [False, True, False, False, False]
    assert ink.colors[4].tolist() == [4, 20, 30]
    hidden = label_ink(both, {n: SegmentDisplay(visible=False) for n in (1, 4)})
    assert not hidden.shows_anything
    assert ink.shows_anything


@pytest.mark.expects_warnings
def test_pictures_are_drawn_without_a_compiler_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> object:
        raise ImportError

    monkeypatch.setattr("importlib.import_module", missing)
    assert compiled_pens() == Pens()
