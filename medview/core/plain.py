"""Dataclasses as plain JSON values and back: for pipes and files that nothing is unpickled from.

What comes back is checked against the declared types, so garbage ends in PlainError instead of
an object that lies. Known: None, bool, int, float, str, bytes (as base64), enums of text and of
numbers, aware times, paths, tuples, mappings with text keys, unions and dataclasses of these,
generic ones too.
Arrays are not plain.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from medview.core.errors import MedviewError

T = TypeVar("T")

#: Metadata of fields that came after the first store: where they have their default they are not
#: written, so that what was hashed and kept without them stays as it was.
LATE: Mapping[str, bool] = MappingProxyType({"late": True})
_Reader = Callable[[Any], Any]


class PlainError(ValueError):
    """Data that is not what it should be; says where and what was expected."""


def to_plain(value: object) -> Any:
    """The value as None, bool, numbers, text, lists and dictionaries; TypeError for the rest."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_plain(item) for name, item in told_fields(value)}
    raise TypeError(f"{type(value).__name__} is not plain")


def told_fields(value: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a dataclass that are written down: LATE ones unless at their default."""
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if not (field.metadata.get("late") and item == field.default):
            yield field.name, item


def from_plain(kind: type[T], data: object) -> T:
    """The dataclass `kind` made of plain data; PlainError where it does not fit.

    Fields with a default may be missing; unknown ones are refused.
    """
    result = _reader(cast(Any, kind))(data)
    assert isinstance(result, kind)  # noqa: S101  (readers give what they are named for)
    return result


@cache
def _reader(kind: Any) -> _Reader:
    """How to read one declared type; made once a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return _plain_as_it_is
    if origin in (Union, UnionType):
        return _union_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_reader(arguments[1])
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_reader(kind)
    if isinstance(origin, type) and dataclasses.is_dataclass(origin):
        return _dataclass_reader(origin, arguments)
    return _scalar_reader(kind)


def _scalar_reader(kind: Any) -> _Reader:
    if kind is float:
        return _float
    if kind in (bool, int, str, NoneType):
        return lambda data: data if type(data) is kind else _refuse(kind.__name__, data)
    if issubclass(kind, StrEnum) or kind is Path:
        return lambda data: _made(kind, data)
    if issubclass(kind, IntEnum):
        return lambda data: _numbered(kind, data)
    if kind is datetime:
        return lambda data: _made(datetime.fromisoformat, data)
    if kind is bytes:
        return lambda data: _made(partial(base64.b64decode, validate=True), data)
    raise TypeError(f"{kind} is not plain")


def _float(data: Any) -> float:
    if type(data) not in (int, float):
        _refuse("a number", data)
    try:
        return float(data)
    except OverflowError as error:
        raise PlainError("a number too large") from error


def _made(make: Callable[[str], Any], data: Any) -> Any:
    if not isinstance(data, str):
        _refuse("text", data)
    try:
        return make(data)
    except ValueError as error:
        raise PlainError(str(error)) from error


def _numbered(kind: type[IntEnum], data: Any) -> IntEnum:
    if type(data) is not int:
        _refuse("a whole number", data)
    try:
        return kind(data)
    except ValueError as error:
        raise PlainError(str(error)) from error


def _plain_as_it_is(data: Any) -> Any:
    """Values declared as Any: JSON's own kinds, lists as tuples like everywhere here."""
    if isinstance(data, list):
        return tuple(_plain_as_it_is(item) for item in data)
    if isinstance(data, dict):
        return {name: _plain_as_it_is(item) for name, item in data.items()}
    return data


def _union_reader(arguments: tuple[Any, ...]) -> _Reader:
    readers = [_reader(argument) for argument in arguments]

    def read(data: Any) -> Any:
        reasons = []
        for reader in readers:
            try:
                return reader(data)
            except PlainError as error:
                reasons.append(str(error))
        raise PlainError(" or ".join(reasons))

    return read


def _tuple_reader(arguments: tuple[Any, ...]) -> _Reader:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        item = _reader(arguments[0])
        return lambda data: tuple(item(part) for part in _list(data))
    readers = [_reader(argument) for argument in arguments]

    def read(data: Any) -> tuple[Any, ...]:
        parts = _list(data)
        if len(parts) != len(readers):
            raise PlainError(f"expected {len(readers)} items, found {len(parts)}")
        return tuple(reader(part) for reader, part in zip(readers, parts, strict=True))

    return read


def _list(data: Any) -> list[Any]:
    return data if isinstance(data, list) else _refuse("a list", data)


def _mapping_reader(values: Any) -> _Reader:
    reader = _reader(values)

    def read(data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            _refuse("a mapping", data)
        return {str(name): reader(item) for name, item in data.items()}

    return read


def _dataclass_reader(kind: type, arguments: tuple[Any, ...] = ()) -> _Reader:
    """How to read a dataclass; `arguments` are the types that a generic one was given."""
    hints = get_type_hints(kind)
    given = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=True))
    fields = {
        field.name: _reader(_bound(hints[field.name], given)) for field in dataclasses.fields(kind)
    }

    def read(data: Any) -> Any:
        if not isinstance(data, dict) or not data.keys() <= fields.keys():
            _refuse(kind.__name__, data)
        values = {}
        for name, item in data.items():
            try:
                values[name] = fields[name](item)
            except PlainError as error:
                raise PlainError(f"{kind.__name__}.{name}: {error}") from error
        try:
            return kind(**values)
        except (TypeError, ValueError, MedviewError) as error:
            raise PlainError(f"{kind.__name__}: {error}") from error

    return read


def _bound(hint: Any, given: Mapping[Any, Any]) -> Any:
    """A declared type with the types that stand for its variables."""
    variables = getattr(hint, "__parameters__", ())
    return hint[tuple(given[one] for one in variables)] if variables else given.get(hint, hint)


def _refuse(expected: str, data: Any) -> Any:
    raise PlainError(f"expected {expected}, found {type(data).__name__}")
