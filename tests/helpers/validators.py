"""Programs of others that say whether a DICOM object is a valid one, where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: Without these the validator's style sheets run into limits of the Java runtime.
_NO_LIMITS = " ".join(
    f"-Djdk.xml.xpath{name}=0" for name in ("ExprGrpLimit", "ExprOpLimit", "TotalOpLimit")
)


def require(program: str, package: str) -> None:
    """Skip the test, saying why, where a program is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{package} is not installed")


def dciodvfy(path: Path) -> list[str]:
    """What dicom3tools calls an error in an object; nothing else is wrong with a valid one."""
    require("dciodvfy", "dicom3tools")
    told = _run("dciodvfy", str(path)).stderr
    return [line for line in told.splitlines() if line.startswith("Error")]


def dicom_sr_validator(path: Path) -> list[str]:
    """What PixelMed's validator of templates calls an error in an SR."""
    require("DicomSRValidator", "pixelmed-apps")
    told = _run("DicomSRValidator", str(path), JAVA_TOOL_OPTIONS=_NO_LIMITS)
    lines = (told.stdout + told.stderr).splitlines()
    return [line for line in lines if "Error" in line or "Exception" in line]


def dsrdump(path: Path) -> str:
    """The content tree as DCMTK writes it out; the test fails where it refuses the document."""
    require("dsrdump", "dcmtk")
    told = _run("dsrdump", str(path))
    assert told.returncode == 0, told.stderr
    return told.stdout


def _run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
