"""The jobs that wait: the reader's before those that started by themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from medview.core.jobs import Priority


class Waiting:
    """UIDs of jobs in the order they will run: by priority, then as they came."""

    def __init__(self) -> None:
        self._lanes: dict[Priority, list[str]] = {priority: [] for priority in Priority}

    def __contains__(self, uid: str) -> bool:
        return any(uid in lane for lane in self._lanes.values())

    def __iter__(self) -> Iterator[str]:
        for lane in self._lanes.values():
            yield from lane

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def put(self, uid: str, priority: Priority) -> None:
        """Have a job wait behind those of its priority."""
        self._lanes[priority].append(uid)

    def put_first(self, uid: str) -> None:
        """Have a waiting job run next; ValueError for one that does not wait."""
        self.remove(uid)
        self._lanes[Priority.READER].insert(0, uid)

    def pop(self) -> str:
        """The next job, which waits no longer; IndexError if none waits."""
        for lane in self._lanes.values():
            if lane:
                return lane.pop(0)
        raise IndexError("No job waits")

    def remove(self, uid: str) -> None:
        """Have a job wait no longer; ValueError for one that does not wait."""
        for lane in self._lanes.values():
            if uid in lane:
                lane.remove(uid)
                return
        raise ValueError(f"{uid} does not wait")

    def keep_only(self, uids: Collection[str]) -> None:
        """Forget the others; with none given all."""
        for lane in self._lanes.values():
            lane[:] = [uid for uid in lane if uid in uids]
