"""TorchScript networks with a card. Such a file is a program: it runs where it is trusted."""

from __future__ import annotations

from pathlib import Path

import torch

from medview.core.errors import ModelError
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.inference.adapter import Context, loaded
from medview.inference.engines.given import Reading, run_pictures


class Engine:
    """A network saved by `torch.jit.save`, asked as its card says."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._reading: Reading | None = None
        self._network: torch.jit.ScriptModule | None = None
        self._device = "cpu"

    def load(self, device: str) -> None:
        """Load the program; ModelError if nobody trusted it, or it is none."""
        if not self.card.may_run:
            raise ModelError(f"{self.card.title} is a program that nobody has trusted.")
        self._reading = Reading.of(self.card, self._folder)
        self._device = device
        try:
            path = str(self._folder / self.card.weights)
            network: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                path, map_location=device
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{self.card.weights} of {self.card.title} is no TorchScript.",
                detail=type(error).__name__,
            ) from error
        self._network = network.eval()

    def unload(self) -> None:
        """Let go of the network."""
        self._network = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Look at the pictures of a volume."""
        del series, study
        reading = loaded(self._reading, self.card)
        return run_pictures(self._ask, self.card, reading, volume, context)

    def _ask(self, batch: torch.Tensor) -> torch.Tensor:
        network = loaded(self._network, self.card)
        answer = network(batch.to(self._device))
        while isinstance(answer, tuple | list):  # several answers: the first is the last stage's
            answer = answer[0]
        if not isinstance(answer, torch.Tensor):
            raise ModelError(f"{self.card.title} does not answer with an array.")
        return answer
