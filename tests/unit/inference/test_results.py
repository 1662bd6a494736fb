"""Results from the worker, checked before anybody sees them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.clip import Clip
from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME
from medview.core.errors import ModelError
from medview.core.findings import (
    Finding,
    Measurement,
    ModelAuthor,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, Segment
from medview.core.timeline import FrameCurve, FrameEvent, Timeline
from medview.core.volume import Volume
from medview.inference import wire
from medview.inference.catalog import load_card
from medview.inference.orders import Order
from medview.inference.results import checked, map_extent
from tests.helpers.fake_engine import BOX, FAKE_ENGINES, write_fake_model
from tests.helpers.worker_desk import small_clip, small_volume

VOL = small_volume()
OURS = Provenance(ModelAuthor("fake", "1.2.3", "a" * 64), utc_now(), "job", ("volume",))
THEIRS = Provenance(Person("Dr Forged"), utc_now())
ACCEPTED = Review(ReviewState.ACCEPTED, "Dr Forged", utc_now())


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return load_card(write_fake_model(tmp_path), FAKE_ENGINES)


def segment(number: int, **fields: Any) -> Segment:
    base = Segment(number, "Box", ANATOMICAL_STRUCTURE, BOX, (1, 2, 3), THEIRS, ACCEPTED)
    return replace(base, **fields)


def stated(**fields: Any) -> wire.Labels:
    grid = wire.Grid.of(VOL.geometry)
    base = wire.Labels("seg", VOL.uid, grid, (segment(1), segment(300)), "t")
    return replace(base, **fields)


def finding(**fields: Any) -> Finding:
    measurement = Measurement(VOLUME, 3.0, "mL", "counted", THEIRS)
    base = Finding("Box", BOX, THEIRS, measurements=(measurement,), review=ACCEPTED)
    return replace(base, **fields)


def labels(*values: int) -> LabelArray:
    made = np.zeros(VOL.geometry.shape, np.uint16)
    made.ravel()[: len(values)] = values
    return made


def check(
    card: ModelCard,
    found: LabelArray | None = None,
    stating: wire.Labels | None = None,
    findings: tuple[Finding, ...] = (),
) -> InferenceResult:
    done = wire.Done("job", stating, findings, ("note",), ("scope",), ("fallback",), 2.0)
    return checked(done, found, None, order(card), OURS)


def order(card: ModelCard, image: Volume | Clip = VOL, **parameters: Any) -> Order:
    return Order("job", card, Path(), image, parameters=parameters)


def test_a_good_result_becomes_a_proposal_of_the_model(card: ModelCard) -> None:
    ref = SegmentRef("seg", 300)
    result = check(card, labels(1, 300, 0, 1), stated(), (finding(segment_ref=ref),))
    (segmentation,) = result.segmentations
    assert segmentation.uid == "seg"
    assert segmentation.geometry is VOL.geometry
    for made in (*segmentation.segments, *result.findings, *result.findings[0].measurements):
        assert made.provenance == OURS
    for reviewed in (*segmentation.segments, *result.findings):
        assert reviewed.review == Review()
    assert (result.notes, result.out_of_scope, result.fallbacks) == (
        ("note",),
        ("scope",),
        ("fallback",),
    )
    assert result.seconds == 2.0


@pytest.mark.parametrize(("left", "right", "told"), [(9, 0, False), (0, 9, True)])
def test_sides_on_the_wrong_side_of_the_patient_are_a_caution(
    card: ModelCard, left: int, right: int, told: bool
) -> None:
    kidneys = (segment(1, label="Left kidney"), segment(2, label="Right kidney"))
    found = labels()
    # Columns run to the patient's left.
    found[:, :, left], found[:, :, right] = 1, 2
    result = check(card, found, stated(segments=kidneys))
    words = [one for one in result.out_of_scope if "Left and right" in one]
    assert bool(words) is told
    assert all("Left kidney, Right kidney" in one for one in words)


def shifted() -> wire.Grid:
    affine = VOL.geometry.affine.copy()
    affine[1, 3] += 0.01
    return replace(wire.Grid.of(VOL.geometry), affine=tuple(map(float, affine.ravel())))


@pytest.mark.parametrize(
    ("found", "stating", "findings", "words"),
    [
        (labels(1), stated(grid=shifted()), (), "another grid"),
        (labels(1), stated(volume_uid="other"), (), "another grid"),
        (labels(1), stated(grid=replace(shifted(), affine=(0.0,) * 16)), (), "makes no sense"),
        (labels(1), stated(grid=replace(shifted(), affine=(math.nan,) * 16)), (), "makes no sense"),
        (labels(1), stated(grid=replace(shifted(), affine=(1.0,))), (), "makes no sense"),
        (labels(1, 2), stated(), (), "labelled 2"),
        (labels(65535), stated(), (), "labelled 65535"),
        (labels(1), stated(segments=()), (), "labelled 1"),
        (labels(1), stated(segments=(segment(1), segment(1))), (), "share a number"),
        (labels(1), stated(segments=(segment(1, probability=math.nan),)), (), "probability"),
        (labels(1), stated(segments=(segment(1, probability=1.5),)), (), "probability"),
        (None, stated(), (), "announces none"),
        (labels(1), stated(), (finding(segment_ref=SegmentRef("seg", 2)),), "not there"),
        (None, None, (finding(segment_ref=SegmentRef("seg", 1)),), "not there"),
        (None, None, (finding(location_lps_mm=(0, math.inf, 0)),), "not finite"),
        (None, None, (finding(box_lps_mm=((0, 0, 0), (1, math.nan, 1))),), "not finite"),
        (None, None, (finding(),) * 10_001, "10,001 findings"),
    ],
)
def test_a_bad_result_is_refused_whole(
    card: ModelCard,
    found: LabelArray | None,
    stating: wire.Labels | None,
    findings: tuple[Finding, ...],
    words: str,
) -> None:
    with pytest.raises(ModelError) as refused:
        check(card, found, stating, findings)
    assert words in refused.value.user_text
    assert "Fake model" in refused.value.user_text
    assert "Nothing of it is shown" in refused.value.hint


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(card: ModelCard, bad: float) -> None:
    measurement = finding().measurements[0]
    for broken in (
        replace(measurement, value=bad),
        replace(measurement, points_lps_mm=((0, 0, bad),)),
    ):
        with pytest.raises(ModelError, match="not finite"):
            check(card, None, None, (finding(measurements=(broken,)),))


def test_ten_thousand_findings_are_still_a_result(card: ModelCard) -> None:
    assert len(check(card, None, None, (finding(),) * 10_000).findings) == 10_000


# Boxes on pictures, candidates, maps, timelines


def test_a_box_is_named_after_the_picture_it_lies_on(card: ModelCard) -> None:
    shape = VOL.geometry.shape
    uids = tuple(f"1.2.{k}" for k in range(shape[0]))
    series = replace(VOL, instance_uids=uids)
    frames = replace(VOL, instance_uids=uids[:1] * 6, frame_numbers=(5, 4, 3, 2, 1, 0))
    box = PictureBox((0, 0, 2, 3), 4, "9.9", 77)
    done = wire.Done("job", None, (finding(picture_box=box),), (), (), (), 1.0)
    for image, uid, number in ((series, "1.2.4", 1), (frames, "1.2.0", 2), (VOL, "", 1)):
        (made,) = checked(done, None, None, order(card, image), OURS).findings
        assert made.picture_box == PictureBox((0, 0, 2, 3), 4, uid, number)


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, 0, 9, 2), (0, 0, 2, 11)])
def test_a_box_beside_the_picture_is_refused(card: ModelCard, box: tuple[float, ...]) -> None:
    bad = finding(picture_box=PictureBox(box))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="beside the picture"):
        check(card, findings=(bad,))
    with pytest.raises(ModelError, match="beside the picture"):
        check(card, findings=(finding(picture_box=PictureBox((0, 0, 1, 1), 6)),))


def test_candidates_are_checked_like_findings_and_are_nobodys_decision(card: ModelCard) -> None:
    doubtful = finding(probability=0.2)
    done = wire.Done("job", None, (), (), (), (), 1.0, candidates=(doubtful,), threshold=0.5)
    result = checked(done, None, None, order(card, threshold=0.5), OURS)
    (made,) = result.candidates
    assert (made.provenance, made.review, result.threshold) == (OURS, Review(), 0.5)
    assert result.author == OURS.author
    assert result.parameters == {"threshold": 0.5}
    bad = replace(done, candidates=(finding(location_lps_mm=(0, math.nan, 0)),))
    with pytest.raises(ModelError, match="not finite"):
        checked(bad, None, None, order(card), OURS)


def coarse(**fields: Any) -> wire.Map:
    """A map of 3 x 4 x 5 blocks of 2 x 2 x 2 voxels on VOL, after three values of another."""
    affine = VOL.geometry.affine.copy()
    affine[:3, 3] += affine[:3, :3].sum(axis=1) / 2
    affine[:3, :3] *= 2
    grid = replace(
        wire.Grid.of(VOL.geometry), shape=(3, 4, 5), affine=tuple(map(float, affine.ravel()))
    )
    base = wire.Map("m", VOL.uid, MapKind.SALIENCY, grid, 3, (-1.0, 1.0), "Box", "", "by hand")
    return replace(base, **fields)


def mapped(card: ModelCard, *maps: wire.Map, values: Any = None) -> InferenceResult:
    done = wire.Done("job", None, (), (), (), (), 1.0, maps=maps)
    block = np.arange(map_extent(done), dtype=np.float16) if values is None else values
    return checked(done, None, block, order(card), OURS)


def test_a_map_comes_out_of_the_block_where_it_was_put(card: ModelCard) -> None:
    (made,) = mapped(card, coarse()).maps
    np.testing.assert_array_equal(made.values.ravel(), np.arange(3, 63))
    assert made.values.shape == (3, 4, 5)
    np.testing.assert_allclose(made.geometry.center_lps_mm, VOL.geometry.center_lps_mm)
    assert "not evidence of disease" in made.caption


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"volume_uid": "other"}, "not there"),
        ({"finding_uid": "nobody's"}, "not there"),
        ({"start": -1}, "beside the room"),
        ({"value_range": (1.0, 1.0)}, "makes no sense"),
        ({"value_range": (0.0, math.nan)}, "makes no sense"),
        ({"grid": replace(wire.Grid.of(VOL.geometry), shape=(12, 8, 10))}, "beside the image"),
        ({"grid": replace(shifted(), frame_of_reference_uid="1.2.3")}, "beside the image"),
        ({"grid": replace(shifted(), affine=(0.0,) * 16)}, "makes no sense"),
    ],
)
def test_a_map_that_does_not_belong_is_refused(
    card: ModelCard, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        mapped(card, coarse(**fields))


def test_maps_larger_than_their_room_or_not_finite_are_refused(card: ModelCard) -> None:
    with pytest.raises(ModelError, match="beside the room"):
        mapped(card, coarse(), values=np.zeros(62, np.float16))
    with pytest.raises(ModelError, match="not finite"):
        mapped(card, coarse(), values=np.full(63, np.inf, np.float16))
    with pytest.raises(ModelError, match="65 maps"):
        mapped(card, *[coarse()] * 65)
    done = wire.Done("job", None, (), (), (), (), 1.0, maps=(coarse(),))
    with pytest.raises(ModelError, match="nobody asked for"):
        checked(done, None, None, order(card), OURS)


def test_a_timeline_belongs_to_the_clip_that_was_looked_at(card: ModelCard) -> None:
    clip = small_clip()
    curve = FrameCurve("Area", "cm2", (1.0, None, 2.0, 3.0))
    stated = Timeline(
        clip.uid, (0.0, 1.0, 2.0, 3.0), THEIRS, (curve,), events=(FrameEvent(3, "x"),)
    )
    done = wire.Done("job", None, (), (), (), (), 1.0, timeline=stated)
    made = checked(done, None, None, order(card, clip), OURS).timeline
    assert made is not None
    assert (made.frame_times_s, made.provenance) == (clip.frame_times_s, OURS)
    assert made.curves == (curve,)
    for image in (VOL, small_clip("other"), small_clip(frames=5)):
        with pytest.raises(ModelError, match="its timeline"):
            checked(done, None, None, order(card, image), OURS)
