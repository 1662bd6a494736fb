"""Small disks of their own: filled up, made read-only, taken away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NO_DISKS = "making a small disk needs the rights of root and mount(8)"


def can_mount() -> bool:
    """Whether this machine lets us mount."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 and Path("/proc/mounts").exists()


#: For tests that need a disk.
needs_disks = pytest.mark.skipif(not can_mount(), reason=NO_DISKS)


class Disk:
    """A tmpfs of a few megabytes at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    @property
    def free(self) -> int:
        """What is left, in bytes."""
        told = os.statvfs(self.path)
        return told.f_bavail * told.f_frsize

    def fill(self, leaves: int = 0) -> None:
        """Fill it up to the last `leaves` bytes."""
        with self._filler.open("ab") as file:
            while self.free > leaves:
                try:
                    file.write(bytes(min(1 << 16, self.free - leaves)))
                    file.flush()
                except OSError:
                    break

    def empty(self) -> None:
        """Make the room free again."""
        self._filler.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        """With "ro" nobody writes any more, root neither; with "rw" again."""
        _run("mount", "-o", f"remount,{how}", str(self.path))

    def vanish(self) -> None:
        """As a disk that is pulled out: it is gone for all who look by its name."""
        _run("umount", "-l", str(self.path))


@contextmanager
def disk(path: Path, kilobytes: int) -> Iterator[Disk]:
    """A disk of that size, gone at the end."""
    path.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(path))
    try:
        yield Disk(path)
    finally:
        if path.is_mount():
            _run("umount", "-l", str(path))


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
