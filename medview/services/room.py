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


class Room:
    """Finds room for volumes. `folder` is where files may lie; without it there are none.

    The files are removed when their study is closed, those of a run that was killed at the next
    start. They hold voxels only and are readable for nobody else.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._numbers = count()
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
        try:
            return SharedArray.create(plan.shape, plan.dtype)
        except (OSError, MemoryError, OverflowError, MedviewError) as error:
            raise _too_large(plan, str(error)) from error

    def _in_file(self, plan: VolumePlan, folder: Path) -> SharedArray:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if plan.nbytes + _MARGIN_BYTES > shutil.disk_usage(folder).free:
                raise _too_large(plan, "nor is there room on the disk")
            path = folder / f"{os.getpid()}-{next(self._numbers)}.voxels"
            return SharedArray.create_file(path, plan.shape, plan.dtype)
        except (OSError, ValueError, OverflowError) as error:
            raise _too_large(plan, str(error)) from error


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
