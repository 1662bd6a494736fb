"""Answering a reader's marks with a network, without torch: small enough for numpy.

A click is answered while the AI process may be at work on something long, so this network is not
asked there. It is `networks.unet.ShuffledUNet2d` with batch norms, taken apart into products of
matrices; its weights are read as plain arrays, and hashed before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from medview.core.errors import ModelError
from medview.core.models import ModelCard
from medview.imaging.prompts import SIDE, Floats, View
from medview.imaging.walker import led
from medview.inference.catalog import ANSWERERS, load_card, verify_model, weights_file

#: What a view shows, channel by channel.
CHANNELS = 5
_LEAK, _EPSILON = 0.01, 1e-5
#: It works on a grid of so many cells in one: see `networks.unet.ShuffledUNet2d`.
_CELLS = 4

Weights = Mapping[str, npt.NDArray[np.floating]]


def open_answerer(folder: Path) -> MarkAnswerer:
    """What answers marks with the model of a folder, tried once so that no click finds it broken.

    ModelError for a folder that is no such model, changed or damaged weights, and weights that
    are not those of a network that can be asked here.
    """
    card = load_card(folder, ANSWERERS)
    verify_model(card, folder)
    try:
        weights = load_file(weights_file(card, folder))
    except (SafetensorError, OSError, TypeError) as error:
        raise ModelError(
            f"The weights of {card.title} cannot be read.",
            hint="Install the model again.",
            detail=repr(error),
        ) from error
    return MarkAnswerer(card, network_of(weights, card.title))


def network_of(weights: Weights, title: str) -> Network:
    """The network that has these weights, by the names that torch gives them.

    ModelError where they are not all numbers, or not those of a network of one output that is
    built as this module knows it.
    """
    one = np.ones((SIDE, SIDE), dtype=np.float32)
    try:
        with np.errstate(all="ignore"):
            network = Network({name: part.astype(np.float32) for name, part in weights.items()})
            likely = network.likely(View(one, one > 0, one > 0, one, one > 0))
            numbers = np.isfinite(likely).all() and all(
                np.isfinite(x).all() for x in weights.values()
            )
    except (LookupError, ValueError, TypeError) as error:
        raise ModelError(
            f"The weights of {title} are not those of a network for marks.", detail=repr(error)
        ) from error
    if not numbers:
        raise ModelError(f"The weights of {title} are not all numbers.")
    return network


def to_channels(view: View) -> Floats:
    """A view as the network sees it: (CHANNELS, SIDE, SIDE)."""
    parts = (view.image, view.adds, view.takes, view.before, view.box)
    return np.stack(parts).astype(np.float32)


class MarkAnswerer:
    """Says how likely each cell of a view belongs to what is marked.

    A network does, and leads random walks that hold the marks and keep to borders.
    """

    def __init__(self, card: ModelCard, network: Network) -> None:
        self.card = card
        self.likely = network.likely

    def __call__(self, view: View) -> Floats:
        """Probabilities, (SIDE, SIDE)."""
        return led(view, self.likely(view))


@dataclass(frozen=True, eq=False)
class _Convolution:
    """Weights (out, in, 3, 3) or (out, in, 1, 1) with what is added, a norm already in them."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats, stride: int = 1) -> Floats:
        """Convolve (in, rows, columns) with zeros around it."""
        out, size = len(self.weight), self.weight.shape[2]
        if size == 1:
            columns = x[:, ::stride, ::stride]
            shape = columns.shape[1:]
            columns = columns.reshape(len(x), -1)
        else:
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
            seen = seen[:, ::stride, ::stride]
            shape = seen.shape[1:3]
            columns = seen.transpose(0, 3, 4, 1, 2).reshape(len(x) * 9, -1)
        product = self.weight.reshape(out, -1) @ columns + self.bias[:, None]
        return np.asarray(product.reshape(out, *shape))


class Network:
    """The layers by the names that torch gives them."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        levels = {int(name.split(".")[2]) for name in weights if name.startswith("body.down.")}
        self._stem = self._normed("body.stem.0", "body.stem.1")
        self._down = [self._block(f"body.down.{level}") for level in sorted(levels)]
        self._up = [
            (weights[f"body.up.{level}.weight"], weights[f"body.up.{level}.bias"])
            for level in sorted(levels)
        ]
        self._merge_first = self._normed("body.merge.0.0", "body.merge.0.1")
        self._merge = [self._block(f"body.merge.{level}") for level in sorted(levels)[1:]]
        self._head = _Convolution(weights["body.head.weight"], weights["body.head.bias"])
        if len(self._head.weight) != _CELLS:
            raise ValueError("it has more outputs than one")

    def likely(self, view: View) -> Floats:
        """How likely it finds each cell of a view, (SIDE, SIDE)."""
        logits = self(to_channels(view))[0]
        likely: Floats = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
        return likely

    def __call__(self, view: Floats) -> Floats:
        """Logits (1, SIDE, SIDE) of a view (CHANNELS, SIDE, SIDE)."""
        x = _leaky(self._stem(_gathered(view)))
        skips = []
        for block in self._down:
            skips.append(x)
            x = block(x, 2)
        for level in reversed(range(len(self._up))):
            x = _doubled(x, *self._up[level]) + skips.pop()
            x = self._merge[level - 1](x) if level else _leaky(self._merge_first(x))
        return _spread(self._head(x))

    def _normed(self, convolution: str, norm: str) -> _Convolution:
        """A convolution and the batch norm behind it as one."""
        w = self._weights
        scale = w[f"{norm}.weight"] / np.sqrt(w[f"{norm}.running_var"] + _EPSILON)
        bias = w[f"{norm}.bias"] - w[f"{norm}.running_mean"] * scale
        return _Convolution(w[f"{convolution}.weight"] * scale[:, None, None, None], bias)

    def _block(self, name: str) -> _Block:
        """Two convolutions, and the one of the short cut where it has one."""
        w, short = self._weights, f"{name}.shortcut"
        first, second = (self._normed(f"{name}.conv{n}", f"{name}.norm{n}") for n in (1, 2))
        has_cut = f"{short}.bias" in w
        cut = _Convolution(w[f"{short}.weight"], w[f"{short}.bias"]) if has_cut else None
        return _Block(first, second, cut)


@dataclass(frozen=True, eq=False)
class _Block:
    """Two convolutions beside a short cut."""

    first: _Convolution
    second: _Convolution
    cut: _Convolution | None

    def __call__(self, x: Floats, stride: int = 1) -> Floats:
        """The first convolution and the short cut step over cells."""
        short = x if self.cut is None else self.cut(x, stride)
        return _leaky(self.second(_leaky(self.first(x, stride))) + short)


def _leaky(x: Floats) -> Floats:
    return np.asarray(np.maximum(x, _LEAK * x))


def _doubled(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """A transposed convolution 2 x 2 of stride 2, weights (in, out, 2, 2)."""
    count, out = weight.shape[:2]
    rows, columns = x.shape[1:]
    product = weight.reshape(count, -1).T @ x.reshape(count, -1)
    cells = product.reshape(out, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2)
    return np.asarray(cells.reshape(out, 2 * rows, 2 * columns) + bias[:, None, None])


def _gathered(x: Floats) -> Floats:
    """Every 2 x 2 cells as channels of one."""
    channels, rows, columns = x.shape
    cells = x.reshape(channels, rows // 2, 2, columns // 2, 2).transpose(0, 2, 4, 1, 3)
    return np.asarray(cells.reshape(channels * 4, rows // 2, columns // 2))


def _spread(x: Floats) -> Floats:
    """Every four channels as 2 x 2 cells."""
    channels, rows, columns = x.shape
    cells = x.reshape(channels // 4, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2)
    return np.asarray(cells.reshape(channels // 4, 2 * rows, 2 * columns))
