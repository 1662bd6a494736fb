"""Hold the coverage of the last test run (branches counted) against the floors of the design."""

from __future__ import annotations

import sys
from pathlib import Path

import coverage

#: The first matching line counts. Percent of statements and branches together.
FLOORS = (
    ("medview/core/", 98.0),
    ("medview/imaging/", 98.0),
    ("medview/services/review.py", 98.0),
    ("medview/services/history.py", 98.0),
    ("medview/inference/wire.py", 98.0),
    ("medview/ui/", 70.0),
    ("medview/", 90.0),
)


def measured(data: coverage.Coverage) -> dict[str, tuple[int, int]]:
    """Covered and all (statements plus branches) for each floor's part of the tree."""
    totals: dict[str, tuple[int, int]] = {prefix: (0, 0) for prefix, _ in FLOORS}
    root = Path(__file__).resolve().parents[2]
    for name in data.get_data().measured_files():
        path = Path(name)
        if not path.is_relative_to(root) or not path.is_file():
            continue
        relative = path.relative_to(root).as_posix()
        prefix = next((p for p, _ in FLOORS if relative.startswith(p)), None)
        if prefix is None:
            continue
        numbers = data._analyze(name).numbers
        all_of_it = numbers.n_statements + numbers.n_branches
        covered = numbers.n_executed + numbers.n_executed_branches
        have = totals[prefix]
        totals[prefix] = (have[0] + covered, have[1] + all_of_it)
    return totals


def main() -> int:
    """Print the table; 1 if a floor is missed."""
    data = coverage.Coverage()
    data.load()
    missed = False
    for prefix, floor in FLOORS:
        covered, total = measured(data)[prefix]
        percent = 100.0 * covered / total if total else 0.0
        missed |= percent < floor
        verdict = "ok" if percent >= floor else "BELOW"
        sys.stdout.write(f"{prefix:32} {percent:6.1f} %  floor {floor:5.1f} %  {verdict}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
