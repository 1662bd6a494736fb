"""A long day at the screen: studies opened, run through a model, decided, reported and closed.

xvfb-run -a python -m tests.end2end.soak --minutes 480 --studies 200

Tells how memory, open files and threads of the window grow after the first studies.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end2end.window import window
from tests.helpers.dicom_phantoms import CtOptions, Who, write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(40, 96, 96), spacing_mm=(2, 1, 1), radius_mm=30)
#: Memory is held against what it is after so many studies.
_WARM = 10

_READER = """
import gc, threading
import psutil
from tests.end2end.random_edits import Editor
folders, most, until = {folders!r}, {studies}, time.monotonic() + {minutes} * 60
process = psutil.Process()
workspace.reader = "Dr Ada"
for number in range(most):
    if time.monotonic() > until:
        break
    commands.run("study.open", paths=[folders[number]])
    commands.wait_idle(300)
    commands.run("ai.run", model="threshold_body")
    commands.wait_idle(300)
    commands.run("finding.accept_all")
    editor = Editor(workspace, commands, number)
    editor.begin()
    for _ in range(20):
        editor.step()
        app.processEvents()
    commands.wait_idle(300)
    editor.end()
    del editor
    commands.run("study.close")
    commands.wait_idle(300)
    app.processEvents()
    gc.collect()
    say(
        at=time.monotonic(), rss=process.memory_info().rss, files=process.num_fds(),
        threads=threading.active_count(), objects=len(gc.get_objects()),
    )
say(done=True)
time.sleep(1e6)
"""


@dataclass(frozen=True)
class Soaked:
    """What the day came to; growth is counted from the first studies on."""

    studies: int
    minutes: float
    first_mb: float
    grown_mb: float
    grown_percent_an_hour: float
    files_grown: int
    threads_grown: int


def soak(folder: Path, minutes: float, studies: int, patience_s: float = 36000.0) -> Soaked:
    """Read so many studies, or for so many minutes, and tell."""
    folders = []
    for number in range(studies):
        place = folder / f"ct-{number}"
        write_ct(
            place,
            PHANTOM,
            CtOptions(
                who=Who(patient_id=f"P{number}", study=f"study {number}"), series=f"ct{number}"
            ),
        )
        folders.append(str(place))
    profile = folder / "profile"
    profile.mkdir()
    (profile / "settings.toml").write_text("[loading]\nworkers = 1\nready_mb = 0\n")
    script = _READER.format(folders=folders, studies=studies, minutes=minutes)
    with window(script, profile=profile, folder=folder) as driven:
        driven.wait_for(lambda said: any("done" in one for one in said), patience_s)
        rows = [one for one in driven.said() if "rss" in one]
    return _told(rows)


def _told(rows: list[dict[str, Any]]) -> Soaked:
    warm = rows[min(_WARM, len(rows) - 1) :]
    first, last = warm[0], warm[-1]
    hours = (last["at"] - first["at"]) / 3600
    grown = last["rss"] - first["rss"]
    return Soaked(
        studies=len(rows),
        minutes=round((rows[-1]["at"] - rows[0]["at"]) / 60, 1),
        first_mb=round(first["rss"] / 1e6, 1),
        grown_mb=round(grown / 1e6, 1),
        grown_percent_an_hour=round(100 * grown / first["rss"] / hours, 1) if hours else 0.0,
        files_grown=last["files"] - first["files"],
        threads_grown=last["threads"] - first["threads"],
    )


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=480)
    parser.add_argument("--studies", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        told = soak(Path(name), given.minutes, given.studies)
        sys.stdout.write(f"{told}\n")
        said = Path(name) / "said.jsonl"
        rows = [json.loads(line) for line in said.read_text().splitlines()]
        sys.stdout.writelines(
            f"{row['rss'] / 1e6:.0f} MB, {row['files']} files, {row['objects']} objects\n"
            for row in rows[:: max(1, len(rows) // 12)]
            if "rss" in row
        )


if __name__ == "__main__":
    main()
