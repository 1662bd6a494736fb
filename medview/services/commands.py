"""Commands: everything a person can do, by name."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medview.core.errors import CommandError
from medview.services.settings import Settings


def always() -> bool:
    """For commands that can be run at any time."""
    return True


@dataclass(frozen=True)
class Command:
    """One thing a person can do: id `noun.verb`, words for the menu, and what it does.

    `run` takes keyword arguments with defaults, so that the bare command works from a key.
    `context` says where the shortcut holds: `window`, or a panel or view by name. `menu` names
    the menu it stands in, "" for none. `undoable` False: the window asks before it runs.
    """

    id: str
    title: str
    run: Callable[..., Any]
    enabled: Callable[[], bool] = always
    shortcut: str = ""
    context: str = "window"
    help: str = ""
    menu: str = ""
    undoable: bool = True

    def __post_init__(self) -> None:
        noun, dot, verb = self.id.partition(".")
        if not (noun and dot and verb):
            raise ValueError(f"Commands are called noun.verb, not {self.id!r}")


@dataclass(frozen=True)
class Clash:
    """One key that would run several commands of one context."""

    context: str
    shortcut: str
    ids: tuple[str, ...]


class Registry:
    """All commands. Menus, toolbar, palette, keys and scripts run them by id.

    `wait_idle` waits for what was registered by `add_activity`: loading, models, saving.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._commands: dict[str, Command] = {}
        self._activities: list[tuple[Callable[[], object], Callable[[], bool]]] = []

    def add(self, command: Command) -> None:
        """Register a command; ValueError if the id is taken."""
        if command.id in self._commands:
            raise ValueError(f"Two commands are called {command.id}")
        self._commands[command.id] = command

    def get(self, command_id: str) -> Command:
        """The command with that id; CommandError if there is none."""
        try:
            return self._commands[command_id]
        except KeyError:
            raise CommandError(
                f"There is no command {command_id}", "commands.list() names all there are."
            ) from None

    def list(self) -> tuple[Command, ...]:
        """All commands by id."""
        return tuple(self._commands[name] for name in sorted(self._commands))

    def for_context(self, context: str) -> tuple[Command, ...]:
        """The commands whose shortcuts hold in one place."""
        return tuple(command for command in self.list() if command.context == context)

    def run(self, command_id: str, **arguments: Any) -> Any:
        """Run a command and give what it gives.

        CommandError if there is no such command, if it takes other arguments, or if it cannot
        be run now.
        """
        command = self.get(command_id)
        try:
            inspect.signature(command.run).bind(**arguments)
        except TypeError as error:
            raise CommandError(f"{command_id} was called wrongly: {error}") from error
        if not command.enabled():
            raise CommandError(f"“{command.title}” is not possible now")
        return command.run(**arguments)

    def shortcut_of(self, command_id: str) -> str:
        """The key of a command: the reader's own, else the built-in one; "" for none."""
        command = self.get(command_id)
        own = self._settings.shortcut(command_id) if self._settings is not None else None
        return command.shortcut if own is None else own

    def clashes(self) -> tuple[Clash, ...]:
        """Keys that are used twice in one context."""
        used: dict[tuple[str, str], list[str]] = {}
        for command in self.list():
            for key in self.shortcut_of(command.id).split(", "):
                if key:
                    used.setdefault((command.context, key.casefold()), []).append(command.id)
        return tuple(
            Clash(context, key, tuple(ids)) for (context, key), ids in used.items() if len(ids) > 1
        )

    def add_activity(self, pump: Callable[[], object], idle: Callable[[], bool]) -> None:
        """Register work that goes on beside the owner: `pump` takes in what came, `idle` tells."""
        self._activities.append((pump, idle))

    def is_idle(self) -> bool:
        """Whether nothing registered is under way."""
        return all(idle() for _, idle in self._activities)

    def wait_idle(self, timeout_s: float = 60.0, turn: Callable[[], object] = always) -> None:
        """Wait until everything registered has come to rest; CommandError after `timeout_s`.

        `turn` is called while waiting: a window lets its own events through there.
        """
        end = time.monotonic() + timeout_s
        while True:
            for pump, _ in self._activities:
                pump()
            turn()
            if self.is_idle():
                return
            if time.monotonic() > end:
                raise CommandError(f"Still busy after {timeout_s:g} s")
            time.sleep(0.005)
