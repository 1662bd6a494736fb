"""What a scan finds, in plain values that cross from the import workers.

Light on purpose: no DICOM library is imported here, so the window's process may unpack it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medview.core.study import Problem, Study
from medview.io.plan import VolumePlan

#: One file to look at: which of the given paths it came with, and where it is.
Listed = tuple[int, str]


#: What was lost on the way, by its number: the reason in words, and what to do.
Lost = Mapping[int, tuple[str, str]]


class Step(Protocol):
    """Called with the number of what is looked at next, and -1 while work on it goes on."""

    def __call__(self, number: int, part: int = 0, /) -> object:
        """`part` is the part of it that is looked at, counted from 1, where it has such."""
        ...


@dataclass(frozen=True)
class Survey:
    """The files below the given paths, in order, not opened yet."""

    roots: tuple[str, ...]
    files: tuple[Listed, ...]
    problems: tuple[Problem, ...] = ()


class Values(NamedTuple):
    """Header values of one file, with the facts about the file itself (names that begin with _).

    `base` is shared by files that are alike, as the same object; `changes` says what differs.
    """

    base: Mapping[str, str]
    changes: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def merged(self) -> dict[str, str]:
        """All values in one."""
        return {**self.base, **self.changes}


class Record(NamedTuple):
    """A DICOM file, or a member of an archive, by its header."""

    path: str
    member: str
    values: Values

    @property
    def shown(self) -> Path:
        """What it is called where something is told of it."""
        return Path(self.path) / self.member if self.member else Path(self.path)


@dataclass(frozen=True)
class Reading:
    """What a number of files hold. `found` names the roots of files that were read or refused."""

    records: tuple[Record, ...] = ()
    foreign: tuple[Study, ...] = ()
    problems: tuple[Problem, ...] = ()
    found: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Sealed:
    """A reading on its way from one worker to another, through the window's process unopened.

    Packed as the pipes of the workers pack all they carry; it never comes from a file.
    """

    data: bytes = field(repr=False)
    records: int = 0

    @classmethod
    def of(cls, reading: Reading) -> Sealed:
        """The reading, packed; how many records it has stays readable."""
        return cls(bytes(ForkingPickler.dumps(reading)), len(reading.records))

    def opened(self) -> Reading:
        """The reading."""
        reading: Reading = ForkingPickler.loads(self.data)
        return reading


@dataclass(frozen=True)
class ScanResult:
    """What was found, and what could not be read and why."""

    studies: tuple[Study, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, eq=False)
class FirstLook:
    """The first image met in a folder, before anything else of it is known.

    `study` holds that one image only; `plan` has one plane, and `voxels` are it.
    """

    study: Study
    plan: VolumePlan
    voxels: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0), repr=False)
