"""How fast networks are run on volumes: ratios to MONAI's way, measured in the same run.

MONAI's way is `sliding_window_inference` with windows of the training size, an overlap of a half
and Gaussian weights, then trilinear interpolation of all logits and arg-max. Both ways begin with
the stored volume and end with labels on its grid. Run with `make bench` on a quiet machine.
"""

from __future__ import annotations

import copy
import ctypes
import gc
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from scipy import ndimage
from torch import nn
from torch.nn import functional

from medview.core.geometry import Geometry
from medview.core.shared_array import SharedArray
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.client import WorkerClient
from medview.inference.engines import devices
from medview.inference.engines.patches import Asked
from medview.inference.engines.tiles import TileRecipe, segment
from medview.inference.orders import JobDied, JobFailed, JobRunning, Order
from tests.helpers.bare_children import import_torch, last_voxels
from tests.helpers.between import labels_on
from tests.helpers.figures import Quiet, paired, touch_memory
from tests.helpers.run_context import RunContext

pytestmark = [pytest.mark.session_processes, pytest.mark.timeout(1800)]

SHAPE, GRID, PATCH = (128, 256, 256), (96, 192, 192), (96, 96, 96)
SPACING_MM = (4 / 3, 4 / 3, 4 / 3)
WIDTHS = (16, 32, 64, 128, 256)
ROUNDS = 5


@pytest.fixture(scope="module")
def head(shared: Path) -> Volume:
    """A T1 head of 256 x 256 x 128 voxels of 1 mm."""
    path = shared / "train" / "third_party_weights" / "brainchop_t1_crop.nii.gz"
    if not path.is_file():
        pytest.skip("needs a head")
    values = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)
    voxels = np.ascontiguousarray(values.astype(np.int16).transpose(2, 1, 0))
    filled = (ndimage.uniform_filter(voxels, 5) > 30).sum(axis=(1, 2))
    middle = int(np.average(np.arange(len(filled)), weights=filled))
    first = min(max(0, middle - 64), len(voxels) - 128)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    return Volume("head", "s", Geometry(SHAPE, affine), voxels[first : first + 128])


def zscore(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float32)


@pytest.fixture(scope="module")
def trained(head: Volume) -> nn.Module:
    """MONAI's U-Net of five levels; it tells five tissues by what is bright nearby."""
    torch.manual_seed(0)
    network = UNet(3, 1, 5, WIDTHS, (2, 2, 2, 2), num_res_units=2)
    values = ndimage.zoom(head.values(), 0.75, order=1)
    smooth = ndimage.gaussian_filter(values, 2)
    inside = smooth[smooth > 15]
    truth = torch.from_numpy(np.digitize(smooth, [15, *np.percentile(inside, [25, 50, 75])]))
    image = torch.from_numpy(zscore(values))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        k, j, i = (int(rng.integers(0, size - 63)) for size in image.shape)
        here = (slice(k, k + 64), slice(j, j + 64), slice(i, i + 64))
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(image[here][None, None]), truth[here][None])
        loss.backward()
        optimiser.step()
    return network.eval()


def with_classes(network: nn.Module, classes: int) -> nn.Module:
    """The same network with a random last layer."""
    torch.manual_seed(1)
    return nn.Sequential(network, nn.Conv3d(5, classes, 1)).eval()


def by_monai(network: nn.Module, volume: Volume, device: str = "cpu") -> np.ndarray:
    """Labels on the volume's grid as MONAI's users get them."""
    with torch.inference_mode():
        values = torch.from_numpy(volume.voxels.astype(np.float32)).to(device)[None, None]
        image = functional.interpolate(values, size=GRID, mode="trilinear", align_corners=False)
        image = (image - image.mean()) / image.std(correction=0)
        logits = sliding_window_inference(image, PATCH, 1, network, overlap=0.5, mode="gaussian")
        fine = functional.interpolate(logits, size=SHAPE, mode="trilinear", align_corners=False)
        return fine[0].argmax(dim=0).to(torch.uint8).cpu().numpy()


def by_us(asked: Asked, volume: Volume, device: str = "cpu") -> np.ndarray:
    recipe = TileRecipe(PATCH, "", SPACING_MM, zscore)
    return segment(asked, volume, recipe, RunContext(device=device)).labels


def least_dice(ours: np.ndarray, theirs: np.ndarray, least_voxels: int = 1000) -> float:
    """The lowest Dice over the classes that the peer found in any amount."""
    scores = []
    for number in np.unique(theirs):
        a, b = ours == number, theirs == number
        if b.sum() >= least_voxels:
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return float(min(scores))


def peak_mib(run: Callable[[], object]) -> float:
    """How far resident memory rises while something runs (Linux)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1])


@pytest.fixture(autouse=True)
def _as_in_the_worker() -> None:
    devices.prepare()


@pytest.mark.parametrize(("classes", "bar"), [(5, 0.6), (40, 0.35)])
def test_a_head_is_segmented_faster_and_in_less_memory_than_by_monai(
    benchmark, head, trained, classes, bar
):
    network = trained if classes == 5 else with_classes(trained, classes)
    asked = Asked(network)
    ours, theirs = by_us(asked, head), by_monai(network, head)
    dice = least_dice(ours, theirs)
    benchmark.extra_info["least dice"] = round(dice, 5)
    assert len(np.unique(theirs)) >= 5
    assert dice >= 0.999
    quiet = Quiet()
    ratios = paired(
        benchmark,
        lambda: by_us(asked, head),
        {"MONAI": lambda: by_monai(network, head)},
        rounds=ROUNDS,
    )
    memory = [peak_mib(lambda: by_us(asked, head)), peak_mib(lambda: by_monai(network, head))]
    benchmark.extra_info["peak MiB ours, MONAI"] = [round(one) for one in memory]
    print(dict(benchmark.extra_info))  # noqa: T201
    lean = memory[0] <= 0.4 * memory[1] or classes < 40
    quiet.judge(holds=ratios["MONAI"] <= bar and lean)


def test_labels_from_scores_are_faster_than_interpolating_every_class(benchmark):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(10, 50, 128, 128)).astype(np.float32)
    scores = np.stack([ndimage.gaussian_filter(one, 4) for one in noise])
    shape = (100, 384, 384)

    def plain() -> np.ndarray:
        tensor = torch.from_numpy(scores)[None]
        fine = functional.interpolate(tensor, size=shape, mode="trilinear", align_corners=False)
        return fine[0].argmax(dim=0).numpy()

    assert (labels_on(scores, shape) == plain()).mean() >= 0.9999
    quiet = Quiet()
    ratios = paired(benchmark, lambda: labels_on(scores, shape), {"torch": plain}, rounds=ROUNDS)
    quiet.judge(holds=ratios["torch"] <= 0.15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU: not measured")
def test_on_a_gpu_a_head_is_segmented_faster_than_by_monai(benchmark, head, trained):
    plain = copy.deepcopy(trained).to("cuda:0")
    asked = Asked(copy.deepcopy(trained), "cuda:0")
    ours, theirs = by_us(asked, head, "cuda:0"), by_monai(plain, head, "cuda:0")
    assert least_dice(ours, theirs) >= 0.999
    ratios = paired(
        benchmark,
        lambda: by_us(asked, head, "cuda:0"),
        {"MONAI": lambda: by_monai(plain, head, "cuda:0")},
        rounds=ROUNDS,
    )
    Quiet().judge(holds=ratios["MONAI"] <= 0.4)


def test_the_worker_is_ready_for_a_shipped_model_soon_after_torch_is(
    benchmark, resources, tmp_path
):
    folder = resources / "models" / "hippocampus_mr"
    card = load_card(folder)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]]
    volume = Volume("v", "s", Geometry((8, 8, 8), affine), np.zeros((8, 8, 8), np.int16))

    def ours() -> None:
        client = WorkerClient(resources, tmp_path / "logs")
        try:
            client.submit(Order("job", card, folder, volume, device="cpu"))
            until = time.monotonic() + 120
            while time.monotonic() < until:
                heard = client.poll()
                if any(isinstance(one, JobRunning) for one in heard):
                    return
                assert not [one for one in heard if isinstance(one, JobDied | JobFailed)]
                time.sleep(0.002)
            pytest.fail("the worker was never ready")
        finally:
            client.close()

    def bare() -> None:
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe()
        process = spawn.Process(target=import_torch, args=(there,))
        process.start()
        assert here.recv() == "ready"
        process.join()

    quiet = Quiet()
    ratios = paired(benchmark, ours, {"import torch": bare}, rounds=ROUNDS)
    quiet.judge(holds=ratios["import torch"] <= 1.15)


@pytest.fixture
def listener() -> Iterator[Connection]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=last_voxels, args=(there,))
    process.start()
    yield here
    here.send(None)
    process.join()


def test_a_volume_in_shared_memory_is_handed_on_without_a_copy(benchmark, listener):
    voxels = np.arange(600 * 512 * 512, dtype=np.int32).astype(np.int16).reshape(600, 512, 512)
    with SharedArray.copy_of(voxels) as block:

        def handed(what: object) -> None:
            listener.send(what)
            assert listener.recv() == voxels[-1, -1, -1]

        quiet = Quiet()
        ratios = paired(
            benchmark,
            lambda: handed(block.key),
            {"pickle": lambda: handed(voxels)},
            rounds=ROUNDS,
            between=lambda: touch_memory(200),
        )
        quiet.judge(holds=ratios["pickle"] <= 0.002)
