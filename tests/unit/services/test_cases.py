"""Accepted and corrected findings as cases to learn from, under pseudonyms; or a clear no."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medview.core.cases import DecidedImage
from medview.core.codes import ANATOMICAL_STRUCTURE
from medview.core.errors import CommandError, ModelError
from medview.core.events import Level
from medview.core.findings import (
    Finding,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    utc_now,
)
from medview.core.geometry import Box, Geometry
from medview.core.paths import Paths
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Patient
from medview.core.volume import Volume
from medview.inference.catalog import Catalog, load_card
from medview.io.case_make import cases_of
from medview.learning.layouts import open_dataset
from medview.services.cases import Cases
from medview.services.tasks import Tasks
from tests.helpers import desk

ROOT = Path(__file__).resolve().parents[3]
HIPPOCAMPUS = ROOT / "resources" / "models" / "hippocampus_mr"
ACCEPTED = Review(ReviewState.ACCEPTED, "Dr Ada", utc_now())
MADE = Provenance(desk.MODEL, utc_now(), "job")


def turned_grid(shape: tuple[int, int, int]) -> Geometry:
    """A grid of 1.0 x 0.8 x 0.9 mm, slices from the left, tilted by 10 degrees; its middle at 0."""
    angle = np.deg2rad(10)
    columns = np.array([0, np.cos(angle), np.sin(angle)])  # to the back and a little up
    rows = np.array([0, np.sin(angle), -np.cos(angle)])  # down
    slices = np.array([-1.0, 0, 0])  # to the right
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([slices * 1.0, rows * 0.8, columns * 0.9])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(shape, affine)


def egg(grid: Geometry, x_mm: float, *, front: bool) -> Any:
    """The front or back half of an ellipsoid of 6 x 14 x 8 mm radius, x_mm to the left."""
    places = grid.to_lps_mm(np.stack(np.indices(grid.shape), -1).reshape(-1, 3))
    inside = (((places - [x_mm, 5, -3]) / [6, 14, 8]) ** 2).sum(axis=1) <= 1
    half = places[:, 1] < 5
    return (inside & (half if front else ~half)).reshape(grid.shape)


def segment(number: int, label: str, review: Review = ACCEPTED) -> Segment:
    return Segment(number, label, ANATOMICAL_STRUCTURE, desk.HIPPOCAMPUS, (9, 9, 9), MADE, review)


def finding(label: str, **more: Any) -> Finding:
    return Finding(label, desk.HIPPOCAMPUS, MADE, review=ACCEPTED, **more)


def decided(volume: Volume, **more: Any) -> DecidedImage:
    given = {"segmentations": (), "findings": (), "card": None}
    return DecidedImage(volume, **{**given, **more}, name="case", patient="person")


def test_paired_structures_are_cut_as_their_model_looks_at_them() -> None:
    grid = turned_grid((110, 90, 100))
    labels = np.zeros(grid.shape, np.uint8)
    for number, (x, front) in enumerate([(25, True), (25, False), (-25, True), (-25, False)]):
        labels[egg(grid, x, front=front)] = number + 1
    # Brightness grows towards the middle of the head on either side, and to the front.
    places = grid.to_lps_mm(np.stack(np.indices(grid.shape), -1).reshape(-1, 3))
    values = (100 - abs(places[:, 0]) - 0.5 * places[:, 1]).reshape(grid.shape)
    volume = Volume("v", "1.2.3", grid, values.astype(np.float32))
    names = [f"{s} {p} hippocampus" for s in ("Left", "Right") for p in ("anterior", "posterior")]
    parts = tuple(segment(number, name) for number, name in enumerate(names, start=1))
    card = load_card(HIPPOCAMPUS)
    cases = cases_of(
        decided(volume, segmentations=(Segmentation("v", grid, labels, parts),), card=card)
    )
    assert [case.name for case in cases] == ["case-left", "case-right"]
    left, right = cases
    for case in cases:
        assert case.classes == ("Anterior hippocampus", "Posterior hippocampus")
        assert case.image.geometry.spacing_mm == (1.0, 1.0, 1.0)
        assert case.image.geometry.orientation == "HAR"
        assert case.labels is not None
        half_ml = 2 / 3 * np.pi * 6 * 14 * 8 / 1000
        for number in (1, 2):
            assert (case.labels == number).sum() / 1000 == pytest.approx(half_ml, rel=0.03)
        # (z, y, x): y grows to the front, so the anterior part has the higher rows.
        front, back = (np.argwhere(case.labels == n)[:, 1].mean() for n in (1, 2))
        assert front > back + 8
        margin = np.argwhere(case.labels > 0)
        assert margin.min() >= 5
        assert (np.array(case.labels.shape) - margin.max(axis=0)).min() >= 5
    # A right one is mirrored: both look alike, and medial is where it is in a left one.
    assert left.image.voxels.shape == right.image.voxels.shape
    assert np.allclose(left.image.voxels, right.image.voxels, atol=1.0)
    middle = left.image.voxels[left.image.voxels.shape[0] // 2, 20]
    assert middle[-1] > middle[0]  # x grows to the right: from a left structure towards the middle


def test_what_overlaps_or_lies_on_slices_cannot_be_learned_from() -> None:
    volume = Volume("v", "1.2.3", desk.geometry(), np.zeros((6, 10, 12), np.int16))
    labels = np.ones(volume.geometry.shape, np.uint8)
    twice = tuple(
        Segmentation("v", volume.geometry, labels, (segment(1, name),)) for name in ("a", "b")
    )
    with pytest.raises(ModelError, match="overlap"):
        cases_of(decided(volume, segmentations=twice))
    box = finding("Cell", picture_box=PictureBox((1, 2, 3, 4), 2))
    with pytest.raises(ModelError, match="single pictures"):
        cases_of(decided(volume, findings=(box,)))
    with pytest.raises(ModelError, match="one class"):
        cases_of(decided(volume, findings=(finding("Cyst"), finding("Fat"))))


def test_pictures_are_kept_as_they_are_looked_at() -> None:
    grid = Geometry((1, 2, 3), np.eye(4))
    stored = np.arange(6, dtype=np.uint16).reshape(1, 2, 3)
    volume = Volume("v", "1.2.3", grid, stored, slope=2.0, intercept=1.0, inverted=True)
    boxes = tuple(
        finding(name, picture_box=PictureBox((0, 0, 1, n + 1))) for n, name in enumerate("ab")
    )
    rejected = replace(boxes[0], review=replace(ACCEPTED, state=ReviewState.REJECTED))
    (case,) = cases_of(decided(volume, findings=(*boxes, rejected)))
    assert case.task == "detection"
    assert case.boxes == (("a", (0, 0, 1, 1)), ("b", (0, 0, 1, 2)))
    assert np.array_equal(case.image.values(), -(2.0 * stored + 1))
    (case,) = cases_of(decided(volume, findings=(finding("Cyst"),)))
    assert (case.task, case.answer) == ("classification", "Cyst")


def test_the_origin_of_a_case_names_models_that_helped_a_reader() -> None:
    volume = Volume("v", "1.2.3", desk.geometry(), np.zeros((6, 10, 12), np.int16))
    drawn = replace(MADE, author=Person("Dr Ada"), aids=(desk.MODEL,))
    (case,) = cases_of(decided(volume, findings=(replace(finding("Cyst"), provenance=drawn),)))
    (told,) = case.origin["findings"]
    assert told["by"] == {"person": "a reader"}
    weights = desk.MODEL.weights_sha256
    assert told["aids"] == [{"model": "finder", "version": "1.0", "weights_sha256": weights}]


@pytest.fixture
def tasks() -> Iterator[Tasks]:
    made = Tasks()
    yield made
    made.close()


@pytest.mark.session_processes
def test_from_decisions_to_a_data_set_that_names_nobody(tasks: Tasks, tmp_path: Path) -> None:
    work = desk.workspace()
    work.open_studies([replace(desk.study(), patient=Patient("MRK77", "MRK^JANE", "19700131"))])
    review, audit = desk.desk(work)
    paths = Paths.in_profile(ROOT / "resources", tmp_path)
    cases = Cases(work, Catalog([]), tasks, audit, paths)
    folder = tmp_path / "data"
    with pytest.raises(CommandError, match="accepted"):
        cases.collect(desk.VOLUME_UID, folder)
    first, second = desk.propose(work, review)
    review.accept(first)
    with pytest.raises(CommandError, match="1 findings of this image wait"):
        cases.collect(desk.VOLUME_UID, folder)
    review.reject(second)
    stroke = desk.dab(work, Box((1, 0, 0), (2, 5, 12)), 0)
    assert stroke is not None
    work.apply(stroke)
    for _ in range(2):  # a second time: the same case
        cases.collect(desk.VOLUME_UID, folder)
        tasks.wait_until(lambda: tasks.idle)
        assert work.notices[-1].level is Level.INFO, work.notices[-1]
    dataset = open_dataset(folder)
    (case,) = dataset.cases
    assert (dataset.classes, case.split) == (("Structure 1",), "train")
    labels = np.asarray(nibabel.load(case.label).dataobj).transpose(2, 1, 0)
    assert labels[1, :5].sum() == 0  # what the reader erased
    assert labels.sum() == labels[1, 5:].sum() == 60  # and nothing of what was rejected
    origin = json.loads((folder / "provenance.jsonl").read_text())
    assert [one["state"] for one in origin["findings"]] == ["edited", "rejected"]
    assert origin["findings"][0]["by"]["model"] == "finder"
    assert audit.rows()[-1].action == "case.collect"
    assert paths.pseudonym_key.stat().st_mode & 0o777 == 0o600
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = gzip.decompress(content) if path.suffix == ".gz" else content
            for mark in (b"MRK", b"19700131", desk.STUDY.encode(), b"Ada"):
                assert mark not in content + path.name.encode(), path
