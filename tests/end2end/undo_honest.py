"""Random sequences of edits, undo and redo: every state must come again exactly.

python -m tests.end2end.undo_honest --count 1000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from medview.core.paths import Paths
from medview.services import bundle
from tests.end2end.command_line import ROOT
from tests.end2end.random_edits import Editor
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom(shape=(14, 40, 44), spacing_mm=(2, 1, 1), radius_mm=9)
#: After so many sequences a study is put away and the next one is begun.
_A_STUDY = 20


@dataclass
class Told:
    """What the sequences came to."""

    sequences: int = 0
    steps: int = 0
    undone: int = 0
    faults: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)


def sequences(paths: Paths, count: int, seed: int, readers: str = "one") -> Told:
    """Do so many sequences; each is taken back to the beginning of the study and done again."""
    paths.create()
    paths.settings_file.write_text(
        f'[loading]\nworkers = 1\n[reading]\nreaders = "{readers}"\nblind = false\n'
    )
    told = Told()
    with tempfile.TemporaryDirectory() as folder:
        write_ct(Path(folder), PHANTOM)
        while told.sequences < count:
            _with_one_study(paths, Path(folder), min(_A_STUDY, count - told.sequences), seed, told)
            seed += 1
    return told


def _with_one_study(paths: Paths, folder: Path, count: int, seed: int, told: Told) -> None:
    with bundle.running(paths, keeps_work=False) as services:
        services.workspace.reader = "Dr Ada"
        services.commands.run("study.open", paths=[str(folder)])
        services.commands.wait_idle(120)
        editor = Editor(services.workspace, services.commands, seed)
        editor.begin()
        for _ in range(count):
            for _ in range(8):
                told.steps += bool(editor.step())
                services.commands.wait_idle(60)
            told.undone += editor.undo_all()
            told.sequences += 1
        told.faults += [f"seed {seed}: {fault}" for fault in editor.faults]
        for name, times in editor.done.items():
            told.kinds[name] = told.kinds.get(name, 0) + times


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for readers in ("one", "two"):
        with tempfile.TemporaryDirectory() as profile:
            paths = Paths.in_profile(ROOT / "resources", Path(profile))
            told = sequences(paths, given.count // 2, given.seed, readers)
        sys.stdout.write(
            f"{readers}: {told.sequences} sequences, {told.steps} steps, {told.undone} taken back "
            f"and done again, {len(told.faults)} faults\n"
        )
        lines = [*told.faults[:20], str(dict(sorted(told.kinds.items())))]
        sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
