"""Two windows on one profile and one study: one saves, the other is told so, nothing is mixed.

xvfb-run -a python -m tests.end2end.two_programs --count 500

Both edit at the same time, so many times together. Then the one that saves is killed, and a third
must hold its work at once, whatever the dead one left of its lock.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.services.lock import ProfileLock
from tests.end2end.window import Driven, window
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(20, 56, 60), spacing_mm=(2, 1, 1), radius_mm=13)

_EDITOR = """
from tests.end2end.random_edits import Editor, state_of
say(notices=[one.text for one in workspace.notices], study=study().uid)
count = 0
def on_state(state, stack):
    global count
    count += 1
editor = Editor(workspace, commands, {seed}, on_state)
workspace.reader = "Dr {seed}"
editor.begin()
while count < {edits}:
    editor.step()
    app.processEvents()
commands.wait_idle(60)
say(state=state_of(workspace), edits=count, faults=editor.faults)
time.sleep(1e6)
"""

_THIRD = """
from tests.end2end.random_edits import state_of
say(notices=[one.text for one in workspace.notices])
commands.run("study.restore")
commands.wait_idle(120)
say(state=state_of(workspace))
app.quit()
"""

#: A window on a busy machine may take this long.
_PATIENCE_S = 1800.0


@dataclass(frozen=True)
class Together:
    """What two programs at once came to."""

    edits: int
    first_told: bool
    second_told: bool
    is_kept: bool
    is_mixed: bool
    lock_s: float
    faults: tuple[str, ...]


def together(folder: Path, count: int) -> Together:
    """Let two windows make so many edits in all, kill the one that saves, and look."""
    ct, profile = folder / "ct", folder / "profile"
    write_ct(ct, PHANTOM)
    profile.mkdir()
    (profile / "settings.toml").write_text("[loading]\nworkers = 1\nready_mb = 0\n")
    places = [folder / name for name in ("first", "second", "third")]
    for place in places:
        place.mkdir()
    scripts = [_EDITOR.format(seed=seed, edits=(count + 1) // 2) for seed in (1, 2)]
    with window(scripts[0], ct, profile=profile, folder=places[0]) as first:
        first.wait_for(_has("notices"), _PATIENCE_S)
        with window(scripts[1], ct, profile=profile, folder=places[1]) as second:
            for one in (first, second):
                one.wait_for(_has("state"), _PATIENCE_S)
            first.kill()
            lock_s = seconds_to_lock(profile / "store.sqlite.lock")
            one, other = _told(first), _told(second)
    with window(_THIRD, profile=profile, folder=places[2]) as third:
        third.wait_for(_has("state"), _PATIENCE_S)
        back = _told(third)["state"]
    return Together(
        edits=one["edits"] + other["edits"],
        first_told=_is_elsewhere(one),
        second_told=_is_elsewhere(other),
        is_kept=back == one["state"],
        is_mixed=back not in {one["state"], other["state"]},
        lock_s=lock_s,
        faults=(*one["faults"], *other["faults"]),
    )


def seconds_to_lock(file: Path) -> float:
    """How long it takes until the lock of a dead program can be had, in seconds."""
    lock = ProfileLock(file)
    start = time.monotonic()
    while not lock.acquire():
        assert time.monotonic() - start < 60, "never free"
        time.sleep(0.001)
    took = time.monotonic() - start
    lock.release()
    return took


def _has(name: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda said: any(name in one for one in said)


def _told(driven: Driven) -> dict[str, Any]:
    """All that a window said, in one."""
    return {key: value for one in driven.said() for key, value in one.items()}


def _is_elsewhere(told: dict[str, Any]) -> bool:
    return any("already running" in text and "not saved" in text for text in told["notices"])


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(f"{together(Path(name), given.count)}\n")


if __name__ == "__main__":
    main()
