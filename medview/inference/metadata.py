"""A model folder's metadata (MONAI's schema plus the medview block) as a ModelCard."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

from medview.core.codes import ANATOMICAL_STRUCTURE, Code
from medview.core.errors import ModelError
from medview.core.models import (
    InputSpec,
    Metric,
    Metrics,
    ModelCard,
    OutputChannel,
    OutputSpec,
    Scope,
    Task,
)
from medview.inference.formats.lone_network import CODE_OF_ENGINE

T = TypeVar("T")

_NOTHING: Mapping[str, Any] = MappingProxyType({})

#: What an engine gives, where its word is not enough to know.
_KINDS = {"classification": "classes", "detection": "boxes"}
#: Engines that resample along the axes of the body; those of labels keep the image's own.
_ALONG_BODY = frozenset(_KINDS)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_GREY = re.compile("mean|nuclear")
_ORIENTATION = re.compile(r"(?=.*[RL])(?=.*[AP])(?=.*[SI])[RLAPSI]{3}")


class _Faults(Exception):
    """What is wrong with one value; collected, never shown alone."""


class _Block:
    """One JSON object being read: every missing or wrong key is noted, reading goes on."""

    def __init__(self, data: Mapping[str, Any], path: str, faults: list[str]) -> None:
        self._data = data
        self._path = path
        self.faults = faults

    def read(
        self, name: str, convert: Callable[[Any], T], default: T, *, needed: bool = False
    ) -> T:
        """The value of a key, converted; a fault and the default where that fails."""
        value = self._data.get(name)
        if value is None:
            if needed:
                self.faults.append(f"{self._path}{name} is missing")
            return default
        try:
            return convert(value)
        except _Faults as fault:
            self.faults.append(f"{self._path}{name} {fault}")
            return default

    def items(
        self, name: str, convert: Callable[[Any], T], *, needed: bool = False
    ) -> tuple[T, ...]:
        """The list under a key, each item converted; empty where there is none."""
        nothing: tuple[T, ...] = ()
        return self.read(name, _list_of(convert), nothing, needed=needed)

    def block(self, name: str, *, needed: bool = False) -> _Block:
        """The object under a key; an empty one where there is none."""
        data = self.read(name, _mapping, _NOTHING, needed=needed)
        return _Block(data, f"{self._path}{name}.", self.faults)

    def blocks(self, name: str, *, needed: bool = False) -> list[_Block]:
        """The objects of a list under a key."""
        items = self.items(name, _mapping, needed=needed)
        return [
            _Block(item, f"{self._path}{name}[{position}].", self.faults)
            for position, item in enumerate(items)
        ]


def read_card(
    metadata: Mapping[str, Any], engines: Mapping[str, str], name: str
) -> tuple[ModelCard, str]:
    """The card, without its metrics, and the name of the metrics file.

    `engines` maps engine words to `module:Class`; another word is refused. ModelError lists
    every key that is missing or wrong, by its path in the file.
    """
    top = _Block(metadata, "", [])
    own = top.block("medview", needed=True)
    word = own.read("engine", _text, "", needed=True)
    if word and word not in engines:
        top.faults.append(f"medview.engine names {word}, which is not one of {sorted(engines)}")
    weights, network = own.block("weights", needed=True), own.block("network")
    model_id = own.read("id", _matching(_ID, "an id of lower case letters and digits"), "")
    if not model_id and not top.faults:
        top.faults.append("medview.id is missing")
    fields: dict[str, Any] = {
        "id": model_id or "unknown",
        "version": top.read("version", _text, "unknown", needed=True),
        "title": top.read("name", _text, model_id),
        "task": _task(own, word),
        "engine": engines.get(word, "unknown:Engine"),
        "intended_use": top.read("intended_use", _text, "", needed=True),
        "limitations": own.items("limits", _text, needed=True),
        "scope": _scope(own.block("scope", needed=True)),
        "inputs": _inputs(own, network, word),
        "outputs": _outputs(own, word),
        "weights": weights.read("file", _text, "", needed=True),
        "sha256": weights.read("sha256", _matching(_SHA256, "a SHA-256"), "", needed=True),
        "network_class": network.read("class", _text, ""),
        "network_args": network.read("args", _mapping, _NOTHING),
        "threshold": own.read("threshold", _maybe_number, None),
        "temperature": own.read("temperature", _maybe_number, None),
        "license": own.read("licence", _text, "", needed=True),
        "data_license": own.read("data_licence", _text, ""),
        "data_source": top.read("data_source", _text, ""),
        "authors": top.read("authors", _text, ""),
        "train_command": own.read("train_command", _text, ""),
        "memory_mb": own.read("memory_mb", _count, 0),
        "code": CODE_OF_ENGINE.get(word, ""),
    }
    if top.faults:
        raise ModelError(f"The metadata of {name} cannot be used: {'; '.join(top.faults)}.")
    return ModelCard(**fields), own.read("metrics", _text, "")


def read_metrics(card: ModelCard, data: object, name: str) -> ModelCard:
    """The card with the figures that `medview evaluate` wrote; ModelError if they are none."""
    top = _Block(data if isinstance(data, dict) else {}, "", [])
    values = []
    for key, entry in top.read("metrics", _mapping, _NOTHING, needed=True).items():
        block = _Block(entry if isinstance(entry, dict) else {}, f"metrics.{key}.", top.faults)
        value = block.read("value", _number, math.nan, needed=True)
        values.append(Metric(str(key), value, block.read("ci95", _maybe_range, None)))
    metrics = Metrics(
        split=top.read("split", _text, "", needed=True),
        count=top.read("count", _count, 0, needed=True),
        values=tuple(values),
    )
    if top.faults:
        raise ModelError(f"The metrics of {name} cannot be used: {'; '.join(top.faults)}.")
    return replace(card, metrics=metrics)


def _task(own: _Block, word: str) -> Task:
    """The task: the engine's own word for our engines, `medview.task` for those of others."""
    return own.read("task", _choice(Task), Task(word) if word in set(Task) else Task.SEGMENTATION)


def _scope(block: _Block) -> Scope:
    return Scope(
        modality=block.items("modality", _text, needed=True),
        body_part=block.items("body_part", _text),
        weighting=block.items("weighting", _text),
        views=block.items("views", _text),
        age_years=block.read("age_years", _maybe_range, None),
        spacing_mm=block.read("spacing_mm", _maybe_range, None),
    )


def _inputs(own: _Block, network: _Block, word: str) -> InputSpec:
    block = own.block("preprocess")
    arguments = network.block("args")
    return InputSpec(
        orientation=block.read("orientation", _matching(_ORIENTATION, "like RAS or LPI"), ""),
        spacing_mm=block.read("spacing_mm", _maybe_triple, None),
        patch_shape=own.items("patch", _count),
        intensity=block.read("intensity", _mapping, _NOTHING),
        localise=block.read("localise", _text, None),
        channels=block.read("channels", _count, arguments.read("in_channels", _count, 1)),
        grey=block.read("grey", _matching(_GREY, "mean or nuclear"), "mean"),
        along_body=word in _ALONG_BODY,
    )


def _outputs(own: _Block, word: str) -> OutputSpec:
    kind = own.read("output_kind", _text, _KINDS.get(word, "labels"))
    channels = []
    for block in own.blocks("outputs", needed=True):
        index = block.read("index", _count, 0, needed=True)
        if index == 0 and kind == "labels":
            continue  # the background of a label map is no structure
        code = block.read("code", _code, _NO_CODE, needed=True)
        label = block.read("label", _text, "?", needed=True)
        color = block.read("color_rgb", _color, (255, 255, 255), needed=True)
        category = block.read("category", _code, ANATOMICAL_STRUCTURE)
        channels.append(OutputChannel(index, label, code, color, category))
    indexes = [channel.index for channel in channels]
    if len(set(indexes)) != len(indexes):
        own.faults.append("medview.outputs names an index twice")
    if not channels:
        own.faults.append("medview.outputs names no structure")
    sides = own.read("sides", _yes_or_no, default=False)
    if sides and len(channels) != 2:
        own.faults.append("medview.outputs does not name a right and a left structure")
    return OutputSpec(kind, tuple(channels), sides)


_NO_CODE = Code("none", "99MEDVIEW", "none")


# One value each: what it must be, or a fault in words.


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Faults("is not text")
    return value.strip()


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _Faults("is not a number")
    return float(value)


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Faults("is not true or false")
    return value


def _maybe_number(value: Any) -> float | None:
    return _number(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise _Faults("is not a whole number from 0")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Faults("is not an object")
    return value


def _list_of(convert: Callable[[Any], T]) -> Callable[[Any], tuple[T, ...]]:
    def read(value: Any) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _Faults("is not a list")
        return tuple(convert(item) for item in value)

    return read


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise _Faults(f"is not {what}")
        return value

    return read


def _choice(kind: type[Task]) -> Callable[[Any], Task]:
    def read(value: Any) -> Task:
        if value not in set(kind):
            raise _Faults(f"is not one of {[str(item) for item in kind]}")
        return kind(value)

    return read


def _maybe_range(value: Any) -> tuple[float, float] | None:
    low, high = _numbers(value, 2)
    if low > high:
        raise _Faults("runs backwards")
    return low, high


def _maybe_triple(value: Any) -> tuple[float, float, float] | None:
    a, b, c = _numbers(value, 3)
    if min(a, b, c) <= 0:
        raise _Faults("is not positive")
    return a, b, c


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    numbers = _list_of(_number)(value)
    if len(numbers) != count:
        raise _Faults(f"does not hold {count} numbers")
    return numbers


def _color(value: Any) -> tuple[int, int, int]:
    parts = _list_of(_count)(value)
    if len(parts) != 3 or max(parts) > 255:
        raise _Faults("is not three numbers from 0 to 255")
    return parts[0], parts[1], parts[2]


def _code(value: Any) -> Code:
    try:
        return Code(value["value"], value["scheme"], value["meaning"])
    except (TypeError, KeyError, ValueError) as error:
        raise _Faults("is not a code with value, scheme and meaning") from error
