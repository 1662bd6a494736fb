"""Settings: the declared options, their file, and what became of a broken one."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from psygnal import Signal

from medview.core.errors import CommandError
from medview.core.events import Level, Notice, SettingChanged
from medview.core.paths import write_whole
from medview.core.toml import toml_text

Value = bool | int | float | str

#: Version of the settings file this program writes and understands.
FORMAT = 1

#: Options of this group hold a shortcut for the command whose id follows.
KEY_GROUP = "key."


@dataclass(frozen=True)
class Option:
    """One thing a reader can set: `group.name`, its default (whose type is its type) and help.

    `choices` lists the allowed texts; `limits` the lowest and highest number, in `unit`.
    """

    name: str
    default: Value
    help: str
    title: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None

    def accept(self, value: object) -> Value:
        """The value in the option's type; ValueError saying what is allowed."""
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, bool | int | float | str) or type(value) is not kind:
            raise ValueError(f"{self.name} takes {_KIND_WORDS[kind]}, not {value!r}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} is one of {', '.join(self.choices)}, not {value!r}")
        if self.limits is not None and isinstance(value, int | float):
            low, high = self.limits
            if not low <= value <= high:
                raise ValueError(f"{self.name} lies between {low:g} and {high:g}, not {value!r}")
        return value


_KIND_WORDS: Mapping[type, str] = MappingProxyType(
    {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
)

_DECLARED = (
    Option("reader.name", "", "The name decisions are recorded and reports signed under.", "Name"),
    Option(
        "reader.role",
        "",
        "Stands behind the name in reports, for example Consultant radiologist.",
        "Role",
    ),
    Option(
        "view.window_drag_up",
        "brighter",
        "What dragging upwards does to the picture while windowing. IHE Basic Image Review has it"
        " the other way round: dragging down makes it brighter.",
        "Dragging up makes the picture",
        choices=("brighter", "darker"),
    ),
    Option(
        "view.interpolation",
        "linear",
        "How pixels are filled in when the picture is larger than the image.",
        "Interpolation",
        choices=("nearest", "linear"),
    ),
    Option(
        "view.layout",
        "auto",
        "The layout a study opens in; auto leaves the choice to the hanging protocol.",
        "Layout",
        choices=("auto", "one", "mpr", "four", "volume"),
    ),
    Option(
        "view.autoplay",
        True,
        "Clips begin to play when they are shown, as fast as they were taken.",
        "Play clips at once",
    ),
    Option("view.crosshair", True, "Show where the planes cut each other.", "Crosshair"),
    Option(
        "view.corner_text",
        "full",
        "Text in the corners of the picture. Side and orientation always stay.",
        "Corner text",
        choices=("full", "minimal", "none"),
    ),
    Option(
        "segment.network",
        True,
        "Clicks, scribbles and boxes are answered by a network that learned to; off: by random "
        "walks, which follow values and borders alone.",
        "Answer marks by a network",
    ),
    Option(
        "segment.opacity",
        0.4,
        "How strongly segments cover the picture at first: 0 is invisible, 1 hides it.",
        "Overlay",
        limits=(0.0, 1.0),
    ),
    Option(
        "segment.brush_radius_mm",
        5.0,
        "Radius of the brush when the program starts.",
        "Brush radius",
        unit="mm",
        limits=(0.1, 200.0),
    ),
    Option(
        "reading.readers",
        "one",
        "Who decides on findings: one reader, or two apart from each other and a third who decides"
        " where they differ.",
        "Readers",
        choices=("one", "two"),
    ),
    Option(
        "reading.blind",
        True,
        "Of two readers neither sees what the other made of a study before both have finished.",
        "Two readers are blind to each other",
    ),
    Option(
        "finding.window",
        True,
        "Going to a finding in a CT shows it in the window of what was found: lung, bone, brain.",
        "Window of the finding",
    ),
    Option(
        "finding.zoom",
        True,
        "Going to a finding brings it near: it takes a third of the view.",
        "Zoom to the finding",
    ),
    Option(
        "finding.advance",
        False,
        "After a finding was accepted or rejected by its key, the next undecided one is shown.",
        "Go on after a decision",
    ),
    Option(
        "ai.device",
        "auto",
        "Where models run: auto takes a graphics processor if there is one, cpu never does;"
        " cuda:0 names one.",
        "Run models on",
    ),
    Option(
        "ai.run_on_open",
        False,
        "Run the models that fit as soon as a study is open. Proposals still need a decision.",
        "Run fitting models at once",
    ),
    Option(
        "ai.read_first",
        False,
        "What models propose stays hidden in a study until you have committed a first read of it.",
        "Read first, then reveal AI",
    ),
    Option(
        "ai.uncertainty",
        False,
        "Models that can say where they are unsure do so in every run, which takes longer.",
        "Uncertainty maps",
    ),
    Option(
        "ai.saliency",
        True,
        "Models that classify or detect say in every run what in the image their answer rests on;"
        " shown only when asked for.",
        "Saliency maps",
    ),
    Option(
        "ai.map_opacity",
        0.6,
        "How strongly maps of uncertainty and saliency cover the picture.",
        "Maps over the picture",
        limits=(0.1, 1.0),
    ),
    Option(
        "ai.threads",
        0,
        "Processor cores a model may use; 0 leaves the choice to the program.",
        "Cores for models",
        limits=(0, 256),
    ),
    Option(
        "store.delay_s",
        0.3,
        "How long to wait for further changes before work is saved.",
        "Save after",
        unit="s",
        limits=(0.05, 0.8),
    ),
    Option(
        "store.maps_mb",
        1024,
        "Room on the disk for maps of uncertainty and saliency, so that they are there when a study"
        " is opened again; those used longest ago go first. Takes effect at the next start.",
        "Kept maps",
        unit="MB",
        limits=(0, 65536),
    ),
    Option(
        "loading.workers",
        2,
        "Processes that read files; a change takes effect at the next start.",
        "Reading processes",
        limits=(1, 16),
    ),
    Option(
        "loading.ready_mb",
        512,
        "Memory kept at hand, so that a volume of up to this size opens quicker; never more than an"
        " eighth of what is free. A change takes effect at the next start.",
        "Memory kept ready",
        unit="MB",
        limits=(0, 8192),
    ),
    Option(
        "export.folder",
        "",
        "Where exports are written at first; empty asks.",
        "Export folder",
    ),
    Option("window.theme", "dark", "Colours of the window.", "Theme", choices=("dark", "light")),
)

#: Every option by name.
OPTIONS: Mapping[str, Option] = MappingProxyType({option.name: option for option in _DECLARED})


class Settings:
    """The values of all options, kept in a TOML file.

    Unknown keys and wrong values are told in `notices` and fall back to the default; unknown
    keys of a newer program stay in the file. A file that cannot be read is kept beside itself as
    `.bak`. `changed` sends SettingChanged. `file=None` keeps values in memory only.
    """

    changed = Signal(SettingChanged)

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._values: dict[str, Value] = {}
        self._foreign: dict[str, object] = {}
        self.notices: list[Notice] = []
        if file is not None:
            self._read(file)

    def get(self, name: str) -> Value:
        """The value of an option, or its default; CommandError for an unknown one."""
        return self._values.get(name, self.option(name).default)

    def text(self, name: str) -> str:
        """The value of a text option."""
        return str(self.get(name))

    def number(self, name: str) -> float:
        """The value of a number option."""
        return float(self.get(name))

    def flag(self, name: str) -> bool:
        """The value of a yes-or-no option."""
        return bool(self.get(name))

    def set(self, name: str, value: Value) -> None:
        """Change an option and save; CommandError with what is allowed."""
        try:
            accepted = self.option(name).accept(value)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if accepted == self.get(name):
            return
        self._values[name] = accepted
        self._write()
        self.changed.emit(SettingChanged(name))

    def reset(self, name: str) -> None:
        """Give an option its default back."""
        option = self.option(name)
        if name in self._values:
            del self._values[name]
            self._write()
            self.changed.emit(SettingChanged(option.name))

    def shortcut(self, command_id: str) -> str | None:
        """The key the reader gave a command; None where its own holds."""
        value = self._values.get(KEY_GROUP + command_id)
        return None if value is None else str(value)

    @staticmethod
    def option(name: str) -> Option:
        """What is known about an option; CommandError for an unknown one."""
        if name in OPTIONS:
            return OPTIONS[name]
        if name.startswith(KEY_GROUP) and len(name) > len(KEY_GROUP):
            return Option(name, "", f"The key for {name.removeprefix(KEY_GROUP)}.")
        raise CommandError(f"There is no setting {name}", "Preferences lists all settings.")

    def _read(self, file: Path) -> None:
        if not file.exists():
            return
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self._set_aside(file, f"line or letter not understood: {error}")
            return
        if not tree:
            self._set_aside(file, "the file is empty")
            return
        version = tree.pop("format", FORMAT)
        if not isinstance(version, int) or version > FORMAT:
            self._set_aside(file, "it was written by a newer program")
            return
        for name, value in _flat(tree):
            self._take(name, value)

    def _take(self, name: str, value: object) -> None:
        try:
            self._values[name] = self.option(name).accept(value)
        except CommandError:
            self._foreign[name] = value
            self._tell(f"The settings name {name}, which this program does not know.")
        except ValueError as error:
            self._tell(f"A setting was not taken over: {error}. The default holds.")

    def _set_aside(self, file: Path, reason: str) -> None:
        backup = file.with_name(file.name + ".bak")
        try:
            file.replace(backup)
            kept = f"It was kept as {backup.name}."
        except OSError:
            kept = "It could not be kept aside."
            self._file = None
        self._tell(f"The settings could not be used ({reason}); the defaults hold. {kept}")

    def _tell(self, text: str) -> None:
        self.notices.append(Notice(Level.WARNING, text))

    def _write(self) -> None:
        if self._file is None:
            return
        groups: dict[str, dict[str, object]] = {}
        for name, value in sorted({**self._foreign, **self._values}.items()):
            group, _, key = name.partition(".")
            groups.setdefault(group, {})[key] = value
        text = toml_text({"format": FORMAT, **groups})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, text)


def _flat(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """TOML tables as `group.name` and value."""
    found: list[tuple[str, object]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found
