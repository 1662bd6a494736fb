"""Stores cut off, flipped and blanked at random places: they open, and what can be read is there.

python -m tests.end2end.broken_stores --count 500
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from medview.core.errors import MedviewError
from medview.core.geometry import Box
from medview.services.edits import ChangeFindings, FindingStep
from medview.services.kept import read_kept
from medview.services.store import Store
from medview.services.tasks import Tasks
from tests.helpers import desk

_KINDS = ("flip", "cut", "blank")
#: SQLite's pages.
_PAGE = 4096


@dataclass(frozen=True)
class Broken:
    """One damaged store: what was done to which file, and what came of it.

    `verdict` is "whole" (opened as it is), "saved" (set aside, the rest taken over) or "failed".
    `kept` is the share of findings that came back.
    """

    kind: str
    file: str
    offset: int
    verdict: str
    kept: float
    why: str = ""


def make(folder: Path, tasks: Tasks, findings: int = 300) -> int:
    """A store as a kill leaves it, saved with every edit, the latest still in the log.

    Gives how many findings it has.
    """
    work = desk.workspace()
    work.open_studies([desk.study()], sources=[folder])
    store = Store(folder / "live.sqlite", delay_s=0.0)
    review, _ = desk.desk(work, store)
    store.attach(work, tasks)
    desk.propose(work, review)
    for number in range(findings - 2):
        one = desk.finding(None, float(number), f"Finding {number}")
        step = FindingStep(None, replace(one, text="words " * 20))
        work.apply(ChangeFindings(desk.STUDY, (step,), f"Add {number}"))
        store.save_now()
        if number % 40 == 0:
            change = desk.dab(work, Box((number % 6, 0, 0), (number % 6 + 1, 5, 5)), 1)
            if change is not None:
                work.apply(change)
    store.save_now()
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"live.sqlite{suffix}", folder / f"torn.sqlite{suffix}")
    store.close()
    return findings


def damage(path: Path, kind: str, offset: int) -> None:
    """Damage a file from an offset on: one byte, everything, or a page."""
    data = bytearray(path.read_bytes())
    if kind == "flip":
        data[offset] ^= 0xFF
    elif kind == "cut":
        del data[offset:]
    else:
        data[offset : offset + _PAGE] = bytes(len(data[offset : offset + _PAGE]))
    path.write_bytes(data)


def broken(folder: Path, count: int, seed: int = 0) -> list[Broken]:
    """Damage a store in many ways, one at a time."""
    chance = random.Random(seed)  # noqa: S311
    tasks = Tasks(preload=())
    try:
        findings = make(folder, tasks)
    finally:
        tasks.close()
    told = []
    for number in range(count):
        kind, suffix = chance.choice(_KINDS), chance.choice(("", "-wal"))
        case = folder / f"case-{number}"
        case.mkdir()
        for each in ("", "-wal"):
            shutil.copy(folder / f"torn.sqlite{each}", case / f"store.sqlite{each}")
        target = case / f"store.sqlite{suffix}"
        offset = chance.randrange(target.stat().st_size)
        damage(target, kind, offset)
        told.append(_opened(case, Broken(kind, suffix or "store", offset, "", 0.0), findings))
        shutil.rmtree(case)
    return told


def _opened(case: Path, asked: Broken, findings: int) -> Broken:
    path = case / "store.sqlite"
    try:
        store = Store(path)
        writable, notices = store.is_writable, [one.text for one in store.notices]
        store.close()
        kept = len(read_kept(path, desk.STUDY).findings) / findings
    except (MedviewError, sqlite3.Error, OSError, ValueError) as error:
        return Broken(asked.kind, asked.file, asked.offset, "failed", 0.0, repr(error))
    if not writable:
        return Broken(asked.kind, asked.file, asked.offset, "failed", kept, "; ".join(notices))
    verdict = "saved" if notices else "whole"
    if notices and not (case / "store.sqlite.damaged").exists():
        return Broken(asked.kind, asked.file, asked.offset, "failed", kept, "the original is gone")
    return Broken(asked.kind, asked.file, asked.offset, verdict, kept)


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = broken(Path(name), given.count, given.seed)
    for kind, file in itertools.product(_KINDS, ("store", "-wal")):
        mine = [row for row in rows if (row.kind, row.file) == (kind, file)]
        if not mine:
            continue
        verdicts = dict(Counter(row.verdict for row in mine))
        shares = sorted(row.kept for row in mine)
        words = f"{kind} {file}: {verdicts}, kept of findings: least {shares[0]:.2f}, "
        sys.stdout.write(f"{words}median {shares[len(shares) // 2]:.2f}\n")
    sys.stdout.writelines(f"{row}\n" for row in rows if row.verdict == "failed")


if __name__ == "__main__":
    main()
