"""Events and inboxes of the services -> Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from PyQt6.QtCore import QObject, QTimer, pyqtSignal

from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Event, Level, Notice
from medview.services.bundle import Services
from medview.services.workspace import SIGNAL_OF

EventT = TypeVar("EventT")
_LOOK_EVERY_MS = 150


@dataclass(frozen=True)
class Changes:
    """What happened since the last turn of Qt's loop, in order."""

    events: tuple[Event, ...]

    def of(self, kind: type[EventT]) -> tuple[EventT, ...]:
        """The events of one class."""
        return tuple(event for event in self.events if isinstance(event, kind))

    def any(self, *kinds: type[Event]) -> bool:
        """Whether something of these classes happened."""
        return any(isinstance(event, kinds) for event in self.events)


class Bridge(QObject):
    """Between the services and the window, both ways.

    `changed` carries the Changes of one turn of Qt's loop, so that a panel redraws once
    however much happened; `noticed` carries each Notice; `reading` says when files begin and
    end to be read. Work that ends in threads and child
    processes wakes this object, which lets the owner thread take it in. `run` runs a command,
    `start` does it the way a person does: `asks` names the commands that need a dialog first.
    """

    changed = pyqtSignal(object)
    noticed = pyqtSignal(object)
    reading = pyqtSignal(bool)
    _woken = pyqtSignal()

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.asks: dict[str, Callable[..., object]] = {}
        self._services = services
        self._events: list[Event] = []
        self._waking = False
        for name in SIGNAL_OF.values():
            getattr(services.workspace.events, name).connect(self._note)
        self._flushing = QTimer(self)
        self._flushing.setSingleShot(True)
        self._flushing.timeout.connect(self._flush)
        self._pumping = QTimer(self)
        self._pumping.setSingleShot(True)
        self._pumping.setInterval(0)
        self._pumping.timeout.connect(self._pump)
        # Through a timer, so that nothing is taken in inside the call that woke.
        self._woken.connect(self._pumping.start)
        self._is_reading = False
        self._looking = QTimer(self)
        self._looking.timeout.connect(self._look)
        self._looking.start(_LOOK_EVERY_MS)
        services.tasks.on_wake = self.wake
        services.jobs.on_wake = self.wake

    @property
    def is_quiet(self) -> bool:
        """Whether all that happened was passed on."""
        return not (self._events or self._waking or self._flushing.isActive())

    def wake(self) -> None:
        """Take in what came, soon, on the thread of the window. May be called by any thread."""
        if not self._waking:
            self._waking = True
            self._woken.emit()

    def run(self, command_id: str, **arguments: Any) -> Any:
        """Run a command; what it refuses is told as a notice, and None is given back."""
        try:
            return self._services.commands.run(command_id, **arguments)
        except Cancelled:
            return None
        except MedviewError as error:
            self.tell(error)
            return None

    def start(self, command_id: str, **arguments: Any) -> None:
        """Run a command from a button, menu or key: with the dialog it needs, if any."""
        ask = self.asks.get(command_id)
        if ask is None:
            self.run(command_id, **arguments)
            return
        try:
            if not self._services.commands.get(command_id).enabled():
                return
            ask(**arguments)
        except MedviewError as error:
            self.tell(error)

    def tell(self, error: MedviewError) -> None:
        """Show an expected failure."""
        self._services.workspace.notify(Level.ERROR, error.user_text, error.hint)

    def close(self) -> None:
        """Listen no more."""
        for name in SIGNAL_OF.values():
            getattr(self._services.workspace.events, name).disconnect(self._note)
        self._flushing.stop()
        self._pumping.stop()
        self._looking.stop()

    def _note(self, event: Event) -> None:
        self._events.append(event)
        if not self._flushing.isActive():
            self._flushing.start(0)

    def _flush(self) -> None:
        events, self._events = tuple(self._events), []
        for event in events:
            if isinstance(event, Notice):
                self.noticed.emit(event)
        if events:
            self.changed.emit(Changes(events))

    def _look(self) -> None:
        """A scan sends no event before it ends, and programs beside this one none at all."""
        self._services.training.pump()
        self._services.ranking.pump()
        reading = not self._services.loading.idle
        if reading != self._is_reading:
            self._is_reading = reading
            self.reading.emit(reading)

    def _pump(self) -> None:
        # Cleared first: what arrives while pumping wakes again.
        self._waking = False
        complete = False
        try:
            self._services.tasks.pump()
            self._services.jobs.pump()
            complete = True
        finally:
            if not complete:  # A bug is on its way to the excepthook; what waits behind it goes on.
                self.wake()
