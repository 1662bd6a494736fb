"""Two readings of one image, compared in figures that can be counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medview.core.findings import (
    Author,
    Finding,
    ModelAuthor,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    utc_now,
)
from medview.core.segmentation import Segmentation
from medview.core.volume import Volume
from medview.services.comparison import Reading, compare, readings
from medview.services.edits import AddSegmentation, ChangeFindings, FindingStep
from medview.services.first_read import FirstRead
from medview.services.kept_results import ModelOutput
from medview.services.map_files import MapFiles
from medview.services.originals import Originals
from medview.services.outcomes import Outcomes
from medview.services.settings import Settings
from medview.services.workspace import Workspace
from tests.helpers import desk as made
from tests.helpers.desk import STUDY, VOLUME_UID

ADA = Person("Dr Ada")
OTHER = ModelAuthor("other", "2", "cd" * 32)


@pytest.fixture
def work() -> Workspace:
    return made.workspace()


@pytest.fixture
def volume(work: Workspace) -> Volume:
    return work.volumes[VOLUME_UID]


def _segmentation(work: Workspace, author: Author, numbers: Sequence[int]) -> Segmentation:
    """Slice n belongs to structure n."""
    one = made.segmentation(work, numbers)
    segments = tuple(
        replace(segment, provenance=Provenance(author, utc_now(), "")) for segment in one.segments
    )
    return replace(one, segments=segments)


def _box(at: int, top: float, author: Author = OTHER) -> Finding:
    provenance = Provenance(author, utc_now(), "", (VOLUME_UID,))
    box = PictureBox((top, 2.0, top + 4, 6.0), at)
    return replace(made.finding(None, 1.0, "Cell"), provenance=provenance, picture_box=box)


def test_structures_of_one_name_are_compared_and_others_stand_alone(
    work: Workspace, volume: Volume
) -> None:
    first = _segmentation(work, ADA, (1, 2))
    second = _segmentation(work, OTHER, (1, 3))
    second.labels[1, :5] = 0  # half of structure 1
    found = compare(Reading("a", "a", (first,)), Reading("b", "b", (second,)), volume)
    rows = {row.label: row for row in found.structures}
    whole_ml = volume.geometry.voxel_volume_ml * volume.voxels[0].size
    one = rows["Structure 1"]
    assert (one.first_ml, one.second_ml) == pytest.approx((whole_ml, whole_ml / 2))
    assert one.dice == pytest.approx(2 * 0.5 / 1.5)
    assert (rows["Structure 2"].first_ml, rows["Structure 2"].second_ml) == (whole_ml, None)
    assert (rows["Structure 3"].first_ml, rows["Structure 3"].dice) == (None, None)
    assert found.map is not None
    by_slice = [sorted(np.unique(layer).tolist()) for layer in found.map.labels[:4]]
    assert by_slice == [[0], [1, 3], [1], [2]]


def test_what_was_rejected_does_not_count(work: Workspace, volume: Volume) -> None:
    no = Review(ReviewState.REJECTED, "Dr Ada", utc_now())
    first = _segmentation(work, ADA, (1,))
    second = _segmentation(work, OTHER, (1,))
    second = second.with_segments((replace(second.segments[0], review=no),))
    boxes = (_box(1, 2), _box(2, 2).reviewed(no))
    found = compare(Reading("a", "a", (first,)), Reading("b", "b", (second,), boxes), volume)
    assert [(row.label, row.second_ml) for row in found.structures] == [("Structure 1", None)]
    assert found.detections.only_second == 1


def test_boxes_agree_where_they_overlap_on_one_slice(volume: Volume) -> None:
    first = (_box(1, 0), _box(2, 0), _box(4, 0))
    second = (_box(1, 1), _box(3, 0))
    found = compare(Reading("a", "a", (), first), Reading("b", "b", (), second), volume)
    assert (found.detections.both, found.detections.only_first) == (1, 2)
    assert found.detections.only_second == 1
    assert found.detections.f1 == pytest.approx(2 / 5)
    assert found.map is None


def test_findings_without_a_place_are_compared_by_name(volume: Volume) -> None:
    def said(label: str, probability: float) -> Finding:
        return replace(made.finding(None, 1.0, label), probability=probability)

    first, second = (said("Effusion", 0.9),), (said("Effusion", 0.4), said("Mass", 0.7))
    found = compare(Reading("a", "a", (), first), Reading("b", "b", (), second), volume)
    assert [(s.label, s.first, s.second) for s in found.statements] == [
        ("Effusion", 0.9, 0.4),
        ("Mass", None, 0.7),
    ]
    assert found.detections.f1 is None


def test_everybody_who_said_something_is_offered_and_nothing_hidden(
    work: Workspace, volume: Volume, tmp_path: Path
) -> None:
    settings = Settings(None)
    output = ModelOutput(Outcomes(), Originals(work), MapFiles(tmp_path, 0))
    _, audit = made.desk(work)
    first_read = FirstRead(work, settings, audit)
    for author in (ADA, OTHER):
        work.apply(AddSegmentation(STUDY, _segmentation(work, author, (1,)), "One"))
    work.apply(ChangeFindings(STUDY, (FindingStep(None, _box(1, 0)),), "One"))
    offered = readings(work, first_read, volume, output)
    assert [one.title.split(",")[0] for one in offered] == ["Dr Ada", "other 2"]
    assert len(offered[1].findings) == 1
    first_read._seen.clear()
    again = FirstRead(work, settings, audit)
    settings._values["ai.read_first"] = True
    assert [one.title for one in readings(work, again, volume, output)] == ["Dr Ada"]
