"""The words for a worker's end."""

from __future__ import annotations

import signal

import pytest

from medview.inference.process import words_for


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "The AI process stopped."),
        (0, "The AI process ended by itself (code 0)."),
        (3, "The AI process ended by itself (code 3)."),
        (-signal.SIGKILL, "The AI process stopped (killed), probably out of memory."),
        (-signal.SIGSEGV, "The AI process crashed (it used memory that is not its own)."),
        (0xC0000005, "The AI process crashed (it used memory that is not its own)."),
        (-signal.SIGBUS, "The AI process crashed (the memory it shares is full or gone)."),
        (-signal.SIGTERM, "The AI process was ended from outside."),
        (-signal.SIGHUP, "The AI process stopped (signal SIGHUP)."),
        (-250, "The AI process stopped (signal 250)."),
    ],
)
def test_every_end_has_words(code: int | None, words: str) -> None:
    assert words_for(code) == words
