"""Axes turned to stated directions, and what has no directions."""

import numpy as np
import pytest

from medview.core.errors import GeometryError
from medview.core.geometry import Calibration, Geometry
from medview.imaging.turned import Turn


def test_axes_are_turned_to_the_letters():
    # Index (k, j, i) grows to the head, to the back and to the left: S, P and L.
    affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
    geometry = Geometry((4, 5, 6), affine, "1.2", Calibration.PATIENT)
    assert Turn.to(geometry, "SPL") == Turn((0, 1, 2), ())
    assert Turn.to(geometry, "RPS") == Turn((2, 1, 0), (0,))


def test_a_picture_without_a_place_is_refused():
    with pytest.raises(GeometryError, match="does not say where"):
        Turn.to(Geometry((1, 5, 6), np.eye(4), "", Calibration.NONE), "SAR")
