"""A network made ready to answer one patch after the other, on one device, in the memory there is.

On a processor a network is frozen to TorchScript, which folds what does not change and takes
three fifths of the time; on a GPU it computes in half precision with the channels last.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from medview.core.errors import ModelError
from medview.imaging.arg_max import Mix
from medview.inference.engines.last_layer import finest, without_last_layer

#: (N, C, a, b[, c]) to class scores (N, classes, a, b[, c]).
Network = Callable[[torch.Tensor], torch.Tensor]

#: A patch is not made smaller than this along an axis.
_SMALLEST_SIDE = 32
#: How far a frozen network may be from the plain one, by the largest score.
_FROZEN_TOLERANCE = 1e-3
#: Of the free memory, what a run plans with: others need some too.
_SHARE_OF_FREE = 0.8
_FLOAT = 4


@dataclass(frozen=True)
class Plan:
    """How a network is asked: windows at once, their sides, where to add up, how precisely."""

    patch: tuple[int, int, int]
    device: str = "cpu"
    batch: int = 1
    half: bool = False
    on_host: bool = False
    exact: bool = False
    fixed_patch: bool = False
    divisor: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether there is another place to compute than the processor."""
        return self.device != "cpu"

    def lower(self) -> tuple[Plan, str] | None:
        """The plan that takes less memory, and what is given up, in words; None after the last.

        In this order: fewer patches at once, smaller patches, half precision, adding up on the
        host, the processor.
        """
        if self.batch > 1:
            batch = self.batch // 2
            return replace(self, batch=batch), f"Too little memory: {batch} patches at a time"
        smaller = None if self.fixed_patch else self._smaller_patch()
        if smaller:
            size = " x ".join(map(str, smaller))
            return replace(self, patch=smaller), f"Too little memory: smaller patches, {size}"
        if not self.on_gpu:
            return None
        if not self.half and not self.exact:
            return replace(self, half=True), "Too little memory: half precision"
        if not self.on_host:
            return replace(self, on_host=True), "Too little memory: results added up in main memory"
        whole = replace(self, device="cpu", half=False, on_host=False)
        return whole, "Too little memory: the processor was used"

    def _smaller_patch(self) -> tuple[int, int, int] | None:
        """Half of the longest side, a multiple of the divisor, as long as that is not too small."""
        sides = list(self.patch)
        axis = max(range(3), key=lambda number: sides[number])
        half = math.ceil(sides[axis] / 2 / self.divisor) * self.divisor
        if half >= sides[axis] or half < _SMALLEST_SIDE:
            return None
        sides[axis] = half
        return sides[0], sides[1], sides[2]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory, on a GPU or on the processor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


class Asked:
    """One network on one device: patches in, class scores out, both on that device.

    `network` is a module in evaluation mode or any callable (an ONNX session, say), which is used
    as it is. `classes` and `bytes_per_voxel`, what one voxel of a patch takes while the network
    works, are known after `learn`. With a `mix` the answers are no scores but the fewer channels
    that the last layer would make them of (`engines.last_layer`). A network with one output
    channel is read as a logit of the second of two classes.
    """

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self._network = self._body = network
        self.mix: Mix | None = None
        self._frozen: Network | None = None
        self._tried = self._proven = False
        self._device = ""
        self.classes = 0
        self.bytes_per_voxel = 0.0
        self.divisor = _divisor(network)
        self.move(device)

    def move(self, device: str) -> None:
        """Compute on another device from now on."""
        if device == self._device:
            return
        self._device, self._frozen, self._tried = device, None, False
        if isinstance(self._network, nn.Module):
            self._network.to(device)
            if device != "cpu":
                _channels_last(self._network)

    @property
    def channels(self) -> int:
        """How many numbers an answer has for each voxel."""
        return self.classes if self.mix is None else self.mix.shape[1] - 1

    def learn(self, channels: int, patch: Sequence[int]) -> None:
        """Ask about a small empty patch, to know what the network gives and how much it takes."""
        if self.classes:
            return
        errors = []
        for sides in self._small(patch):
            try:
                answer, used = self._measured(torch.zeros((1, channels, *sides)))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                errors.append(error)
                continue
            self.classes = max(2, answer.shape[1])
            self.bytes_per_voxel = used / math.prod(sides)
            self._leave_last_layer(channels, sides)
            return
        raise errors[-1]

    def _leave_last_layer(self, channels: int, sides: Sequence[int]) -> None:
        """Ask without the last layer from now on, where it may as well come later."""
        if not isinstance(self._network, nn.Module):
            return
        ramp = torch.linspace(-1, 1, channels * math.prod(sides), device=self._device)
        with torch.inference_mode():
            found = without_last_layer(self._network, ramp.reshape(1, channels, *sides))
        if found is not None:
            self._body, self.mix = found

    def freeze(self, example: torch.Tensor) -> None:
        """Fold what does not change, on a processor, as an example (1, C, ...) shows it.

        Where that fails the network stays as it is. The first patch after that is answered both
        ways; if the answers differ the network stays as it is too.
        """
        if self._tried or self._device != "cpu" or not isinstance(self._body, nn.Module):
            return
        self._tried = True
        try:
            self._frozen, self._proven = _frozen(self._body, self._middle(example)), False
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise

    def __call__(self, patches: torch.Tensor, *, half: bool = False) -> torch.Tensor:
        """Scores (N, classes, ...), or what they are mixed of, for patches (N, C, ...); float32.

        ModelError where the answer has another grid than the patches.
        """
        precise = nullcontext() if not half else torch.autocast(self._device.split(":")[0])
        with torch.inference_mode(), precise:
            answer = self._answer(patches.to(self._device))
            if answer.shape[2:] != patches.shape[2:]:
                raise ModelError(
                    "The network does not answer on the grid of its patches:"
                    f" {tuple(answer.shape[2:])} for {tuple(patches.shape[2:])}."
                )
            if self.mix is None and answer.shape[1] == 1:
                answer = torch.cat([torch.zeros_like(answer), answer], dim=1)
            return answer.float()

    def _answer(self, patches: torch.Tensor) -> torch.Tensor:
        if self._frozen is None:
            return finest(self._body(patches))
        if self._proven:
            return finest(self._frozen(patches))
        self._proven = True
        wanted = finest(self._body(patches))
        try:
            alike = _alike(wanted, finest(self._frozen(patches)))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            alike = False
        if not alike:
            self._frozen = None
        return wanted

    def _middle(self, example: torch.Tensor) -> torch.Tensor:
        """Half of an example along each axis that can be halved: enough to show what is done."""
        for axis, side in zip(
            range(2, example.ndim), self._small(example.shape[2:])[0], strict=True
        ):
            example = example.narrow(axis, (example.shape[axis] - side) // 2, side)
        return example

    def _small(self, patch: Sequence[int]) -> list[list[int]]:
        """Patches to try a network with, the smallest first: a half, and the whole."""
        half = [side if side % (2 * self.divisor) else side // 2 for side in patch]
        return [half, list(patch)]

    def _measured(self, example: torch.Tensor) -> tuple[torch.Tensor, float]:
        """The answer to an example, and about how many bytes are held at once for it.

        While a layer works there are its input, its output, and what skips to later layers: the
        four largest tensors of all are taken for them.
        """
        sizes: list[int] = []

        def note(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor):
                sizes.append(output.numel() * output.element_size())

        leaves = self._network.modules() if isinstance(self._network, nn.Module) else ()
        scripted = isinstance(self._network, torch.jit.ScriptModule)
        hooks = [
            module.register_forward_hook(note)
            for module in leaves
            if not scripted and not any(module.children())
        ]
        try:
            answer = self(example)
        finally:
            for hook in hooks:
                hook.remove()
        known = sorted(sizes)[-4:] or [4 * answer.numel() * _FLOAT]
        return answer, float(sum(known))


def _divisor(network: object) -> int:
    """What every side of a patch must be a multiple of: stated by our networks, else 16."""
    return int(getattr(network, "divisor", 16))


def _channels_last(network: nn.Module) -> None:
    """Put the weights of convolutions in the order that GPUs are quick with."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in itertools.chain(network.parameters(), network.buffers()):
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


def _frozen(network: nn.Module, example: torch.Tensor) -> Network:
    """The network in TorchScript, folded and in the processor's own layout."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # shapes become constants: patches have one shape
        scripted = (
            network
            if isinstance(network, torch.jit.ScriptModule)
            else torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        )
        folded: Network = torch.jit.optimize_for_inference(torch.jit.freeze(scripted.eval()))
    return folded


def _alike(wanted: torch.Tensor, found: torch.Tensor) -> bool:
    """Whether two answers are the same up to rounding."""
    if wanted.shape != found.shape:
        return False
    apart = float((wanted - found).abs().max())
    return apart <= _FROZEN_TOLERANCE * max(1.0, float(wanted.abs().max()))


def bytes_needed(plan: Plan, asked: Asked, slab: Sequence[int]) -> dict[str, float]:
    """About how much memory a plan takes, by place: its device and the host (`cpu`).

    `slab` are the sides of the region that is added up at a time.
    """
    factor = 0.5 if plan.half else 1.0
    work = asked.bytes_per_voxel * math.prod(plan.patch) * plan.batch * factor
    sums = _FLOAT * (asked.channels + 1) * math.prod(slab)
    needed = {"cpu": 0.0, plan.device: work}
    needed["cpu" if plan.on_host else plan.device] += sums
    if plan.on_gpu and not plan.on_host:
        needed["cpu"] += sums  # finished parts come to the host for their labels
    return needed


def fits(needed: dict[str, float], free: Callable[[str], float | None]) -> bool:
    """Whether there is so much memory; an unknown amount of free memory is enough."""
    return all(
        known is None or amount <= _SHARE_OF_FREE * known
        for device, amount in needed.items()
        for known in [free(device)]
    )
