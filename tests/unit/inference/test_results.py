"""Results from the worker, checked before anybody sees them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME
from medview.core.errors import ModelError
from medview.core.findings import (
    Finding,
    Measurement,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, Segment
from medview.inference import wire
from medview.inference.catalog import load_card
from medview.inference.results import checked
from tests.helpers.fake_engine import BOX, FAKE_ENGINES, write_fake_model
from tests.helpers.worker_desk import small_volume

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
    return checked(done, found, VOL, card, OURS)


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
