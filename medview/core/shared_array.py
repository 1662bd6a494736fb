"""Arrays that several processes see without copying."""

from __future__ import annotations

import math
import mmap
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from medview.core.errors import MedviewError

#: Where Linux keeps shared memory.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


@dataclass(frozen=True)
class SharedArrayName:
    """What another process needs to attach: plain fields that cross any pipe.

    A `name` that is an absolute path names a file, any other one a block of shared memory.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Size of the array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class _Block(Protocol):
    """Memory that several processes see."""

    @property
    def buf(self) -> memoryview | mmap.mmap:
        """The memory itself."""
        ...

    def unlink(self) -> None:
        """Take its name away: nobody finds it any more."""

    def let_go(self) -> None:
        """Forget the memory; whoever still looks at it keeps it."""


class _SystemBlock:
    """Shared memory of the system."""

    def __init__(self, block: shared_memory.SharedMemory) -> None:
        self._block = block

    @property
    def buf(self) -> memoryview:
        """The memory itself."""
        assert self._block.buf is not None  # noqa: S101  (it is None only after close)
        return self._block.buf

    def unlink(self) -> None:
        """Take its name away."""
        self._block.unlink()

    def let_go(self) -> None:
        """Forget it."""
        # Dropping the references, instead of closing the block, leaves the mapping to the views
        # that are still held: closing would fail, or pull the memory from under them.
        block = vars(self._block)
        block["_buf"] = block["_mmap"] = None
        self._block.close()


class _FileBlock:
    """A file mapped into memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("r+b") as file:
            self.buf: memoryview | mmap.mmap = mmap.mmap(file.fileno(), 0)

    def unlink(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def let_go(self) -> None:
        """Forget it."""
        self.buf = memoryview(b"")


class SharedArray:
    """An array in shared memory, or in a file that is mapped into memory.

    The parent creates every block and alone unlinks it, so a dead child leaks nothing and
    damages nothing. Children attach by name and close. The array lives as long as this object
    is open; whoever keeps `array` keeps this object too.
    """

    def __init__(self, block: _Block, key: SharedArrayName, *, owner: bool) -> None:
        self._block = block
        self._owner = owner
        self.key = key
        # frombuffer, unlike ndarray(buffer=...), keeps the mapping alive while any view is held.
        flat: npt.NDArray[Any] = np.frombuffer(block.buf, np.dtype(key.dtype), math.prod(key.shape))
        self.array = flat.reshape(key.shape)

    @classmethod
    def create(cls, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Self:
        """A new block, zeroed by the system; the creator owns it. MedviewError without room."""
        kind = np.dtype(dtype)
        size = max(1, math.prod(shape) * kind.itemsize)
        _require_room(size)
        block = shared_memory.SharedMemory(create=True, size=size)
        key = SharedArrayName(block.name, tuple(shape), kind.str)
        return cls(_SystemBlock(block), key, owner=True)

    @classmethod
    def spare(cls, size: int) -> Self:
        """A block of `size` bytes that nobody uses yet, its memory given by the system already.

        Writing where the system has yet to find memory takes twice as long. Where it does not
        give shared memory a path, nothing is gained and nothing lost. MedviewError without room.
        """
        block = cls.create((size,), np.uint8)
        path = _SHARED_MEMORY / block.key.name
        if hasattr(os, "posix_fallocate") and path.is_file():
            try:
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                block.close()
                raise MedviewError("There is no memory to spare", detail=str(error)) from error
        return block

    def cut(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> SharedArray:
        """The beginning of a spare block as an array; this one is closed. See `trim`."""
        key = SharedArrayName(self.key.name, tuple(shape), np.dtype(dtype).str)
        if key.nbytes > self.key.nbytes:
            raise ValueError("A spare block cannot hold more than it has")
        self._owner, self.array = False, np.empty(0)
        return SharedArray(self._block, key, owner=True)

    def trim(self) -> None:
        """Give the system back what an array that was cut from a spare block does not use.

        Nothing for one that is closed already. Takes a tenth of a second for much memory, and may
        run on any thread.
        """
        path = _SHARED_MEMORY / self.key.name
        if self._owner and path.is_file():
            with suppress(FileNotFoundError):
                os.truncate(path, max(1, self.key.nbytes))

    @classmethod
    def create_file(cls, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Self:
        """A new file of zeros, mapped, for nobody else to read; it goes with its creator's array.

        Blocks are taken from the disk now, so that writing cannot fail later; OSError without
        room.
        """
        kind = np.dtype(dtype)
        size = max(1, math.prod(shape) * kind.itemsize)
        path = path.absolute()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.ftruncate(descriptor, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        return cls(_FileBlock(path), SharedArrayName(str(path), tuple(shape), kind.str), owner=True)

    @classmethod
    def copy_of(cls, array: npt.NDArray[Any]) -> Self:
        """A new block with the same content: one copy."""
        shared = cls.create(array.shape, array.dtype)
        np.copyto(shared.array, array)
        return shared

    @classmethod
    def attach(cls, key: SharedArrayName) -> Self:
        """Somebody else's block, seen from here; FileNotFoundError if it is gone."""
        if Path(key.name).is_absolute():
            return cls(_FileBlock(Path(key.name)), key, owner=False)
        block = shared_memory.SharedMemory(name=key.name)
        return cls(_SystemBlock(block), key, owner=False)

    def close(self) -> None:
        """Let go; the owner also removes the block from the system. May be called twice.

        Views of `array` that are still held keep the mapping alive until they go; the name is
        gone at once.
        """
        owner, self._owner = self._owner, False
        if owner:
            self._block.unlink()
        self.array = np.empty(0)
        self._block.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class SharedPlanes:
    """Somebody else's block, to be written plane by plane: `planes[k] = values`.

    Where the system gives shared memory a path, the planes are written without mapping it:
    that takes a third of the time, no address space, and no resident memory here.
    """

    def __init__(self, key: SharedArrayName) -> None:
        self._shape = key.shape[1:]
        self._dtype = np.dtype(key.dtype)
        named = Path(key.name)
        path = named if named.is_absolute() else _SHARED_MEMORY / key.name
        self._mapped: SharedArray | None = None
        self._descriptor = -1
        if hasattr(os, "pwrite") and path.is_file():
            self._descriptor = os.open(path, os.O_RDWR)
        else:
            self._mapped = SharedArray.attach(key)

    def __setitem__(self, number: int, values: npt.ArrayLike) -> None:
        """Write a plane; a single value fills it. MedviewError where no memory is left for it."""
        if self._mapped is not None:
            self._mapped.array[number] = values
            return
        plane = np.asarray(values, dtype=self._dtype)
        if plane.shape != self._shape or not plane.flags.c_contiguous:
            plane = np.ascontiguousarray(np.broadcast_to(plane, self._shape))
        data = plane.reshape(-1).view(np.uint8).data
        at = number * len(data)
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._descriptor, data[done:], at + done)
        except OSError as error:
            raise MedviewError(
                "There is no memory left for the image", "Close other studies.", str(error)
            ) from error

    def close(self) -> None:
        """Let go."""
        if self._mapped is not None:
            self._mapped.close()
        else:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _require_room(size: int) -> None:
    """Raise MedviewError unless the block fits: writing to one that does not kills the process."""
    if not _SHARED_MEMORY.is_dir():
        return
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if size > free:
        raise MedviewError(
            f"There is not enough shared memory: {size >> 20} MB are needed, {free >> 20} free.",
            hint="Close other studies, or give the system more shared memory (/dev/shm).",
        )
