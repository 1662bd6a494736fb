"""The box around the AI worker: what a hostile model reaches for, and what it needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medview.core.shared_array import SharedArray
from medview.inference.orders import JobFailed, WorkerReady
from tests.helpers.worker_desk import Desk, small_volume

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux boxes a process in")

#: What is out of reach of every model.
OUTSIDE = (
    *("network", "listener", "passwords", "home", "root", "program", "processes"),
    *("own model", "blocks", "parent's secrets"),
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    try:
        made.end(made.order(behave="empty"))
        if made.wait(WorkerReady).lacking:
            pytest.skip("this kernel has neither Landlock nor seccomp")
        yield made
    finally:
        made.client.close()


def test_whatever_a_model_reaches_for_is_refused_and_named(desk: Desk) -> None:
    for what in OUTSIDE:
        end = desk.end(desk.order(behave="reach", what=what))
        assert isinstance(end, JobFailed), (what, end)
        assert "may not reach" in end.text, (what, end)
        assert "PermissionError" in end.detail, (what, end)
    assert not (Path.home() / "medview-was-here").exists()
    assert not Path("/medview-was-here").exists()


def test_the_worker_goes_on_with_torch_inside(desk: Desk) -> None:
    order = desk.order(behave="modules", task="segmentation")
    desk.until(lambda: desk.ends(order), timeout_s=180)
    assert "torch" in desk.result(order).notes


def test_what_engines_are_built_of_can_be_imported_in_the_box(desk: Desk) -> None:
    names = ["monai.inferers", "monai.bundle", "SimpleITK", "scipy.ndimage", "nibabel"]
    names += ["medview.imaging.kernels", "medview.inference.networks.instances"]
    order = desk.order(behave="imports", names=names, task="segmentation")
    desk.until(lambda: desk.ends(order), timeout_s=180)
    assert desk.result(order).notes == ("Nothing was found.",)


def test_a_volume_in_a_file_is_opened_by_another_worker(desk: Desk, tmp_path: Path) -> None:
    kept = tmp_path.parent / f"{tmp_path.name}-volumes"
    kept.mkdir()
    volume = small_volume("in a file")
    with SharedArray.create_file(kept / "voxels", volume.voxels.shape, np.int16) as block:
        block.array[...] = volume.voxels
        first = desk.order(behave="segment")
        desk.end(first)
        order = desk.order(behave="segment", volume=volume, backing=block.key)
        assert desk.result(order).segmentations[0].labels.any()
        assert desk.pid(order) != desk.pid(first)
