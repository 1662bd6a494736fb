"""What tests of the real window share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture
def own_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A screen of its own: a window beside another one would take the keyboard from it.

    Where there is no Xvfb the window opens on the screen that there is.
    """
    server = shutil.which("Xvfb")
    if server is None:
        yield
        return
    number, told = os.pipe()
    words = [server, "-displayfd", str(told), "-screen", "0", "1600x1000x24", "-nolisten", "tcp"]
    screen = subprocess.Popen(words, pass_fds=(told,), stderr=subprocess.DEVNULL)
    os.close(told)
    with os.fdopen(number) as answer:
        monkeypatch.setenv("DISPLAY", f":{answer.readline().strip()}")
    yield
    screen.terminate()
    screen.wait(60)
