"""Sharing a training step among processes: each works on its part of the batch with one thread.

On a shared processor this beats one process with several threads, which wait for each other in
every small operation; here the processes meet once a step.
"""

import json
import os
import socket
import sys
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch._C._distributed_c10d import FileStore
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from medview.core.errors import MedviewError, ModelError, ReadError

_ERROR = ".error"

T = TypeVar("T")


def rank() -> int:
    """Give this process's number; 0 is the one that writes and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    """Give how many processes share the training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def total(values: torch.Tensor) -> torch.Tensor:
    """Add up a tensor over all processes."""
    if count() > 1:
        distributed.all_reduce(values)
    return values


def gathered(own: list[T]) -> list[T]:
    """Give the items of all processes, in an order that does not depend on how many there are.

    Process number r of n is taken to hold items r, r + n, r + 2n and so on.
    """
    if count() == 1:
        return own
    parts: list[Any] = [None] * count()
    distributed.all_gather_object(parts, own)
    every = [None] * sum(len(part) for part in parts)
    for number, part in enumerate(parts):
        every[number :: count()] = part
    return typing.cast("list[T]", every)


def average_gradients(network: nn.Module) -> None:
    """Replace each gradient by its mean over all processes."""
    if count() == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= count()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def run(work: Callable[..., None], arguments: tuple[Any, ...], processes: int) -> None:
    """Call `work(*arguments)` in this process, or in that many new ones that know each other."""
    if processes <= 1:
        work(*arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        try:
            spawn(  # type: ignore[no-untyped-call]
                _member, (work, arguments, processes, meeting), nprocs=processes
            )
        except ProcessExitedException:
            _raise_again(Path(meeting + _ERROR))
            raise


def _raise_again(told: Path) -> None:
    if told.is_file():
        kind, *texts = json.loads(told.read_text(encoding="utf-8"))
        raise (ReadError if kind == "ReadError" else ModelError)(*texts)


def _member(
    number: int,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    processes: int,
    meeting: str,
) -> None:
    loopback = {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}
    if loopback:  # else a machine without a network would look for its own name in vain
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback.pop())
    torch.set_num_threads(1)
    store = FileStore(meeting, processes)
    distributed.init_process_group("gloo", store=store, rank=number, world_size=processes)
    try:
        work(*arguments)
    except MedviewError as error:
        told = [type(error).__name__, error.user_text, error.hint, error.detail]
        Path(meeting + _ERROR).write_text(json.dumps(told), encoding="utf-8")
        sys.exit(1)
    finally:
        distributed.destroy_process_group()
