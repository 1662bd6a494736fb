"""Structure-aware mutation of small DICOM files, each case compared with the intact decode.

`python -m tests.helpers.mutation --cases 20000 --seed 1` runs many; the tests run a few hundred.
A case is named by its seed file and number, and made again from them alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medview.core.errors import MedviewError
from medview.services import inspection
from medview.services.tasks import Tasks
from tests.helpers.bad_inputs.seeds import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Elements,
    Undefined,
    element,
    encoded,
    meta,
    part10,
    pixels,
    slice_elements,
)
from tests.helpers.bad_inputs.streams import CODECS

_PIXELS = 0x7FE00010
#: Elements whose change is a change of what is told, which nobody can know to be wrong.
_MEANING = frozenset((0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280004, 0x00281052,
                      0x00281053, 0x00280010, 0x00280011, 0x00280002, 0x00280008))  # fmt: skip
_VRS = ("UL", "OB", "SQ", "UN", "PN", "DS", "US", "UT", "OW", "IS", "LO")


@dataclass(frozen=True)
class Seed:
    """A file that is fine: its elements, how it is written, and whether its pixels carry checks.

    Uncompressed pixels and run lengths carry none, JPEG and HTJ2K too few: of what is
    exchanged in them, some cannot be seen by anybody.
    """

    name: str
    syntax: str
    elements: Elements

    @property
    def pixel_bytes_count(self) -> bool:
        """Whether the bytes of the pixels may be exchanged too."""
        return self.name in ("j2k", "jls")


@cache
def seeds() -> tuple[Seed, ...]:
    """Slices in the syntaxes that differ in how they are read."""
    plain = [("explicit", EXPLICIT), ("implicit", IMPLICIT), ("big", BIG)]
    made = [Seed(name, syntax, slice_elements(series=name)) for name, syntax in plain]
    made.append(Seed("deflated", DEFLATED, slice_elements(series="deflated")))
    several = {"NumberOfFrames": "3", "PixelData": ("OW", pixels().tobytes() * 3)}
    made.append(Seed("frames", EXPLICIT, slice_elements(series="frames", **several)))
    made += [Seed(codec.name, codec.syntax, codec.elements(series=codec.name)) for codec in CODECS]
    return tuple(made)


@dataclass(frozen=True)
class Mutant:
    """A damaged file; `quiet` says that its damage cannot be known from the file."""

    seed: Seed
    number: int
    kind: str
    data: bytes
    quiet: bool = False

    @property
    def name(self) -> str:
        """Seed and number, from which it can be made again."""
        return f"{self.seed.name}-{self.number}-{self.kind}"


def mutant(seed: Seed, number: int) -> Mutant:
    """The mutant with that number, always the same."""
    digest = hashlib.sha256(f"{seed.name}/{number}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    kind, make = list(_MUTATORS.items())[int(rng.integers(len(_MUTATORS)))]
    data, quiet = make(seed, rng)
    return Mutant(seed, number, kind, _packed(seed, data), quiet)


def mutants(count: int, first: int = 0) -> Iterator[Mutant]:
    """That many, over all seeds in turn."""
    made = seeds()
    for number in range(first, first + count):
        yield mutant(made[number % len(made)], number)


def _packed(seed: Seed, data: bytes) -> bytes:
    """The file as its syntax has it: deflated behind the meta information where it says so."""
    if seed.syntax != DEFLATED:
        return data
    start = 132 + len(meta(seed.syntax, seed.elements))
    return data[:start] + zlib.compress(data[start:], wbits=-zlib.MAX_WBITS)


Rng = np.random.Generator
Made = tuple[bytes, bool]


def _write(seed: Seed, elements: Elements, *, raw: dict[int, bytes] | None = None) -> bytes:
    """The file of these elements; `raw` stands in the place of single ones."""
    if not raw:
        return part10(elements, seed.syntax)
    explicit, endian = seed.syntax != IMPLICIT, ">" if seed.syntax == BIG else "<"
    body = b"".join(
        raw[tag] if tag in raw else _plain(tag, vr, value, explicit=explicit, endian=endian)
        for tag, (vr, value) in elements.items()
    )
    return b"\0" * 128 + b"DICM" + meta(seed.syntax, elements) + body


def _plain(tag: int, vr: str, value: bytes, *, explicit: bool, endian: str) -> bytes:
    return encoded({tag: (vr, value)}, explicit=explicit, endian=endian)


def _pick(seed: Seed, rng: Rng) -> int:
    tags = list(seed.elements)
    return tags[int(rng.integers(len(tags)))]


def _flip_bytes(seed: Seed, rng: Rng) -> Made:
    """One to eight bytes exchanged, in the header or, where they carry checks, in the pixels."""
    data = bytearray(_write(seed, seed.elements))
    pixel_start = len(data) - len(seed.elements[_PIXELS][1])
    stop = len(data) if seed.pixel_bytes_count else pixel_start - 12
    start = 132 if rng.random() < 0.5 or not seed.pixel_bytes_count else pixel_start
    for place in rng.integers(start, stop, int(rng.integers(1, 9))):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data), bool(start == 132)


def _edit_length(seed: Seed, rng: Rng) -> Made:
    """One element declares another length than it has."""
    tag = _pick(seed, rng)
    vr, value = seed.elements[tag]
    odd = (0, 1, len(value) + 1, len(value) + 2, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
    length = odd[int(rng.integers(len(odd)))]
    explicit, endian = seed.syntax != IMPLICIT, ">" if seed.syntax == BIG else "<"
    value = bytes(value)
    raw = element(tag, vr, value, explicit=explicit, endian=endian, length=length)
    return _write(seed, seed.elements, raw={tag: raw}), True


def _delete(seed: Seed, rng: Rng) -> Made:
    tag = _pick(seed, rng)
    return _write(seed, {k: v for k, v in seed.elements.items() if k != tag}), tag in _MEANING


def _duplicate(seed: Seed, rng: Rng) -> Made:
    """An element again at the end of the header, with another value."""
    tag = _pick(seed, rng)
    vr, value = seed.elements[tag]
    other = bytes(rng.integers(48, 58, len(value), np.uint8))
    endian = ">" if seed.syntax == BIG else "<"
    again = element(tag, vr, other, explicit=seed.syntax != IMPLICIT, endian=endian)
    start, end = dict(seed.elements), {}
    end[_PIXELS] = start.pop(_PIXELS)
    head = _write(seed, start)
    explicit = seed.syntax != IMPLICIT
    return head + again + _plain(_PIXELS, *end[_PIXELS], explicit=explicit, endian=endian), False


def _reorder(seed: Seed, rng: Rng) -> Made:
    tags = list(seed.elements)[:-1]
    rng.shuffle(tags)
    return _write(seed, {tag: seed.elements[tag] for tag in (*tags, _PIXELS)}), True


def _swap_vr(seed: Seed, rng: Rng) -> Made:
    tag = _pick(seed, rng)
    changed = dict(seed.elements)
    changed[tag] = (_VRS[int(rng.integers(len(_VRS)))], bytes(changed[tag][1]))
    return _write(seed, changed), True


def _cut_at_edge(seed: Seed, rng: Rng) -> Made:
    """The file ends at, or a few bytes after, the edge of an element."""
    tag = _pick(seed, rng)
    kept = {k: v for k, v in seed.elements.items() if k <= tag}
    data = _write(seed, kept)
    return data[: len(data) - int(rng.integers(0, 9))], False


def _cut_in_pixels(seed: Seed, rng: Rng) -> Made:
    data = _write(seed, seed.elements)
    inside = len(seed.elements[_PIXELS][1])
    return data[: len(data) - int(rng.integers(1, inside))], False


def _swap_pixels(seed: Seed, rng: Rng) -> Made:
    """The pixels of another syntax under this one's name."""
    other = seeds()[int(rng.integers(len(seeds())))]
    changed = {**seed.elements, _PIXELS: other.elements[_PIXELS]}
    same_kind = isinstance(seed.elements[_PIXELS][1], Undefined) == isinstance(
        other.elements[_PIXELS][1], Undefined
    )
    return _write(seed, changed), same_kind


_MUTATORS: dict[str, Callable[[Seed, Rng], Made]] = {
    "flip": _flip_bytes,
    "length": _edit_length,
    "delete": _delete,
    "duplicate": _duplicate,
    "reorder": _reorder,
    "vr": _swap_vr,
    "edge": _cut_at_edge,
    "cut": _cut_in_pixels,
    "swap": _swap_pixels,
}


@dataclass(frozen=True)
class Verdict:
    """What came of a mutant: `refused`, `warned`, `same`, `quiet`, `unseen`, or a fault."""

    mutant: Mutant
    outcome: str

    @property
    def is_fault(self) -> bool:
        """Whether a promise was broken."""
        return self.outcome.startswith("FAULT")


class Fuzzer:
    """Runs mutants through the product in batches: one folder, each case a patient of its own."""

    def __init__(self, tasks: Tasks, folder: Path) -> None:
        self._tasks = tasks
        self._folder = folder
        self._intact: dict[str, set[str]] = {}

    def learn(self) -> None:
        """What each seed looks like when nothing is wrong with it."""
        for seed in seeds():
            path = self._folder / f"{seed.name}.dcm"
            path.write_bytes(_packed(seed, _write(seed, seed.elements)))
            found = inspection.info(self._tasks, [path])
            path.unlink()
            volumes = [volume for one in _series(found) for volume in one["volumes"]]
            self._intact[seed.name] = {volume["sha256"] for volume in volumes}
            assert volumes, seed.name

    def judge(self, case: Mutant) -> Verdict:
        """One case, alone in its folder."""
        path = self._folder / "case.dcm"
        path.write_bytes(case.data)
        try:
            found = inspection.info(self._tasks, [path])
        except MedviewError as error:
            return Verdict(case, f"FAULT inspection failed: {error.user_text} {error.detail}")
        finally:
            path.unlink()
        return Verdict(case, self._outcome(case, found))

    def _outcome(self, case: Mutant, found: dict[str, Any]) -> str:
        problems = found["problems"]
        for problem in problems:
            if "process" in problem["reason"] or "stopped" in problem["reason"]:
                return f"FAULT worker lost: {problem['reason']}"
            if "not what it claims" in problem["reason"]:
                return "FAULT an error nobody expected"
        volumes = [(one, volume) for one in _series(found) for volume in one["volumes"]]
        if not volumes:
            return "refused" if problems or not found["patients"] else "no image"
        if all(volume["sha256"] in self._intact[case.seed.name] for _, volume in volumes):
            return "same"
        noted = [note for one, volume in volumes for note in (*one["notes"], *volume["notes"])]
        if problems or any(not note.startswith("A single slice") for note in noted):
            return "warned"
        if case.kind == "flip" and isinstance(case.seed.elements[_PIXELS][1], Undefined):
            # No codec of DICOM carries a checksum: some of what is exchanged decodes in full.
            return "unseen in a compressed picture"
        return "quiet" if case.quiet else "FAULT other pixels without a word"


def _series(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for patient in found["patients"]:
        for study in patient["studies"]:
            yield from study["series"]


def run(count: int, first: int = 0) -> Iterator[Verdict]:
    """Judge that many mutants in import workers."""
    with TemporaryDirectory() as folder, closing(Tasks(workers=1, import_workers=1)) as tasks:
        fuzzer = Fuzzer(tasks, Path(folder))
        fuzzer.learn()
        for case in mutants(count, first):
            yield fuzzer.judge(case)


def main() -> None:
    """Run, print what was found, and end with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for verdict in run(given.cases, given.first):
        counts[verdict.outcome.split(":", maxsplit=1)[0]] += 1
        if verdict.is_fault:
            faults.append(f"{verdict.mutant.name}: {verdict.outcome}")
    for outcome, number in counts.most_common():
        sys.stdout.write(f"{number:8} {outcome}\n")
    sys.stdout.write("\n".join(faults[:200]) + "\n")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
