"""One AI worker that lives through all of these tests: what it may know, give and do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from medview.core.findings import ReviewState
from medview.core.maps import MapKind
from medview.core.shared_array import SharedArray
from medview.core.volume import Volume
from medview.inference.orders import JobCancelled, JobDone, JobFailed, WorkerReady
from tests.helpers.worker_desk import Desk, own_blocks, small_clip, small_volume, someone

pytestmark = pytest.mark.session_processes


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))
    made.result(made.order())
    yield made
    starts = [one for one in made.heard if isinstance(one, WorkerReady)]
    made.client.close()
    assert len(starts) == 1, "the worker did not survive its work"


def test_one_process_serves_one_order_after_the_other(desk: Desk) -> None:
    first = desk.order()
    desk.end(first)
    second = desk.order()
    assert desk.pid(second) == desk.pid(first)


def test_voxels_in_shared_memory_are_not_copied(desk: Desk) -> None:
    plain = small_volume()
    before = own_blocks()
    with SharedArray.copy_of(plain.voxels) as block:
        volume = Volume("shared", "series", plain.geometry, block.array)
        result = desk.result(desk.order(volume=volume, backing=block.key))
        assert result.segmentations[0].labels.any()
        assert own_blocks() - before == {block.key.name.lstrip("/")}
    desk.client.forget("shared")


def test_a_volume_without_shared_memory_is_copied_once(desk: Desk) -> None:
    volume = small_volume("copied")
    before = own_blocks()
    counts = []
    for _ in range(3):
        desk.end(desk.order(volume=volume))
        counts.append(len(own_blocks() - before))
    assert counts == [1, 1, 1]
    desk.client.forget("copied")
    desk.end(desk.order())
    assert not own_blocks() - before


def test_the_worker_loads_neither_windows_nor_torch_unasked(desk: Desk) -> None:
    result = desk.result(desk.order(behave="modules"))
    modules = {name.split(".")[0] for name in result.notes}
    assert "numpy" in modules
    assert not modules & {"PyQt6", "pyqtgraph", "vtkmodules", "torch", "monai", "pydicom", "scipy"}


def test_the_worker_is_told_nothing_that_identifies(desk: Desk) -> None:
    study, series = someone()
    result = desk.result(desk.order(behave="headers", study=study, series=series))
    assert "PatientAge=033Y" in result.notes
    assert not any("MARK" in note or "1970" in note for note in result.notes)


def test_the_worker_yields_to_the_window(desk: Desk) -> None:
    """Less processor time, and first to go when the system runs out of memory."""
    order = desk.order(steps=5)
    worker = psutil.Process(desk.pid(order))
    assert worker.nice() == min(19, psutil.Process().nice() + 5)
    assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text().strip() == "800"
    desk.end(order)


BAD_RESULTS = {
    "not_finite": "not finite",
    "nan_measurement": "not finite",
    "wrong_shape": "another grid",
    "wrong_grid": "another grid",
    "wrong_labels": "labelled 9",
    "many_findings": "1,000,000 findings",
    "forged_reference": "not there",
    "two": "not what a model gives",
    "no_result": "not what a model gives",
    "memory": "not enough memory",
    "memory_gpu": "not enough memory",
}


@pytest.mark.parametrize("behave", BAD_RESULTS)
def test_a_bad_result_is_refused_naming_the_model(desk: Desk, behave: str) -> None:
    failed = desk.end(desk.order(behave=behave))
    assert isinstance(failed, JobFailed)
    assert BAD_RESULTS[behave] in failed.text
    assert "Fake model" in failed.text
    assert failed.hint


def test_what_a_model_refuses_comes_in_its_own_words(desk: Desk) -> None:
    failed = desk.end(desk.order(behave="refuse"))
    assert isinstance(failed, JobFailed)
    assert failed.text == "No box was found in the image."
    assert failed.hint == "Is it an image of a box?"


def test_a_model_cannot_accept_its_own_findings(desk: Desk) -> None:
    (finding,) = desk.result(desk.order(behave="forged_review")).findings
    assert finding.review.state is ReviewState.PROPOSED


def test_weights_changed_after_the_card_was_read_are_refused(desk: Desk) -> None:
    order = desk.order()
    desk.result(order)
    weights = order.folder / order.card.weights
    weights.write_bytes(weights.read_bytes() + b" ")
    again = replace(order, job_uid="again")
    desk.client.submit(again)
    failed = desk.end(again)
    assert isinstance(failed, JobFailed)
    assert "not the ones it was released with" in failed.text


def test_a_listening_run_stops_by_itself_and_the_worker_stays(desk: Desk) -> None:
    order = desk.order(steps=10_000, step_s=0.01)
    pid = desk.pid(order)
    desk.client.cancel(order.job_uid)
    assert isinstance(desk.end(order), JobCancelled)
    after = desk.order(steps=5)
    assert isinstance(desk.end(after), JobDone)
    assert desk.pid(after) == pid


def test_cancel_of_another_job_changes_nothing(desk: Desk) -> None:
    order = desk.order(steps=10)
    desk.pid(order)
    desk.client.cancel("another job")
    assert isinstance(desk.end(order), JobDone)


def test_maps_come_when_they_are_asked_for(desk: Desk) -> None:
    volume = replace(small_volume("mapped"), instance_uids=tuple("abcdef"))
    before = own_blocks()
    wishes = {"maps": ["saliency", "probability"], "threshold": 0.6}
    result = desk.result(desk.order(volume=volume, behave="maps", parameters=wishes))
    kinds = [one.kind for one in result.maps]
    assert kinds == [MapKind.PROBABILITY, MapKind.SALIENCY]
    (found,), (doubtful,) = result.findings, result.candidates
    for one in result.maps:
        np.testing.assert_allclose(one.values[:, 3, 4], np.linspace(0, 1, 6), atol=1e-3)
        assert one.finding_uid == found.uid
        assert one.geometry.agrees_with(volume.geometry)
    assert found.picture_box is not None
    assert found.picture_box.sop_instance_uid == "b"
    assert (doubtful.probability, result.threshold) == (0.25, 0.6)
    assert result.parameters == wishes
    (looked_at,) = result.inputs
    assert looked_at.sha256 == hashlib.sha256(volume.voxels.tobytes()).hexdigest()
    desk.client.forget("mapped")
    assert not desk.result(desk.order(behave="maps")).maps
    assert not own_blocks() - before


def test_words_that_name_no_map_are_refused(desk: Desk) -> None:
    end = desk.end(desk.order(behave="maps", parameters={"maps": ["treasure"]}))
    assert isinstance(end, JobFailed)
    assert "no such map" in end.text


def test_a_clip_is_seen_with_its_times_and_regions(desk: Desk) -> None:
    clip = small_clip()
    result = desk.result(desk.order(volume=clip, behave="follow", task="motion"))
    assert result.timeline is not None
    assert result.timeline.frame_times_s == clip.frame_times_s
    (curve,) = result.timeline.curves
    assert curve.values == (0.0, 10.0, 20.0, 30.0)
    assert result.notes == ("('cm', 'cm')",)
    desk.client.forget(clip.uid)


def test_the_engine_is_told_what_was_wished_for(desk: Desk) -> None:
    wishes = {"points": [[1.0, 2.0]], "name": "Wand", "on": True}
    result = desk.result(desk.order(behave="wishes", parameters=wishes))
    assert json.loads(result.notes[0]) == wishes
