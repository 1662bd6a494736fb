"""A client of the AI worker as a test uses it: orders, and waiting on what is heard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from medview.core.clip import Clip, Region, RegionFormat
from medview.core.geometry import Calibration, Geometry
from medview.core.jobs import InferenceResult
from medview.core.shared_array import SharedArrayName
from medview.core.study import Patient, Series, Study
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.client import WorkerClient
from medview.inference.orders import (
    Heard,
    JobCancelled,
    JobDied,
    JobDone,
    JobFailed,
    JobProgress,
    Limits,
    Order,
)
from tests.helpers.fake_engine import FAKE_ENGINES, write_fake_model

T = TypeVar("T")


def small_volume(uid: str = "volume", shape: tuple[int, int, int] = (6, 8, 10)) -> Volume:
    """A ramp with unequal spacing, away from the origin."""
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[:3, :3] = [[0, 0, 0.7], [0, 0.8, 0], [2.5, 0, 0]]
    affine[:3, 3] = (-10, 20, 30)
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume(uid, "series", Geometry(shape, affine), voxels)


def small_clip(uid: str = "clip", frames: int = 4) -> Clip:
    """Frames of an ultrasound picture, brighter from one to the next, not evenly in time."""
    shape = (frames, 6, 8)
    geometry = Geometry(shape, np.eye(4), calibration=Calibration.NONE)
    voxels = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None] * 10, shape)
    region = Region((0, 0, 7, 5), (0.05, 0.05), ("cm", "cm"), RegionFormat.PLANE)
    pictures = Volume(
        uid, "series", geometry, voxels.copy(), instance_uids=("1.2.9",), regions=(region,)
    )
    return Clip(pictures, tuple(0.04 * n * n for n in range(frames)), sweeps=True)


def own_blocks() -> set[str]:
    """Shared blocks that this process has mapped and that have not been removed yet."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    mapped = {line.rsplit("/", 1)[1] for line in lines if "/dev/shm/psm_" in line}
    return {name for name in mapped if (Path("/dev/shm") / name).exists()}


class Desk:
    """Orders and ears. Everything that was heard stays in `heard`."""

    def __init__(self, tmp_path: Path, limits: Limits | None = None) -> None:
        self.models = tmp_path / "models"
        self.logs = tmp_path / "logs"
        self.heard: list[Heard] = []
        self.client = WorkerClient(tmp_path, self.logs, limits, scratch=tmp_path / "scratch")
        self._count = 0

    def order(
        self,
        *,
        volume: Volume | Clip | None = None,
        backing: SharedArrayName | None = None,
        series: Series | None = None,
        study: Study | None = None,
        device: str = "auto",
        parameters: Mapping[str, Any] | None = None,
        **behaviour: Any,
    ) -> Order:
        """Make a fake model that behaves so, and submit a run of it."""
        self._count += 1
        model = write_fake_model(self.models, f"fake{self._count}", **behaviour)
        order = Order(
            job_uid=f"job{self._count}",
            card=load_card(model, FAKE_ENGINES),
            folder=model,
            image=volume or small_volume(),
            backing=backing,
            series=series,
            study=study,
            device=device,
            parameters=parameters or {},
        )
        self.client.submit(order)
        return order

    def wait(self, kind: type[T], count: int = 1, timeout_s: float = 30.0) -> T:
        """The `count`-th thing of that kind that was heard, waiting for it."""
        return self.until(
            lambda: [one for one in self.heard if isinstance(one, kind)], count, timeout_s
        )[count - 1]

    def until(
        self, find: Callable[[], list[T]], count: int = 1, timeout_s: float = 30.0
    ) -> list[T]:
        """What `find` finds once it finds `count`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.heard += self.client.poll()
            if len(found := find()) >= count:
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"not heard in time; heard: {self.heard}"
            self.client.wait(left)

    def end(self, order: Order) -> JobDone | JobFailed | JobCancelled | JobDied:
        """How an order ended, waiting for it."""
        return self.until(lambda: self.ends(order))[0]

    def ends(self, order: Order) -> list[JobDone | JobFailed | JobCancelled | JobDied]:
        """What was heard of the end of an order."""
        kinds = JobDone | JobFailed | JobCancelled | JobDied
        return [
            one for one in self.heard if isinstance(one, kinds) and one.job_uid == order.job_uid
        ]

    def result(self, order: Order) -> InferenceResult:
        """The result of an order that ends well."""
        end = self.end(order)
        assert isinstance(end, JobDone), end
        return end.result

    def pid(self, order: Order) -> int:
        """The process id of the worker that runs an order, once it runs or has run well."""
        return self.until(lambda: list(self._pids(order.job_uid)))[0]

    def _pids(self, job_uid: str) -> Iterator[int]:
        for one in self.heard:
            if isinstance(one, JobProgress) and one.job_uid == job_uid:
                yield int(one.stage.removeprefix("pid "))
            elif isinstance(one, JobDone) and one.job_uid == job_uid:
                yield from (int(note.removeprefix("pid ")) for note in one.result.notes)


def someone() -> tuple[Study, Series]:
    """A study and a series full of what must not leave the window's process."""
    from medview.core.study import Instance

    image = Instance("1.2.3", "1.2.840.10008.5.1.4.1.1.4", "/home/MARK/image.dcm")
    headers = {"PatientAge": "033Y", "PatientName": "MARK^NAME", "InstitutionName": "MARK house"}
    series = Series("series", "study", "MR", "T1", (image,), headers=headers)
    patient = Patient("MARK-7", "MARK^NAME", "19700101", "F", "MARK issuer")
    study = Study("study", patient, "head", "20260101", accession="MARK-ACC", id="MARK-ID")
    return study, series
