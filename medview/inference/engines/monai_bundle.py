"""MONAI bundles of others: their own transforms, network and inferer, built by MONAI.

A bundle's configuration is made to read and write files; here it is given the image on show and
its answer is taken: transforms that load or save are left out, everything between is as it is.
Importing MONAI takes seconds, so only this module does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.data.utils import dense_patch_slices
from monai.inferers import SliceInferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep, fall_back_tuple
from torch import nn

from medview.core.errors import Cancelled, MedviewError, ModelError
from medview.core.geometry import Geometry, lps_from_ras, reorder_kji
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, as_labels
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.resample import resample_labels
from medview.inference.adapter import Context, loaded, refuse_not_finite, refuse_placeless
from medview.inference.engines.labelled import classified_result, labelled_result
from medview.inference.engines.tensors import load_tensors
from medview.inference.formats.described import read_json
from medview.inference.formats.monai_bundle import METADATA, configuration_of

#: What a bundle's configuration calls its parts, the usual word first.
_NETWORKS = ("network_def", "network", "net", "model")
_LEFT_OUT = ("LoadImage", "EnsureChannelFirst", "AddChannel", "SaveImage", "SaveClassification")
_ANSWER = "pred"


class Engine:
    """One bundle, its configuration parsed and its network built."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._network: nn.Module | None = None
        self._device = "cpu"

    def load(self, device: str) -> None:
        """Build what the configuration names, and read the weights.

        ModelError where it is a program that nobody trusted, or cannot be built.
        """
        if not self.card.may_run:
            raise ModelError(f"{self.card.title} brings a program that nobody has trusted.")
        self._device = device
        if self.card.code and str(self._folder) not in sys.path:
            sys.path.append(str(self._folder))  # trusted bundles import their own scripts
        try:
            parser = self._parser()
            self._before = _built(parser, "preprocessing")
            self._inferer = parser.get_parsed_content("inferer") if "inferer" in parser else None
            self._after = _built(parser, "postprocessing")
            network = self._built_network(parser)
        except MedviewError:
            raise
        except Exception as error:  # a configuration may fail in any way there is
            raise ModelError(
                f"The configuration of {self.card.title} cannot be built with this MONAI.",
                detail=f"{type(error).__name__}: {error}"[:400],
            ) from error
        self._network = network.eval().to(device)

    def unload(self) -> None:
        """Let go of the network."""
        self._network = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Give the image to the bundle, and its answer the image's grid."""
        del series, study
        network = loaded(self._network, self.card)
        if len(self.card.inputs.patch_shape) == 3:
            refuse_placeless(volume.geometry)
        started = time.perf_counter()
        try:
            answer = self._answer(network, volume, context)
        except (MedviewError, Cancelled, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # transforms of others fail in ways of their own
            raise ModelError(
                f"The bundle {self.card.title} could not be run on this image.",
                hint="Its transforms may ask for another kind of image.",
                detail=f"{type(error).__name__}: {error}"[:400],
            ) from error
        result = self._result(answer, volume, context)
        return replace(result, device=context.device, seconds=time.perf_counter() - started)

    def _parser(self) -> ConfigParser:
        path = configuration_of(self._folder)
        if path is None:
            raise ModelError(f"{self.card.title} has no inference configuration any more.")
        parser = ConfigParser()
        parser.read_config(str(path))
        parser["bundle_root"] = str(self._folder)
        parser["device"] = self._device
        for part in ("preprocessing", "postprocessing"):
            block = parser.get(part)
            if isinstance(block, Mapping) and isinstance(block.get("transforms"), list):
                parser[f"{part}#transforms"] = [
                    entry for entry in block["transforms"] if not _is_left_out(entry)
                ]
        parser.parse()
        return parser

    def _built_network(self, parser: ConfigParser) -> nn.Module:
        path = self._folder / self.card.weights
        if path.suffix == ".ts":
            scripted: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                str(path), map_location=self._device
            )
            return scripted
        name = next((name for name in _NETWORKS if name in parser), None)
        network = parser.get_parsed_content(name) if name else None
        if not isinstance(network, nn.Module):
            raise ModelError(f"The configuration of {self.card.title} names no network.")
        try:
            network.load_state_dict(load_tensors(path))
        except RuntimeError as error:
            raise ModelError(
                f"The weights of {self.card.title} do not fit its network.",
                detail=str(error)[:400],
            ) from error
        return network

    def _answer(self, network: nn.Module, volume: Volume, context: Context) -> torch.Tensor:
        """What the bundle makes of the image: channels first, spatial axes x, y, z."""
        context.progress("Preparing the image")
        name = _input_name(self._folder)
        data: dict[str, Any] = {name: _image(volume, len(self.card.inputs.patch_shape))}
        data = self._before(data) if self._before is not None else data
        image = data[name]
        batch = image[None].to(self._device)
        with torch.inference_mode(), _watched(network, windows_of(self._inferer, batch), context):
            found = network(batch) if self._inferer is None else self._inferer(batch, network)
        while isinstance(found, tuple | list):
            found = found[0]
        context.progress("Bringing the answer to the image")
        answer = torch.as_tensor(found)[0].as_subclass(torch.Tensor).float().cpu()
        refuse_not_finite(answer.numpy(), self.card)  # what follows may hide it
        if isinstance(image, MetaTensor):
            answer = MetaTensor(
                answer, meta=image.meta, applied_operations=list(image.applied_operations)
            )
        data[_ANSWER] = answer
        data = self._after(data) if self._after is not None else data
        result: torch.Tensor = data[_ANSWER]
        return result

    def _result(self, answer: torch.Tensor, volume: Volume, context: Context) -> InferenceResult:
        if self.card.outputs.kind == "classes":
            chances = answer.reshape(-1).tolist()
            if not all(0 <= chance <= 1 for chance in chances):
                chances = torch.softmax(answer.reshape(-1), dim=0).tolist()
            threshold = 0.5 if self.card.threshold is None else self.card.threshold
            return classified_result(self.card, chances, threshold, context)
        labels = _on_volume(_labels_of(answer), answer, volume.geometry)
        return labelled_result(self.card, volume, labels, context)


def windows_of(inferer: Any, batch: torch.Tensor) -> int:
    """How many windows of a batch (N, C, ...) an inferer shows to the network, by MONAI's own rule.

    0 where that is not known: inferers other than the sliding windows ask as they like.
    """
    if not isinstance(inferer, SlidingWindowInferer):
        return 0
    size = inferer.roi_size
    if isinstance(inferer, SliceInferer):
        size = list(inferer.orig_roi_size)
        size.insert(inferer.spatial_dim, 1)
    shape = tuple(batch.shape[2:])
    size = fall_back_tuple(size, shape)
    overlaps = ensure_tuple_rep(inferer.overlap, len(shape))
    whole = [max(length, part) for length, part in zip(shape, size, strict=True)]
    steps = [
        part if part == length else max(1, int(part * (1 - overlap)))
        for length, part, overlap in zip(whole, size, overlaps, strict=True)
    ]
    return len(dense_patch_slices(whole, size, steps)) * len(batch)


@contextmanager
def _watched(network: nn.Module, windows: int, context: Context) -> Iterator[None]:
    """Say how many of the windows are done each time the network is asked; stop there if wished."""
    done = 0

    def ask(_network: nn.Module, given: tuple[Any, ...]) -> None:
        nonlocal done
        fraction = min(1.0, done / windows) if windows > 1 else None
        context.progress("Asking the network", fraction)
        done += len(given[0]) if given else 1

    hook = network.register_forward_pre_hook(ask)
    try:
        yield
    finally:
        hook.remove()


def _is_left_out(entry: Any) -> bool:
    """Whether a transform reads or writes files, or is switched off."""
    if not isinstance(entry, Mapping):
        return False
    target = str(entry.get("_target_", "")).rsplit(".", 1)[-1]
    return target.startswith(_LEFT_OUT) or entry.get("_disabled_") in (True, "true")


def _built(parser: ConfigParser, name: str) -> Any:
    """The transforms of a configuration; None where it has none, or all of them are left out."""
    block = parser.get(name)
    if block is None or (isinstance(block, Mapping) and block.get("transforms") == []):
        return None
    return parser.get_parsed_content(name)


def _input_name(folder: Path) -> str:
    inputs = read_json(folder / METADATA)["network_data_format"]["inputs"]
    return str(next(iter(inputs)))


def _image(volume: Volume, dimensions: int) -> MetaTensor:
    """The image as MONAI reads one: channels first, axes x, y, z, the affine in RAS millimetres."""
    values = volume.values()
    channels = values[..., None] if volume.channels == 1 else values
    array = channels.transpose(3, 2, 1, 0)
    affine = lps_from_ras(reorder_kji(volume.geometry.affine))
    if dimensions == 2:
        if array.shape[3] != 1:
            raise ModelError("The bundle looks at single pictures, not at stacks of them.")
        array = array[..., 0]
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return MetaTensor(tensor, affine=torch.from_numpy(affine.copy()))


def _labels_of(answer: torch.Tensor) -> LabelArray:
    """Label numbers from an answer (channels, x, y, z): numbers already, or the likeliest class."""
    values = answer.as_subclass(torch.Tensor).float()
    if values.shape[0] > 1:
        numbers = values.argmax(dim=0)
    elif bool((values == values.round()).all()):
        numbers = values[0]
    else:  # a map of foreground: probabilities, or logits
        is_probability = float(values.min()) >= 0 and float(values.max()) <= 1
        numbers = values[0] > (0.5 if is_probability else 0.0)
    return as_labels(numbers.numpy())


def _on_volume(labels: LabelArray, answer: torch.Tensor, geometry: Geometry) -> LabelArray:
    """Labels (x, y[, z]) on the grid of the image, by the affine that the answer carries."""
    if labels.ndim == 2:
        labels = labels[..., None]
    if labels.transpose().shape == geometry.shape and not isinstance(answer, MetaTensor):
        return as_labels(labels.transpose())
    if not isinstance(answer, MetaTensor):
        raise ModelError("The bundle's answer does not say where it lies.")
    matrix = np.eye(4)
    given = answer.affine.numpy()
    matrix[: given.shape[0] - 1, : given.shape[1] - 1] = given[:-1, :-1]
    matrix[: given.shape[0] - 1, 3] = given[:-1, -1]
    x, y, z = labels.shape
    affine = lps_from_ras(matrix)
    grid = Geometry((x, y, z), affine, geometry.frame_of_reference_uid, geometry.calibration)
    turned = Geometry((z, y, x), reorder_kji(affine), "", geometry.calibration)
    if turned.agrees_with(geometry, tolerance_mm=1e-2):
        return as_labels(labels.transpose())
    return resample_labels(labels, grid, geometry)
