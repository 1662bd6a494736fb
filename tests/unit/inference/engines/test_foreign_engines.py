"""Engines for models of others, each asked with a network whose answer is known beforehand."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from medview.core.errors import Cancelled, ModelError
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines import meshnet as meshnet_engine
from medview.inference.engines import monai_bundle, onnx, torchscript
from medview.inference.engines.grids import ModelGrid, resampled
from medview.inference.engines.labelled import classified_result, labelled_result
from medview.inference.engines.tensors import load_checkpoint, load_tensors
from medview.inference.networks.meshnet import MeshNet
from tests.helpers.foreign_models import (
    TILTED,
    bright_and_brighter,
    bundle,
    chain,
    grey,
    make_torchscript,
    onnx_file,
    picture_card,
    red_square,
)
from tests.helpers.run_context import RunContext

# MeshNet


@pytest.mark.parametrize("how", [{}, {"elu": True}, {"gelu": True, "bnorm": True}])
def test_a_meshnet_is_torchs_own_chain_whatever_the_slabs(how: dict[str, bool]) -> None:
    torch.manual_seed(0)
    model, network = chain([4, 4, 3], [1, 16, 1], **how)
    image = torch.rand(70, 20, 24)
    with torch.inference_mode():
        expected = network(image[None, None])[0]
    asked: list[float] = []
    found = MeshNet(model, network.state_dict()).labels(image.numpy(), asked.append)
    top2 = expected.topk(2, dim=0).values
    clear = (top2[0] - top2[1] > 1e-4).numpy()
    assert clear.mean() > 0.99
    assert np.array_equal(found[clear], expected.argmax(dim=0).numpy()[clear])
    assert asked == sorted(asked)
    assert asked[0] == 0
    assert asked[-1] < 1


def test_channels_are_those_of_the_weights() -> None:
    model, network = chain([6, 2], [2, 1])
    for layer in model["layers"]:
        layer.update(in_channels=-1, out_channels=5)
    found = MeshNet(model, network.state_dict())
    assert found.classes == 2
    assert found.parameters == sum(part.numel() for part in network.parameters())


def test_weights_of_another_network_are_refused() -> None:
    model, network = chain([4, 4, 3], [1, 2, 1])
    tensors = dict(network.state_dict())
    with pytest.raises(ModelError, match="describes"):
        MeshNet({**model, "layers": model["layers"][:2]}, tensors)
    with pytest.raises(ModelError, match="do not fit"):
        MeshNet(model, {**tensors, "2.weight": torch.zeros(4, 3, 3, 3, 3)})


@pytest.fixture(scope="module")
def head() -> Volume:
    """Two boxes in a grid that is turned, coarse and tilted; 2 % of it dark, 2 % brightest."""
    voxels = np.zeros((60, 90, 100), np.float32)
    voxels[10:30, 20:50, 20:60] = 60
    voxels[35:55, 30:70, 30:80] = 100
    return grey(voxels, TILTED * [[2.2], [2.2], [2.2], [1.0]])


def test_a_meshnet_measures_what_it_finds_on_any_grid(tmp_path: Path, head: Volume) -> None:
    card = load_card(bright_and_brighter(tmp_path / "net"))
    engine = meshnet_engine.Engine(card, tmp_path / "net")
    engine.load("cpu")
    context = RunContext()
    result = engine.run(head, None, None, context)
    (labels,) = (one.labels for one in result.segmentations)
    # The border of the brighter box passes through the values of the other.
    for number, value, least in ((1, 60, 0.85), (2, 100, 0.95)):
        truth = head.voxels == value
        overlap = 2 * ((labels == number) & truth).sum() / ((labels == number).sum() + truth.sum())
        assert overlap > least
    thalamus, white = result.findings
    assert (thalamus.label, thalamus.laterality) == ("Left thalamus", "left")
    assert (thalamus.code.value, white.code.value) == ("42695009", "389080008")
    true_ml = (head.voxels == 100).sum() * head.geometry.voxel_volume_ml
    assert white.measurements[0].value == pytest.approx(true_ml, rel=0.04)
    assert white.location_lps_mm is not None
    k, j, i = np.rint(head.geometry.to_index(white.location_lps_mm)).astype(int)
    assert head.voxels[k, j, i] == 100
    fractions = [done for stage, done in context.said if done is not None]
    assert fractions == sorted(fractions)


def test_a_meshnet_stops_between_slabs(tmp_path: Path, head: Volume) -> None:
    card = load_card(bright_and_brighter(tmp_path / "net"))
    engine = meshnet_engine.Engine(card, tmp_path / "net")
    engine.load("cpu")
    with pytest.raises(Cancelled):
        engine.run(head, None, None, RunContext(stop_after=3))


def test_a_meshnet_refuses_what_is_no_head_volume(tmp_path: Path, head: Volume) -> None:
    card = load_card(bright_and_brighter(tmp_path / "net"))
    engine = meshnet_engine.Engine(card, tmp_path / "net")
    with pytest.raises(ModelError, match="not loaded"):
        engine.run(head, None, None, RunContext())
    engine.load("cpu")
    with pytest.raises(ModelError, match="single"):
        engine.run(grey(np.zeros((1, 8, 8), np.float32)), None, None, RunContext())
    with pytest.raises(ModelError, match="hardly any structure"):
        engine.run(grey(np.zeros((4, 8, 8), np.float32)), None, None, RunContext())


# Weight files


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("ran",)


def test_weights_that_are_programs_are_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"a": torch.zeros(1), "b": Evil()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(ModelError, match=r"program|cannot be read"):
            load_tensors(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_tensors_are_found_in_checkpoints_of_other_programs(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(3.0)}
    torch.save(tensors, tmp_path / "plain.pth")
    extras = {"optimizer_state_dict": {"w": torch.zeros(9)}, "score": np.float64(0.5)}
    torch.save({"model_state_dict": tensors, **extras}, tmp_path / "deep.pth")
    safetensors.torch.save_file(tensors, tmp_path / "named.pth")
    for name in ("plain.pth", "deep.pth", "named.pth"):
        found = load_tensors(tmp_path / name)
        assert list(found) == ["w"]
        assert torch.equal(found["w"], tensors["w"])
    assert load_checkpoint(tmp_path / "deep.pth")["score"] == 0.5
    (tmp_path / "cut.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:200])
    with pytest.raises(ModelError, match="cannot be read"):
        load_tensors(tmp_path / "cut.pth")


# TorchScript and ONNX


def check_red_square(engine: Any) -> None:
    volume = red_square()
    result = engine.run(volume, None, None, RunContext())
    (segmentation,) = result.segmentations
    truth = volume.voxels[..., 0] == 250
    labels = segmentation.labels == 1
    assert 2 * (labels & truth).sum() / (labels.sum() + truth.sum()) > 0.97
    (finding,) = result.findings
    area, share = finding.measurements
    assert (area.value, area.unit) == (labels.sum(), "{pixels}")
    assert (share.value, share.unit) == (pytest.approx(100 * labels.mean()), "%")
    # A grey picture is shown to it in all three colours, none redder than another.
    nothing = engine.run(grey(np.full((1, 8, 8), 99.0, np.float32)), None, None, RunContext())
    assert nothing.segmentations == ()


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_finds_a_red_square_where_it_is_trusted(tmp_path: Path) -> None:
    card = make_torchscript(tmp_path)
    with pytest.raises(ModelError, match="nobody has trusted"):
        torchscript.Engine(card, tmp_path).load("cpu")
    engine = torchscript.Engine(replace(card, trusted=True), tmp_path)
    with pytest.raises(ModelError, match="not loaded"):
        engine.run(red_square(), None, None, RunContext())
    engine.load("cpu")
    check_red_square(engine)
    (tmp_path / "red.pt").write_bytes(b"no program")
    with pytest.raises(ModelError, match="no TorchScript"):
        torchscript.Engine(replace(card, trusted=True), tmp_path).load("cpu")


def test_onnx_finds_a_red_square(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx_file(tmp_path / "red.onnx")
    card = picture_card(tmp_path, "onnx", "red.onnx")
    assert not card.code
    assert card.inputs.channels == 3
    engine = onnx.Engine(card, tmp_path)
    engine.load("cpu")
    check_red_square(engine)


def test_onnx_reaches_no_other_file(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.array([1, 0, -1], np.float32).tobytes())
    onnx_file(folder / "red.onnx", external=True)
    card = picture_card(folder, "onnx", "red.onnx")
    with pytest.raises(ModelError, match="other files"):
        onnx.Engine(card, folder).load("cpu")


# MONAI bundles


@pytest.mark.parametrize("inverts", [True, False])
def test_a_bundle_finds_what_is_bright_on_the_images_own_grid(
    tmp_path: Path, inverts: bool
) -> None:
    folder = bundle(tmp_path / "b")
    if not inverts:
        path = folder / "configs" / "inference.json"
        content = json.loads(path.read_text())
        del content["postprocessing"]["transforms"][1]
        path.write_text(json.dumps(content))
    voxels = np.zeros((20, 44, 50), np.float32)
    voxels[5:15, 10:30, 12:40] = 700
    volume = grey(voxels, TILTED)
    card = load_card(folder)
    assert not card.code
    engine = monai_bundle.Engine(card, folder)
    engine.load("cpu")
    result = engine.run(volume, None, None, RunContext())
    labels = result.segmentations[0].labels
    truth = voxels > 300
    assert 2 * (labels & truth).sum() / (labels.sum() + truth.sum()) > 0.85
    assert result.findings[0].code.value == "10200004"


INFERERS = [
    {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.5},
    {"_target_": "SlidingWindowInferer", "roi_size": [8, -1, 8], "sw_batch_size": 3},
    {"_target_": "SlidingWindowInferer", "roi_size": [200, 20, 20], "overlap": [0.1, 0.9, 0.25]},
    {"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 2, "sw_batch_size": 4},
]


@pytest.mark.parametrize("inferer", INFERERS)
def test_a_bundle_tells_the_share_of_its_windows_that_is_done(
    tmp_path: Path, inferer: dict[str, Any]
) -> None:
    """Counted independently: by the batches that MONAI's inferer gives to the network."""
    folder = bundle(tmp_path / "b", inferer=inferer)
    engine = monai_bundle.Engine(load_card(folder), folder)
    engine.load("cpu")
    if "Slice" in inferer["_target_"]:
        engine._network = _Flat()
    asked: list[int] = []
    engine._network.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    context = RunContext()
    engine.run(grey(np.ones((20, 44, 50), np.float32), TILTED), None, None, context)
    told = [fraction for stage, fraction in context.said if stage == "Asking the network"]
    before = np.cumsum([0, *asked])
    assert len(told) > 3
    np.testing.assert_allclose(told, before[:-1] / before[-1])


class _Flat(nn.Module):
    """Two classes for each pixel of a slice."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image, 1 - image], dim=1)


def test_a_bundle_stops_between_windows(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    engine = monai_bundle.Engine(load_card(folder), folder)
    engine.load("cpu")
    asked: list[int] = []
    engine._network.register_forward_pre_hook(lambda *_: asked.append(1))
    with pytest.raises(Cancelled):
        engine.run(
            grey(np.ones((20, 44, 50), np.float32), TILTED), None, None, RunContext(stop_after=4)
        )
    assert 1 <= len(asked) <= 4


def test_a_bundle_whose_network_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    """Its own transforms would make labels of them: the likeliest class of none is the first."""
    folder = bundle(tmp_path / "b")
    spoilt = {"weight": torch.full((2, 1, 1, 1, 1), torch.nan), "bias": torch.zeros(2)}
    torch.save(spoilt, folder / "models/model.pt")
    engine = monai_bundle.Engine(load_card(folder), folder)
    engine.load("cpu")
    with pytest.raises(ModelError, match="not finite"):
        engine.run(grey(np.ones((20, 44, 50), np.float32), TILTED), None, None, RunContext())


def test_a_bundle_that_calls_anything_else_is_not_built(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", x={"_target_": "os.mkdir", "path": str(tmp_path / "made")})
    card = load_card(folder)
    with pytest.raises(ModelError, match="nobody has trusted"):
        monai_bundle.Engine(card, folder).load("cpu")
    assert not (tmp_path / "made").exists()


def test_a_bundle_that_cannot_be_built_says_so(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", inferer={"_target_": "NoSuchInferer"})
    with pytest.raises(ModelError, match="cannot be built"):
        monai_bundle.Engine(load_card(folder), folder).load("cpu")


# What all of them share


@pytest.mark.parametrize("orientation", ["SAR", "LIA", "PRS", "IPL"])
def test_turning_touches_no_voxel_and_can_be_undone(orientation: str) -> None:
    voxels = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    volume = grey(voxels, TILTED)
    grid = ModelGrid.of(volume.geometry, orientation, None)
    turned = resampled(volume, grid, lambda _: None)
    assert np.array_equal(grid.to_volume(turned), voxels)
    places = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), axis=-1)
    points = volume.geometry.to_lps_mm(places)
    moved = np.stack([grid.to_network(points[..., axis]) for axis in range(3)], axis=-1)
    towards = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    for axis, letter in enumerate(orientation):
        along, sign = towards[letter]
        step = np.diff(moved, axis=axis)[0, 0, 0] if axis else np.diff(moved, axis=0)[0, 0, 0]
        assert step[along] * sign == pytest.approx(max(abs(step)))
        assert grid.spacing_mm[axis] == pytest.approx(np.linalg.norm(step))


def test_labels_that_the_card_does_not_name_are_refused(tmp_path: Path) -> None:
    card = load_card(bright_and_brighter(tmp_path / "net"))
    volume = grey(np.zeros((2, 3, 4), np.float32))
    labels = np.zeros((2, 3, 4), np.uint8)
    assert labelled_result(card, volume, labels, RunContext()).segmentations == ()
    labels[0, 0, 0] = 3
    with pytest.raises(ModelError, match="does not name"):
        labelled_result(card, volume, labels, RunContext())


def test_the_likeliest_class_is_always_told(tmp_path: Path) -> None:
    card = load_card(bright_and_brighter(tmp_path / "net"))
    found = classified_result(card, [0.3, 0.1], 0.5, RunContext()).findings
    assert [(one.label, one.probability) for one in found] == [("Left thalamus", 0.3)]
    both = classified_result(card, [0.6, 0.7], 0.5, RunContext()).findings
    assert len(both) == 2
    with pytest.raises(ModelError, match="2 classes"):
        classified_result(card, [0.3], 0.5, RunContext())
