"""Room for voxels: shared memory, or a mapped file where a volume would take too much of it."""

from __future__ import annotations

import logging
import math
import os
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path

from medview.core.errors import MedviewError, ReadError
from medview.core.shared_array import SharedArray
from medview.io.plan import VolumePlan

_log = logging.getLogger(__name__)

#: Where shared memory lives, if it is a file system of its own with its own limit.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (asked how much is free, never written by name)

_MEMORY = Path("/proc/meminfo")

#: Left to everybody else.
_MARGIN_BYTES = 64 << 20

#: A volume that would take more than this share of the free memory lies in a file.
_SHARE = 0.5

#: Memory that is kept at hand takes no more than this share of what is free.
_SPARE_SHARE = 0.125

#: Volumes that need a smaller part of it than this do not get it.
_SMALLEST = 0.1


class Room:
    """Finds room for volumes. `folder` is where files may lie; without it there are none.

    The files are removed when their study is closed, those of a run that was killed at the next
    start. They hold voxels only and are readable for nobody else.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._numbers = count()
        self._spare: SharedArray | None = None
        self._cut: SharedArray | None = None
        if folder is not None:
            _tidy(folder)

    def allocate(self, plan: VolumePlan) -> SharedArray:
        """Room for a volume; ReadError if there is none.

        A file system in memory hands out more than it has and kills whoever writes there, so it
        is asked first.
        """
        free = free_bytes()
        if free is not None and plan.nbytes > _SHARE * free and self._folder is not None:
            return self._in_file(plan, self._folder)
        if free is not None and plan.nbytes + _MARGIN_BYTES > free:
            raise _too_large(plan, f"{free} bytes free")
        if self._spare is not None and _suits(plan.nbytes, self._spare.key.nbytes):
            spare, self._spare = self._spare, None
            self._cut = spare.cut(plan.shape, plan.dtype)
            return self._cut
        try:
            return SharedArray.create(plan.shape, plan.dtype)
        except (OSError, MemoryError, OverflowError, MedviewError) as error:
            raise _too_large(plan, str(error)) from error

    @property
    def has_spare(self) -> bool:
        """Whether memory for the next volume is at hand."""
        return self._spare is not None

    def make_spare(self, nbytes: int) -> None:
        """Have memory at hand for the next volume of up to `nbytes`; less where it is short.

        Takes a tenth of a second, beside the window; it is kept when this returns. What the volume
        before has left of the memory it was given goes back first.
        """
        cut, self._cut = self._cut, None
        if cut is not None:
            cut.trim()
        free = free_bytes()
        size = nbytes if free is None else min(nbytes, int(_SPARE_SHARE * free))
        with suppress(MedviewError):  # volumes ask for their memory when they come
            self._spare = self._spare or SharedArray.spare(size)

    def close(self) -> None:
        """Give back the memory that is at hand."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()

    def _in_file(self, plan: VolumePlan, folder: Path) -> SharedArray:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if plan.nbytes + _MARGIN_BYTES > shutil.disk_usage(folder).free:
                raise _too_large(plan, "nor is there room on the disk")
            path = folder / f"{os.getpid()}-{next(self._numbers)}.voxels"
            return SharedArray.create_file(path, plan.shape, plan.dtype)
        except (OSError, ValueError, OverflowError) as error:
            raise _too_large(plan, str(error)) from error


def _suits(need: int, there: int) -> bool:
    """Whether a volume is worth the memory at hand: smaller ones get theirs soon enough."""
    return _SMALLEST * there <= need <= there


def free_bytes() -> int | None:
    """Memory that a volume can have without others being thrown out; None where nobody tells."""
    known = []
    if _SHARED_MEMORY.is_dir():
        known.append(shutil.disk_usage(_SHARED_MEMORY).free)
    with suppress(OSError, ValueError, IndexError):
        lines = _MEMORY.read_text(encoding="ascii").splitlines()
        known += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    return min(known, default=None)


def _too_large(plan: VolumePlan, detail: str) -> ReadError:
    need_mb = math.ceil(plan.nbytes / 1e6)
    return ReadError(
        f"The volume needs {need_mb} MB of memory, more than there is",
        "Close other studies or programs.",
        detail,
    )


def _tidy(folder: Path) -> None:
    """Remove the files of runs that ended without doing so."""
    if not folder.is_dir():
        return
    for path in folder.glob("*.voxels"):
        number = path.name.split("-")[0]
        if number.isdigit() and not _is_alive(int(number)):
            with suppress(OSError):
                path.unlink()
                _log.info("Voxels left by another run were removed")


def _is_alive(pid: int) -> bool:
    if os.name == "nt":
        return False  # files in use cannot be removed there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
