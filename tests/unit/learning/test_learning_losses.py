"""Losses, schedules and averages against their formulas."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from medview.learning.config import OptimiserConfig, ScheduleConfig
from medview.learning.losses import depth_loss, make_class_loss, make_loss
from medview.learning.optimise import Average, learning_rate_factor, make_optimiser

LOGITS = torch.randn((2, 3, 4, 4, 4), generator=torch.Generator().manual_seed(0))
TARGET = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=torch.Generator().manual_seed(1))


def true_probability() -> torch.Tensor:
    return LOGITS.softmax(1).gather(1, TARGET)


def one_hot() -> torch.Tensor:
    return torch.stack([(TARGET[:, 0] == c).float() for c in range(3)], dim=1)


def expected_cross_entropy() -> torch.Tensor:
    return -true_probability().log().mean()


def expected_dice() -> torch.Tensor:
    p, t = LOGITS.softmax(1)[:, 1:], one_hot()[:, 1:]
    axes = (0, 2, 3, 4)  # the whole batch is one picture
    return (1 - 2 * (p * t).sum(axes) / (p.sum(axes) + t.sum(axes))).mean()


def test_cross_entropy():
    loss = make_loss("cross_entropy")(LOGITS, TARGET)
    assert loss.item() == pytest.approx(expected_cross_entropy().item(), rel=1e-5)


def test_weighted_cross_entropy():
    weights = torch.tensor([0.5, 1.0, 2.0])
    each = weights[TARGET]
    expected = -(each * true_probability().log()).sum() / each.sum()
    loss = make_loss("cross_entropy", (0.5, 1.0, 2.0))(LOGITS, TARGET)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_dice():
    loss = make_loss("dice")(LOGITS, TARGET)
    assert loss.item() == pytest.approx(expected_dice().item(), abs=1e-5)


def test_dice_and_cross_entropy():
    loss = make_loss("dice_ce")(LOGITS, TARGET)
    expected = expected_dice() + expected_cross_entropy()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_weighted_dice_and_cross_entropy():
    weights = torch.tensor([0.5, 1.0, 2.0])
    p, t = LOGITS.softmax(1)[:, 1:], one_hot()[:, 1:]
    axes = (0, 2, 3, 4)
    dice = 1 - 2 * (p * t).sum(axes) / (p.sum(axes) + t.sum(axes))
    each = weights[TARGET]
    entropy = -(each * true_probability().log()).sum() / each.sum()
    loss = make_loss("dice_ce", (0.5, 1.0, 2.0))(LOGITS, TARGET)
    assert loss.item() == pytest.approx(((weights[1:] * dice).mean() + entropy).item(), abs=1e-5)


def test_mse_is_the_brier_score():
    expected = ((LOGITS.softmax(1) - one_hot()) ** 2).mean()
    assert make_loss("mse")(LOGITS, TARGET).item() == pytest.approx(expected.item(), rel=1e-5)


def test_focal():
    logp = LOGITS.log_softmax(1)
    expected = (-((1 - logp.exp()) ** 2) * logp * one_hot()).mean()
    assert make_loss("focal")(LOGITS, TARGET).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["constant", "cosine", "one_cycle", "poly"])
def test_schedules_warm_up_to_the_full_rate_and_never_beyond(name):
    config = ScheduleConfig(name=name, epochs=20, warmup=4)
    factors = [learning_rate_factor(config, epoch / 4) for epoch in range(81)]
    assert factors[0] < 0.1
    assert factors[16] == pytest.approx(1.0)
    assert max(factors) <= 1.0
    assert all(a <= b for a, b in pairwise(factors[:17]))
    assert all(a >= b for a, b in pairwise(factors[16:]))
    assert factors[-1] == pytest.approx(1.0 if name == "constant" else 0.0)


def test_cosine_is_half_way_at_half_time():
    config = ScheduleConfig(name="cosine", epochs=20, warmup=0)
    assert learning_rate_factor(config, 10.0) == pytest.approx(0.5)


def test_poly_has_power_nine_tenths():
    config = ScheduleConfig(name="poly", epochs=20, warmup=0)
    assert learning_rate_factor(config, 5.0) == pytest.approx(math.pow(0.75, 0.9))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_weight_decay_spares_biases(name):
    layer = nn.Linear(3, 2)
    optimiser = make_optimiser(layer, OptimiserConfig(name=name, lr=0.1, weight_decay=0.5))
    before = layer.bias.detach().clone()
    weight = layer.weight.detach().clone()
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    assert torch.equal(layer.bias, before)
    assert not torch.equal(layer.weight, weight)


def stepped(config: OptimiserConfig, gradients: list[float], start: float) -> float:
    """A weight of its own after a few steps with given gradients."""
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(start)
    optimiser = make_optimiser(layer, config)
    for gradient in gradients:
        layer.weight.grad = torch.full((1, 1), gradient)
        optimiser.step()
    return layer.weight.item()


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_by_its_recurrence(nesterov):
    """Sutskever et al. (2013) as torch writes it: v = m v + g, with Nesterov g + m v."""
    config = OptimiserConfig("sgd", 0.1, 0.01, momentum=0.8, nesterov=nesterov)
    weight, speed = 2.0, 0.0
    for gradient in (1.0, -0.5, 0.25):
        decayed = gradient + 0.01 * weight
        speed = 0.8 * speed + decayed
        weight -= 0.1 * (decayed + 0.8 * speed if nesterov else speed)
    assert stepped(config, [1.0, -0.5, 0.25], 2.0) == pytest.approx(weight, rel=1e-6)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_by_its_recurrence(name):
    """Kingma and Ba, arXiv:1412.6980; its decay apart, Loshchilov and Hutter, arXiv:1711.05101."""
    rate, decay = 0.1, 0.05
    weight, first, second = 2.0, 0.0, 0.0
    for step, given in enumerate((1.0, -0.5, 0.25), start=1):
        gradient = given
        if name == "adam":
            gradient += decay * weight
        else:
            weight -= rate * decay * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        mean, spread = first / (1 - 0.9**step), math.sqrt(second / (1 - 0.999**step))
        weight -= rate * mean / (spread + 1e-8)
    config = OptimiserConfig(name, rate, decay)
    assert stepped(config, [1.0, -0.5, 0.25], 2.0) == pytest.approx(weight, rel=1e-5)


def test_average_follows_its_recurrence():
    layer = nn.Linear(1, 1, bias=False)
    average = Average(layer, decay=0.5)
    mean = layer.weight.item()
    for step in range(1, 30):
        with torch.no_grad():
            layer.weight.fill_(float(step))
        average.update(layer, step)
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * step
    assert average.network.weight.item() == pytest.approx(mean, rel=1e-5)


FLAT_LOGITS = torch.randn((5, 3), generator=torch.Generator().manual_seed(2))
MIXED = torch.rand((5, 3), generator=torch.Generator().manual_seed(3)).softmax(1)


def test_class_losses_by_their_formulas():
    p = FLAT_LOGITS.softmax(1)
    entropy = -(MIXED * p.log()).sum(1).mean()
    loss = make_class_loss("cross_entropy")(FLAT_LOGITS, MIXED)
    assert loss.item() == pytest.approx(entropy.item(), rel=1e-5)
    brier = make_class_loss("mse")(FLAT_LOGITS, MIXED)
    assert brier.item() == pytest.approx(((p - MIXED) ** 2).mean().item(), rel=1e-5)
    focal = -(MIXED * (1 - p) ** 2 * p.log()).sum(1).mean()
    loss = make_class_loss("focal")(FLAT_LOGITS, MIXED)
    assert loss.item() == pytest.approx(focal.item(), rel=1e-5)
    weighted = -(MIXED * torch.tensor([1.0, 2.0, 3.0]) * p.log()).sum(1).mean()
    loss = make_class_loss("cross_entropy", (1.0, 2.0, 3.0))(FLAT_LOGITS, MIXED)
    assert loss.item() == pytest.approx(weighted.item(), rel=1e-5)


def test_smoothing_is_what_torch_does_with_labels():
    numbers = torch.tensor([0, 2, 1, 1, 0])
    truth = nn.functional.one_hot(numbers, 3).float()
    loss = make_class_loss("cross_entropy", smoothing=0.1)(FLAT_LOGITS, truth)
    expected = nn.functional.cross_entropy(FLAT_LOGITS, numbers, label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_depth_loss_is_least_for_the_truth_and_minds_near_borders():
    inside = torch.zeros(1, 8, 8)
    inside[:, 2:6, 2:6] = 1
    depth = 0.6 * inside
    border = torch.zeros(1, 8, 8)
    border[:, 2, 2] = 1
    target = torch.stack([inside, depth, border], dim=1)

    def loss(inside_too: torch.Tensor, depth_too: torch.Tensor) -> float:
        maps = torch.stack([inside_too, depth_too], dim=1).clamp(0.001, 0.999)
        return depth_loss(maps.logit(), target).item()

    best = loss(inside, depth)
    shallow = loss(inside, 0.3 * inside)
    at_border, elsewhere = inside.clone(), inside.clone()
    at_border[:, 2, 2] = 0
    elsewhere[:, 5, 5] = 0
    assert best < shallow
    assert best < loss(elsewhere, depth) < loss(at_border, depth)
