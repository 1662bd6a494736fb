"""The command registry: known by id, strict about arguments, honest about keys and rest."""

from __future__ import annotations

import pytest

from medview.core.errors import CommandError
from medview.services.commands import Clash, Command, Registry
from medview.services.settings import Settings


def command(name: str, *, key: str = "", context: str = "window") -> Command:
    return Command(name, name, lambda: name, shortcut=key, context=context)


def test_commands_run_by_id_and_give_what_they_give() -> None:
    registry = Registry()
    registry.add(Command("segment.grow", "Grow", lambda radius_mm=1.0: radius_mm * 2))
    assert registry.run("segment.grow") == 2.0
    assert registry.run("segment.grow", radius_mm=3.0) == 6.0


@pytest.mark.parametrize("name", ["grow", "segment.", ".grow", ""])
def test_ids_are_noun_dot_verb(name: str) -> None:
    with pytest.raises(ValueError, match=r"noun\.verb"):
        command(name)


def test_unknown_wrongly_called_and_impossible_commands_are_refused() -> None:
    registry = Registry()
    registry.add(Command("a.run", "Run", lambda number: number))
    registry.add(Command("a.stop", "Stop it", lambda: 1, enabled=lambda: False))
    with pytest.raises(CommandError, match=r"no command a\.walk"):
        registry.run("a.walk")
    with pytest.raises(CommandError, match="called wrongly"):
        registry.run("a.run", speed=1)
    with pytest.raises(CommandError, match="called wrongly"):
        registry.run("a.run")
    with pytest.raises(CommandError, match="Stop it"):
        registry.run("a.stop")


def test_a_type_error_inside_a_command_is_a_bug_and_stays_one() -> None:
    registry = Registry()
    registry.add(Command("a.run", "Run", lambda: len(3)))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        registry.run("a.run")


def test_an_id_is_taken_once() -> None:
    registry = Registry()
    registry.add(command("a.b"))
    with pytest.raises(ValueError, match="Two commands"):
        registry.add(command("a.b"))


def test_lists_are_sorted_and_split_by_context() -> None:
    registry = Registry()
    for name, context in (("b.x", "window"), ("a.x", "findings"), ("a.a", "window")):
        registry.add(command(name, context=context))
    assert [one.id for one in registry.list()] == ["a.a", "a.x", "b.x"]
    assert [one.id for one in registry.for_context("findings")] == ["a.x"]


def test_clashes_are_found_within_a_context_and_with_the_readers_keys() -> None:
    settings = Settings(None)
    registry = Registry(settings)
    registry.add(command("edit.redo", key="Ctrl+Y, Ctrl+Shift+Z"))
    registry.add(command("edit.undo", key="Ctrl+Z"))
    registry.add(command("list.undo", key="Ctrl+Z", context="list"))
    assert registry.clashes() == ()
    settings.set("key.edit.undo", "ctrl+y")
    assert registry.shortcut_of("edit.undo") == "ctrl+y"
    assert registry.clashes() == (Clash("window", "ctrl+y", ("edit.redo", "edit.undo")),)


def test_waiting_pumps_until_all_is_at_rest() -> None:
    registry = Registry()
    left = [3]
    turns: list[int] = []

    def pump() -> None:
        left[0] -= 1

    registry.add_activity(pump, lambda: left[0] <= 0)
    registry.wait_idle(5.0, lambda: turns.append(left[0]))
    assert turns == [2, 1, 0]


def test_waiting_has_an_end() -> None:
    registry = Registry()
    registry.add_activity(lambda: None, lambda: False)
    with pytest.raises(CommandError, match="Still busy"):
        registry.wait_idle(0.02)
