"""The AI worker: a child process that loads one model at a time and runs jobs for the window.

It owns nothing the reader made: volumes and label blocks belong to the parent. Killing it at any
moment costs the running job and nothing else.
"""

from __future__ import annotations

import faulthandler
import importlib
import logging
import logging.handlers
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import IO

from medview.core.clip import Clip
from medview.core.errors import Cancelled, MedviewError, ModelError
from medview.core.findings import Provenance
from medview.core.jobs import InferenceResult, InputHash
from medview.core.maps import ScalarMap
from medview.core.models import ModelCard, Task
from medview.core.segmentation import Segmentation
from medview.core.shared_array import SharedArray, SharedArrayName
from medview.core.volume import Volume
from medview.inference import wire
from medview.inference.adapter import ClipAdapter, ModelAdapter
from medview.inference.box import enclose
from medview.inference.catalog import verify_model
from medview.inference.failures import failure, out_of_reach, reached_out
from medview.inference.results import refusal

_log = logging.getLogger(__name__)

_DEVICES = "medview.inference.engines.devices"
#: Together some seconds, in steps after which a waiting order is looked for.
_SLOW_TO_IMPORT = (
    *("scipy.ndimage", "scipy.linalg", "scipy.fft", "numba", "medview.imaging.kernels"),
    *("medview.inference.engines.chest_rules", "medview.inference.engines.segmentation"),
)


@dataclass(frozen=True)
class WorkerStart:
    """What a worker is started with; plain fields, sent once by the process's own start.

    It may read `resources` and the `readable` folders, and write `logs`, `scratch` and the
    `writable` ones; no other files of the reader's.
    """

    resources: str
    logs: str
    control: SharedArrayName
    warm: bool
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    scratch: str = ""
    niceness: int = 5
    silence_limit_s: float = 3600.0


def main(end: socket.socket, start: WorkerStart) -> None:
    """Serve until told to stop or the parent is gone; the target of the child process."""
    with ExitStack() as stack:
        faults = _settle(start, stack)
        lacking = _shut_in(start, stack)
        channel = wire.Channel(end, worker=True)
        stack.callback(channel.close)
        control = stack.enter_context(SharedArray.attach(start.control))
        _Worker(channel, control, start, faults).serve(lacking)


def _settle(start: WorkerStart, stack: ExitStack) -> IO[str]:
    """Make this process a quiet neighbour: priority, output, signals, log, crash traces."""
    if hasattr(os, "nice"):
        os.nice(start.niceness)
    # Read by OpenMP when torch is imported: threads that spin while they wait for each other
    # make a run ten times slower beside any other busy process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with suppress(OSError):  # only Linux asks: who goes first when memory runs out, not the window
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to answer
    # What engines print must not mix with the JSON that the parent writes.
    with suppress(OSError):  # a program without a console has neither
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    logs = Path(start.logs)
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(
        logs / "worker.log", maxBytes=1 << 20, backupCount=2, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    stack.callback(handler.close)
    faults = stack.enter_context((logs / "worker-faults.log").open("a", encoding="utf-8"))
    faulthandler.enable(faults)
    return faults


def _shut_in(start: WorkerStart, stack: ExitStack) -> str:
    """Put this process into its box; gives what the system could not do, in words."""
    scratch = Path(start.scratch or Path(start.logs) / "scratch")
    own = _own_scratch(scratch)
    stack.callback(shutil.rmtree, own, ignore_errors=True)
    for name in ("TMPDIR", "TEMP", "TMP", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"):
        os.environ[name] = str(own)
    # Libraries that ask who runs them look here first; the list of users is out of reach.
    os.environ.setdefault("LOGNAME", "medview")
    os.environ.setdefault("HOME", str(own))
    tempfile.tempdir = None
    # Compiled code is kept here: the places beside the modules and in the home folder are shut.
    os.environ["NUMBA_CACHE_DIR"] = str(scratch / "numba")
    (scratch / "numba").mkdir(exist_ok=True)
    readable = [Path(name) for name in (start.resources, *start.readable)]
    writable = [Path(name) for name in (start.logs, str(scratch), *start.writable)]
    lacking = enclose(readable, writable)
    if lacking:
        _log.warning("%s", lacking)
    return lacking


def _own_scratch(scratch: Path) -> Path:
    """A fresh folder for this process's files; what dead workers left in theirs is removed."""
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in scratch.glob("worker-*"):
        process = Path("/proc") / left.name.rpartition("-")[2]
        if process.parent.is_dir() and not process.exists():
            shutil.rmtree(left, ignore_errors=True)
    own = scratch / f"worker-{os.getpid()}"
    own.mkdir(exist_ok=True, mode=0o700)
    return own


class _RunContext:
    """The Context of one run: progress to the parent, the reader's wish to stop from it."""

    def __init__(self, run: wire.Run, device: str, worker: _Worker) -> None:
        self.job_uid = run.job_uid
        self.provenance: Provenance = run.provenance
        self.seed = run.seed
        self.parameters = run.parameters
        self.device = device
        self.resources = worker.resources
        self._serial = run.serial
        self._worker = worker
        self._stage = ""
        self._said_at = 0.0

    def progress(self, stage: str, fraction: float | None = None) -> None:
        """Say it, unless the same stage was said a moment ago; raise Cancelled when stopped."""
        self.check_cancelled()
        now = time.monotonic()
        if stage == self._stage and now - self._said_at < 0.05:
            return
        self._stage, self._said_at = stage, now
        if fraction is not None:
            fraction = None if math.isnan(fraction) else min(1.0, max(0.0, float(fraction)))
        self._worker.alive()
        self._worker.channel.send(wire.Progress(self.job_uid, stage, fraction))

    def check_cancelled(self) -> None:
        """Raise Cancelled if the control block names this run, or nobody waits any more."""
        if self._worker.stop_serial == self._serial:
            raise Cancelled


class _Worker:
    """The loop: one message after the other, one model loaded, volumes attached until let go."""

    def __init__(
        self, channel: wire.Channel, control: SharedArray, start: WorkerStart, faults: IO[str]
    ) -> None:
        self.channel = channel
        self.resources = Path(start.resources)
        self._control = control
        self._start = start
        self._faults = faults
        self._parent = multiprocessing.parent_process()
        self._adapter: ModelAdapter | ClipAdapter | None = None
        self._device = ""
        self._images: dict[str, tuple[Volume | Clip, SharedArray]] = {}
        self._hashes: dict[str, InputHash] = {}

    @property
    def stop_serial(self) -> int:
        """The serial of the run to be stopped. An orphan ends at once instead of computing on."""
        if self._parent is not None and not self._parent.is_alive():
            os._exit(0)
        return int(self._control.array[0])

    def alive(self) -> None:
        """Put off the moment at which a run without any sign of life ends this process."""
        faulthandler.dump_traceback_later(self._start.silence_limit_s, exit=True, file=self._faults)

    def serve(self, lacking: str = "") -> None:
        """Answer until Shutdown or the end of the wire. `lacking`: what its box does not hold."""
        try:
            self.channel.send(wire.Ready(_warmed() if self._start.warm else (), lacking))
            self._read_ahead()
            while not isinstance(message := self.channel.receive(), wire.Shutdown):
                self._answer(message)
        except (EOFError, ConnectionError):
            _log.info("the parent is gone")
        finally:
            for uid in list(self._images):
                self._detach(uid)

    def _read_ahead(self) -> None:
        """Import what the first run would wait for, as long as nobody asks for one."""
        for name in _SLOW_TO_IMPORT if self._start.warm else ():
            if self.channel.has_more:
                return
            with suppress(ImportError, OSError):  # who needs it says so, in words
                importlib.import_module(name)

    def _answer(self, message: wire.Message) -> None:
        match message:
            case wire.Load():
                self._guarded(message.job_uid, message.card, lambda: self._load(message))
            case wire.Run():
                card = self._adapter.card if self._adapter else None
                self._guarded(message.job_uid, card, lambda: self._run(message))
                faulthandler.cancel_dump_traceback_later()
            case wire.Attach():
                self._attach(message.volume, message.clip)
            case wire.Detach():
                self._detach(message.volume_uid)

    def _guarded(self, job_uid: str, card: ModelCard | None, step: Callable[[], wire.Up]) -> None:
        """Send what a step of a job comes to, whatever the model does."""
        answer: wire.Up
        title = card.title if card else "The model"
        try:
            self.channel.send(step())
        except Cancelled:
            answer = wire.Cancelled(job_uid)
        except MedviewError as error:
            answer = wire.Failed(
                job_uid, wire.FailureKind.REFUSED, error.user_text, error.hint, error.detail
            )
            if card is not None and card.code and (reached := reached_out(error)):
                answer = out_of_reach(job_uid, title, reached)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  (a model may do anything; the worker goes on)
            answer = failure(job_uid, title, error)
            if answer.kind is wire.FailureKind.OUT_OF_MEMORY:
                self._unload()
        else:
            return
        self.channel.send(answer)

    def _load(self, message: wire.Load) -> wire.Loaded:
        card, folder = message.card, Path(message.folder)
        device, fallbacks = "cpu", ()
        if card.task is not Task.RULES:
            _devices().prepare(message.threads)
            device, fallbacks = _devices().choose(message.device)
        if not card.may_run:
            raise ModelError(
                f"{card.title} brings a program ({card.code}) that nobody has trusted.",
                hint=f"medview models trust {card.id}",
            )
        verify_model(card, folder)
        if self._adapter is None or self._adapter.card != card or self._device != device:
            self._unload()
            adapter = _engine(card.engine)(card, folder)
            adapter.load(device)
            self._adapter, self._device = adapter, device
            _log.info("loaded %s %s on %s", card.id, card.version, device)
        return wire.Loaded(message.job_uid, device, fallbacks)

    def _unload(self) -> None:
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.unload()

    def _attach(self, key: wire.VolumeKey, times: wire.ClipTimes | None) -> None:
        """See an image; one that is gone already is missed when it is asked for."""
        try:
            block = SharedArray.attach(key.voxels)
        except (FileNotFoundError, ValueError):
            _log.info("an image was gone before it was seen")
            return
        volume = key.volume(block)
        image = Clip(volume, times.frame_times_s, times.sweeps) if times else volume
        self._images[key.uid] = image, block

    def _detach(self, volume_uid: str) -> None:
        self._hashes.pop(volume_uid, None)
        _, block = self._images.pop(volume_uid, (None, None))
        if block is not None:
            block.close()

    def _run(self, message: wire.Run) -> wire.Done:
        if self._adapter is None or message.volume_uid not in self._images:
            raise ModelError("The image was closed before the model could look at it.")
        image, _ = self._images[message.volume_uid]
        context = _RunContext(message, self._device, self)
        self.alive()
        started = time.perf_counter()
        # Which of the two an adapter takes is its own matter, and weighed before it is asked.
        run: Callable[..., object] = self._adapter.run
        result = run(image, message.series, message.study, context)
        context.check_cancelled()
        done = _delivered(message, result, self._adapter.card, time.perf_counter() - started)
        done = replace(done, inputs=(self._hash_of(image),))
        context.check_cancelled()
        return done

    def _hash_of(self, image: Volume | Clip) -> InputHash:
        """The hash of what was looked at, worked out once an image."""
        if image.uid not in self._hashes:
            self._hashes[image.uid] = InputHash.of(image)
        return self._hashes[image.uid]


def _devices() -> ModuleType:
    """What knows torch; ModelError where torch is missing or broken."""
    try:
        return importlib.import_module(_DEVICES)
    except (ImportError, OSError) as error:
        raise ModelError(
            "PyTorch, which runs networks, cannot be loaded.",
            hint="Install medview again.",
            detail=type(error).__name__,
        ) from error


def _warmed() -> tuple[str, ...]:
    """Import torch ahead of time and name its devices; without it rules still run."""
    try:
        devices: tuple[str, ...] = _devices().prepare()
    except ModelError:
        _log.warning("torch cannot be loaded")
        return ()
    return devices


def _engine(name: str) -> Callable[[ModelCard, Path], ModelAdapter | ClipAdapter]:
    """The engine class behind `module:Class`; names come from the parent's table only."""
    module, _, kind = name.partition(":")
    try:
        engine: Callable[[ModelCard, Path], ModelAdapter | ClipAdapter] = getattr(
            importlib.import_module(module), kind
        )
    except (ImportError, AttributeError) as error:
        raise ModelError(
            "The part of medview that runs this model is missing.",
            hint="Install medview again.",
            detail=f"{name}: {error}",
        ) from error
    return engine


def _delivered(message: wire.Run, result: object, card: ModelCard, seconds: float) -> wire.Done:
    """Put labels and maps where the parent waits for them, and the rest in plain fields."""
    if not isinstance(result, InferenceResult) or len(result.segmentations) > 1:
        raise refusal(card, "it is not what a model gives")
    count = len(result.findings) + len(result.candidates)
    if count > wire.MAX_FINDINGS:
        raise refusal(card, f"it has {count:,} findings")
    labels = None
    for segmentation in result.segmentations:
        _write_labels(message.labels, segmentation, card)
        labels = wire.Labels(
            uid=segmentation.uid,
            volume_uid=segmentation.volume_uid,
            grid=wire.Grid.of(segmentation.geometry),
            segments=segmentation.segments,
            title=segmentation.title,
        )
    return wire.Done(
        message.job_uid,
        labels,
        result.findings,
        result.notes,
        result.out_of_scope,
        result.fallbacks,
        seconds,
        candidates=result.candidates,
        threshold=result.threshold,
        maps=_write_maps(message.maps, result.maps, card),
        timeline=result.timeline,
    )


def _write_labels(
    target: SharedArrayName | None, segmentation: Segmentation, card: ModelCard
) -> None:
    """Copy a label map into the parent's block; ModelError where it does not fit in."""
    if target is None or segmentation.labels.shape != target.shape:
        raise refusal(card, "it lies on another grid than the image")
    with SharedArray.attach(target) as block:
        if segmentation.labels.dtype.itemsize > block.array.dtype.itemsize and (
            segmentation.labels.max() > 255
        ):
            raise refusal(card, "it has labels beyond those its card names")
        block.array[...] = segmentation.labels


def _write_maps(
    target: SharedArrayName | None, maps: tuple[ScalarMap, ...], card: ModelCard
) -> tuple[wire.Map, ...]:
    """Copy maps into the parent's block, each made as coarse as its share of the room asks for.

    Nothing is given where nobody asked for maps.
    """
    if target is None or not maps:
        return ()
    if len(maps) > wire.MAX_MAPS:
        raise refusal(card, f"it has {len(maps)} maps")
    written = []
    with SharedArray.attach(target) as block:
        start = 0
        for position, one in enumerate(maps):
            room = (block.array.size - start) // (len(maps) - position)
            if room < 1:
                raise refusal(card, "there is no room for its maps")
            fitting = one.coarser(room)
            end = start + fitting.values.size
            block.array[start:end] = fitting.values.ravel()
            written.append(
                wire.Map(
                    uid=one.uid,
                    volume_uid=one.volume_uid,
                    kind=one.kind,
                    grid=wire.Grid.of(fitting.geometry),
                    start=start,
                    value_range=one.value_range,
                    subject=one.subject,
                    finding_uid=one.finding_uid,
                    method=one.method,
                )
            )
            start = end
    return tuple(written)
