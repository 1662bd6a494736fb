"""Volumes in shared memory: attached where they lie there already, copied once where not."""

from __future__ import annotations

from collections.abc import Callable

from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.volume import Volume


class SharedVolumes:
    """Which volumes the worker sees, and the copies made for it, the oldest dropped first.

    `on_detach` is told of every volume that the worker saw and is to let go.
    """

    def __init__(self, limit_bytes: int, on_detach: Callable[[str], None]) -> None:
        self._limit_bytes = limit_bytes
        self._on_detach = on_detach
        self._copies: dict[str, SharedArray] = {}
        self._attached: dict[str, tuple[float, float, str]] = {}

    def attach(self, volume: Volume, backing: SharedArrayName | None) -> SharedArrayName | None:
        """The block to attach for a volume; None if the worker sees it already.

        Without `backing` the voxels are copied, once a volume. MedviewError if there is no
        room for a copy.
        """
        meaning = (volume.slope, volume.intercept, volume.unit)
        if self._attached.get(volume.uid, meaning) != meaning:
            self.forget(volume.uid)
        known = volume.uid in self._attached
        key = backing or self._copy_of(volume).key
        self._attached[volume.uid] = meaning
        return None if known else key

    def forget(self, volume_uid: str) -> None:
        """Let a volume go."""
        copy = self._copies.pop(volume_uid, None)
        if copy is not None:
            copy.close()
        if volume_uid in self._attached:
            del self._attached[volume_uid]
            self._on_detach(volume_uid)

    def nothing_attached(self) -> None:
        """A new worker has seen nothing yet."""
        self._attached.clear()

    def close(self) -> None:
        """Let everything go; the worker is gone already."""
        self.nothing_attached()
        for uid in list(self._copies):
            self.forget(uid)

    def _copy_of(self, volume: Volume) -> SharedArray:
        copy = self._copies.pop(volume.uid, None)
        if copy is None:
            self._make_room(volume.voxels.nbytes)
            copy = SharedArray.copy_of(volume.voxels)
        self._copies[volume.uid] = copy  # used last, dropped last
        return copy

    def _make_room(self, size_bytes: int) -> None:
        while self._copies and self._held_bytes() + size_bytes > self._limit_bytes:
            self.forget(next(iter(self._copies)))

    def _held_bytes(self) -> int:
        return sum(copy.array.nbytes for copy in self._copies.values())
