"""At a terminal: JSON alone on stdout, words on stderr, and what exit codes mean."""

from __future__ import annotations

import json
import sys

DONE, USAGE, NOTHING_READ, MODEL_FAILED, EXPORT_FAILED, CANCELLED = 0, 2, 3, 4, 5, 130


def tell(text: str) -> None:
    """Say something to the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def print_json(content: object) -> None:
    """Give an answer to the program that asked."""
    sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
