"""A clip in the real window: it plays by itself, at its own speed, and the window stays alive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end2end.window import window
from tests.unit.io.test_video import encoded, moving

pytestmark = pytest.mark.usefixtures("own_screen")


def test_a_clip_plays_steps_and_closes(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encoded(moving(20, 120, 160)))
    picture = tmp_path / "window.png"
    script = f"""
viewing = window.services.viewing
[clip] = workspace.clips.values()
assert viewing.clip is clip and not workspace.volumes
frames = []
workspace.events.frame_changed.connect(lambda _: frames.append(viewing.cine.state.frame))
began = time.monotonic()
longest = 0.0
while time.monotonic() < began + 4:
    turn = time.monotonic()
    app.processEvents()
    time.sleep(0.002)
    longest = max(longest, time.monotonic() - turn)
say(step="played", frames=len(frames), playing=viewing.cine.is_playing, longest=longest,
    forth=all(b > a or b < 9 for a, b in zip(frames, frames[1:])))
commands.run("clip.pause")
before = viewing.cine.state.frame
commands.run("clip.step")
say(step="stepped", by=(viewing.cine.state.frame - before) % 20)
commands.run("view.screenshot", path={str(picture)!r})
commands.run("study.close")
commands.wait_idle(30)
say(step="closed", clips=len(workspace.clips))
commands.run("app.quit")
"""
    with window(script, path, profile=tmp_path / "p", folder=tmp_path) as driven:
        driven.wait_for(lambda said: bool(said) and said[-1]["step"] == "closed")
        steps = {what["step"]: what for what in driven.said()}
        assert driven.end() == 0
    assert steps["played"]["playing"]
    assert steps["played"]["forth"]
    # 100 are due in four seconds; how many are drawn is the machine's affair.
    assert 10 < steps["played"]["frames"] <= 102
    assert steps["stepped"]["by"] == 1
    assert steps["closed"]["clips"] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
