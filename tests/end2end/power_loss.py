"""What a loss of power may leave: saves are on the disk before they are acknowledged.

python -m tests.end2end.power_loss --count 200

First an editor runs under strace(1): nothing it wrote to the store may be without fsync when it
says that all is saved, and every file it renames must have been synced before, and its folder
after. Then the log of a store is cut off at the end of every save and at random places: every
save that was whole must be there, and no other.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from medview.services.edits import ChangeFindings, FindingStep
from medview.services.kept import read_kept
from medview.services.store import Store
from medview.services.store_log import read_log
from medview.services.tasks import Tasks
from tests.end2end.command_line import ROOT
from tests.helpers import desk

_EDITOR = """
import os, sys
from pathlib import Path
from medview.core.geometry import Box
from medview.io.dicom_write import write_file
from medview.services.edits import ChangeFindings, FindingStep
from medview.services.settings import Settings
from medview.services.store import Store
from medview.services.tasks import Tasks
from tests.helpers import desk

folder = Path(sys.argv[1])
tasks, work = Tasks(preload=()), desk.workspace()
store = Store(folder / "store.sqlite", delay_s=0.001)
settings = Settings(folder / "settings.toml")
review, _ = desk.desk(work, store)
store.attach(work, tasks)
desk.propose(work, review)
for number in range(int(sys.argv[2])):
    step = FindingStep(None, desk.finding(None, float(number), f"Finding {number}"))
    work.apply(ChangeFindings(desk.STUDY, (step,), f"Add {number}"))
    change = desk.dab(work, Box((number % 6, 0, 0), (number % 6 + 1, 5, 5)), 1 + number % 2)
    if change is not None:
        work.apply(change)
    while not (store.idle and tasks.idle):
        tasks.wait(0.01)
        tasks.pump()
    os.write(1, b"acknowledged\\n")
    if number % 10 == 0:
        write_file(folder / "report.pdf", lambda file: file.write(bytes(70000)))
        settings.set("reader.name", f"Dr {number}")
store.close()
tasks.close()
"""
_CALLS = "trace=write,writev,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2"
_ON_FILE = re.compile(r"(\w+)\(\d+<([^>]*)>")
_RENAME = re.compile(r'rename\w*\(.*?"([^"]+)".*?"([^"]+)"')


def can_trace() -> bool:
    """Whether strace is here and may look at processes."""
    return (
        shutil.which("strace") is not None
        and subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode
        == 0
    )


@dataclass
class Traced:
    """What the calls of a program to the system came to."""

    acknowledged: int = 0
    renamed: int = 0
    faults: list[str] = field(default_factory=list)


def traced(folder: Path, edits: int) -> Traced:
    """Let the editor work under strace and hold its calls against their order."""
    work = folder / "work"
    work.mkdir()
    script, calls = folder / "editor.py", folder / "calls.txt"
    script.write_text(_EDITOR)
    words = ["strace", "-f", "-y", "-qq", "-e", _CALLS, "-e", "signal=none", "-o", str(calls)]
    subprocess.run(
        [*words, sys.executable, str(script), str(work), str(edits)],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    return _read(calls.read_text().splitlines(), str(work))


def _read(lines: list[str], folder: str) -> Traced:
    told = Traced()
    unsynced: set[str] = set()
    renamed: dict[str, str] = {}  # folder -> what was renamed into it and may still be forgotten
    for line in lines:
        if match := _RENAME.search(line):
            source, target = match.groups()
            if target.startswith(folder):
                told.renamed += 1
                if source in unsynced:
                    told.faults.append(f"{target} was renamed before it was synced")
                renamed[str(Path(target).parent)] = target
        elif match := _ON_FILE.search(line):
            call, path = match.groups()
            if call in {"fsync", "fdatasync"}:
                unsynced.discard(path)
                renamed.pop(path, None)
            elif '"acknowledged' in line:
                told.acknowledged += 1
                told.faults += [f"{path} was not synced" for path in unsynced if "-wal" in path]
                told.faults += [f"the folder of {path} was not" for path in renamed.values()]
            elif path.startswith(folder):
                unsynced.add(path)
    return told


@dataclass
class Cut:
    """Logs that were cut off: how many, and which came back with other saves than they held."""

    boundaries: int = 0
    offsets: int = 0
    faults: list[str] = field(default_factory=list)


def cut(folder: Path, count: int, seed: int = 0, saves: int = 60) -> Cut:
    """Cut the log off at the end of every save, and so many times anywhere."""
    live = folder / "live.sqlite"
    work = desk.workspace()
    store = Store(live)
    tasks = Tasks(preload=())
    store.attach(work, tasks)
    for number in range(saves):
        step = FindingStep(None, desk.finding(None, float(number), f"Finding {number}"))
        work.apply(ChangeFindings(desk.STUDY, (step,), f"Add {number}"))
        store.save_now()
    for suffix in ("", "-wal"):
        shutil.copy(folder / f"live.sqlite{suffix}", folder / f"torn.sqlite{suffix}")
    store.close()
    tasks.close()
    log = read_log(folder / "torn.sqlite")
    assert log is not None
    size = len(log.frames[0].head) + len(log.frames[0].page)
    ends = [32 + (n + 1) * size for n, frame in enumerate(log.frames) if frame.ends_save]
    chance = random.Random(seed)  # noqa: S311
    told = Cut(len(ends), count)
    for length in (*ends, *(chance.randrange(ends[-1]) for _ in range(count))):
        missing = sum(end > length for end in ends)
        found = _findings_after_cut(folder, length)
        if found != list(range(saves - missing)):
            told.faults.append(f"cut at {length}: {len(found)} instead of {saves - missing}")
    return told


def _findings_after_cut(folder: Path, length: int) -> list[int]:
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    shutil.copy(folder / "torn.sqlite", case / "store.sqlite")
    data = (folder / "torn.sqlite-wal").read_bytes()
    (case / "store.sqlite-wal").write_bytes(data[:length])
    store = Store(case / "store.sqlite")
    assert store.is_writable and not store.notices, store.notices  # noqa: PT018
    store.close()
    kept = read_kept(case / "store.sqlite", desk.STUDY)
    return [int(finding.label.split()[1]) for finding in kept.findings]


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if can_trace():
            seen = traced(Path(name), given.count)
            sys.stdout.write(
                f"{seen.acknowledged} acknowledged, {seen.renamed} files renamed,"
                f" {len(seen.faults)} without sync {seen.faults[:5]}\n"
            )
        else:
            sys.stdout.write("strace is not here, or may not look at processes\n")
        torn = cut(Path(name), given.count)
    sys.stdout.write(
        f"cut off at {torn.boundaries} ends of saves and {torn.offsets} other places:"
        f" {len(torn.faults)} with other saves {torn.faults[:5]}\n"
    )


if __name__ == "__main__":
    main()
