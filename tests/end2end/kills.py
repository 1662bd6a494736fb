"""SIGKILL at random moments of real work in the real window, again and again: what is lost.

    xvfb-run -a python -m tests.end2end.kills --count 1000 --log kills.jsonl

Several may write one log side by side. What was lost is kept in `kills.lost` beside the log.
Every window restores what the one before it left, tells it, takes steps back and does them again,
and edits on until it is killed too. An edit counts as acknowledged when the program says that
nothing waits to be saved. The log has one line a kill, and a script that is started again goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medview.core.paths import Paths
from medview.inference.client import WorkerClient
from tests.end2end.window import Driven, Forked, Running, started, window
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(20, 56, 60), spacing_mm=(2, 1, 1), radius_mm=13)
#: So many windows work on one profile, one after the other.
_A_CHAIN = 40
#: A window is killed so many seconds after its first edit at the latest.
_LONGEST_S = 2.0
#: A window on a busy machine may take this long to bring work back.
_PATIENCE_S = 3600.0
#: Of so many kills one comes while the program starts and brings work back.
_EARLY = 10
#: What a kill may come to.
_GOOD = ("kept", "early")

EDITOR = """
from tests.end2end.random_edits import Editor, state_of
count = 0
def on_state(state, stack):
    global count
    count += 1
    say(state=state, stack=stack)
editor = Editor(workspace, commands, {seed}, on_state)
workspace.reader = "Dr Ada"
if {restores}:
    commands.run("study.restore")
    commands.wait_idle(300)
here = state_of(workspace)
kept = len(workspace.history.entries(study().uid))
stacks = [one for state, one in json.loads(Path({stacks!r}).read_text()) if state == here]
editor.begin(next((one for one in reversed(stacks) if len(one) == kept), []))
say(back=here, stack=editor.stack, kept=kept)
if {early}:
    time.sleep(1e6)
undone = editor.undo_all({undo})
say(undone=undone, faults=editor.faults)
if {proposes}:
    commands.run("ai.run", model="threshold_body")
    commands.wait_idle(300)
while not editor.faults:
    editor.step()
    done, pause, waited = time.monotonic(), editor.pick((0.0, 0.01, 0.1, 0.8)), None
    while time.monotonic() < done + pause or (pause > 0.5 and waited is None):
        app.processEvents()
        time.sleep(0.002)
        if waited is None and commands.is_idle():
            waited = time.monotonic() - done
    if count and commands.is_idle():
        say(acked=count, waited=waited)
say(faults=editor.faults)
time.sleep(1e6)
"""


@dataclass
class Kill:
    """What one kill came to: how many edits were done, saved before it, and back after it.

    `verdict` is "kept", "lost" (an acknowledged edit is gone), "mixed" (a state that never was),
    "no way back" (undo would lead elsewhere), "died" where the window ended before it was killed,
    or "early" where it had not begun to edit. `waited_s` is the longest time from an edit to its
    acknowledgement, of those that nothing came after before it.
    """

    chain: int
    edits: int
    acked: int
    back: int
    verdict: str
    fault: str = ""
    waited_s: float = 0.0


def judge(said: list[dict[str, Any]], back: list[dict[str, Any]], chain: int) -> Kill:
    """Hold what came back, as the next window says, against what a killed window had said."""
    states = [(one.get("state") or one["back"], one["stack"]) for one in said if "stack" in one]
    acked = max((one["acked"] for one in said if "acked" in one), default=0)
    here = next(one for one in back if "back" in one)
    same = [n for n, (state, _) in enumerate(states) if state == here["back"]]
    exact = [n for n in same if n >= acked and len(states[n][1]) == here["kept"]]
    faults = [fault for one in (*said, *back) for fault in one.get("faults", ())]
    verdict = "kept"
    if not same:
        verdict = "mixed"
    elif same[-1] < acked:
        verdict = "lost"
    elif not exact or faults:
        verdict = "no way back"
    place = (exact or same or [-1])[-1]
    waited = max((one.get("waited") or 0.0 for one in said), default=0.0)
    return Kill(chain, len(states) - 1, acked, place, verdict, "; ".join(faults), waited)


def _nothing() -> None:
    """As it is."""


def _alone() -> None:
    """No model is asked in this window: its worker does not take the cores while it starts."""
    setattr(WorkerClient, "warm", lambda _client: None)  # noqa: B010


class Chain:
    """Windows on one profile, each killed, each told from what the one before had said."""

    def __init__(
        self, folder: Path, ct: Path, number: int, chance: random.Random, *, forks: bool
    ) -> None:
        self._folder = folder
        self._ct = ct
        self._number = number
        self._chance = chance
        self._forks = forks
        self._profile = folder / "profile"
        self._profile.mkdir()
        readers = "two" if number % 3 == 2 else "one"
        text = "[loading]\nworkers = 1\nready_mb = 0\n[reading]\nblind = false\n"
        text += f'readers = "{readers}"\n'
        paths = Paths.in_profile(folder, self._profile)
        paths.create()
        paths.settings_file.write_text(text)
        self._said: list[dict[str, Any]] = []

    def kill(self) -> Kill | None:
        """One more window; what became of the work of the one before, None for the first."""
        restores = bool(self._said)
        stacks = self._folder / "stacks.json"
        known = [
            (one.get("state") or one["back"], one["stack"]) for one in self._said if "stack" in one
        ]
        stacks.write_text(json.dumps(known))
        proposes = not restores and self._number % 4 == 0
        early = restores and not self._chance.randrange(_EARLY)
        script = EDITOR.format(
            early=early,
            seed=self._chance.randrange(1 << 30),
            restores=restores,
            stacks=str(stacks),
            undo=self._chance.choice((3, 10, 50)),
            proposes=proposes,
        )
        paths = () if restores else (self._ct,)
        shutil.rmtree(self._folder / "before", ignore_errors=True)
        shutil.copytree(self._profile, self._folder / "before")
        (self._folder / "before.json").write_text(json.dumps(self._said))
        place = {"profile": self._profile, "folder": self._folder}
        with window(script, *paths, **place, start=self._start(proposes)) as driven:
            if early:
                time.sleep(self._chance.uniform(0.2, 4))
                driven.kill()
                return Kill(self._number, 0, 0, 0, "early")
            driven.wait_for(lambda said: any("undone" in one for one in said), _PATIENCE_S)
            told = judge(self._said, driven.said(), self._number) if restores else None
            self._edited(driven)
        return told

    def _start(self, proposes: bool) -> Callable[[list[str], Path], Running]:
        if not self._forks:
            return started
        return lambda words, folder: Forked(words, folder, _nothing if proposes else _alone)

    def _edited(self, driven: Driven) -> None:
        """Some edits, then the end of it: at any time after the first that is acknowledged."""
        driven.wait_for(
            lambda said: any("acked" in one or one.get("faults") for one in said), _PATIENCE_S
        )
        time.sleep(self._chance.uniform(0, _LONGEST_S))
        driven.kill()
        self._said = driven.said()


def run_chain(log: Path, chance: random.Random, most: int, *, forks: bool = False) -> int:
    """A chain of windows, up to the first fault; how many kills were judged.

    With `forks` windows come from a process that has the libraries, which spares most of the time.
    """
    done = 0
    number = chance.randrange(1 << 20)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ct = folder / "ct"
        write_ct(ct, PHANTOM)
        chain = Chain(folder, ct, number, chance, forks=forks)
        while done < most:
            try:
                told = chain.kill()
            except AssertionError as error:
                told = Kill(number, 0, 0, 0, "died", str(error))
            if told is None:
                continue
            done += 1
            with log.open("a") as file:
                file.write(json.dumps(asdict(told)) + "\n")
            if told.verdict not in _GOOD:
                shutil.copytree(folder, log.with_suffix(".lost") / f"{number}-{done}")
                break
    return done


def _count(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def main() -> None:
    """Kill until there are enough lines in the log, then tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--log", type=Path, default=Path("kills.jsonl"))
    given = parser.parse_args()
    chance = random.Random(time.time_ns())  # noqa: S311
    while (done := _count(given.log)) < given.count:
        run_chain(given.log, chance, min(_A_CHAIN, given.count - done), forks=True)
    rows = [json.loads(line) for line in given.log.read_text().splitlines()]
    told = Counter(row["verdict"] for row in rows)
    acked = sum(row["acked"] for row in rows)
    waited = sorted(row.get("waited_s", 0.0) for row in rows)
    sys.stdout.write(
        f"{len(rows)} kills, {acked} acknowledged edits: {dict(told)}; longest wait in a window "
        f"{waited[len(waited) // 2]:.2f} s (median), {waited[-1]:.2f} s (of all)\n"
    )


if __name__ == "__main__":
    main()
