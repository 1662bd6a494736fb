"""`medview rank` as its caller sees it, without a model: an order of what is in the folder.

`python slow_ranking.py rank MODEL FOLDER --out FILE`: pictures by their size in bytes, the largest
first; empty ones have no place. With no picture it ends with words and code 3.
"""

import csv
import sys
from pathlib import Path


def main(folder: Path, out: Path) -> int:
    files = sorted(folder.glob("*.png"), key=lambda path: -path.stat().st_size)
    if not files:
        sys.stderr.write("pictures has no image without a label that this model reads.\n")
        return 3
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rank", "file", "uncertainty", "measure", "problem"])
        for rank, path in enumerate(files, start=1):
            size = path.stat().st_size
            row = [rank, path.name, f"{size / 1000}", "size", ""] if size else ["", path.name]
            writer.writerow(row if size else [*row, "", "", "image cannot be read"])
    return 0 if any(path.stat().st_size for path in files) else 3


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[3]), Path(sys.argv[5])))
