"""Normalised intensities: scale, clipping, refusals."""

import numpy as np
import pytest

from medview.imaging.intensity import normalise, otsu_threshold, percentile_zscore, value_range

SCAN = np.random.default_rng(0).gamma(2.0, 100.0, (20, 20, 20))


def test_mean_is_zero_and_deviation_one():
    result = percentile_zscore(SCAN)
    assert result.dtype == np.float32
    assert result.mean() == pytest.approx(0, abs=1e-6)
    assert result.std() == pytest.approx(1, abs=1e-6)


def test_gain_and_offset_of_the_scanner_do_not_matter():
    expected = percentile_zscore(SCAN)
    np.testing.assert_allclose(percentile_zscore(1e6 * SCAN - 5), expected, atol=1e-5)


def test_what_lies_beyond_the_percentiles_is_clipped():
    bright = SCAN.copy()
    bright[0, 0, 0] = 1e9
    result = percentile_zscore(bright, 0.5, 99.5)
    share = (result == result.max()).mean()
    assert share == pytest.approx(0.005, abs=0.001)
    assert result.max() < 5


def test_one_value_gives_zeros_and_infinity_is_refused():
    assert not percentile_zscore(np.full((3, 3, 3), 7)).any()
    with pytest.raises(ValueError, match="not finite"):
        percentile_zscore(np.array([1.0, np.inf]))


def test_the_block_of_a_model_folder_names_the_method():
    block = {"method": "percentile_zscore", "low_percent": 1, "high_percent": 98}
    np.testing.assert_array_equal(normalise(SCAN, block), percentile_zscore(SCAN, 1, 98))
    with pytest.raises(ValueError, match="unknown intensity method"):
        normalise(SCAN, {"method": "magic"})


def test_a_range_is_cut_off_at_its_ends_and_one_that_holds_nothing_is_refused():
    np.testing.assert_allclose(value_range([-2000, -1000, 0, 1000, 9000], -1000, 1000),
                               [0, 0, 0.5, 1, 1])  # fmt: skip
    with pytest.raises(ValueError, match="holds nothing"):
        value_range([1, 2], 5, 5)


def test_numbers_of_two_kinds_are_split_in_the_gap_and_no_numbers_are_refused():
    assert 10 < otsu_threshold([0, 1, 2, 10] * 50 + [90, 95, 99] * 50) < 90
    with pytest.raises(ValueError, match="no numbers"):
        otsu_threshold(np.empty(0))
