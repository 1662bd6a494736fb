"""Every engine in the real worker with its box shut; and models of others that reach out of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medview.core.models import ModelCard
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines import meshnet, monai_bundle, onnx, segmentation, torchscript
from medview.inference.orders import JobDone, JobFailed, Order, WorkerReady
from tests.helpers.foreign_models import (
    TILTED,
    bright_and_brighter,
    bundle,
    grey,
    make_torchscript,
    onnx_file,
    picture_card,
    red_square,
)
from tests.helpers.known_networks import write_known_model
from tests.helpers.run_context import RunContext
from tests.helpers.worker_desk import Desk

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux boxes a process in"),
    pytest.mark.session_processes,
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the worker may read: resources and models."""
    return tmp_path_factory.mktemp("shown")


@pytest.fixture(scope="module")
def desk(base: Path) -> Iterator[Desk]:
    made = Desk(base)
    try:
        made.end(made.order(behave="empty"))
        if made.wait(WorkerReady).lacking:
            pytest.skip("this kernel has neither Landlock nor seccomp")
        yield made
        starts = [one for one in made.heard if isinstance(one, WorkerReady)]
        assert len(starts) == 1, "the worker did not survive what models did"
    finally:
        made.client.close()


def run(desk: Desk, card: ModelCard, folder: Path, image: Volume) -> JobDone | JobFailed:
    """How a run ends that the window orders."""
    order = Order(
        job_uid=f"run of {folder.name}",
        card=card,
        folder=folder,
        image=replace(image, uid=f"image for {folder.name}"),
        backing=None,
        series=None,
        study=None,
        device="cpu",
        parameters={},
    )
    desk.client.submit(order)
    (end,) = desk.until(lambda: desk.ends(order), timeout_s=240)
    return end


def same_inside(desk: Desk, engine: Any, card: ModelCard, folder: Path, image: Volume) -> None:
    """An engine finds in the box what it finds here, and finds something."""
    here = engine(card, folder)
    here.load("cpu")
    (expected,) = here.run(image, None, None, RunContext()).segmentations
    end = run(desk, card, folder, image)
    assert isinstance(end, JobDone), end
    (found,) = end.result.segmentations
    assert np.array_equal(found.labels, expected.labels)
    assert found.labels.any()


def boxes(scale: int = 1) -> Volume:
    """A dark grid with two boxes in it, one brighter; `scale` 2 is as large as a head."""
    voxels = np.zeros((30, 45, 50), np.float32)
    voxels[5:15, 10:25, 10:30] = 420
    voxels[17:27, 15:35, 15:40] = 700
    for axis in range(3):
        voxels = voxels.repeat(scale, axis=axis)
    return grey(voxels, TILTED * [[2.2], [2.2], [2.2], [1.0]])


def trusted(card: ModelCard) -> ModelCard:
    return replace(card, trusted=True)


def test_torchscript_in_the_box(desk: Desk, base: Path) -> None:
    folder = base / "script"
    folder.mkdir()
    card = trusted(make_torchscript(folder))
    same_inside(desk, torchscript.Engine, card, folder, red_square())


def test_onnx_in_the_box(desk: Desk, base: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = base / "onnx"
    folder.mkdir()
    onnx_file(folder / "red.onnx")
    card = picture_card(folder, "onnx", "red.onnx")
    same_inside(desk, onnx.Engine, card, folder, red_square())


def test_a_bundle_in_the_box(desk: Desk, base: Path) -> None:
    folder = bundle(base / "bundle")
    same_inside(desk, monai_bundle.Engine, load_card(folder), folder, boxes())


def test_a_meshnet_in_the_box(desk: Desk, base: Path) -> None:
    folder = bright_and_brighter(base / "mesh")
    same_inside(desk, meshnet.Engine, load_card(folder), folder, boxes(scale=2))


def test_nnunet_in_the_box(desk: Desk, base: Path) -> None:
    pytest.importorskip("nnunetv2", reason="nnunetv2 is an extra: pip install medview[nnunet]")
    from medview.inference.engines import nnunet
    from tests.helpers.nnunet_folder import write_nnunet

    folder = write_nnunet(base, "Dataset900_Known", (1.5, 1.5, 1.5))
    same_inside(desk, nnunet.Engine, load_card(folder), folder, boxes())


def test_windows_over_a_volume_in_the_box(desk: Desk, base: Path) -> None:
    arguments = {"in_channels": 1, "out_channels": 3, "widths": [4, 8]}
    preprocess = {"orientation": "RAS", "spacing_mm": [1.5, 1.5, 1.5]}
    torch.manual_seed(3)
    card, folder = write_known_model(
        base, "segmentation", "unet.UNet3d", arguments, lambda _: None, ["a", "b"],
        patch=[16, 16, 16], preprocess=preprocess,
    )  # fmt: skip
    same_inside(desk, segmentation.Engine, card, folder, boxes())


# What reaches out

REACHING = {
    "network": "__import__('socket').create_connection(('127.0.0.1', 9), timeout=1)",
    "listener": "__import__('socket').socket(2, 1).bind(('127.0.0.1', 0))",
    "passwords": "open('/etc/passwd').read()",
    "store": "open('{outside}/store.sqlite', 'rb').read()",
    "writing": "open('{outside}/made', 'w').write('x')",
    "own folder": "open('{folder}/made', 'w').write('x')",
    "program": "__import__('subprocess').run(['/bin/true'])",
    "shell": "__import__('os').posix_spawn('/bin/true', ['true'], {{}})",
    "processes": "__import__('os').fork()",
    "other process": "open('/proc/%d/mem' % __import__('os').getppid(), 'rb').read(1)",
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile beside: its store is the reader's."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "store.sqlite").write_bytes(b"everything the reader did")
    return folder


@pytest.mark.parametrize("what", REACHING)
def test_a_bundle_that_reaches_out_is_refused_by_name(
    desk: Desk, base: Path, outside: Path, what: str
) -> None:
    folder = base / f"hostile_{what.replace(' ', '_')}"
    expression = "$" + REACHING[what].format(outside=outside, folder=folder)
    bundle(folder, inferer=expression)
    card = load_card(folder)
    assert "Python expressions" in card.code
    end = run(desk, trusted(card), folder, boxes())
    assert isinstance(end, JobFailed), end
    assert end.text.startswith("Bright tried to reach what models may not reach")
    assert "PermissionError" in end.detail
    assert sorted(path.name for path in outside.iterdir()) == ["store.sqlite"]
    assert not (folder / "made").exists()


class Reader(nn.Module):
    """Reads a file of the system while it looks at a picture."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stolen = torch.from_file("/etc/passwd", False, 16, dtype=torch.uint8)
        return image[:, :1] + stolen.sum()


class Writer(nn.Module):
    """Makes a file outside while it looks at a picture."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        made = torch.from_file(self.path, True, 16, dtype=torch.uint8).fill_(0)
        return image[:, :1] + made.sum()  # what is not used is not even done


@pytest.mark.parametrize("what", ["passwords", "writing"])
def test_torchscript_that_reaches_out_is_refused_by_name(
    desk: Desk, base: Path, outside: Path, what: str
) -> None:
    folder = base / f"script_{what}"
    folder.mkdir()
    network = Reader() if what == "passwords" else Writer(str(outside / "made"))
    torch.jit.script(network).save(str(folder / "red.pt"))  # type: ignore[no-untyped-call]
    card = trusted(picture_card(folder, "torchscript", "red.pt"))
    end = run(desk, card, folder, red_square())
    assert isinstance(end, JobFailed), end
    assert "tried to reach what models may not reach" in end.text, end
    assert sorted(path.name for path in outside.iterdir()) == ["store.sqlite"]


def test_after_all_that_the_worker_serves_the_next(desk: Desk) -> None:
    assert json.loads(json.dumps(desk.result(desk.order()).notes))
