"""An engine that behaves as a test asks: well, slowly, badly, or not at all.

`write_fake_model(folder, behave="segment", steps=20, step_s=0.05)` makes a model folder for it,
`fake_catalog(folder, ...)` a catalogue that knows the engine. The behaviour lies in the folder's
weights file, so it can be changed between runs with `set_behaviour`.

behave: segment (a box in the middle, one finding with its volume), empty, hang (deaf to cancel),
hang_loading, exit, segv, exit_loading, not_finite, nan_measurement, wrong_shape, wrong_grid,
wrong_labels, many_findings, no_result, memory, memory_gpu, refuse, error, garbage, half_frame,
forged_review, forged_reference, modules (loaded modules as notes), say (progress as fast as it
can), print, headers (what it was told about the patient as notes), two (two segmentations),
reach (for what `what` names: network, home, program, ...), imports (the modules `names` names),
maps (every map that was asked for: a ramp on the grid, one box of a finding and a doubtful one),
follow (of a clip: the mean of every frame as a curve), wishes (the parameters as a note).
`steps` and `step_s` slow a run down; its stage is `pid N`, or `stage` if that is told; a box
comes with the note `pid N`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medview.core.clip import Clip
from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME, Code
from medview.core.errors import ModelError
from medview.core.findings import (
    Finding,
    Measurement,
    PictureBox,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import ScalarMap
from medview.core.models import ModelCard
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Series, Study
from medview.core.timeline import FrameCurve, Timeline, Track, TrackShape
from medview.core.volume import Volume
from medview.inference.adapter import (
    Context,
    refuse_not_finite,
    wanted_maps,
    wanted_threshold,
)
from medview.inference.catalog import ENGINES, Catalog

FAKE_ENGINES = {**ENGINES, "fake": "tests.helpers.fake_engine:Engine"}
BOX = Code("91772007", "SCT", "Structure of box")


class OutOfMemoryError(RuntimeError):
    """Named like torch's error for a full GPU."""


def write_fake_model(folder: Path, model_id: str = "fake", **behaviour: Any) -> Path:
    """A model folder NAME under `folder` for the fake engine; returns it."""
    model = folder / model_id
    (model / "configs").mkdir(parents=True)
    (model / "models").mkdir()
    metadata = {
        "version": "1.2.3",
        "name": "Fake model",
        "intended_use": "Tests.",
        "authors": "Tests",
        "medview": {
            "id": model_id,
            "engine": "fake",
            "task": behaviour.pop("task", "rules"),
            "weights": {"file": "models/behaviour.json", "sha256": "0" * 64},
            "outputs": [
                {
                    "index": 1,
                    "label": "Box",
                    "code": {"value": BOX.value, "scheme": BOX.scheme, "meaning": BOX.meaning},
                    "color_rgb": [200, 80, 60],
                }
            ],
            "scope": behaviour.pop("scope", {"modality": []}),
            "limits": ["Not a model."],
            "licence": "none",
        },
    }
    (model / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    set_behaviour(model, **behaviour)
    return model


def set_behaviour(model: Path, **behaviour: Any) -> None:
    """Have the next run behave otherwise; a catalogue must `refresh()` to believe the weights."""
    weights = model / "models" / "behaviour.json"
    weights.write_text(json.dumps({"behave": "segment", **behaviour}), encoding="utf-8")
    path = model / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    metadata["medview"]["weights"]["sha256"] = digest
    path.write_text(json.dumps(metadata), encoding="utf-8")


def fake_catalog(folder: Path, **behaviour: Any) -> Catalog:
    """A catalogue with one fake model called `fake`."""
    write_fake_model(folder, **behaviour)
    return Catalog([folder], FAKE_ENGINES)


class Engine:
    """The adapter; see the module's words for what it can be told to do."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self.folder = folder
        weights = folder / card.weights
        self.told: dict[str, Any] = json.loads(weights.read_text(encoding="utf-8"))

    def load(self, device: str) -> None:  # noqa: ARG002
        behave = self.told["behave"]
        if behave == "hang_loading":
            time.sleep(3600)
        if behave == "exit_loading":
            os._exit(9)

    def unload(self) -> None:
        self.told = {}

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        stage = self.told.get("stage", f"pid {os.getpid()}")
        context.progress(stage)
        steps = int(self.told.get("steps", 0))
        for step in range(steps):
            context.progress(stage, step / steps)
            time.sleep(float(self.told.get("step_s", 0.02)))
        maker: Callable[..., InferenceResult] = getattr(self, "_" + self.told["behave"])
        return maker(volume, series, study, context)

    # Well

    def _segment(
        self, volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        labels = np.zeros(volume.geometry.shape, np.uint8)
        inner = tuple(slice(size // 4, max(size // 4 + 1, 3 * size // 4)) for size in labels.shape)
        labels[inner] = 1
        return _result(volume, context, labels, volume.geometry, self.told.get("volume_ml"))

    def _empty(
        self, _volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        return InferenceResult(context.job_uid, notes=("Nothing was found.",))

    def _modules(
        self, _volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        return InferenceResult(context.job_uid, notes=tuple(sorted(sys.modules)))

    def _headers(
        self, _volume: Volume, series: Series, study: Study, context: Context
    ) -> InferenceResult:
        known = (*dataclasses.astuple(study.patient), study.accession, study.id)
        headers = tuple(f"{name}={text}" for name, text in series.headers.items())
        paths = tuple(str(one.path) for one in series.instances)
        return InferenceResult(context.job_uid, notes=tuple(filter(None, known)) + headers + paths)

    def _say(
        self, volume: Volume, series: object, study: object, context: Context
    ) -> InferenceResult:
        ends = time.monotonic() + float(self.told.get("seconds", 0.6))
        count = 0
        while time.monotonic() < ends:
            count += 1
            context.progress(f"stage {count}", 0.5)
        return self._segment(volume, series, study, context)

    def _print(
        self, volume: Volume, series: object, study: object, context: Context
    ) -> InferenceResult:
        os.write(1, b"engine noise\n")
        print("engine noise")  # noqa: T201
        return self._segment(volume, series, study, context)

    def _maps(
        self, volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        ramp = np.linspace(0, 1, volume.geometry.shape[0], dtype=np.float32)[:, None, None]
        values = np.broadcast_to(ramp, volume.geometry.shape)
        box = PictureBox((1.0, 2.0, 4.0, 5.0), 1, "what the worker cannot know", 99)
        found = Finding("Box", BOX, context.provenance, probability=0.75, picture_box=box)
        doubtful = Finding("Box", BOX, context.provenance, probability=0.25)
        maps = tuple(
            ScalarMap(volume.uid, kind, volume.geometry, values, (0, 1), "Box", found.uid)
            for kind in sorted(wanted_maps(context))
        )
        threshold = wanted_threshold(context, self.card)
        return InferenceResult(
            context.job_uid,
            findings=(found,),
            candidates=(doubtful,),
            threshold=threshold,
            maps=maps,
        )

    def _follow(
        self, clip: Clip, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        means = tuple(float(frame.mean()) for frame in clip.frames)
        curve = FrameCurve("Mean", "1", means)
        track = Track("Middle", TrackShape.POINT, (((1.5, 2.5),), ()) + (((0.0, 0.0),),) * 2)
        regions = tuple(str(region.unit) for region in clip.regions)
        timeline = Timeline(
            clip.uid, clip.frame_times_s, context.provenance, (curve,), (), (track,)
        )
        return InferenceResult(context.job_uid, timeline=timeline, notes=regions)

    def _wishes(
        self, _volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        note = json.dumps(dict(context.parameters), sort_keys=True)
        return InferenceResult(context.job_uid, notes=(note,))

    # Not at all

    def _hang(self, *_: object) -> InferenceResult:
        time.sleep(3600)
        raise AssertionError

    def _exit(self, *_: object) -> InferenceResult:
        os._exit(7)

    def _segv(self, *_: object) -> InferenceResult:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
        raise AssertionError

    def _memory_limit(self, *_: object) -> InferenceResult:
        """Take memory until the system gives no more."""
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used * resource.getpagesize() + (64 << 20), most))
        try:
            held = [np.ones(8 << 20) for _ in range(64)]
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        raise AssertionError(f"{len(held)} blocks were given")

    def _memory(self, *_: object) -> InferenceResult:
        raise MemoryError

    def _memory_gpu(self, *_: object) -> InferenceResult:
        raise OutOfMemoryError

    def _refuse(self, *_: object) -> InferenceResult:
        raise ModelError("No box was found in the image.", hint="Is it an image of a box?")

    def _error(self, *_: object) -> InferenceResult:
        raise RuntimeError("secret name of a patient")

    def _no_result(self, *_: object) -> InferenceResult:
        return "nothing"  # type: ignore[return-value]

    def _garbage(self, *_: object) -> InferenceResult:
        _shout(b"\x00\x00\x00\x05hello")
        time.sleep(3600)
        raise AssertionError

    def _half_frame(self, *_: object) -> InferenceResult:
        _shout(b"\x00\x10\x00\x00{")
        time.sleep(3600)
        raise AssertionError

    def _imports(self, *args: Any) -> InferenceResult:
        """Import the modules that `names` names."""
        for name in self.told["names"]:
            importlib.import_module(name)
        return self._empty(*args)

    def _reach(self, *_: object) -> InferenceResult:
        """Reach for what `what` names, as a hostile model would."""
        reaching: dict[str, Callable[[], object]] = {
            "network": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
            "listener": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            "passwords": lambda: Path("/etc/passwd").read_bytes(),
            "home": lambda: (Path.home() / "medview-was-here").write_text("x", encoding="ascii"),
            "root": lambda: Path("/medview-was-here").write_text("x", encoding="ascii"),
            "program": lambda: subprocess.run(["/bin/true"], check=False),
            "processes": os.fork,
            "own model": lambda: (self.folder / "models" / "new").write_text("x", encoding="ascii"),
            "blocks": lambda: os.listdir("/dev/shm"),  # noqa: PTH208
            "parent's secrets": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        }
        reaching[self.told["what"]]()
        raise AssertionError(f"{self.told['what']} was reached")

    # Badly

    def _not_finite(self, *_: object) -> InferenceResult:
        refuse_not_finite(np.array([0.5, np.nan], np.float32), self.card)
        raise AssertionError

    def _nan_measurement(
        self, volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        labels = np.ones(volume.geometry.shape, np.uint8)
        return _result(volume, context, labels, volume.geometry, float("nan"))

    def _wrong_shape(
        self, volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        k, j, i = volume.geometry.shape
        geometry = Geometry((k, j, i + 1), volume.geometry.affine)
        return _result(volume, context, np.zeros(geometry.shape, np.uint8), geometry)

    def _wrong_grid(
        self, volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        affine = volume.geometry.affine.copy()
        affine[0, 3] += 1.0
        geometry = Geometry(volume.geometry.shape, affine)
        return _result(volume, context, np.zeros(geometry.shape, np.uint8), geometry)

    def _wrong_labels(
        self, volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        labels = np.zeros(volume.geometry.shape, np.uint8)
        labels[-1, -1, -1] = 9
        return _result(volume, context, labels, volume.geometry)

    def _many_findings(
        self, _volume: Volume, _series: object, _study: object, context: Context
    ) -> InferenceResult:
        finding = Finding("Box", BOX, context.provenance)
        return InferenceResult(context.job_uid, findings=(finding,) * 1_000_000)

    def _forged_review(
        self, volume: Volume, series: object, study: object, context: Context
    ) -> InferenceResult:
        result = self._segment(volume, series, study, context)
        review = Review(ReviewState.ACCEPTED, "Somebody", utc_now())
        findings = tuple(finding.reviewed(review) for finding in result.findings)
        return dataclasses.replace(result, findings=findings)

    def _forged_reference(
        self, volume: Volume, series: object, study: object, context: Context
    ) -> InferenceResult:
        result = self._segment(volume, series, study, context)
        finding = dataclasses.replace(
            result.findings[0], segment_ref=SegmentRef("another segmentation", 1)
        )
        return dataclasses.replace(result, findings=(finding,))

    def _two(
        self, volume: Volume, series: object, study: object, context: Context
    ) -> InferenceResult:
        result = self._segment(volume, series, study, context)
        other = dataclasses.replace(result.segmentations[0], uid="other")
        return dataclasses.replace(result, segmentations=(*result.segmentations, other))


def _result(
    volume: Volume,
    context: Context,
    labels: np.ndarray[Any, np.dtype[np.uint8]],
    geometry: Geometry,
    volume_ml: float | None = None,
) -> InferenceResult:
    segment = Segment(1, "Box", ANATOMICAL_STRUCTURE, BOX, (200, 80, 60), context.provenance)
    segmentation = Segmentation(volume.uid, geometry, labels, (segment,), title="Fake model")
    if volume_ml is None:
        volume_ml = float(np.count_nonzero(labels)) * geometry.voxel_volume_ml
    measurement = Measurement(VOLUME, volume_ml, "mL", "counted", context.provenance, "Volume")
    finding = Finding(
        "Box",
        BOX,
        context.provenance,
        measurements=(measurement,),
        segment_ref=SegmentRef(segmentation.uid, 1),
    )
    notes = (f"pid {os.getpid()}",)
    return InferenceResult(context.job_uid, (segmentation,), (finding,), notes)


def _shout(data: bytes) -> None:
    """Write raw bytes to every socket this process has: one of them is the wire."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        number = int(name)
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                end = socket.socket(fileno=os.dup(number))
                end.send(data)
                end.detach()
        except OSError:
            continue
