"""One bad input: how it is made, and what is right to do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: R refused and named, L loads, W loads with a warning that stays, U loads without millimetres or
#: values, S kept apart, N text without effect, X never read outside of what was given.
CODES = frozenset("RLWUSNX")


@dataclass(frozen=True)
class Case:
    """`write` makes it in an empty folder; any code of `expected` is right.

    `bomb` may take 5 seconds instead of 2, `seconds` says another bound where one was promised.
    `twin` marks those that hold the pixels of the seed slice, whole or damaged: what is shown of
    them without a warning must be those pixels.
    """

    name: str
    expected: str
    write: Callable[[Path], None]
    seconds: float = 2.0
    twin: bool = True

    def __post_init__(self) -> None:
        if not self.expected or not CODES.issuperset(self.expected):
            raise ValueError(f"{self.name}: {self.expected} are no codes")


def file_case(
    name: str, expected: str, content: Callable[[], bytes], *, seconds: float = 2.0,
    twin: bool = True,
) -> Case:  # fmt: skip
    """A case of one file of that name."""
    return Case(
        name, expected, lambda folder: write(folder / name, content()), seconds=seconds, twin=twin
    )


def write(path: Path, content: bytes) -> None:
    """Write the file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
