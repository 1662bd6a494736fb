"""ONNX networks with a card, run by onnxruntime (an extra).

A model is handed over as bytes: tensors that lie in other files (`external_data`) are not read,
wherever they point, and libraries of own operators are not loaded. So nothing of it is a program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medview.core.errors import ModelError
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.inference.adapter import Context, loaded
from medview.inference.engines.given import Reading, run_pictures

_QUIET = 3


class Engine:
    """A network in the Open Neural Network Exchange format, asked as its card says."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._reading: Reading | None = None
        self._session: Any = None

    def load(self, device: str) -> None:
        """Read the network; ModelError where onnxruntime is missing or refuses it."""
        reading = Reading.of(self.card, self._folder)
        try:
            import onnxruntime  # noqa: PLC0415  (an extra: only who has such a model needs it)
        except ImportError as error:
            raise ModelError(
                f"{self.card.title} needs onnxruntime, which is not installed.",
                hint="pip install medview[onnx]",
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _QUIET
        options.intra_op_num_threads = torch.get_num_threads()
        wanted = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        known = [name for name in (wanted, "CPUExecutionProvider")
                 if name in onnxruntime.get_available_providers()]  # fmt: skip
        content = (self._folder / self.card.weights).read_bytes()
        try:
            session = onnxruntime.InferenceSession(content, options, list(dict.fromkeys(known)))
        except Exception as error:  # its errors have no base but Exception
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise ModelError(
                f"{self.card.weights} of {self.card.title} cannot be read as ONNX, or lacks"
                " tensors that lie in other files.",
                detail=str(error),
            ) from error
        self._refuse_strange(session.get_inputs(), reading.channels)
        self._reading, self._session = reading, session

    def unload(self) -> None:
        """Let go of the network."""
        self._session = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Look at the pictures of a volume."""
        del series, study
        reading = loaded(self._reading, self.card)
        return run_pictures(self._ask, self.card, reading, volume, context)

    def _refuse_strange(self, inputs: list[Any], stated: int) -> None:
        """One image in float32 is what medview can give."""
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            what = ", ".join(f"{one.name} {one.type}" for one in inputs)
            raise ModelError(f"{self.card.title} takes {what}; medview gives one float32 image.")
        channels = inputs[0].shape[1] if len(inputs[0].shape) > 1 else None
        if isinstance(channels, int) and channels != stated:
            raise ModelError(
                f"{self.card.title} takes {channels} channels; its card says {stated}."
            )

    def _ask(self, batch: torch.Tensor) -> torch.Tensor:
        session = loaded(self._session, self.card)
        name = session.get_inputs()[0].name
        return torch.from_numpy(session.run(None, {name: batch.numpy()})[0])
