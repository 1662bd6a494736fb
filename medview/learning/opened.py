"""Files of a data set read as the viewer opens them: DICOM, folders of a series, clips."""

from __future__ import annotations

import hashlib
from pathlib import Path

from medview.core.errors import ReadError
from medview.core.volume import Volume
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan


def open_all(path: Path) -> tuple[list[LoadedSeries], str]:
    """Give every series in a file or folder, and why there may be fewer than one expects."""
    found = scan([path])
    series = [load(one) for study in found.studies for one in study.series]
    problems = [*found.problems, *(problem for one in series for problem in one.problems)]
    return series, "; ".join(dict.fromkeys(problem.reason for problem in problems))


def open_volume(path: Path, what: str) -> Volume:
    """Give the one volume in a file or folder; a flat picture has one slice.

    ReadError where there is none, more than one, or one with slices that could not be read.
    """
    series, reasons = open_all(path)
    volumes = [volume for one in series for volume in one.volumes]
    if not volumes:
        raise ReadError(f"{what} cannot be read", detail=reasons)
    if len(volumes) > 1:
        raise ReadError(
            f"{what} is one of {len(volumes)} volumes there",
            hint="Name a folder that holds one series only.",
        )
    if volumes[0].empty_slices:
        raise ReadError(f"{what} lacks slices", detail=reasons)
    return volumes[0]


def file_sha256(path: Path) -> str:
    """Give the SHA-256 of a file; of a folder, that of its files' in the order of their names."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digests = (file_sha256(child) for child in sorted(path.rglob("*")) if child.is_file())
    return hashlib.sha256("".join(digests).encode()).hexdigest()
