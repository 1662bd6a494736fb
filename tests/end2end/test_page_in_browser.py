"""The report as a web page, opened in a real browser: it says what it has to, and zooms."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medview.core.report import KeyImage, Report, Section
from medview.core.study import Patient, Series, Study
from medview.reporting.render import to_html
from tests.helpers.exports import finding

SERIES = Series("1.2.3", "1.2", "MR", "T1", ())
EVIL = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
STUDY = Study("1.2", Patient("PAT-7", "Doe^Jane"), EVIL, "20260304", series=(SERIES,))
GREEN = (20, 200, 60)


@pytest.fixture(scope="module")
def browser() -> str:
    """A browser of the Chromium family; the test is skipped, saying so, where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium is installed to open the page in")


@pytest.fixture(scope="module")
def page(resources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = io.BytesIO()
    Image.fromarray(np.full((30, 40, 3), GREEN, np.uint8)).save(out, "PNG")
    image = KeyImage("v", "axial", (0.0, 0.0, 0.0), "Axial, slice 7", out.getvalue())
    report = Report(
        "1.2",
        sections=(Section("Findings", f"Normal. {EVIL}"),),
        findings=(finding("Left hippocampus", volume_ml=3.4),),
        key_images=(image, replace(image, uid="other", caption="Second")),
        ai_statement="The AI model hippocampus_mr proposed 1 finding.",
    )
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(
        to_html(report, STUDY, templates=resources / "report_templates", series=SERIES), "utf-8"
    )
    return path


def run(browser: str, profile: Path, *arguments: str) -> str:
    """Run the browser without a window and without a network; what it prints."""
    told = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}", "--window-size=900,700",
         "--virtual-time-budget=2000", *arguments],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    return told.stdout


def green_share(browser: str, tmp_path: Path, address: str) -> float:
    """How much of the window the picture takes."""
    shot = tmp_path / "shot.png"
    run(browser, tmp_path / "profile", f"--screenshot={shot}", address)
    pixels = np.asarray(Image.open(shot).convert("RGB"), int)
    return float((np.abs(pixels - GREEN).sum(axis=2) < 30).mean())


def test_the_page_says_everything_and_runs_nothing(
    browser: str, page: Path, tmp_path: Path
) -> None:
    told = run(browser, tmp_path, "--dump-dom", page.as_uri())
    assert "Left hippocampus" in told
    assert "The AI model hippocampus_mr proposed 1 finding." in told
    assert "<title>run</title>" not in told
    assert "<script" not in told


def test_a_picture_fills_the_window_when_it_is_chosen(
    browser: str, page: Path, tmp_path: Path
) -> None:
    small = green_share(browser, tmp_path, page.as_uri())
    large = green_share(browser, tmp_path, f"{page.as_uri()}#image-1")
    assert small < 0.4
    assert large > 0.8
