"""Maps that keep their place when they are made coarser, timelines that hold together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.codes import VOLUME
from medview.core.errors import GeometryError
from medview.core.findings import ClassProbability, Person, PictureBox, Provenance, utc_now
from medview.core.geometry import Geometry
from medview.core.maps import MapKind, ScalarMap
from medview.core.timeline import (
    FrameClass,
    FrameCurve,
    FrameEvent,
    Timeline,
    Track,
    TrackShape,
)

BY = Provenance(Person("Reader"), utc_now())


def tilted(shape: tuple[int, int, int]) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = [[0.1, 0, 0.7], [0.2, 0.8, 0], [2.5, 0, 0]]
    affine[:3, 3] = (-10, 20, 30)
    return Geometry(shape, affine)


def in_place(geometry: Geometry) -> np.ndarray:
    """A linear function of the place in the patient: means of blocks keep it."""
    places = geometry.to_lps_mm(np.moveaxis(np.indices(geometry.shape), 0, -1))
    values: np.ndarray = places @ [0.01, -0.02, 0.03]
    return values.astype(np.float32)


@given(
    st.tuples(*[st.sampled_from([1, 2, 4, 8])] * 3),
    st.integers(1, 600),
)
def test_a_coarser_map_says_the_same_of_every_place(shape: tuple[int, int, int], most: int) -> None:
    geometry = tilted(shape)
    made = ScalarMap("v", MapKind.SALIENCY, geometry, in_place(geometry), (-1, 1))
    coarse = made.coarser(most)
    assert coarse.values.size <= most
    np.testing.assert_allclose(coarse.values, in_place(coarse.geometry), atol=1e-5)
    assert (coarse.uid, coarse.value_range) == (made.uid, made.value_range)


def test_the_finest_axis_goes_first_and_ends_are_kept() -> None:
    geometry = tilted((3, 5, 7))  # steps of 2.5, 0.8 and 0.7 mm
    values = np.arange(105, dtype=np.float32).reshape(3, 5, 7)
    coarse = ScalarMap("v", MapKind.PROBABILITY, geometry, values, (0, 1)).coarser(60)
    assert coarse.geometry.shape == (3, 5, 4)
    assert coarse.values[0, 0].tolist() == [0.5, 2.5, 4.5, 6.0]


def test_a_map_needs_a_grid_and_a_range() -> None:
    with pytest.raises(GeometryError):
        ScalarMap("v", MapKind.SALIENCY, tilted((2, 2, 2)), np.zeros((2, 2, 3), np.float32), (0, 1))
    for ends in ((1, 1), (0, np.inf), (np.nan, 1)):
        with pytest.raises(ValueError, match="range"):
            ScalarMap(
                "v", MapKind.SALIENCY, tilted((1, 1, 1)), np.zeros((1, 1, 1), np.float32), ends
            )
    with pytest.raises(ValueError, match="room"):
        ScalarMap(
            "v", MapKind.SALIENCY, tilted((1, 1, 1)), np.zeros((1, 1, 1), np.float32), (0, 1)
        ).coarser(0)


def line(**rows: tuple[object, ...]) -> Timeline:
    return Timeline("clip", (0.0, 0.1, 0.2), BY, **rows)  # type: ignore[arg-type]


def test_a_timeline_holds_together() -> None:
    track = Track("Wall", TrackShape.POINT, (((1.0, 2.0),), (), ((3.0, 4.0),)), (0, 2))
    made = line(curves=(FrameCurve("Area", "cm2", (1.0, None, 2.0)),), tracks=(track,))
    assert made.frames == 3


@pytest.mark.parametrize(
    "rows",
    [
        {"curves": (FrameCurve("Area", "cm2", (1.0, 2.0)),)},
        {"curves": (FrameCurve("Area", "cm2", (1.0, 2.0, float("nan"))),)},
        {"classes": (FrameClass("Box", VOLUME, (0.5,)),)},
        {"events": (FrameEvent(3, "late"),)},
        {"tracks": (Track("Wall", TrackShape.POINT, ((), (), ((float("inf"), 0.0),))),)},
        {"tracks": (Track("Wall", TrackShape.POINT, ((), (), ()), (-1,)),)},
    ],
)
def test_a_timeline_that_does_not_hold_together_is_refused(
    rows: dict[str, tuple[object, ...]],
) -> None:
    with pytest.raises(ValueError, match="timeline"):
        line(**rows)


def test_numbers_out_of_range_are_refused_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        FrameClass("Box", VOLUME, (0.5, 1.5))
    with pytest.raises(ValueError, match="between 0 and 1"):
        ClassProbability("Box", VOLUME, float("nan"))
    with pytest.raises(ValueError, match="one place"):
        Track("Wall", TrackShape.POINT, (((1.0, 2.0), (3.0, 4.0)),))
    for box in ((0, 0, 0, 1), (2, 0, 1, 1), (0, 0, float("nan"), 1)):
        with pytest.raises(ValueError, match="extent"):
            PictureBox(box)
