"""Arrays that several processes see without copying."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medview.core.errors import MedviewError


@dataclass(frozen=True)
class SharedArrayName:
    """What another process needs to attach: plain fields that cross any pipe."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class SharedArray:
    """An array in shared memory.

    The parent creates every block and alone unlinks it, so a dead child leaks nothing and
    damages nothing. Children attach by name and close. The array lives as long as this object
    is open; whoever keeps `array` keeps this object too.
    """

    def __init__(
        self, block: shared_memory.SharedMemory, key: SharedArrayName, *, owner: bool
    ) -> None:
        self._block = block
        self._owner = owner
        self.key = key
        # frombuffer, unlike ndarray(buffer=...), keeps the mapping alive while any view is held.
        assert block.buf is not None  # noqa: S101  (it is None only after close)
        flat: npt.NDArray[Any] = np.frombuffer(block.buf, np.dtype(key.dtype), math.prod(key.shape))
        self.array = flat.reshape(key.shape)

    @classmethod
    def create(cls, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Self:
        """A new block, zeroed by the system; the creator owns it. MedviewError without room."""
        kind = np.dtype(dtype)
        size = max(1, math.prod(shape) * kind.itemsize)
        _require_room(size)
        block = shared_memory.SharedMemory(create=True, size=size)
        return cls(block, SharedArrayName(block.name, tuple(shape), kind.str), owner=True)

    @classmethod
    def copy_of(cls, array: npt.NDArray[Any]) -> Self:
        """A new block with the same content: one copy."""
        shared = cls.create(array.shape, array.dtype)
        np.copyto(shared.array, array)
        return shared

    @classmethod
    def attach(cls, key: SharedArrayName) -> Self:
        """Somebody else's block, seen from here; FileNotFoundError if it is gone."""
        return cls(shared_memory.SharedMemory(name=key.name), key, owner=False)

    def close(self) -> None:
        """Let go; the owner also removes the block from the system. May be called twice.

        Views of `array` that are still held keep the mapping alive until they go; the name is
        gone at once.
        """
        owner, self._owner = self._owner, False
        if owner:
            self._block.unlink()
        self.array = np.empty(0)
        # Dropping the references, instead of closing the block, leaves the mapping to the views
        # that are still held: closing would fail, or pull the memory from under them.
        block = vars(self._block)
        block["_buf"] = block["_mmap"] = None
        self._block.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _require_room(size: int) -> None:
    """Raise MedviewError unless the block fits: writing to one that does not kills the process."""
    folder = Path("/dev/shm")  # noqa: S108  (where Linux keeps shared memory)
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    if size > free:
        raise MedviewError(
            f"There is not enough shared memory: {size >> 20} MB are needed, {free >> 20} free.",
            hint="Close other studies, or give the system more shared memory (/dev/shm).",
        )
