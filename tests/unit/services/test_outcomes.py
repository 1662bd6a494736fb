"""Outcomes: what is kept of runs, for how long, and what it is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind, ScalarMap
from medview.core.timeline import Timeline
from medview.services.outcomes import Outcomes

BY = Provenance(ModelAuthor("m", "1", "0" * 64), utc_now(), "job")


def drawn(volume_uid: str = "v", finding_uid: str = "") -> ScalarMap:
    """A map of 1000 bytes."""
    geometry = Geometry((1, 10, 50), np.eye(4))
    values = np.zeros(geometry.shape, np.float16)
    return ScalarMap(
        volume_uid, MapKind.SALIENCY, geometry, values, (0, 1), finding_uid=finding_uid
    )


def test_maps_and_timelines_are_found_by_what_they_are_about() -> None:
    outcomes = Outcomes()
    line = Timeline("clip", (0.0,), BY)
    first, second, other = drawn(finding_uid="f"), drawn(), drawn("w")
    outcomes.put(InferenceResult("a", maps=(first, other)))
    outcomes.put(InferenceResult("b", maps=(second,), timeline=line))
    assert outcomes.maps_of("v") == (first, second)
    assert outcomes.maps_about("f") == (first,)
    assert outcomes.maps_about("") == ()
    assert outcomes.timelines_of("clip") == (line,)
    assert outcomes.timelines_of("v") == ()


def test_the_oldest_maps_go_when_there_are_too_many_and_the_rest_stays() -> None:
    outcomes = Outcomes(most_bytes=2500)
    for name in "abc":
        outcomes.put(InferenceResult(name, maps=(drawn(),), notes=(name,)))
    assert outcomes.result("a").maps == ()
    assert outcomes.result("a").notes == ("a",)
    assert len(outcomes.maps_of("v")) == 2
    # One result too large by itself is still shown.
    small = Outcomes(most_bytes=1)
    small.put(InferenceResult("a", maps=(drawn(),)))
    assert len(small.maps_of("v")) == 1


def test_what_belongs_to_closed_studies_is_forgotten() -> None:
    outcomes = Outcomes()
    outcomes.put(InferenceResult("a", maps=(drawn(),)))
    outcomes.put(InferenceResult("b"))
    outcomes.keep_only({"b": 1}, ())
    with pytest.raises(KeyError):
        outcomes.result("a")
    assert outcomes.result("b").job_uid == "b"
    assert not outcomes.maps_of("v")


def test_maps_of_other_places_are_shown_together_and_those_of_findings_alone() -> None:
    grid = Geometry((2, 3, 4), np.eye(4))
    shifted = grid.affine.copy()
    shifted[0, 3] += 40.0
    elsewhere = replace(grid, affine=shifted)

    def one(place: Geometry, uid: str, finding_uid: str = "") -> ScalarMap:
        values = np.zeros(place.shape, np.float16)
        return ScalarMap(
            "v", MapKind.UNCERTAINTY, place, values, (0.0, 1.0), finding_uid=finding_uid, uid=uid
        )

    left, right, same = one(grid, "left"), one(elsewhere, "right"), one(grid, "same")
    about = one(elsewhere, "about", "finding")
    outcomes = Outcomes()
    outcomes.put(InferenceResult("a", maps=(left, right, same, about)))
    outcomes.put(InferenceResult("b", maps=(one(elsewhere, "later"),)))
    assert [found.uid for found in outcomes.maps_beside(left)] == ["left", "right"]
    assert [found.uid for found in outcomes.maps_beside(about)] == ["about"]
