"""The life of the AI worker: one order at a time, its start, its end, its silence, its death.

Everything here runs on the client's one thread, which waits for the wire, for the end of the
process and for the owner's wishes at the same time.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medview.core.errors import MedviewError
from medview.core.findings import ModelAuthor, Provenance, utc_now
from medview.core.models import ModelCard, Task
from medview.core.shared_array import SharedArray
from medview.core.study import Patient, Series, Study
from medview.inference import orders, wire
from medview.inference.process import WorkerProcess, words_for
from medview.inference.results import checked, map_extent
from medview.inference.volumes import SharedVolumes
from medview.inference.worker import WorkerStart

#: The headers a model may know; who the patient is and where stays here.
_HEADERS_FOR_MODELS = (
    *("PatientAge", "PatientSex", "PatientPosition", "BodyPartExamined", "ImageType"),
    *("EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "MagneticFieldStrength"),
    *("ScanningSequence", "SequenceVariant", "SequenceName", "ProtocolName", "MRAcquisitionType"),
    *("ContrastBolusAgent", "ConvolutionKernel", "KVP", "SliceThickness", "SpacingBetweenSlices"),
    *("PhotometricInterpretation", "ViewPosition", "Manufacturer", "ManufacturerModelName"),
)
_GARBLED = "The AI process said something that makes no sense and was stopped."


@dataclass
class _Hand:
    """The order in hand and where it stands."""

    order: orders.Order
    serial: int
    provenance: Provenance
    sent: bool = False
    running: bool = False
    labels: SharedArray | None = None
    maps: SharedArray | None = None
    device: str = "cpu"
    fallbacks: tuple[str, ...] = ()
    kill_at: float | None = None
    heard_at: float = field(default_factory=time.monotonic)
    told_at: float = 0.0
    progress: orders.JobProgress | None = None
    shown_at: float = 0.0

    @property
    def job_uid(self) -> str:
        return self.order.job_uid


class Supervisor:
    """Keeps one worker alive and one order moving; tells everything through `tell`.

    Methods are called on one thread. `handles` is what to wait for, `timeout_s` how long at
    most, `turn` what to do then.
    """

    def __init__(
        self,
        resources: Path,
        logs: Path,
        limits: orders.Limits,
        tell: Callable[[orders.Heard], None],
        models: Path | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._limits = limits
        self._tell = tell
        self._control = SharedArray.create((1,), np.int64)
        self._start = WorkerStart(
            str(resources),
            str(logs),
            self._control.key,
            warm=False,
            readable=(str(models),) if models else (),
            scratch=str(scratch or ""),
        )
        self._volumes = SharedVolumes(limits.copies_bytes, lambda uid: self._send(wire.Detach(uid)))
        self._process: WorkerProcess | None = None
        self._ready = False
        self._bad_starts = 0
        self._hand: _Hand | None = None
        self._serial = 0

    # What the owner wants

    def warm(self) -> None:
        """Have a worker that has imported torch before the first order."""
        self._start = replace(self._start, warm=True)
        self._ensure_process()

    def submit(self, order: orders.Order) -> None:
        """Take an order in hand; the one before is over."""
        self._serial += 1
        author = ModelAuthor(order.card.id, order.card.version, order.card.sha256)
        provenance = Provenance(author, utc_now(), order.job_uid, (order.volume.uid,))
        self._hand = _Hand(order, self._serial, provenance)
        if self._process is None:
            self._bad_starts = 0
        start, self._start = self._start, _opened_for(self._start, order)
        if start != self._start and self._process is not None:
            self._process.bury()  # a box never opens: it takes another
            self._process = None
        self._ensure_process()
        self._load()

    def cancel(self, job_uid: str) -> None:
        """Stop the order in hand: asked first, killed when it does not listen."""
        hand = self._hand
        if hand is None or hand.job_uid != job_uid or hand.kill_at is not None:
            return
        if not hand.sent:
            self._finish(orders.JobCancelled(job_uid))
            return
        self._control.array[0] = hand.serial
        hand.kill_at = time.monotonic() + self._limits.cancel_grace_s

    def forget(self, volume_uid: str) -> None:
        """Let a volume go, here and in the worker."""
        self._volumes.forget(volume_uid)

    def end(self, fault: str = "") -> None:
        """Stop the worker and leave nothing behind. `fault` says why, if it is not as wished."""
        if self._process is not None:
            if self._hand is None and self._ready:
                self._process.ask_to_end(0.5)
            self._process.bury()
            self._process = None
        if self._hand is not None:
            uid = self._hand.job_uid
            self._finish(orders.JobDied(uid, fault, None) if fault else orders.JobCancelled(uid))
        self._volumes.close()
        self._control.close()

    # What the thread waits for, and does then

    @property
    def handles(self) -> list[socket.socket | int]:
        """The wire and the end of the process."""
        process = self._process
        return [] if process is None else [process.channel.socket, process.sentinel]

    def timeout_s(self) -> float | None:
        """How long nothing needs to be done if nothing is heard."""
        hand = self._hand
        if hand is None:
            return None
        times = [max(hand.heard_at, hand.told_at) + self._limits.silence_s]
        if hand.kill_at is not None:
            times.append(hand.kill_at)
        if hand.progress is not None:
            times.append(hand.shown_at + self._limits.progress_s)
        return max(0.0, min(times) - time.monotonic())

    def turn(self, ready: Sequence[object]) -> None:
        """Hear what is there to hear, then see to what is due."""
        process = self._process
        if process is not None and process.channel.socket in ready:
            self._hear(process)
        # What it said before it ended was heard first: the wire is read to its end.
        elif process is not None and process.sentinel in ready and process.has_ended:
            self._bury()
        self._see_to_what_is_due()

    def _see_to_what_is_due(self) -> None:
        hand, now = self._hand, time.monotonic()
        if hand is None:
            return
        if hand.kill_at is not None and now >= hand.kill_at:
            self._kill_cancelled(hand)
            return
        if hand.progress is not None and now >= hand.shown_at + self._limits.progress_s:
            self._tell(hand.progress)
            hand.progress, hand.shown_at = None, now
        if now >= max(hand.heard_at, hand.told_at) + self._limits.silence_s:
            hand.told_at = now
            self._tell(orders.JobSilent(hand.job_uid, now - hand.heard_at))

    # The worker's life

    def _ensure_process(self) -> None:
        if self._process is None:
            self._ready = False
            self._volumes.nothing_attached()
            try:
                self._process = WorkerProcess(self._start)
            except OSError as error:
                self._give_up(f"The AI process could not be started ({error.strerror}).", None)

    def _kill_cancelled(self, hand: _Hand) -> None:
        """End a run that does not listen. It is over once killed; the dying may take longer."""
        if self._process is not None:
            self._process.kill()
        self._finish(orders.JobCancelled(hand.job_uid))
        self._bury()

    def _bury(self, words: str = "") -> None:
        """The worker is dead or to be killed: say so, and start another."""
        process, self._process = self._process, None
        assert process is not None  # noqa: S101  (only called with one)
        code = process.bury()
        words = words or words_for(code)
        hand = self._hand
        self._bad_starts = 0 if hand is not None and hand.sent else self._bad_starts + 1
        if hand is not None and hand.kill_at is not None:
            self._finish(orders.JobCancelled(hand.job_uid))
        elif hand is not None and hand.sent:
            self._finish(orders.JobDied(hand.job_uid, words, code))
        if self._bad_starts < self._limits.starts:
            self._ensure_process()
            return
        often = f"It did so {self._bad_starts} times in a row and is not started again."
        self._give_up(f"{words} {often}", code)

    def _give_up(self, text: str, code: int | None) -> None:
        """No worker: the order in hand ends with that, the next one tries again."""
        if self._hand is not None:
            self._finish(orders.JobDied(self._hand.job_uid, text, code))
        self._tell(orders.WorkerStopped(text))

    def _send(self, message: wire.Down) -> None:
        """Send to a worker that listens; one that does not is heard of by its end."""
        if self._process is None or not self._ready:
            return
        try:
            self._process.channel.send(message)
        except TimeoutError:
            self._bury("The AI process stopped listening and was ended.")
        except OSError:
            return

    def _hear(self, process: WorkerProcess) -> None:
        try:
            for message in process.channel.hear():
                if self._process is process:  # an answer may have ended it
                    self._heard(message)
        except (EOFError, OSError):
            self._bury()
        except wire.WireError:
            self._bury(_GARBLED)

    def _heard(self, message: wire.Message) -> None:
        hand = self._hand
        if isinstance(message, wire.Ready):
            self._ready = True
            self._tell(orders.WorkerReady(message.devices, message.lacking))
            self._load()
            return
        if hand is None or getattr(message, "job_uid", "") != hand.job_uid:
            raise wire.WireError("about a job that is not in hand")
        hand.heard_at = time.monotonic()
        match message:
            case wire.Loaded():
                self._run(hand, message)
            case wire.Progress():
                if hand.kill_at is None:
                    hand.progress = orders.JobProgress(
                        hand.job_uid, message.stage, message.fraction
                    )
            case wire.Done():
                self._done(hand, message)
            case wire.Failed():
                self._over(
                    hand,
                    orders.JobFailed(hand.job_uid, message.text, message.hint, message.detail),
                )
            case wire.Cancelled():
                self._finish(orders.JobCancelled(hand.job_uid))

    # The order's life

    def _load(self) -> None:
        hand = self._hand
        if hand is None or hand.sent or not self._ready:
            return
        hand.sent = True
        hand.heard_at = time.monotonic()
        order = hand.order
        folder = str(order.folder)
        self._send(wire.Load(order.job_uid, order.card, folder, order.device, order.threads))

    def _run(self, hand: _Hand, loaded: wire.Loaded) -> None:
        if hand.kill_at is not None:
            self._finish(orders.JobCancelled(hand.job_uid))
            return
        if hand.running:
            raise wire.WireError("loaded twice")
        hand.running, hand.device, hand.fallbacks = True, loaded.device, loaded.fallbacks
        self._tell(orders.JobRunning(hand.job_uid, loaded.device))
        order = hand.order
        try:
            key = self._volumes.attach(order.volume, order.backing)
            hand.labels = _label_block(order.card, order.volume.geometry.shape)
            hand.maps = _map_block(order, self._limits.map_values)
        except MedviewError as error:
            self._finish(orders.JobFailed(hand.job_uid, error.user_text, error.hint, error.detail))
            return
        if key is not None:
            volume_key = wire.VolumeKey.of(order.volume, key)
            self._send(wire.Attach(volume_key, wire.ClipTimes.of(order.image)))
        self._send(
            wire.Run(
                job_uid=hand.job_uid,
                serial=hand.serial,
                volume_uid=order.volume.uid,
                series=_nameless_series(order.series),
                study=_nameless_study(order.study),
                provenance=hand.provenance,
                seed=order.seed,
                labels=hand.labels.key if hand.labels else None,
                maps=hand.maps.key if hand.maps else None,
                parameters=order.parameters,
            )
        )

    def _done(self, hand: _Hand, done: wire.Done) -> None:
        if not hand.running:
            raise wire.WireError("done without a run")
        # Private copies are checked, so that nobody can change them after the check.
        labels = hand.labels.array.copy() if hand.labels and done.labels else None
        maps = hand.maps.array[: map_extent(done)].copy() if hand.maps and done.maps else None
        order = hand.order
        try:
            result = checked(done, labels, maps, order, hand.provenance)
        except MedviewError as error:
            self._over(hand, orders.JobFailed(hand.job_uid, error.user_text, error.hint))
            return
        fallbacks = (*hand.fallbacks, *result.fallbacks)
        result = replace(result, device=hand.device, fallbacks=fallbacks)
        self._over(hand, orders.JobDone(hand.job_uid, result))

    def _over(self, hand: _Hand, end: orders.Heard) -> None:
        """Finish, unless the reader had stopped it: then that is how it ends."""
        stopped = hand.kill_at is not None
        self._finish(orders.JobCancelled(hand.job_uid) if stopped else end)

    def _finish(self, end: orders.Heard) -> None:
        hand, self._hand = self._hand, None
        for block in (hand.labels, hand.maps) if hand is not None else ():
            if block is not None:
                block.close()
        if not isinstance(end, orders.JobDied):
            self._bad_starts = 0
        self._tell(end)


def _opened_for(start: WorkerStart, order: orders.Order) -> WorkerStart:
    """The start of a worker that may open what an order names as well."""
    folder = order.folder.absolute()
    roots = [Path(name).absolute() for name in (start.resources, *start.readable)]
    if not any(folder.is_relative_to(root) for root in roots):
        start = replace(start, readable=(*start.readable, str(folder)))
    backing = Path(order.backing.name) if order.backing else Path()
    if backing.is_absolute() and str(backing.parent) not in start.writable:
        start = replace(start, writable=(*start.writable, str(backing.parent)))
    return start


def _label_block(card: ModelCard, shape: tuple[int, int, int]) -> SharedArray | None:
    """The block a result's labels go into, as wide as the card's numbers need."""
    if card.outputs.kind != "labels":
        return None
    highest = max((channel.index for channel in card.outputs.channels), default=0)
    wide = card.task is Task.INSTANCES or highest > np.iinfo(np.uint8).max
    return SharedArray.create(shape, np.uint16 if wide else np.uint8)


def _map_block(order: orders.Order, most_values: int) -> SharedArray | None:
    """The block the maps go into, flat, where any are asked for; memory is taken as it is used."""
    if not order.parameters.get("maps"):
        return None
    voxels = math.prod(order.volume.geometry.shape)
    return SharedArray.create((min(most_values, wire.MAX_MAPS * voxels),), np.float16)


def _nameless_series(series: Series | None) -> Series | None:
    """Without file paths and names: what a model may know of a series."""
    if series is None:
        return None
    headers = {name: series.headers[name] for name in _HEADERS_FOR_MODELS if name in series.headers}
    return replace(series, instances=(), headers=headers)


def _nameless_study(study: Study | None) -> Study | None:
    """Without names, dates of birth and numbers: what a model may know of a study."""
    if study is None:
        return None
    return Study(
        uid=study.uid,
        patient=Patient(id="", name="", sex=study.patient.sex),
        description=study.description,
        date=study.date,
    )
