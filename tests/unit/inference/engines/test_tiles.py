"""Segmentation window by window against asking directly, MONAI, and what was drawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn
from torch.nn.functional import interpolate

from medview.core.errors import Cancelled, ModelError
from medview.core.geometry import Calibration, Geometry
from medview.core.volume import Volume
from medview.inference.engines import devices, tiles
from medview.inference.engines.patches import Asked, Plan
from medview.inference.engines.slab import Wishes
from medview.inference.engines.tiles import TileRecipe, segment
from medview.inference.networks.unet import UNet2d, UNet3d
from tests.helpers.heads import stored
from tests.helpers.run_context import RunContext


class Levels(nn.Module):
    """Says of each voxel alone which of three levels its value is nearest to, 10 a class."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor([0.0, 10.0, 20.0]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        shape = (1, -1, *[1] * (image.ndim - 2))
        return -((image[:, :1] - self.levels.reshape(shape)).abs())


class Failing:
    """Answers like a network, but has no memory at some calls or for patches that are too large."""

    def __init__(self, network: nn.Module, fails: Callable[[int, torch.Tensor], bool]) -> None:
        self.divisor = 4
        self.calls: list[tuple[int, ...]] = []
        self._network, self._fails = network, fails

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        self.calls.append(tuple(patches.shape))
        if self._fails(len(self.calls), patches):
            raise torch.OutOfMemoryError
        return self._network(patches)


def pieces(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Values around 0, 10 and 20 in large pieces."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(1, 1, 4, 4, 4)))
    smooth = interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return np.digitize(smooth, [-0.3, 0.3]) * 10.0 + rng.uniform(-4, 4, shape)


def volume_of(values: np.ndarray, spacing: tuple[float, ...] = (1, 1, 1), **more: object) -> Volume:
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[:3, :3] = np.array([[0, 0, spacing[2]], [0, spacing[1], 0], [spacing[0], 0, 0]])
    voxels = np.asarray(values, dtype=np.float32)
    return Volume("v", "s", Geometry(voxels.shape, affine), voxels, **more)  # type: ignore[arg-type]


def scores_of(volume: Volume) -> np.ndarray:
    return Levels()(torch.tensor(volume.values())[None, None])[0].numpy()


@pytest.mark.parametrize("shape", [(40, 20, 24), (17, 50, 16), (9, 12, 70), (5, 6, 7)])
def test_every_voxel_is_labelled_as_without_windows(shape):
    volume = volume_of(pieces(shape))
    context = RunContext()
    found = segment(Levels(), volume, TileRecipe((16, 16, 16)), context)
    np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))
    assert found.labels.dtype == np.uint8
    assert found.fallbacks == ()
    assert len(context.fractions) == len(context.said)
    assert context.fractions == sorted(context.fractions)
    assert context.fractions[-1] == pytest.approx(0.95)  # labels are measured after that


def slopes(image: torch.Tensor) -> torch.Tensor:
    """One class for each way in which values grow along the three axes: 0 to 7."""
    grows = [(image.roll(-1, axis) > image).float()[:, 0] * 2.0 ** (4 - axis) for axis in (2, 3, 4)]
    number = sum(grows).long()
    number = number[:, 1:2, 1:2, 1:2].expand_as(number)
    return nn.functional.one_hot(number, 8).movedim(-1, 1).float()


@pytest.mark.parametrize("order", ["HPL", "RAF", "AHL", "FRA", "LHP"])
def test_the_network_sees_the_orientation_it_asks_for(order):
    geometry = stored(order, 1.5, 24.0, (3.0, -5.0, 40.0))
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    left, posterior, head = np.moveaxis(geometry.to_lps_mm(index), -1, 0)
    for values, label in ((left - 2 * posterior + 9 * head, 0b011), (-left, 0b100), (head, 0b001)):
        volume = Volume("v", "s", geometry, values.astype(np.float32))
        found = segment(
            slopes, volume, TileRecipe((16, 16, 16), "RAS", skip_empty=False), RunContext()
        )
        assert (found.labels == label).all()


def test_labels_lie_where_the_values_are_whatever_the_order_and_spacing():
    for order in ("HPL", "RAF", "FRA"):
        geometry = replace(stored(order, 1.0, 30.0, (0.0, 0.0, 0.0)), shape=(30, 22, 26))
        volume = Volume("v", "s", geometry, pieces((30, 22, 26)).astype(np.float32))
        recipe = TileRecipe((12, 16, 8), "RAS", (1.0, 1.0, 1.0))
        found = segment(Levels(), volume, recipe, RunContext())
        np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))


@pytest.mark.parametrize(
    ("shape", "spacing", "grid"),
    [((48, 64, 96), (1.0, 1.0, 1.0), (32, 48, 64)), ((40, 32, 96), (2.0, 2.0, 1.0), (64, 48, 48))],
)
def test_labels_are_those_of_monai_followed_by_interpolation_and_arg_max(shape, spacing, grid):
    torch.manual_seed(1)
    network = UNet3d(1, 6, (8, 16, 32)).eval()
    volume = volume_of(pieces(shape), spacing)
    steps = tuple(n * s / g for n, s, g in zip(shape, spacing, grid, strict=True))
    recipe = TileRecipe((32, 32, 32), "", steps, skip_empty=False)
    found = segment(network, volume, recipe, RunContext())
    image = torch.tensor(volume.values())[None, None]
    with torch.inference_mode():
        coarse = interpolate(image, size=grid, mode="trilinear", align_corners=False)
        logits = sliding_window_inference(
            coarse, (32, 32, 32), 1, network, overlap=0.5, mode="gaussian"
        )
        fine = interpolate(logits, size=shape, mode="trilinear", align_corners=False)
    wanted = fine[0].argmax(dim=0).numpy()
    assert len(np.unique(wanted)) > 2
    assert (found.labels == wanted).mean() >= 0.9999


def of_many_classes() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(UNet3d(1, 4, (8, 16, 32)), nn.Conv3d(4, 30, 1)).eval()


def test_a_last_layer_that_comes_after_the_windows_changes_nothing():
    volume = volume_of(pieces((48, 64, 40)), (1.0, 1.0, 2.0))
    recipe = TileRecipe((32, 32, 32), "", (1.5, 1.5, 1.5), skip_empty=False)
    wishes = Wishes(probability=True, uncertainty=True, classes=(3, 7))
    network = of_many_classes()
    late, plain = Asked(network), segment(network.forward, volume, recipe, RunContext(), wishes)
    found = segment(late, volume, recipe, RunContext(), wishes)
    assert (late.classes, late.channels) == (30, 4)
    assert late(torch.zeros(1, 1, 16, 16, 16)).shape[1] == 4
    assert len(np.unique(plain.labels)) > 2
    assert (found.labels == plain.labels).mean() >= 0.9999
    for name, one in plain.maps.items():
        np.testing.assert_allclose(found.maps[name].values, one.values, atol=1e-4)
    assert set(found.probability) == set(plain.probability)


class Twice(nn.Module):
    """Its last layer is used in its middle as well."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv3d(2, 5, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = image.expand(-1, 2, -1, -1, -1)
        answer: torch.Tensor = self.last(image + self.last(image)[:, :2])
        return answer


class Looping(nn.Module):
    """What comes before the last layer is no layer of its own, and the last one has no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"last": nn.Conv3d(1, 3, (1, 1, 1), bias=False)})

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        answer = self.parts["last"](image.sin())
        return [answer, answer[..., ::2, ::2, ::2]]


@pytest.mark.parametrize(
    ("network", "channels"),
    [
        (Looping(), 1),
        (Twice(), 5),
        (nn.Conv3d(1, 4, 1), 1),
        (nn.Sequential(nn.Conv3d(1, 3, 1), nn.Softmax(1)), 3),
        (nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(6, 3, 1)), 3),
        (nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 6, 1, groups=2)), 6),
        (nn.Conv3d(1, 4, 3, padding=1), 4),
    ],
)
def test_only_a_layer_that_may_come_later_does(network, channels):
    asked = Asked(network.eval())
    before = asked(torch.ones(1, 1, 8, 8, 8))
    asked.learn(1, (8, 8, 8))
    assert (asked.classes, asked.channels) == (before.shape[1], channels)
    answer = asked(torch.ones(1, 1, 8, 8, 8)).detach().numpy()
    if asked.mix is not None:
        answer = np.einsum("kc,nc...->nk...", asked.mix[:, :-1], answer)
        answer += asked.mix[:, -1].reshape(1, -1, 1, 1, 1)
    np.testing.assert_allclose(answer, before, atol=1e-5)


def test_a_grid_coarser_than_the_image_is_as_fine_as_the_network_asks():
    volume = volume_of(pieces((20, 40, 60)), (3.0, 1.0, 1.0))
    wishes = Wishes(probability=True)
    found = segment(Levels(), volume, TileRecipe((8, 8, 8), "", (3, 2, 4)), RunContext(), wishes)
    assert found.maps["probability"].values.shape == (20, 20, 15)
    grid = found.maps["probability"].geometry
    np.testing.assert_allclose(grid.center_lps_mm, volume.geometry.center_lps_mm)
    np.testing.assert_allclose(grid.spacing_mm, (3, 2, 4))
    assert grid.voxel_volume_ml * 20 * 20 * 15 == pytest.approx(
        volume.geometry.voxel_volume_ml * volume.voxels.size
    )


def test_maps_are_softmax_and_entropy_in_the_order_of_the_volume():
    geometry = replace(stored("FRA", 1.0, 30.0, (0.0, 0.0, 0.0)), shape=(24, 18, 20))
    volume = Volume("v", "s", geometry, pieces((24, 18, 20)).astype(np.float32))
    wishes = Wishes(probability=True, uncertainty=True, classes=(2,), temperature=3.0)
    recipe = TileRecipe((16, 16, 16), "RAS")
    found = segment(Levels(), volume, recipe, RunContext(), wishes)
    chances = torch.from_numpy(scores_of(volume) / 3.0).softmax(dim=0).numpy()
    np.testing.assert_allclose(found.maps["probability"].values, chances.max(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.maps[2].values, chances[2], atol=1e-4)
    entropy = -(chances * np.log(np.clip(chances, 1e-30, 1))).sum(axis=0) / np.log(3)
    np.testing.assert_allclose(found.maps["uncertainty"].values, entropy, atol=1e-4)
    best = chances.argmax(axis=0)
    for number in (1, 2):
        mean = chances[number][best == number].mean()
        assert found.probability[number] == pytest.approx(mean, abs=1e-4)
    assert set(found.probability) == {1, 2}


def with_air(shape: tuple[int, int, int], box: tuple[slice, ...]) -> np.ndarray:
    values = np.zeros(shape)
    values[box] = pieces(shape)[box] + 40.0
    return values


class Shifted(Levels):
    """Levels from 40 on; 0 is background."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.tensor([0.0, 40.0, 50.0, 60.0])


def test_what_is_empty_is_not_asked_about():
    shape = (32, 96, 96)
    body = (slice(4, 30), slice(30, 60), slice(10, 40))
    volume = volume_of(with_air(shape, body))
    every = segment(Shifted(), volume, TileRecipe((16, 16, 16), skip_empty=False), RunContext())
    some = segment(Shifted(), volume, TileRecipe((16, 16, 16)), RunContext())
    close = segment(Shifted(), volume, TileRecipe((16, 16, 16), crop=True), RunContext())
    for found in (some, close):
        np.testing.assert_array_equal(found.labels, every.labels)
        assert found.windows < every.windows / 3
    assert some.windows + some.skipped == every.windows
    assert close.windows + close.skipped < every.windows
    assert every.skipped == 0
    apart = np.zeros(shape)
    for corner in (
        (slice(0, 16), slice(0, 16), slice(0, 16)),
        (slice(20, 32), slice(80, 96), slice(80, 96)),
    ):
        apart[corner] = 50.0
    found = segment(Shifted(), volume_of(apart), TileRecipe((16, 16, 16)), RunContext())
    np.testing.assert_array_equal(found.labels, np.where(apart > 0, 2, 0))
    assert found.skipped > found.windows


def test_air_in_a_ct_is_empty_and_lung_is_not():
    values = np.full((32, 64, 64), -1000.0)
    values[:, 20:50, 20:50] = -860.0
    recipe = TileRecipe((16, 16, 16), normalise=lambda hu: (hu + 1000) / 14)
    found = segment(Levels(), volume_of(values, unit="[hnsf'U]"), recipe, RunContext())
    np.testing.assert_array_equal(found.labels, np.where(values > -900, 1, 0))
    air = volume_of(np.full((32, 64, 64), -1000.0), unit="[hnsf'U]")
    nothing = segment(
        Levels(), air, recipe, RunContext(), Wishes(probability=True, uncertainty=True)
    )
    assert not nothing.labels.any()
    assert nothing.windows == 0
    assert nothing.probability == {}
    assert (nothing.maps["probability"].values == 1).all()
    assert (nothing.maps["uncertainty"].values == 0).all()


def test_a_network_of_slices_sees_one_slice_after_the_other():
    torch.manual_seed(0)
    network = UNet2d(1, 3, (8, 16)).eval()
    for axis, patch in ((0, (1, 32, 32)), (2, (32, 32, 1))):
        values = pieces((5, 32, 32)) if axis == 0 else pieces((32, 32, 5))
        volume = volume_of(values)
        slices = torch.tensor(values, dtype=torch.float32).movedim(axis, 0)
        with torch.inference_mode():
            wanted = network(slices[:, None]).argmax(dim=1).movedim(0, axis).numpy()
        found = segment(network, volume, TileRecipe(patch, skip_empty=False), RunContext())
        assert found.windows == 5
        assert (found.labels == wanted).mean() >= 0.9999


def test_neighbours_of_a_slice_are_channels_and_the_edge_is_repeated():
    values = np.arange(6.0).reshape(6, 1, 1) * np.ones((1, 8, 8))

    def sum_of_neighbours(patches: torch.Tensor) -> torch.Tensor:
        assert patches.shape[1] == 3
        number = patches.sum(dim=1).long()
        return nn.functional.one_hot(number, 16).movedim(-1, 1).float()

    recipe = TileRecipe((1, 8, 8), neighbours=1, skip_empty=False)
    found = segment(sum_of_neighbours, volume_of(values), recipe, RunContext())
    assert found.labels[:, 4, 4].tolist() == [0 + 0 + 1, 3, 6, 9, 12, 4 + 5 + 5]


@pytest.mark.parametrize("call", [1, 2, 3])
def test_out_of_memory_at_any_call_gives_smaller_patches_and_the_same_labels(call):
    volume = volume_of(pieces((64, 70, 64)))
    network = Failing(Levels(), lambda number, _: number == call)
    found = segment(network, volume, TileRecipe((64, 64, 64)), RunContext())
    np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))
    assert found.fallbacks == ("Too little memory: smaller patches, 32 x 64 x 64",)
    assert network.calls[-1][2:] == (32, 64, 64)


def test_patches_shrink_until_they_fit_and_an_error_says_that_none_does():
    volume = volume_of(pieces((64, 70, 64)))
    network = Failing(Levels(), lambda _, patches: patches.numel() > 40_000)
    found = segment(network, volume, TileRecipe((64, 64, 64)), RunContext())
    np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))
    assert found.fallbacks[-1] == "Too little memory: smaller patches, 32 x 32 x 32"
    assert len(found.fallbacks) == 3
    for recipe in (TileRecipe((64, 64, 64)), TileRecipe((64, 64, 64), fixed_patch=True)):
        never = Failing(Levels(), lambda *_: True)
        with pytest.raises(ModelError, match="not enough memory"):
            segment(never, volume, recipe, RunContext())
    with pytest.raises(RuntimeError, match="something else"):
        segment(Failing(Levels(), raise_other), volume, TileRecipe((64, 64, 64)), RunContext())


def raise_other(*_: object) -> bool:
    raise RuntimeError("something else")


def test_smaller_patches_of_a_network_that_looks_around_agree_within_tolerance():
    torch.manual_seed(3)
    network = UNet3d(1, 3, (8, 16), norm="batch").eval()
    volume = volume_of(pieces((64, 70, 64)))
    plain = segment(network, volume, TileRecipe((64, 64, 64)), RunContext())
    failing = Failing(network, lambda number, _: number == 2)
    less = segment(failing, volume, TileRecipe((64, 64, 64)), RunContext())
    assert less.fallbacks
    for number in np.unique(plain.labels):
        a, b = plain.labels == number, less.labels == number
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) >= 0.97  # untrained: noise at the edges


def test_memory_is_given_up_in_the_stated_order():
    plan = Plan((96, 96, 96), "cuda:0", batch=2, divisor=16)
    words = []
    while (lower := plan.lower()) is not None:
        plan, said = lower
        words.append(said.removeprefix("Too little memory: "))
    assert words[0] == "1 patches at a time"
    assert words[1] == "smaller patches, 48 x 96 x 96"
    shrunk = [word for word in words if word.startswith("smaller patches")]
    assert words[1 + len(shrunk) :] == [
        "half precision",
        "results added up in main memory",
        "the processor was used",
    ]
    assert plan == Plan(plan.patch, "cpu", divisor=16)


def test_what_will_not_fit_is_known_before(monkeypatch):
    volume = volume_of(pieces((64, 70, 64)))
    network = Failing(Levels(), lambda *_: False)
    plain = Asked(network)
    plain.learn(1, (64, 64, 64))
    needed = plain.bytes_per_voxel * 64**3
    monkeypatch.setattr(devices, "free_bytes", lambda _: needed)
    network.calls.clear()
    found = segment(plain, volume, TileRecipe((64, 64, 64)), RunContext())
    assert found.fallbacks[0] == "Too little memory: smaller patches, 32 x 64 x 64"
    assert max(np.prod(call) for call in network.calls) < 64**3
    np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))
    monkeypatch.setattr(devices, "free_bytes", lambda _: 1000.0)
    with pytest.raises(ModelError, match="not enough memory"):
        segment(Levels(), volume, TileRecipe((64, 64, 64)), RunContext())
    monkeypatch.setattr(devices, "free_bytes", lambda _: None)
    assert not segment(Levels(), volume, TileRecipe((64, 64, 64)), RunContext()).fallbacks


def test_a_run_stops_wherever_the_reader_stops_it():
    volume = volume_of(pieces((40, 40, 40)))
    recipe = TileRecipe((16, 16, 16), "", (1.3, 1.3, 1.3))
    for looks in itertools.count():
        try:
            segment(Levels(), volume, recipe, RunContext(looks + 1))
        except Cancelled:
            continue
        break
    assert looks > 30


def one_logit(image: torch.Tensor) -> torch.Tensor:
    return image - 5.0


def deeply_supervised(image: torch.Tensor) -> list[torch.Tensor]:
    answer = Levels()(image)
    return [answer, answer[..., ::2, ::2, ::2]]


def test_answers_of_one_channel_and_of_several_resolutions_are_understood():
    volume = volume_of(pieces((20, 20, 20)))
    found = segment(one_logit, volume, TileRecipe((16, 16, 16)), RunContext())
    np.testing.assert_array_equal(found.labels, volume.values() > 5.0)
    found = segment(deeply_supervised, volume, TileRecipe((16, 16, 16)), RunContext())
    np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))


def test_what_cannot_be_done_is_refused_in_words():
    volume = volume_of(pieces((20, 20, 20)))
    recipe = TileRecipe((16, 16, 16))
    with pytest.raises(ModelError, match="not finite"):
        segment(lambda image: Levels()(image) * np.nan, volume, recipe, RunContext())
    with pytest.raises(ModelError, match="grid"):
        segment(lambda image: Levels()(image)[..., ::2], volume, recipe, RunContext())
    color = Volume("v", "s", volume.geometry, np.zeros((20, 20, 20, 3), np.uint8))
    with pytest.raises(ModelError, match="colour"):
        segment(Levels(), color, recipe, RunContext())
    nowhere = replace(volume, geometry=replace(volume.geometry, calibration=Calibration.NONE))
    with pytest.raises(ModelError, match="where in the patient"):
        segment(Levels(), nowhere, replace(recipe, orientation="RAS"), RunContext())
    assert segment(Levels(), nowhere, recipe, RunContext()).labels.any()
    nothing = volume_of(np.full((20, 20, 20), np.nan))
    with pytest.raises(ModelError, match="no numbers"):
        segment(Levels(), nothing, recipe, RunContext())
    for wrong in ({"patch": (0, 4, 4)}, {"overlap": 1.0}, {"neighbours": 1}):
        with pytest.raises(ValueError, match=r"windows|neighbours"):
            TileRecipe(**{"patch": (4, 4, 4), **wrong})


def test_voxels_that_are_no_number_are_dark():
    values = pieces((20, 20, 20))
    values[3, 4, 5] = np.nan
    found = segment(Levels(), volume_of(values), TileRecipe((16, 16, 16)), RunContext())
    assert found.labels[3, 4, 5] == 0


class Moody(nn.Module):
    """Turns its answer round for images that are brighter: tracing sees one way only."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer = Levels()(image)
        return answer.flip(1) if float(image.mean()) > 2.0 else answer


def test_a_network_that_cannot_be_frozen_is_asked_as_it_is():
    asked = Asked(Moody())
    asked.freeze(torch.zeros((1, 1, 16, 16, 16)))
    bright = torch.full((1, 1, 16, 16, 16), 20.0)
    for _ in range(2):
        torch.testing.assert_close(asked(bright), Moody()(bright))


def test_a_frozen_network_answers_like_the_plain_one():
    torch.manual_seed(0)
    network = UNet3d(1, 4, (8, 16, 32)).eval()
    asked = Asked(network)
    image = torch.rand(1, 1, 16, 24, 32)
    plain = asked(image)
    asked.freeze(image)
    frozen = [asked(image) for _ in range(4)]
    assert asked._frozen is not None
    for answer in frozen:
        torch.testing.assert_close(answer, plain, rtol=1e-3, atol=1e-3)


def test_more_than_255_classes_have_labels_of_two_bytes():
    values = np.arange(300.0).reshape(3, 10, 10)

    def numbers(image: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(image[:, 0].long(), 300).movedim(-1, 1).float()

    found = segment(
        numbers, volume_of(values), TileRecipe((3, 10, 10), skip_empty=False), RunContext()
    )
    np.testing.assert_array_equal(found.labels, values)


def test_half_precision_that_overflows_is_given_up(monkeypatch):
    monkeypatch.setattr(tiles, "Plan", lambda **plan: Plan(**{**plan, "half": True}))

    class Overflowing(Asked):
        def __call__(self, patches: torch.Tensor, *, half: bool = False) -> torch.Tensor:
            return super().__call__(patches) * (np.inf if half else 1)

    volume = volume_of(pieces((20, 20, 20)))
    found = segment(Overflowing(Levels()), volume, TileRecipe((16, 16, 16)), RunContext())
    np.testing.assert_array_equal(found.labels, scores_of(volume).argmax(axis=0))
    assert found.fallbacks == ("Half precision did not suffice: full precision",)
