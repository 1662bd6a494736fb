"""Map files: the values of scalar maps in the profile's cache, up to so many bytes."""

from __future__ import annotations

import hashlib
import math
import os
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from medview.core.errors import StoreError
from medview.core.maps import MapArray, ScalarMap

_SUFFIX = ".map"
_TYPES = ("<f2", "<f4")


class MapFiles:
    """One file a map: the SHA-256 of what follows, then its values compressed (zlib, C order).

    Above `most_bytes` those go that were used longest ago: a map can be had again by another run.
    Methods may be called on any thread.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes

    def write(self, maps: Iterable[ScalarMap]) -> None:
        """Keep maps; StoreError if the disk takes none. Readable by this user only."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for one in maps:
                self._write_one(one)
            self._prune()
        except OSError as error:
            raise StoreError(
                f"Maps could not be kept in {self._folder} ({error.strerror})",
                "They are there until the study is closed; make room on the disk.",
            ) from error

    def read(self, uid: str, dtype: str, shape: tuple[int, int, int]) -> MapArray:
        """The values of a map; StoreError where its file is gone or not what was written."""
        path = self._path(uid)
        try:
            content = path.read_bytes()
            now = time.time()
            os.utime(path, (now, now))
        except OSError as error:
            raise StoreError("A map is no longer kept", "Run the model again.") from error
        kept, packed = content[:32], content[32:]
        if dtype not in _TYPES or hashlib.sha256(packed).digest() != kept:
            raise StoreError("A kept map is damaged", "Run the model again.")
        size = math.prod(shape) * np.dtype(dtype).itemsize
        unpacking = zlib.decompressobj()
        try:
            flat = unpacking.decompress(packed, size + 1)
            values: MapArray = np.frombuffer(flat, dtype=dtype).reshape(shape)
        except (zlib.error, ValueError) as error:
            raise StoreError("A kept map is damaged", "Run the model again.") from error
        return values

    def _write_one(self, one: ScalarMap) -> None:
        packed = zlib.compress(np.ascontiguousarray(one.values).data, 1)
        if len(packed) > self._most_bytes:
            return
        target = self._path(one.uid)
        fresh = target.with_name(target.name + ".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(packed).digest())
            file.write(packed)
        fresh.replace(target)

    def _prune(self) -> None:
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # another thread removed it
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self._most_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, uid: str) -> Path:
        """A name of our own: what a model calls a map says nothing here."""
        return self._folder / (hashlib.sha256(uid.encode()).hexdigest()[:40] + _SUFFIX)
