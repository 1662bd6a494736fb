"""Tables as TOML 1.0 text: the standard library reads it and writes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def toml_text(tables: Mapping[str, object]) -> str:
    """A document: entries first, then the tables in it; ValueError for what TOML cannot hold."""
    return "\n".join(_lines(tables, "")).strip("\n") + "\n"


def toml_key(key: str) -> str:
    """A key, in quotes where it needs them."""
    bare = key.replace("_", "").replace("-", "")
    return key if bare.isascii() and bare.isalnum() else toml_value(key)


def toml_value(value: object) -> str:
    """One value, on one line: texts, numbers, truth values, lists and tables of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(_printable(letter) for letter in text) + '"'
    if isinstance(value, Mapping):
        inside = ", ".join(f"{toml_key(key)} = {toml_value(one)}" for key, one in value.items())
        return "{ " + inside + " }" if inside else "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    raise ValueError(f"TOML has no {type(value).__name__}")


def _printable(letter: str) -> str:
    return letter if letter >= " " and letter != "\x7f" else f"\\u{ord(letter):04x}"


def _lines(table: Mapping[str, object], where: str) -> list[str]:
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    lines = [f"{toml_key(key)} = {toml_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        name = where + toml_key(key)
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]", *_lines(value, name + ".")]
        elif _is_table(value) and isinstance(value, Sequence):
            for one in value:
                lines += ["", f"[[{name}]]", *_lines(one, name + ".")]
    return lines


def _is_table(value: object) -> bool:
    """Whether a value stands under a heading of its own: a table, or a list of tables only."""
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, Mapping) for one in value)
    return isinstance(value, Mapping)
