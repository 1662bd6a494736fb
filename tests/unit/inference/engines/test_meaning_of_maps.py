"""Whether the maps mean anything: saliency of what was learned, uncertainty of what is wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage, stats
from torch import nn

from medview.imaging.intensity import normalise
from medview.imaging.measure import expected_dice
from medview.inference.engines.network import (
    label_map,
    load_network,
    predict,
    read_flips,
    read_metadata,
)
from medview.inference.engines.saliency import ClassScore, explain
from medview.inference.networks.averaging import opinions, unsureness
from medview.inference.networks.classifiers import ResidualClassifier
from medview.inference.networks.unet import UNet2d

SHARED = Path(__file__).resolve().parents[5] / "shared" / "train" / "hippocampus_msd_task04"


def scene(number: int) -> tuple[torch.Tensor, int]:
    """A noisy picture with a ring or a disc somewhere: class 1 is the ring."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:32, :32]
    away = np.hypot(rows - rng.uniform(9, 22), columns - rng.uniform(9, 22))
    kind = number % 2
    shape = (away < 7) & ((away > 4) if kind else True)
    picture = rng.normal(0, 0.5, (32, 32)) + 2 * shape
    return torch.from_numpy(normalise(picture, {"method": "percentile_zscore"}))[None], kind


@pytest.fixture(scope="module")
def trained() -> ResidualClassifier:
    """A classifier that has learned rings from discs."""
    torch.manual_seed(0)
    network = ResidualClassifier(widths=(8, 16, 16), dropout=0.0, halve=False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for step in range(60):
        drawn = [scene(number) for number in range(24 * step, 24 * step + 24)]
        pictures, kinds = [one[0] for one in drawn], [one[1] for one in drawn]
        loss = nn.functional.cross_entropy(network(torch.stack(pictures)), torch.tensor(kinds))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    unseen = [scene(number) for number in range(9000, 9100)]
    with torch.inference_mode():
        answers = network(torch.stack([picture for picture, _ in unseen])).argmax(dim=1)
    assert (answers == torch.tensor([kind for _, kind in unseen])).float().mean() > 0.95
    return network


@pytest.mark.parametrize("method", ["grad_cam", "integrated_gradients"])
def test_saliency_changes_when_weights_are_randomised_layer_by_layer(
    trained: ResidualClassifier, method: str
) -> None:
    """Cascading randomisation (Adebayo et al., arXiv:1810.03292): from the answer to the input."""
    pictures = [scene(number)[0] for number in range(9001, 9021, 2)]
    score = partial(ClassScore, number=1)

    def maps(network: nn.Module) -> list[npt.NDArray[np.float32]]:
        return [np.abs(explain(network, score, one, method).numpy()) for one in pictures]

    before = maps(trained)
    copy = ResidualClassifier(widths=(8, 16, 16), dropout=0.0, halve=False).eval()
    copy.load_state_dict(trained.state_dict())
    alike = []
    torch.manual_seed(1)
    layers = [copy.output, *reversed(list(copy.features.children()))]
    for layer in layers:
        for part in layer.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        ranks = [
            stats.spearmanr(a, b, axis=None).statistic
            for a, b in zip(before, maps(copy), strict=True)
        ]
        alike.append(float(np.nanmean(ranks)))
    assert alike[-1] < 0.5, alike
    assert alike[-1] < alike[0], alike
    # The same network explains the same: what falls is not chance.
    np.testing.assert_allclose(maps(trained)[0], before[0], rtol=1e-4, atol=1e-6)


def test_opinions_are_those_of_members_and_mirrored_views() -> None:
    torch.manual_seed(0)
    network = ResidualClassifier(widths=(4, 8), dropout=0.0).eval()
    picture = scene(1)[0]
    said = opinions(network, picture, (0, 1))
    with torch.inference_mode():
        expected = [network(picture[None].flip(axes))[0] for axes in ([], [2], [3])]
    torch.testing.assert_close(said, torch.stack(expected))


def test_dropout_is_at_work_only_while_it_is_asked_for() -> None:
    network = ResidualClassifier(widths=(4, 8), dropout=0.2).eval()
    picture = scene(1)[0]
    first, again, other = (opinions(network, picture, (), seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first) > 1
    assert not any(part.training for part in network.modules())


@pytest.mark.parametrize("classes", [2, 5])
def test_unsureness_runs_from_certain_to_undecided(classes: int) -> None:
    sure = torch.zeros(classes, 1)
    sure[0] = 1
    even = torch.full((classes, 1), 1 / classes)
    torch.testing.assert_close(unsureness(torch.cat([sure, even], 1)), torch.tensor([0.0, 1.0]))


def test_a_label_network_can_be_explained_too() -> None:
    network = UNet2d(1, 2, (4, 8)).eval()

    class Share(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            share: torch.Tensor = self.network(image)[:, 1].mean(dim=(1, 2))
            return share

    assert explain(network, Share, torch.randn(1, 30, 20)).shape == (30, 20)


# Uncertainty of the shipped model, on crops of people it has not learned from


def cases(count: int) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]]:
    with (SHARED / "index.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    for row in rows[:count]:
        image, labels = (
            nibabel.as_closest_canonical(nibabel.load(SHARED / row["file"].replace("images", name)))
            for name in ("images", "labels")
        )
        yield np.asarray(image.dataobj, np.float32), np.asarray(labels.dataobj).astype(np.uint8)


def sparsification(doubt: npt.NDArray[np.float32], wrong: npt.NDArray[np.bool_]) -> float:
    """Area under the sparsification error over that of chance (Ilg et al., arXiv:1802.07095).

    The share of wrong voxels among those left when the most doubtful go first, less that of an
    oracle who takes the wrong ones away first. 1 for an order by chance, 0 for the oracle's.
    """
    left = np.arange(len(wrong), 0, -1)

    def curve(order: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        gone = np.concatenate([[0], np.cumsum(wrong[order])[:-1]])
        return (wrong.sum() - gone) / left

    oracle = curve(np.argsort(~wrong, kind="stable"))
    own = curve(np.argsort(-doubt, kind="stable"))
    return float((own - oracle).mean() / (wrong.mean() - oracle.mean()))


def test_the_measure_knows_chance_and_the_oracle() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(20_000) < 0.1
    assert sparsification(wrong.astype(np.float32), wrong) == pytest.approx(0, abs=1e-9)
    assert sparsification(rng.random(20_000).astype(np.float32), wrong) == pytest.approx(
        1, abs=0.05
    )


@dataclass(frozen=True)
class Read:
    """One case as the shipped model reads it, where it is hard: near the structure."""

    doubt: npt.NDArray[np.float32]
    wrong: npt.NDArray[np.bool_]
    dice: float
    confidence: float


@pytest.fixture(scope="module")
def read(resources: Path) -> list[Read]:
    if not SHARED.is_dir():
        pytest.skip("the hippocampus data are not here")
    folder = resources / "models" / "hippocampus_mr"
    metadata = read_metadata(folder)
    network, flips = load_network(folder), read_flips(metadata)
    answers = []
    for image, truth in cases(39):
        crop = normalise(image, metadata["medview"]["preprocess"]["intensity"])
        probabilities = predict(network, crop, flips)
        labels = label_map(probabilities)
        # Far away everything is right and sure.
        near = ndimage.binary_dilation((truth > 0) | (labels > 0), iterations=2)
        doubt = unsureness(torch.from_numpy(probabilities)).numpy()
        both = [
            2 * ((labels == n) & (truth == n)).sum() / ((labels == n).sum() + (truth == n).sum())
            for n in (1, 2)
        ]
        told = [expected_dice(labels == n, probabilities[n]) for n in (1, 2)]
        wrong = (labels != truth)[near]
        answers.append(Read(doubt[near], wrong, float(np.mean(both)), float(np.mean(told))))
    return answers


def interval(
    count: int, figure: Callable[[npt.NDArray[np.intp]], float]
) -> tuple[float, float, float]:
    """A figure of cases, and its 95 % interval when cases are drawn anew."""
    rng = np.random.default_rng(0)
    drawn = [figure(rng.integers(0, count, count)) for _ in range(2000)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return figure(np.arange(count)), float(low), float(high)


def test_uncertainty_ranks_wrong_voxels_better_than_chance(read: list[Read]) -> None:
    ratios = np.array([sparsification(one.doubt, one.wrong) for one in read])
    mean, low, high = interval(len(read), lambda drawn: float(ratios[drawn].mean()))
    print(f"sparsification error over chance {mean:.3f} ({low:.3f} to {high:.3f})")  # noqa: T201
    assert high < 0.6, "1 is chance"


def test_confidence_ranks_cases_better_than_chance(read: list[Read]) -> None:
    doubt = np.array([1 - one.confidence for one in read])
    error = np.array([1 - one.dice for one in read])

    def rank(drawn: npt.NDArray[np.intp]) -> float:
        return float(stats.spearmanr(doubt[drawn], error[drawn]).statistic)

    found, low, high = interval(len(read), rank)
    print(f"rank correlation of doubt and error {found:.3f} ({low:.3f} to {high:.3f})")  # noqa: T201
    assert low > 0, "0 is chance"
