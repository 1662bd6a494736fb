"""The main job in the real window, and what is left when the window or its worker is killed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from medview.io.sample import write_sample
from tests.end2end.command_line import medview
from tests.end2end.window import window
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

pytestmark = pytest.mark.usefixtures("own_screen")


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    write_ct(folder, Phantom(shape=(24, 64, 64), spacing_mm=(2, 1, 1), radius_mm=15))
    return folder


#: A digest of everything a reader did: labels, decisions, words.
STATE = """
import hashlib
def state():
    parts = []
    for one in sorted(workspace.segmentations.values(), key=lambda s: s.uid):
        parts.append(one.uid)
        parts.append(hashlib.sha256(one.labels.tobytes()).hexdigest())
        parts += [f"{s.number}{s.label}{s.review.state}" for s in one.segments]
    for finding in sorted(workspace.findings.values(), key=lambda f: f.uid):
        parts.append(f"{finding.uid}{finding.label}{finding.review.state}")
        parts += [f"{m.value:.6f}{m.unit}" for m in finding.measurements]
    for report in workspace.reports.values():
        parts += [f"{s.heading}:{s.text}" for s in report.sections if s.edited]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()
"""


def test_the_main_job_from_drop_to_export(tmp_path: Path, ct: Path) -> None:
    out = tmp_path / "out"
    script = f"""
commands.run("layout.set", name="four")
commands.run("ai.run", model="threshold_body")
commands.wait_idle(120)
[job] = workspace.jobs.values()
assert job.state.value == "done", (job.state, job.error)
[finding] = workspace.findings.values()
say(step="proposed", state=finding.review.state, volume=finding.measurements[0].value)
middle = next(iter(workspace.volumes.values())).geometry.center_lps_mm
middle = [float(v) for v in middle]
commands.run("segment.erase", center_lps_mm=middle, radius_mm=6.0, sphere=True, segment=1)
[finding] = workspace.findings.values()
say(step="erased", volume=finding.measurements[0].value, undo=workspace.history.undo_title)
commands.run("edit.undo")
[finding] = workspace.findings.values()
say(step="undone", volume=finding.measurements[0].value, redo=workspace.history.redo_title)
commands.run("finding.accept", uid=finding.uid, by="Dr. Example")
commands.run("report.sign", by="Dr. Example")
commands.run("report.export", folder={str(out)!r})
commands.wait_idle(120)
commands.run("view.screenshot", path={str(tmp_path / "window.png")!r})
say(step="done", report=workspace.report_of(study().uid).status)
commands.run("app.quit")
"""
    with window(script, ct, profile=tmp_path / "p", folder=tmp_path) as driven:
        driven.wait_for(lambda said: bool(said) and said[-1]["step"] == "done")
        steps = {what["step"]: what for what in driven.said()}
        assert driven.end() == 0
    assert steps["proposed"]["state"] == "proposed"
    assert steps["erased"]["volume"] < steps["proposed"]["volume"] - 0.5
    assert steps["undone"]["volume"] == steps["proposed"]["volume"]
    assert "rase" in steps["erased"]["undo"]
    assert steps["undone"]["redo"] == steps["erased"]["undo"]
    assert steps["done"]["report"] == "final"
    names = {path.name for path in out.iterdir()}
    assert names >= {"segmentation.dcm", "report.dcm", "report_pdf.dcm", "report.pdf"}
    assert "key-01.png" in names, "a signed report has its pictures"
    assert json.loads((out / "result.json").read_text())["findings"][0]["state"] == "accepted"
    assert (tmp_path / "window.png").stat().st_size > 20_000


def test_a_screenshot_is_the_window_with_the_study(tmp_path: Path, ct: Path) -> None:
    picture = tmp_path / "window.png"
    done = medview(ct, "--screenshot", picture, profile=tmp_path / "p")
    assert done.code == 0, done.err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_nothing_readable_ends_with_3(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"nothing")
    done = medview(junk, "--screenshot", tmp_path / "w.png", profile=tmp_path / "p")
    assert done.code == 3


EDITOR = (
    STATE
    + """
commands.run("segment.add", label="Lesion")
middle = next(iter(workspace.volumes.values())).geometry.center_lps_mm
number = 0
while True:
    number += 1
    place = [float(middle[0] + (number * 7) % 40 - 20), float(middle[1]), float(middle[2])]
    commands.run("segment.paint", center_lps_mm=place, radius_mm=4.0, sphere=bool(number % 2))
    if number == 3:
        commands.run("report.begin")
    say(state=state(), at=time.time())
    pause = time.monotonic() + 0.05
    while time.monotonic() < pause:
        app.processEvents()
        time.sleep(0.002)
"""
)

RESTORER = (
    STATE
    + """
commands.run("study.restore")
commands.wait_idle(60)
say(state=state())
commands.run("app.quit")
"""
)


@pytest.mark.parametrize("strokes", [8, 25, 60])
def test_what_was_done_before_a_kill_is_there_again(tmp_path: Path, ct: Path, strokes: int) -> None:
    profile = tmp_path / "p"
    with window(EDITOR, ct, profile=profile, folder=tmp_path) as driven:
        driven.wait_for(lambda said: len(said) >= strokes and said[-1]["at"] > said[0]["at"] + 2.5)
        killed_at = time.time()
        driven.kill()
        told = driven.said()
    with window(RESTORER, profile=profile, folder=tmp_path) as driven:
        driven.wait_for(bool)
        [back] = driven.said()
        assert driven.end() == 0
    states = [what["state"] for what in told]
    # Saved within a second on an idle machine; this one may be busy with other tests.
    safe = sum(what["at"] <= killed_at - 2.0 for what in told)
    assert safe >= 1
    assert back["state"] in states
    assert states.index(back["state"]) >= safe - 1


def test_a_killed_worker_costs_its_run_and_nothing_else(tmp_path: Path) -> None:
    head = write_sample(tmp_path / "sample") / "mni152"
    script = (
        STATE
        + """
commands.run("segment.add", label="Lesion")
middle = next(iter(workspace.volumes.values())).geometry.center_lps_mm
commands.run("segment.paint", center_lps_mm=[float(v) for v in middle], radius_mm=5.0, sphere=True)
commands.wait_idle(60)
before = state()
# Placing the head takes seconds: time enough to kill the worker under it.
commands.run("ai.run", model="hippocampus_mr")
import multiprocessing
deadline = time.monotonic() + 60
job = lambda: list(workspace.jobs.values())[0]
while job().state.value != "running" and time.monotonic() < deadline:
    app.processEvents()
for child in multiprocessing.active_children():
    if child.name == "medview-ai":
        child.kill()
commands.wait_idle(60)
say(state=job().state.value, error=job().error, same=state() == before)
commands.run("ai.run", model="threshold_body")
commands.wait_idle(60)
say(state=list(workspace.jobs.values())[-1].state.value)
commands.run("app.quit")
"""
    )
    with window(script, head, profile=tmp_path / "p", folder=tmp_path) as driven:
        driven.wait_for(lambda said: len(said) == 2)
        first, second = driven.said()
        assert driven.end() == 0
    assert first["state"] == "died", first
    assert first["error"]
    assert first["same"]
    assert second["state"] == "done"
