"""Answering marks: a reader clicks on an object, and the network says what of it is meant."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from medview.core.errors import ModelError, ReadError
from medview.core.geometry import Geometry
from medview.imaging.prompts import SIDE, Answerer, Floats, Question, View, answered
from medview.imaging.walker import led
from medview.inference.marks import CHANNELS, network_of, to_channels
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case
from medview.learning.marking import LEAST_PX, Meant, Subject, clicked, example, meant
from medview.learning.pictures import PICTURES, read_map, read_picture
from medview.learning.scans import load_label, load_volume
from medview.learning.tasks.task import Recipe, Scored, Task

#: An outline is good enough from this Dice; nobody clicks longer than this.
GOOD_DICE, MOST_CLICKS = 0.9, 20
#: This share of what is learned from is made up.
_MADE_UP = 0.45


class Marks(Task):
    """One object from marks on it, in pictures and in slices of volumes."""

    losses = frozenset({"outline"})
    watched = "dice_3_clicks"

    def __init__(self, recipe: Recipe, loss: LossConfig, augment: AugmentConfig) -> None:
        super().__init__(recipe, loss, augment)
        if tuple(recipe.patch) != (SIDE, SIDE):
            raise ReadError(
                f"Marks are answered in windows of {SIDE} x {SIDE}.",
                hint=f"Set data.patch to [{SIDE}, {SIDE}] in the training configuration.",
            )
        self._answer: Answerer = _nothing

    def check_network(self, network: nn.Module) -> None:
        """Refuse also what the window, which asks without torch, could not ask or would misread."""
        super().check_network(network)
        view = example(None, np.random.default_rng(0), _nothing)[0]
        weights = {name: one.cpu().numpy() for name, one in network.state_dict().items()}
        try:
            alike = np.allclose(
                network_of(weights, "the network").likely(view),
                answerer_of(network)(view),
                atol=1e-3,
            )
        except ModelError as error:
            raise _cannot_be_asked(error.user_text) from error
        if not alike:
            raise _cannot_be_asked("Without torch it answers something else.")

    def watch(self, network: nn.Module) -> None:
        """Let what the network answers by now be corrected in examples."""
        self._answer = answerer_of(network)

    def read(self, case: Case) -> Subject:
        """Read a picture with its map, or a volume with its."""
        if case.image.suffix.lower() not in PICTURES:
            volume = load_volume(case)
            label = load_label(case, volume, 255)
            if not label.any():
                raise ReadError("label is empty")
            return Subject(volume.voxels, label, _steps(volume.geometry))
        picture, label = read_picture(case), read_map(case.label)
        if label.shape != picture.shape[:2]:
            raise ReadError("image and label lie on different grids")
        label = np.where(np.isin(label, np.flatnonzero(_sizes(label) >= LEAST_PX)), label, 0)
        if not label.any():
            raise ReadError(f"label is empty, or holds nothing of {LEAST_PX} pixels")
        grey = picture.mean(axis=2) if picture.ndim == 3 else picture
        numbered = bool(case.tags.get("numbered"))
        return Subject(grey.astype(np.float32), label, (1.0, 1.0), numbered)

    def picture(self, example: Subject) -> npt.NDArray[Any]:
        """Give a picture, or the middle slice of a volume."""
        image = example.image
        return image if image.ndim == 2 else image[..., image.shape[2] // 2]

    def prepare(self, example: Subject) -> Subject:
        """Give it as it is: every batch looks at it through another window."""
        return example

    def batch(
        self, prepared: Sequence[Subject], generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give views (N, 5, SIDE, SIDE) and what is meant (N, 1, SIDE, SIDE)."""
        seed = int(torch.randint(2**62, (), generator=generator).item())
        rng = np.random.default_rng(seed)
        pairs = [
            example(None if rng.random() < _MADE_UP else one, rng, self._answer) for one in prepared
        ]
        truths = np.stack([truth for _, truth in pairs])[:, None].astype(np.float32)
        return torch.stack(
            [torch.from_numpy(to_channels(view)) for view, _ in pairs]
        ), torch.from_numpy(truths)

    def loss(self, answer: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Give cross-entropy and what is missing of the Dice of each view."""
        entropy = functional.binary_cross_entropy_with_logits(answer, target)
        chances = answer.sigmoid()
        both = (chances * target).sum((1, 2, 3))
        all_of = chances.sum((1, 2, 3)) + target.sum((1, 2, 3))
        return entropy + (1 - (2 * both + 1) / (all_of + 1)).mean()

    def answer(self, network: nn.Module, example: Subject) -> list[float]:
        """Give the Dice after each click on an object of the image, the same at every call.

        The network leads walks, as in the window.
        """
        one, likely = object_to_find(example), answerer_of(network)

        def ask(view: View) -> Floats:
            return led(view, likely(view))

        def outline(question: Question) -> npt.NDArray[np.bool_]:
            return answered(question, ask)

        return clicked(one, outline, GOOD_DICE, MOST_CLICKS)

    def score(self, case: Case, example: Subject, answer: list[float], *, thorough: bool) -> Scored:
        """Count the clicks; a case that is never good counts one more than the most."""
        del example, thorough
        numbers = {
            f"dice_{n}_click{'s' * (n > 1)}": answer[min(n, len(answer)) - 1] for n in (1, 3, 5)
        }
        numbers["clicks"] = len(answer) if answer[-1] >= GOOD_DICE else MOST_CLICKS + 1
        return Scored(case, numbers)

    def figures(self, scored: Sequence[Scored]) -> dict[str, float]:
        """Give the median of the clicks, the share that became good, and the mean Dice."""
        clicks = np.array([one.numbers["clicks"] for one in scored])
        names = [name for name in scored[0].numbers if name.startswith("dice")]
        return {
            "clicks_median": float(np.median(clicks)),
            "good": float((clicks <= MOST_CLICKS).mean()),
        } | {name: float(np.mean([one.numbers[name] for one in scored])) for name in names}

    def definitions(self) -> dict[str, str]:
        """Say how is clicked."""
        return {
            "clicks": f"until Dice {GOOD_DICE:g}, each into the middle of the largest area of "
            f"error (Sofiiuk et al., arXiv:2102.06583); {MOST_CLICKS + 1}: never",
        }

    def channels_wanted(self) -> int:
        """Give one channel: what is meant."""
        return 1

    def input_shape(self) -> tuple[int, ...]:
        """Give the image, marks on and beside the object, the answer before, the box."""
        return (CHANNELS, SIDE, SIDE)


def answerer_of(network: nn.Module) -> Answerer:
    """Give what answers views with a network, wherever it lies."""

    def ask(view: View) -> Floats:
        device = next(network.parameters()).device
        with torch.inference_mode():
            logits = network(torch.from_numpy(to_channels(view))[None].to(device))[0, 0]
        likely: Floats = logits.sigmoid().cpu().numpy()
        return likely

    return ask


def _cannot_be_asked(detail: str) -> ReadError:
    return ReadError(
        "Marks cannot be answered by the network that network.class and network.args name.",
        hint="In the training configuration set network.class to"
        ' "medview.inference.networks.unet.ShuffledUNet2d", and in network.args norm to "batch"'
        " and step to 2, or leave them out.",
        detail=detail,
    )


def _nothing(view: View) -> Floats:
    """What is answered before there is a network."""
    return np.zeros_like(view.image)


def _sizes(label: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Give how many pixels have each number."""
    return np.bincount(label.ravel().astype(np.intp))


def _steps(geometry: Geometry) -> tuple[float, ...]:
    return tuple(np.linalg.norm(geometry.affine[:3, :3], axis=0).tolist())


def object_to_find(subject: Subject) -> Meant:
    """Give the object of an image that an examination is about: always the same one."""
    return meant(subject, np.random.default_rng(0))
