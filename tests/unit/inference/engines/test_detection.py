"""The detection engine, with a network that marks bright spots with boxes of one size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.findings import PictureBox
from medview.core.geometry import Calibration, Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind
from medview.core.volume import Volume
from medview.inference.engines.detection import Engine
from tests.helpers.known_networks import bright_spots, write_known_model
from tests.helpers.run_context import RunContext

#: Spots fill a cell of 4 x 4 pixels; boxes reach 5 pixels to each side of its middle.
REACH = 5.0


def engine(folder: Path, **more: Any) -> Engine:
    arguments = {"in_channels": 1, "classes": 2, "widths": [2, 2]} | more.pop("arguments", {})
    card, model = write_known_model(
        folder,
        "detection",
        "centres.CentreDetector",
        arguments,
        bright_spots(REACH),
        ("spot", "nothing"),
        **more,
    )
    made = Engine(card, model)
    made.load("cpu")
    return made


def field(*places: tuple[int, int], shape: tuple[int, int] = (40, 56)) -> np.ndarray:
    """A dark picture with bright squares of 8 pixels about these places."""
    picture = np.full(shape, 20, np.uint8)
    for row, column in places:
        picture[row - 4 : row + 4, column - 4 : column + 4] = 220
    return picture


def ball(shape: tuple[int, int, int], middle: tuple[int, int, int]) -> np.ndarray:
    """A volume that is bright about a place, brightest there."""
    away = np.indices(shape) - np.reshape(middle, (3, 1, 1, 1))
    return (1000 * np.exp(-(away**2).sum(axis=0) / 30)).astype(np.int16)


def flat(*pictures: np.ndarray, geometry: Geometry | None = None) -> Volume:
    voxels = np.stack(pictures)
    shape = (int(voxels.shape[0]), int(voxels.shape[1]), int(voxels.shape[2]))
    grid = geometry or Geometry(shape, np.eye(4), calibration=Calibration.NONE)
    return Volume("v", "s", grid, voxels)


def run(made: Engine, volume: Volume, **fields: Any) -> InferenceResult:
    return made.run(volume, None, None, RunContext(**fields))


def boxes(result: InferenceResult) -> list[tuple[float, ...]]:
    found = [one.picture_box for one in result.findings]
    return sorted(box.box_px for box in found if box is not None)


def test_every_spot_gets_a_box_and_all_are_counted(tmp_path: Path) -> None:
    result = run(engine(tmp_path), flat(field((10, 10), (10, 42), (30, 26))))
    found = boxes(result)
    assert len(found) == 3
    for (row, column), box in zip([(10, 10), (10, 42), (30, 26)], found, strict=True):
        middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        np.testing.assert_allclose(middle, (row, column), atol=2.01)  # within the cell
        assert box[2] - box[0] <= 2 * REACH + 1e-3
    counts = {
        one.label: one.measurements[0].value for one in result.findings if not one.picture_box
    }
    assert counts == {"spot: count": 3.0, "nothing: count": 0.0}
    assert all(one.box_lps_mm is None for one in result.findings)
    assert all(0.3 <= one.probability <= 1 for one in result.findings if one.picture_box)


def test_doubtful_boxes_are_candidates_until_the_threshold_is_lowered(tmp_path: Path) -> None:
    picture = field((10, 10))
    picture[26:34, 38:46] = 110  # less bright
    made = engine(tmp_path, threshold=0.9)
    result = run(made, flat(picture))
    assert len(boxes(result)) == 1
    (doubtful,) = result.candidates
    assert doubtful.probability is not None
    assert 0.05 <= doubtful.probability < 0.9
    lower = run(made, flat(picture), parameters={"threshold": doubtful.probability})
    assert len(boxes(lower)) == 2
    assert not lower.candidates


def test_what_goes_on_through_slices_is_one_object_in_the_patient(tmp_path: Path) -> None:
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[:3, :3] = [[0, 0, 0.5], [0, 0.5, 0], [2.0, 0, 0]]
    affine[:3, 3] = (10, 20, 30)
    geometry = Geometry((6, 40, 56), affine)
    spots = [[], [(10, 10)], [(10, 10), (30, 42)], [(10, 10)], [], [(10, 10)]]
    volume = flat(*(field(*places) for places in spots), geometry=geometry)
    result = run(engine(tmp_path), volume)
    spans = sorted(
        (round(low[2] / 2 - 15 + 0.5), round(high[2] / 2 - 15 + 0.5))
        for low, high in (one.box_lps_mm for one in result.findings if one.box_lps_mm)
    )
    assert spans == [(1, 4), (2, 3), (5, 6)]
    (long,) = [
        one
        for one in result.findings
        if one.box_lps_mm and one.box_lps_mm[1][2] > 36.9 and one.box_lps_mm[0][2] < 32
    ]
    assert long.measurements[0].unit == "mm"
    # Its middle: pixel edge (10, 10) is 0.25 mm before the middle of that pixel.
    np.testing.assert_allclose(long.location_lps_mm or (), (14.75, 24.75, 34.0), atol=1.01)
    assert not [one for one in result.findings if one.label.endswith("count")]


def test_an_empty_picture_is_said_to_be_empty(tmp_path: Path) -> None:
    picture = field()
    picture[:, ::2] = 22
    result = run(engine(tmp_path), flat(picture))
    assert not boxes(result)
    assert "Nothing is as probable as" in result.notes[0]


def test_maps_show_the_heat_and_where_a_box_comes_from(tmp_path: Path) -> None:
    wishes = {"maps": ["probability", "saliency"]}
    result = run(engine(tmp_path), flat(field((18, 38))), parameters=wishes)
    heats = [one for one in result.maps if one.kind is MapKind.PROBABILITY]
    assert [one.subject for one in heats] == ["spot", "nothing"]
    hottest = np.unravel_index(heats[0].values[0].argmax(), (40, 56))
    np.testing.assert_allclose(hottest, (18, 38), atol=3)
    (salient,) = [one for one in result.maps if one.kind is MapKind.SALIENCY]
    box = next(one for one in result.findings if one.picture_box)
    assert salient.finding_uid == box.uid
    values = np.abs(salient.values[0])
    assert values[10:26, 30:46].mean() > 5 * values[:, :20].mean()


# Volumes

SOLID = {
    "patch": [32, 32, 32],
    "preprocess": {"orientation": "RAS", "spacing_mm": [1.0, 1.0, 1.0]},
    "arguments": {"dimensions": 3},
}


@pytest.mark.parametrize("size", [32, 72])
def test_boxes_of_a_volume_lie_in_the_patient_also_when_it_is_asked_in_windows(
    tmp_path: Path, size: int
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]])  # columns to the right
    affine[:3, 3] = (30, -20, 100)
    geometry = Geometry((size, size, size), affine)
    voxels = np.zeros(geometry.shape, np.int16)
    places = [(size // 2 - 6, 12, size - 12), (size - 10, size - 14, 14)]
    for place in places:
        voxels += ball(geometry.shape, place)
    result = run(engine(tmp_path, **SOLID), Volume("v", "s", geometry, voxels))
    assert len(result.findings) == 2
    for place in places:
        expected = geometry.to_lps_mm(np.array(place) - 0.5)
        nearest = min(
            result.findings,
            key=lambda one: np.linalg.norm(np.array(one.location_lps_mm) - expected),
        )
        np.testing.assert_allclose(
            nearest.location_lps_mm or (), expected, atol=4.1
        )  # a cell sees 4 pixels
        assert nearest.box_lps_mm is not None
        sides = np.subtract(nearest.box_lps_mm[1], nearest.box_lps_mm[0])
        np.testing.assert_allclose(sides, 2 * REACH, atol=0.1)
        assert isinstance(nearest.picture_box, PictureBox)
        assert abs(nearest.picture_box.slice_index - place[0]) <= 5


def test_a_box_of_a_volume_is_explained_about_itself(tmp_path: Path) -> None:
    geometry = Geometry((40, 40, 40), np.eye(4))
    volume = Volume("v", "s", geometry, ball(geometry.shape, (12, 28, 12)))
    result = run(engine(tmp_path, **SOLID), volume, parameters={"maps": ["saliency"]})
    (salient,) = result.maps
    assert salient.geometry.shape == (32, 32, 32)
    strongest = np.unravel_index(np.abs(salient.values).argmax(), salient.values.shape)
    there = volume.geometry.to_index(salient.geometry.to_lps_mm(strongest))
    np.testing.assert_allclose(there, (12, 28, 12), atol=6)
