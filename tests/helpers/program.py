"""Jobs with a real worker, without a window, as tests and trials of reliability use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from medview.core.jobs import JobState
from medview.inference.catalog import Catalog
from medview.inference.client import WorkerClient
from medview.inference.orders import Limits
from medview.services.jobs import Jobs
from medview.services.review import ReviewDesk
from medview.services.workspace import Workspace
from tests.helpers import desk
from tests.helpers.desk import VOLUME_UID
from tests.helpers.fake_engine import fake_catalog, write_fake_model


class Program:
    """Jobs with a real worker, pumped like a window does."""

    def __init__(self, tmp_path: Path, limits: Limits | None = None) -> None:
        self.models = tmp_path / "models"
        self.catalog: Catalog = fake_catalog(self.models)
        self.work: Workspace = desk.workspace()
        self.review: ReviewDesk = desk.desk(self.work)[0]
        self.client = WorkerClient(
            tmp_path, tmp_path / "logs", limits or Limits(cancel_grace_s=0.3)
        )
        self.jobs = Jobs(self.work, self.catalog, self.client, self.review)

    def run(self, **behaviour: object) -> str:
        name = f"model{len(self.catalog.cards())}"
        write_fake_model(self.models, name, **behaviour)
        self.catalog.refresh()
        return self.jobs.run(name, VOLUME_UID)

    def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, self.work.jobs
            self.jobs.wait(0.1)
            self.jobs.pump()

    def heartbeat(self, seconds: float) -> float:
        """Pump for so long; the longest time one turn took, in seconds."""
        longest, ends = 0.0, time.monotonic() + seconds
        while time.monotonic() < ends:
            started = time.monotonic()
            self.jobs.pump()
            longest = max(longest, time.monotonic() - started)
            time.sleep(0.005)
        return longest

    def pid(self, uid: str) -> int:
        self.until(lambda: self.work.jobs[uid].stage.startswith("pid "))
        return int(self.work.jobs[uid].stage.removeprefix("pid "))

    def state(self, uid: str) -> JobState:
        return self.work.jobs[uid].state
