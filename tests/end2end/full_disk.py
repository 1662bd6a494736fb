"""A disk that is full in the middle of the work, at many points: nothing that was saved is lost.

python -m tests.end2end.full_disk --count 50

Profile and exports lie on small disks of their own (tmpfs, which needs root). Each time one is
filled during an edit, before the work is saved, or before an export; then room is made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from medview.core.errors import MedviewError
from medview.core.events import Level
from medview.core.paths import Paths
from medview.services import bundle
from medview.services.bundle import Services
from tests.end2end.command_line import ROOT
from tests.end2end.random_edits import Editor, state_kept, state_of
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.disks import Disk, disk
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(14, 40, 44), spacing_mm=(2, 1, 1), radius_mm=9)
KINDS = ("edit", "autosave", "export")
FORMATS = ("segmentation", "sr", "pdf", "json")
_ROOM_KB = 16 << 10
_NEEDED = re.compile(r"\d+ MB are needed, \d+ MB are free")


@dataclass(frozen=True)
class Full:
    """One time that a disk was full: `told` says whether the reader heard of it.

    `faults` names what should not be.
    """

    kind: str
    leaves: int
    told: bool
    faults: tuple[str, ...]


class _Room:
    """One program at work with a disk for its profile and one for its exports."""

    def __init__(self, services: Services, own: Disk, out: Disk, folder: Path, seed: int) -> None:
        self._services = services
        self._own, self._out = own, out
        self._copy = folder / "copy"
        self._copy.mkdir()
        self._chance = random.Random(seed)  # noqa: S311
        self._study = next(iter(services.workspace.studies))
        self._states: set[str] = set()
        self._editor = Editor(
            services.workspace,
            services.commands,
            seed,
            lambda state, _stack: self._states.add(state),
        )
        self._editor.begin()
        self._faults: list[str] = []
        for _ in range(6):
            self._edit()
        self._rest()

    def full(self, kind: str) -> Full:
        """Fill the disk once, work on, make room, and see what became of the work."""
        self._faults = []
        leaves = self._chance.choice((0, 0, 4096, 1 << 14, 1 << 17))
        self._services.workspace.notices.clear()
        if kind == "export":
            told = self._export_onto_full_disk(leaves)
        else:
            told = self._work_on_full_disk(leaves, fills_before=kind == "edit")
        return Full(kind, leaves, told, tuple(self._faults))

    def _work_on_full_disk(self, leaves: int, *, fills_before: bool) -> bool:
        self._states = {state_of(self._services.workspace)}
        if fills_before:
            self._own.fill(leaves)
        for _ in range(6):
            self._edit()
        if not fills_before:
            self._own.fill(leaves)
        end = time.monotonic() + 20
        while not self._services.commands.is_idle() and not self._heard("could not be saved"):
            self._turn()
            if time.monotonic() > end:
                self._faults.append("neither saved nor told")
                break
        self._require(self._kept() in self._states, "the store holds a state that never was")
        told = self._told("could not be saved", self._own.path / "profile" / "store.sqlite")
        if not told:  # what was left was enough
            self._same("with little room left")
        self._own.empty()
        self._rest()
        self._same("after room was made")
        self._edit()
        self._rest()
        self._same("with the next edit")
        return told

    def _export_onto_full_disk(self, leaves: int) -> bool:
        folder = self._out.path / "export"
        self._exported(folder)
        before = _hashes(folder)
        self._edit()
        self._out.fill(leaves)
        self._run_export(folder)
        told = self._told("could not be written", folder)
        now = _hashes(folder)
        if told:  # each file is the earlier one or a new one, and whole
            self._require(before.keys() <= now.keys(), f"files went: {now.keys()}")
            self._require(not _torn(folder), f"torn: {_torn(folder)}")
        self._require(told or now != before, "neither written nor told")
        self._out.empty()
        self._exported(folder)
        return told

    def _exported(self, folder: Path) -> None:
        self._require(self._run_export(folder), "no export with room enough")

    def _run_export(self, folder: Path) -> bool:
        """Whether it was written."""
        try:
            self._services.export.export_now(self._study, folder, formats=FORMATS)
        except MedviewError:
            return False
        return True

    # Small things

    def _edit(self) -> None:
        self._editor.step()
        self._turn()

    def _turn(self) -> None:
        self._services.tasks.pump()
        self._services.tasks.wait(0.01)

    def _rest(self) -> None:
        self._services.commands.wait_idle(60)

    def _kept(self) -> str:
        """What a copy of the store holds, as it would be found after a kill."""
        shutil.rmtree(self._copy)
        self._copy.mkdir()
        for suffix in ("", "-wal"):
            source = self._own.path / "profile" / f"store.sqlite{suffix}"
            if source.exists():
                shutil.copy(source, self._copy / f"store.sqlite{suffix}")
        return state_kept(self._copy / "store.sqlite", self._study)

    def _same(self, when: str) -> None:
        self._require(
            self._kept() == state_of(self._services.workspace), f"not everything is kept {when}"
        )

    def _heard(self, words: str) -> list[str]:
        notices = self._services.workspace.notices
        return [one.text for one in notices if one.level is Level.ERROR and words in one.text]

    def _told(self, words: str, path: Path) -> bool:
        """Whether the reader was told, with the path and the room that is needed."""
        heard = self._heard(words)
        for text in heard:
            self._require(str(path) in text, f"no path in {text!r}")
            self._require(_NEEDED.search(text) is not None, f"no room in {text!r}")
        return bool(heard)

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self._faults.append(what)


def _hashes(folder: Path) -> dict[str, str]:
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(folder.iterdir())
    }


def _torn(folder: Path) -> list[str]:
    """Which exported files do not read to their end."""
    torn = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        try:
            if path.suffix == ".dcm":
                dcmread(path).to_json()
            elif path.suffix == ".json":
                json.loads(data)
            elif not data.rstrip().endswith(b"%%EOF"):
                torn.append(path.name)
        except (ValueError, EOFError, InvalidDicomError):
            torn.append(path.name)
    return torn


def full_disks(
    folder: Path, count: int, seed: int = 0, note: Callable[[Full], object] = print
) -> list[Full]:
    """Fill disks so many times, under one program that is not started again."""
    write_ct(folder / "ct", PHANTOM)
    with disk(folder / "own", _ROOM_KB) as own, disk(folder / "out", _ROOM_KB) as out:
        paths = Paths.in_profile(ROOT / "resources", own.path / "profile")
        paths.create()
        paths.settings_file.write_text("[loading]\nworkers = 1\nready_mb = 0\n")
        with bundle.running(paths) as services:
            services.workspace.reader = "Dr Ada"
            services.commands.run("study.open", paths=[str(folder / "ct")])
            services.commands.wait_idle(120)
            room = _Room(services, own, out, folder, seed)
            told = []
            for number in range(count):
                told.append(room.full(KINDS[number % len(KINDS)]))
                note(told[-1])
    return told


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = full_disks(Path(name), given.count, given.seed)
    for kind in KINDS:
        mine = [row for row in rows if row.kind == kind]
        told = sum(row.told for row in mine)
        words = dict(Counter(fault for row in mine for fault in row.faults))
        sys.stdout.write(f"{kind}: full {len(mine)} times, told {told} times, faults {words}\n")


if __name__ == "__main__":
    main()
