"""Motion in clips, learned from frames that were warped by motions that are known."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ReadError
from medview.inference.networks.readings import motion_between
from medview.learning.clips import read_frames
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.tasks.task import Recipe, Scored, Task, means
from medview.learning.warps import (
    EXAM,
    Disturbance,
    end_point_error,
    moved_pair,
    random_motion,
)

#: So many pairs are made of each clip to measure by.
_PAIRS = 6
#: What a coarser level's error counts, relative to the next finer one's.
_COARSER = 0.8


@dataclass(frozen=True)
class Moving:
    """Frames of one clip (time, rows, columns), from 0 to about 1."""

    frames: npt.NDArray[np.float32]

    @property
    def picture(self) -> npt.NDArray[np.float32]:
        """One frame, by which copies of the clip are found."""
        middle: npt.NDArray[np.float32] = self.frames[len(self.frames) // 2]
        return middle


@dataclass(frozen=True)
class Pair:
    """Two pictures (2, rows, columns) and the motion between them (2, rows, columns) in pixels."""

    pictures: torch.Tensor
    motion: torch.Tensor


class Motion(Task):
    """Dense motion between two frames. Clips need no labels: the truth is made with the pair."""

    losses = frozenset({"end_point"})
    watched = "inverse_epe"

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        if len(recipe.patch) != 2 or recipe.channels != 1:
            raise ReadError(
                "Motion is learned in flat grey patches.",
                hint="Set data.patch to two numbers and data.channels to 1.",
            )
        self.flat = recipe.flat()
        self.most = Disturbance(augment.motion_px, augment.noise, augment.gain)

    def read(self, case: Case) -> Moving:
        """Read frames of one clip; ReadError for pictures below 32 x 32 pixels."""
        frames = read_frames(case.image)
        if min(frames.shape[1:]) < 32:
            raise ReadError("its pictures are smaller than 32 x 32 pixels")
        return Moving(frames)

    def prepare(self, example: Moving) -> torch.Tensor:
        """Give the frames (time, rows, columns)."""
        return torch.from_numpy(example.frames)

    def batch(
        self, prepared: Sequence[torch.Tensor], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give a pair of each clip (N, 2, rows, columns) and its motion (N, 2, rows, columns)."""
        pairs = [self._pair(frames, generator) for frames in prepared]
        images = torch.stack([self._normalised(pair.pictures) for pair in pairs])
        return images, torch.stack([pair.motion for pair in pairs])

    def _pair(self, frames: torch.Tensor, generator: torch.Generator) -> Pair:
        """Cut a piece out of a frame, with room around it for what moves in, and move it."""
        room = round(self.most.motion_px)
        sides = [side + 2 * room for side in self.recipe.patch]
        frame = frames[int(torch.randint(len(frames), (), generator=generator))]
        rows, columns = (
            _piece(length, side, generator) for length, side in zip(frame.shape, sides, strict=True)
        )
        piece = frame[rows][:, columns]
        for axis in self.augment.flip:
            if torch.rand((), generator=generator) < 0.5:
                piece = piece.flip(axis)
        if torch.rand((), generator=generator) < self.augment.invert:
            piece = piece.max() - piece
        low, high = np.log(self.augment.gamma)
        power = float(np.exp(low + (high - low) * torch.rand((), generator=generator).item()))
        motion = random_motion((sides[0], sides[1]), self.most.motion_px, generator)
        pictures = moved_pair(piece.clamp(min=0) ** power, motion, self.most, generator)
        inner = (slice(None), slice(room, sides[0] - room), slice(room, sides[1] - room))
        return Pair(pictures[inner], motion[inner])

    def _normalised(self, pictures: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.flat.to_input(picture.numpy()) for picture in pictures])

    def loss(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Give the robust distance of (N, levels, 2, rows, columns) from the truth.

        Sun et al., arXiv:1709.02371: the distance to the power 0.7; finer levels count more.
        """
        error = ((answer - target[:, None]).norm(dim=2) + 0.01) ** 0.7
        levels = error.mean(dim=(0, 2, 3))
        weights = _COARSER ** torch.arange(len(levels) - 1, -1, -1, device=levels.device)
        loss: torch.Tensor = (weights * levels).sum() / weights.sum()
        return loss

    def answer(self, network: nn.Module, example: Moving) -> list[float]:
        """Give the end-point error of each of the pairs that the clip is measured by, in pixels."""
        errors = []
        for pair in exam(example.frames):
            first, second = pair.pictures.numpy()
            found = torch.from_numpy(motion_between(network, first, second, self.flat))
            errors.append(end_point_error(found, pair.motion).item())
        return errors

    def score(self, case: Case, example: Moving, answer: list[float], *, thorough: bool) -> Scored:
        """Give the mean error of a clip's pairs, and what no motion at all would have."""
        del thorough
        still = [
            end_point_error(torch.zeros_like(pair.motion), pair.motion).item()
            for pair in exam(example.frames)
        ]
        numbers = {"epe_px": float(np.mean(answer)), "epe_still_px": float(np.mean(still))}
        return Scored(case, numbers)

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give the mean end-point error over clips, and that of an answer of no motion."""
        return means(scored, ("epe_px", "epe_still_px"))

    def tables(self, scored: Sequence[Scored]) -> dict[str, Any]:
        """Give the clips from the best to the worst, with the error and that of no motion."""
        ranked = sorted((one.numbers for one in scored), key=lambda numbers: numbers["epe_px"])
        return {
            "clips": {
                title: [[float(place), numbers[name]] for place, numbers in enumerate(ranked, 1)]
                for title, name in (("model", "epe_px"), ("no motion", "epe_still_px"))
            }
        }

    def definitions(self) -> dict[str, str]:
        """Say how the truth is made."""
        return {
            "epe": f"the mean length of the error over all pixels of {_PAIRS} pairs a clip, "
            f"warped by known smooth fields of up to {EXAM.motion_px:g} pixels, with noise and "
            "another gain; the same pairs for every model",
        }

    def headline(self, figures: Mapping[str, float]) -> float:
        """Give the inverse of the error: more is better."""
        return 1 / max(figures["epe_px"], 1e-6)

    def headlines(self) -> tuple[str, ...]:
        """Give the end-point error."""
        return ("epe_px",)

    def channels_wanted(self) -> int:
        """Give one channel to the right and one down."""
        return 2

    def input_shape(self) -> tuple[int, ...]:
        """Give the shape of one pair."""
        return (2, *self.recipe.patch)


def _piece(length: int, side: int, generator: torch.Generator) -> torch.Tensor:
    """Give `side` neighbouring places of `length`; where there are too few, the edge again."""
    start = int(torch.randint(max(length - side, 0) + 1, (), generator=generator))
    return torch.arange(start, start + side).clamp(max=length - 1)


def exam(frames: npt.NDArray[np.float32]) -> list[Pair]:
    """Give the pairs that a clip is measured by: the same ones for every model, from its pixels."""
    pairs = []
    for number in np.linspace(0, len(frames) - 1, _PAIRS).round().astype(int):
        frame = torch.from_numpy(np.ascontiguousarray(frames[number]))
        # By way of whole numbers: a float beyond a byte becomes another one on each processor.
        grey = (frames[number] * 255).astype(np.int32).astype(np.uint8)
        seed = zlib.crc32(grey.tobytes()) + int(number)
        generator = torch.Generator().manual_seed(seed)
        motion = random_motion((frame.shape[0], frame.shape[1]), EXAM.motion_px, generator)
        pairs.append(Pair(moved_pair(frame, motion, EXAM, generator), motion))
    return pairs
