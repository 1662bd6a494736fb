"""Settings: typed, declared, kept; a broken file costs the settings, never the start."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medview.core.errors import CommandError
from medview.core.events import SettingChanged
from medview.services.settings import OPTIONS, Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def test_every_option_explains_itself_and_has_a_valid_default() -> None:
    for name, option in OPTIONS.items():
        assert "." in name
        assert option.help.endswith(".")
        assert option.title
        assert option.accept(option.default) == option.default


def test_changes_are_kept_and_told(file: Path) -> None:
    chosen = Settings(file)
    heard: list[SettingChanged] = []
    chosen.changed.connect(heard.append)
    chosen.set("reader.name", 'Dr "Ä" \\ Ada')
    chosen.set("segment.opacity", 0.25)
    chosen.set("view.crosshair", False)
    chosen.set("view.crosshair", False)
    again = Settings(file)
    assert again.text("reader.name") == 'Dr "Ä" \\ Ada'
    assert again.number("segment.opacity") == 0.25
    assert not again.flag("view.crosshair")
    assert not again.notices
    assert [event.name for event in heard] == ["reader.name", "segment.opacity", "view.crosshair"]
    assert not list(file.parent.glob("*.new"))


def test_reset_gives_the_default_back(file: Path) -> None:
    chosen = Settings(file)
    chosen.set("window.theme", "light")
    chosen.reset("window.theme")
    assert chosen.get("window.theme") == "dark"
    assert Settings(file).get("window.theme") == "dark"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("view.window_drag_up", "sideways"),
        ("segment.opacity", 1.5),
        ("segment.opacity", "much"),
        ("segment.opacity", True),
        ("view.crosshair", 1),
        ("ai.threads", 1.5),
        ("no.such", 1),
        ("key.", "A"),
    ],
)
def test_what_is_not_allowed_is_refused(file: Path, name: str, value: object) -> None:
    chosen = Settings(file)
    with pytest.raises(CommandError):
        chosen.set(name, value)  # type: ignore[arg-type]
    assert not file.exists()


def test_a_whole_number_is_a_number(file: Path) -> None:
    file.write_text("[segment]\nopacity = 1\n")
    assert Settings(file).number("segment.opacity") == 1.0


def test_wrong_values_and_unknown_keys_are_told_and_the_rest_holds(file: Path) -> None:
    file.write_text('[view]\ncrosshair = "yes"\nlayout = "one"\n[future]\nthing = [1, 2]\n')
    chosen = Settings(file)
    assert chosen.flag("view.crosshair") is True
    assert chosen.text("view.layout") == "one"
    told = " ".join(notice.text for notice in chosen.notices)
    assert "view.crosshair" in told
    assert "future.thing" in told
    chosen.set("view.layout", "four")
    assert tomllib.loads(file.read_text())["future"] == {"thing": [1, 2]}


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b'[view]\nlayout = "on', b"\xff\xfe\x00", b"format = 99\n", b'format = "x"\n'],
)
def test_a_broken_or_newer_file_is_kept_aside_and_told(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    chosen = Settings(file)
    assert chosen.get("window.theme") == "dark"
    assert "settings.toml.bak" in chosen.notices[0].text
    assert (file.parent / "settings.toml.bak").read_bytes() == content
    chosen.set("window.theme", "light")
    assert Settings(file).get("window.theme") == "light"


def test_every_truncation_of_a_settings_file_starts(file: Path) -> None:
    chosen = Settings(file)
    chosen.set("reader.name", "Dr Ada")
    chosen.set("key.ai.run", "Ctrl+R")
    content = file.read_bytes()
    for cut in range(len(content)):
        file.write_bytes(content[:cut])
        torn = Settings(file)
        assert torn.text("reader.name") in ("", "Dr Ada")


def test_keys_are_options_of_their_own(file: Path) -> None:
    chosen = Settings(file)
    assert chosen.shortcut("ai.run") is None
    chosen.set("key.ai.run", "Ctrl+R")
    assert Settings(file).shortcut("ai.run") == "Ctrl+R"


def test_without_a_file_values_live_in_memory() -> None:
    chosen = Settings(None)
    chosen.set("window.theme", "light")
    assert chosen.get("window.theme") == "light"


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_text_survives_the_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    Settings(file).set("reader.name", text)
    assert Settings(file).get("reader.name") == text
