"""nnU-Net's own predictor, with progress, cancelling, and checkpoints that run nothing.

Importing this needs the nnunetv2 package.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from medview.core.errors import Cancelled, ModelError
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, as_labels
from medview.inference.adapter import Context, not_finite
from medview.inference.engines.tensors import load_checkpoint
from medview.inference.formats.described import read_json
from medview.inference.formats.nnunet import configuration_name


class Predictor(nnUNetPredictor):  # type: ignore[misc]
    """nnU-Net's predictor that says how far it is and stops when the reader wants it."""

    def __init__(self, device: str) -> None:
        super().__init__(
            perform_everything_on_device=device.startswith("cuda"),
            device=torch.device(device),
            allow_tqdm=False,
        )
        self._context: Context | None = None
        self._patches = self._asked = 0
        self._stopped = False

    def labels(
        self, image: npt.NDArray[np.float32], spacing_mm: Sequence[float], context: Context
    ) -> LabelArray:
        """Label numbers (k, j, i) of an image whose axes run as nnU-Net stores them."""
        self._context, self._asked, self._stopped = context, 0, False
        try:
            found = self.predict_single_npy_array(image[None], {"spacing": list(spacing_mm)})
        finally:
            self._context = None
        return as_labels(np.asarray(found))

    def predict_logits_from_preprocessed_data(self, data: torch.Tensor) -> torch.Tensor:
        """nnU-Net's own scores; ModelError for such as are not finite, which arg-max would hide."""
        logits: torch.Tensor = super().predict_logits_from_preprocessed_data(data)
        if self._stopped:
            raise Cancelled
        if not torch.isfinite(logits.sum(dtype=torch.float64)):
            raise not_finite()
        return logits

    def watch(self) -> None:
        """Have the network tell each time it is asked."""
        self.network.register_forward_pre_hook(self._step)

    def _step(self, *_: object) -> None:
        if self._context is not None:
            views = 2 ** len(self.allowed_mirroring_axes or ()) * len(self.list_of_parameters)
            whole = self._patches * views
            fraction = min(1.0, self._asked / whole) if whole else None
            self._context.progress("Segmenting", fraction)
            self._asked += 1

    def _internal_maybe_mirror_and_predict(self, x: torch.Tensor) -> torch.Tensor:
        """nnU-Net's own answer to a patch; of a run that was stopped the others are let pass.

        A thread of nnU-Net's hands the patches over and would wait for ever if nobody took them.
        """
        if not self._stopped:
            try:
                answer: torch.Tensor = super()._internal_maybe_mirror_and_predict(x)
            except Cancelled:
                self._stopped = True
            else:
                return answer
        heads = self.label_manager.num_segmentation_heads
        return torch.zeros((1, heads, *x.shape[2:]), device=x.device)

    def _internal_get_sliding_window_slicers(self, image_size: tuple[int, ...]) -> Any:
        """nnU-Net's own list of patches, counted."""
        slicers = super()._internal_get_sliding_window_slicers(image_size)
        self._patches = len(slicers)
        return slicers


def make_predictor(
    results: Path, checkpoints: Sequence[Path], device: str, card: ModelCard
) -> Predictor:
    """The predictor of a result folder with the weights of these checkpoints.

    ModelError where checkpoints do not say what they are, or do not fit the plans.
    """
    plans, dataset = read_json(results / "plans.json"), read_json(results / "dataset.json")
    try:
        loaded = [load_checkpoint(path) for path in checkpoints]
        weights = [one["network_weights"] for one in loaded]
        trainer = str(loaded[0]["trainer_name"])
        manager = PlansManager(plans)
        configuration = manager.get_configuration(configuration_name(results, plans))
        network = _network(manager, configuration, dataset, trainer)
        network.load_state_dict(weights[0])
    except (KeyError, TypeError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"The checkpoints of {card.title} do not fit its plans, or this nnunetv2 does not know"
            " how they were trained.",
            detail=repr(error),
        ) from error
    predictor = Predictor(device)
    predictor.manual_initialization(
        network,
        manager,
        configuration,
        weights,
        dataset,
        trainer,
        loaded[0].get("inference_allowed_mirroring_axes"),
    )
    predictor.watch()
    return predictor


def _network(
    manager: Any, configuration: Any, dataset: dict[str, Any], trainer: str
) -> torch.nn.Module:
    """The network as its trainer, a class of the nnunetv2 package, builds it."""
    kind = recursive_find_trainer_class_by_name(trainer)
    if kind is None:
        raise KeyError(trainer)
    build = kind.build_network_architecture
    channels = determine_num_input_channels(manager, configuration, dataset)
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    if "plans_manager" in inspect.signature(build).parameters:
        plan: tuple[Any, ...] = (manager, configuration)
    else:
        plan = (
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
        )
    network: torch.nn.Module = build(*plan, channels, heads, enable_deep_supervision=False)
    return network
