"""Windows against an independent reading of PS3.3 C.11.2.1.2, and against pydicom."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from medview.core.geometry import Geometry
from medview.core.volume import Curve, Volume, Window
from medview.imaging import windowing
from medview.imaging.rendering import Pens, compiled_pens, drawable
from medview.imaging.windowing import (
    PRESETS,
    SUV_WINDOW,
    apply_window,
    automatic_window,
    dragged,
    dynamic_range,
    find_preset,
    full_window,
    initial_window,
    lookup_table,
    window_bounds,
    window_outputs,
)


def volume(values: np.ndarray, **fields: object) -> Volume:
    geometry = Geometry(values.shape[:3], np.eye(4))
    return Volume("v", "s", geometry, values, **fields)  # type: ignore[arg-type]


def by_the_standard(x: float, center: float, width: float, function: str) -> float:
    """The pseudo-code of C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, output 0 to 255."""
    if function == "LINEAR":
        if x <= center - 0.5 - (width - 1) / 2:
            return 0.0
        if x > center - 0.5 + (width - 1) / 2:
            return 255.0
        return ((x - (center - 0.5)) / (width - 1) + 0.5) * 255.0
    if function == "LINEAR_EXACT":
        if x <= center - width / 2:
            return 0.0
        if x > center + width / 2:
            return 255.0
        return ((x - center) / width + 0.5) * 255.0
    return 255.0 / (1 + math.exp(-4 * (x - center) / width))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@given(
    center=st.floats(-2000, 4000),
    width=st.floats(1, 5000),
    x=st.floats(-5000, 9000),
)
@settings(deadline=None, max_examples=200)
def test_functions_are_those_of_the_standard(
    function: str, center: float, width: float, x: float
) -> None:
    window = Window(center, width, "", function)
    if -4 * (x - center) / width > 700:
        assert apply_window(x, window) == pytest.approx(0, abs=1e-200)
    else:
        # Processors differ in the last digit of an exponential.
        wanted = pytest.approx(by_the_standard(x, center, width, function), rel=1e-12, abs=1e-300)
        assert float(apply_window(x, window)) == wanted


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (300.5, 2), (0, 1.5)])
def test_functions_agree_with_pydicom(function: str, center: float, width: float) -> None:
    header = Dataset()
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsStored, header.BitsAllocated, header.PixelRepresentation = 8, 8, 0
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    stored = np.arange(256, dtype=np.uint8)
    expected = apply_windowing(stored, header)
    found = apply_window(stored, Window(center, width, "", function))
    np.testing.assert_array_equal(found, expected)


def test_a_linear_window_of_width_one_is_a_threshold() -> None:
    found = apply_window([9, 9.5, 9.6, 10], Window(10, 1))
    assert found.tolist() == [0, 0, 255, 255]


def test_a_linear_window_narrower_than_one_is_exact() -> None:
    found = apply_window([0.4, 0.5, 0.6], Window(0.5, 0.2))
    assert found == pytest.approx([0, 127.5, 255])


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(ValueError, match="No window function"):
        apply_window([1], Window(1, 2, "", "LOG"))


def test_presets_are_bound_to_keys_by_name() -> None:
    by_key = {p.key: (p.name, p.window.width, p.window.center) for p in PRESETS}
    assert by_key == {
        1: ("Soft tissue", 400, 40),
        2: ("Lung", 1500, -600),
        3: ("Bone", 2000, 350),
        4: ("Brain", 80, 40),
        5: ("Abdomen", 400, 50),
        6: ("Liver", 150, 90),
        7: ("CT angiography", 600, 300),
        8: ("Stroke", 40, 40),
        9: ("Subdural", 200, 75),
    }
    assert find_preset("lung").window.center == -600
    assert all(p.window.explanation == p.name for p in PRESETS)
    with pytest.raises(LookupError, match="Spleen"):
        find_preset("Spleen")


def test_the_first_dicom_window_comes_first_and_the_range_of_the_image_second() -> None:
    values = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    own = (Window(11, 22), Window(33, 44))
    assert initial_window(volume(values, default_windows=own)) == own[0]
    low, high = window_bounds(initial_window(volume(values)))
    assert (low, high) == pytest.approx((5, 994), abs=1.5)
    assert initial_window(volume(values, unit="g/ml{SUVbw}", default_windows=own)) is SUV_WINDOW
    soft_tissue = initial_window(volume(values, unit="[hnsf'U]"))
    assert (soft_tissue.center, soft_tissue.width) == (40, 400)


def test_automatic_window_leaves_padding_and_outliers_out() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(100, 201, (20, 64, 64)).astype(np.int16)
    values[:, :20] = -2000
    values[0, -1, -1] = 30000
    window = automatic_window(volume(values, padding=(-2000, -2000), slope=2.0, intercept=-10))
    assert window_bounds(window) == pytest.approx((190, 390), abs=3)


def test_automatic_window_of_a_flat_or_empty_image_is_still_a_window() -> None:
    flat = np.full((2, 4, 4), 7, dtype=np.uint8)
    assert automatic_window(volume(flat)).center == 7
    assert automatic_window(volume(flat, padding=(7, 7))).width == 1
    sparse = np.zeros((2, 40, 40), dtype=np.uint8)
    sparse[0, 0, 0] = 200
    assert window_bounds(automatic_window(volume(sparse))) == (0, 200)


def test_full_window_is_the_range_without_padding() -> None:
    values = np.array([[[-5, 3], [8, -999]]], dtype=np.int16)
    shown = full_window(volume(values, padding=(-999, -999), slope=-2.0, intercept=1))
    assert window_bounds(shown) == (-15, 11)
    real = np.array([[[1.5, np.nan], [2.5, np.inf]]], dtype=np.float32)
    assert window_bounds(full_window(volume(real))) == (1.5, 2.5)
    nothing = volume(np.zeros((1, 2, 2), np.int16), padding=(0, 0))
    assert window_bounds(full_window(nothing)) == (0, 1)


def test_dynamic_range_is_that_of_the_middle_slice() -> None:
    values = np.zeros((3, 2, 2), dtype=np.int16)
    values[0] = 4000
    values[1, 0, 0] = 100
    assert dynamic_range(volume(values, slope=2.0)) == 200
    assert dynamic_range(volume(np.zeros((1, 2, 2), np.int16))) == 1


def test_dragging_widens_and_brightens() -> None:
    window = dragged(Window(40, 400, "Soft tissue"), 20, 10)
    assert (window.center, window.width, window.explanation) == (30, 420, "")
    assert dragged(window, -10_000, 0).width == 1
    uptake = dragged(SUV_WINDOW, 99, 1, upper_only=True)
    assert window_bounds(uptake) == pytest.approx((0, 4))
    assert dragged(SUV_WINDOW, 0, 50, upper_only=True).width > 0


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
def test_the_table_holds_the_window_of_every_stored_value(kind: type) -> None:
    values = np.array([[[0, 3], [100, 127]]], dtype=kind)
    image = volume(values, slope=2.0, intercept=-20)
    window = Window(100, 150)
    table = lookup_table(image, window)
    limits = np.iinfo(kind)
    stored = np.arange(limits.min, limits.max + 1)
    grey = np.floor(apply_window(stored * 2.0 - 20, window) + 0.5).astype(np.uint32)
    np.testing.assert_array_equal(table.colors_of(stored) & 0xFF, grey)
    assert (table.colors >> 24 == 0xFF).all()


def test_inversion_turns_greys_round_but_not_padding() -> None:
    values = np.array([[[-2000, 0], [50, 100]]], dtype=np.int16)
    image = volume(values, padding=(-2000, -1500))
    window = Window(50, 100, "", "LINEAR_EXACT")
    stored = values[0].ravel()

    def greys(shown: Volume, *, inverted: bool) -> list[int]:
        return (lookup_table(shown, window, inverted=inverted).colors_of(stored) & 0xFF).tolist()

    assert greys(image, inverted=False) == [0, 0, 128, 255]
    assert greys(image, inverted=True) == [0, 255, 127, 0]
    monochrome1 = replace(image, inverted=True)
    assert greys(monochrome1, inverted=False) == [0, 255, 127, 0]
    assert greys(monochrome1, inverted=True) == [0, 0, 128, 255]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("slope", [0.01, -3.0])
def test_real_numbers_are_shown_to_within_one_grey(function: str, slope: float) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 300, (1, 50, 50)).astype(np.float32)
    values[0, 0, 0] = np.nan
    image = volume(values, slope=slope, intercept=4)
    window = Window(5, 2.5, "", function)
    found = lookup_table(image, window).colors_of(values[0])
    wanted = apply_window(image.value_of(values[0]), window)
    assert found[0, 0] == 0xFF000000
    apart = np.abs((found & 0xFF).astype(float) - wanted)[np.isfinite(values[0])]
    assert apart.max() <= (3 if function == "SIGMOID" else 1)


def test_nothing_is_kept_at_import() -> None:
    assert not [
        name
        for name, value in vars(windowing).items()
        if isinstance(value, dict | list) and not name.startswith("__")
    ]


def curve(first: int, outputs: np.ndarray, bits: int) -> Window:
    steps = len(outputs) - 1
    shape = Curve(outputs.astype(np.uint16), (1 << bits) - 1)
    return Window(first + steps / 2, steps, "", "LUT", shape)


@pytest.mark.parametrize(("first", "bits"), [(0, 8), (-1024, 12), (625, 16), (-32768, 10)])
def test_a_display_curve_gives_the_entry_of_each_value(first: int, bits: int) -> None:
    """PS3.3 C.11.2.1.1: entry n belongs to value first + n, the ends to all beyond."""
    rng = np.random.default_rng(bits)
    outputs = rng.integers(0, 1 << bits, 3000)
    window = curve(first, outputs, bits)
    values = np.arange(first - 50, first + 3050)
    entries = outputs[np.clip(values - first, 0, 2999)]
    assert np.array_equal(window_outputs(values.astype(float), window), entries)
    shown = apply_window(values, window)
    np.testing.assert_allclose(shown, entries / ((1 << bits) - 1) * 255, rtol=1e-12)


def test_a_dragged_curve_keeps_its_shape() -> None:
    window = curve(0, np.array([0, 10, 100, 255]), 8)
    wide = dragged(window, 3, 0)
    assert [float(apply_window(x, wide)) for x in (-1.5, 0.5, 2.5, 4.5)] == [0, 10, 100, 255]
    with pytest.raises(ValueError, match="curve"):
        Window(0, 1, "", "LUT")
    with pytest.raises(ValueError, match="no lookup"):
        window_outputs(np.zeros(1), Window(0, 1))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (30000, 65535), (-0.5, 1), (127.5, 3.7)])
def test_both_pens_give_each_stored_value_its_grey(
    function: str, kind: type, center: float, width: float
) -> None:
    """Every value there is, as pixels of an image: bit for bit what the standard says."""
    limits = np.iinfo(kind)
    every = np.arange(limits.min, limits.max + 1).astype(kind).reshape(16, -1)
    window = Window(center, width, "", function)
    table = lookup_table(volume(every[None], slope=1.5, intercept=-7), window)
    real = every.astype(float) * 1.5 - 7
    truth = np.floor(apply_window(real, window) + 0.5).astype(np.uint32)
    for pens in (Pens(), compiled_pens()):
        for smooth in (True, False):
            out = np.zeros(every.shape, dtype=np.uint32)
            pens.grey(every, np.eye(2, 3), table, out, smooth=smooth)
            np.testing.assert_array_equal(out & 0xFF, truth)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize("slope", [0.37, -2.0])
def test_straight_windows_are_exact_for_real_numbers(function: str, slope: float) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(1e5, 300, (1, 60, 60)).astype(np.float32)
    image = volume(values, slope=slope, intercept=4)
    window = Window(1e5 * slope, 555, "", function)
    table = lookup_table(image, window)
    exact = apply_window(values[0].astype(float) * slope + 4, window)
    for pens in (Pens(), compiled_pens()):
        out = np.zeros((60, 60), dtype=np.uint32)
        pens.grey(values[0], np.eye(2, 3), table, out)
        # Half a grey and not more: rounding, and nothing else, lies between.
        assert np.abs((out & 0xFF) - exact).max() <= 0.5 + 2e-3


def test_padding_among_real_numbers_stays_black() -> None:
    values = np.array([[[-32768, 0, 100]]], dtype=np.float32)
    image = volume(values, padding=(-32768, -32768))
    table = lookup_table(image, Window(50, 100, "", "LINEAR_EXACT"), inverted=True)
    out = np.zeros((1, 3), dtype=np.uint32)
    Pens().grey(drawable(image, values[0]), np.eye(2, 3), table, out, smooth=False)
    assert (out & 0xFF).tolist() == [[0, 255, 0]]
    whole = values.astype(np.int16)
    assert drawable(volume(whole, padding=(0, 0)), whole[0]) is not None


def test_a_window_follows_its_values_to_another_scale() -> None:
    values = np.arange(-100.0, 100.0)
    for window in (Window(10, 50), Window(1, 7, "", "SIGMOID"), Window(3, 9, "", "LINEAR_EXACT")):
        scaled = window.rescaled(2.5, -4)
        np.testing.assert_allclose(
            apply_window(values * 2.5 - 4, scaled), apply_window(values, window), atol=1e-9
        )
