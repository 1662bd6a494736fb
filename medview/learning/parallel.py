"""Sharing a training step among processes: each works on its part of the batch.

On a shared processor, processes of one thread beat one process with several threads, which wait
for each other in every small operation; here they meet once a step. Several GPUs or machines are
used by starting the training with `torchrun`, which says to each process who it is.
"""

import json
import os
import socket
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes, where `torchrun` started this one; else there are none."""
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"} <= set(os.environ):
        yield
        return
    if os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        _stay_on_this_machine()
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(device())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def device() -> str:
    """Give where this process computes: on a GPU of its own, as far as there are enough."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"


def from_first(make: Callable[[], T]) -> T:
    """Give what the first process makes, or raise its MedviewError, in every process.

    Only it needs the files that are read for it: other machines have other disks.
    """
    if count() == 1:
        return make()
    told: list[Any] = [None, None]
    if rank() == 0:
        try:
            told = [make(), None]
        except MedviewError as error:
            told = [None, _words_of(error)]
    distributed.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise _error_of(told[1])
    return typing.cast("T", told[0])


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
    """Call `work(*arguments)` in this process, or in that many new ones that know each other.

    Processes that `torchrun` started are as many as there shall be.
    """
    if processes <= 1 or distributed.is_initialized():
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
        raise _error_of(json.loads(told.read_text(encoding="utf-8")))


def _words_of(error: MedviewError) -> list[str]:
    return [type(error).__name__, error.user_text, error.hint, error.detail]


def _error_of(words: list[str]) -> MedviewError:
    kind, *texts = words
    return (ReadError if kind == "ReadError" else ModelError)(*texts)


def _stay_on_this_machine() -> None:
    """Let processes meet without a network: else they would look for the machine's own name."""
    loopback = {"lo", "lo0"} & {name for _, name in socket.if_nameindex()}
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback.pop())


def _member(
    number: int,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    processes: int,
    meeting: str,
) -> None:
    _stay_on_this_machine()
    torch.set_num_threads(1)
    store = FileStore(meeting, processes)
    distributed.init_process_group("gloo", store=store, rank=number, world_size=processes)
    try:
        work(*arguments)
    except MedviewError as error:
        Path(meeting + _ERROR).write_text(json.dumps(_words_of(error)), encoding="utf-8")
        sys.exit(1)
    finally:
        distributed.destroy_process_group()
