"""Nothing is read or written outside of what was dropped; disks and folders full of junk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medview.core.study import Severity
from medview.io.scan import scan
from tests.conftest import ROOT
from tests.helpers.bad_inputs import CASES
from tests.helpers.bad_inputs.case import write
from tests.helpers.bad_inputs.seeds import good
from tests.helpers.import_bench import bench

_TRAPS = ("Z02", "Z03", "Z10", "Z11", "Z14", "Z15", "Z16", "Z21", "D05", "D06")
_OPENED = re.compile(r'open(?:at)?\((?:AT_FDCWD, )?"([^"]*)"')


def _allowed(place: str, dropped: Path, profile: Path) -> bool:
    """What the program may open: the dropped folder, its own, Python's and the system's."""
    own = (dropped, profile, ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    system = ("/usr/", "/lib", "/proc/", "/sys/", "/dev/", "/etc/ld.so", "/etc/localtime",
              "/etc/ssl", "/etc/mime", "/etc/magic", "/etc/os-release")  # fmt: skip
    if not place.startswith("/") or place.startswith(system) or place in ("/", "/etc/locale.alias"):
        return True
    python = Path(sys.prefix)
    return place == str(python.parent) or any(
        Path(place).is_relative_to(root) for root in (*own, python)
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_traps_make_nothing_open_outside_of_what_was_dropped(tmp_path: Path) -> None:
    tracer = shutil.which("strace")
    if tracer is None:
        pytest.skip("needs strace, which is not installed here")
    dropped, home = tmp_path / "drop" / "inside", tmp_path / "home"
    home.mkdir()
    for case in CASES:
        if case.name.startswith(_TRAPS):
            case.write(_folder(dropped, case.name))
    trace = tmp_path / "trace.txt"
    command = [tracer, "-f", "-qq", "-e", "trace=open,openat,creat,rename,unlink,mkdir,symlink"]
    command += ["-o", str(trace), sys.executable, "-m", "medview", "info", "--json", str(dropped)]
    own = dict.fromkeys(("HOME", "TMPDIR", "NUMBA_CACHE_DIR"), str(home))
    environment = {**os.environ, **own}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if "ptrace" in done.stderr or not trace.is_file():
        pytest.skip("this system lets no process be traced")
    assert done.returncode == 0, done.stderr
    opened = {place for line in trace.read_text().splitlines() for place in _OPENED.findall(line)}
    assert any(place.startswith(str(dropped)) for place in opened)
    strayed = {place for place in opened if not _allowed(place, dropped, home)}
    assert strayed == set()
    assert not Path("/tmp/pwned.dcm").exists()


def _folder(dropped: Path, name: str) -> Path:
    made = dropped / name.split(".", maxsplit=1)[0]
    made.mkdir(parents=True, exist_ok=True)
    return made


@pytest.mark.session_processes
def test_one_image_among_junk_and_far_down_is_found(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.mkdir()
    for n in range(5_000):
        (junk / f"{n}.log").touch()
    # Deeper than one name may be long for the system; made from inside, level by level.
    here, deep = os.open(tmp_path, os.O_RDONLY), ""
    for n in range(400):
        name = f"level-{n:04}"
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, deep = below, f"{deep}/{name}"
    os.close(here)
    write(junk / "one.dcm", good(1))
    with bench() as worker:
        outcome = worker.info(tmp_path)
    assert sum(1 for _ in outcome.series()) == 1
    assert outcome.seconds < 60
    # What lies deeper than the system lets names be is named, not passed over in silence.
    assert all(problem["severity"] == "refused" for problem in outcome.problems)


@pytest.mark.parametrize(
    "name",
    ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset", "DICOMDIR-nopatient",
     "DICOMDIR-reordered"],
)  # fmt: skip
def test_a_real_disk_opens_whatever_its_list_says(shared: Path, tmp_path: Path, name: str) -> None:
    disk = shared / "data" / "dicomdir" / "pydicom"
    if not (disk / name).is_file():
        pytest.skip(f"needs {name} among the shared data")
    for folder in ("77654033", "98892001", "98892003"):
        shutil.copytree(disk / folder, tmp_path / "disk" / folder)
    shutil.copy(disk / name, tmp_path / "disk" / "DICOMDIR")
    result = scan([tmp_path / "disk" / "DICOMDIR"])
    patients = {study.patient.id for study in result.studies}
    files = [path for path in (tmp_path / "disk").rglob("*") if path.is_file()]
    images = sum(len(one.instances) for study in result.studies for one in study.series)
    assert images == len(files) - 1
    assert patients == {"77654033", "98890234"}
    for problem in result.problems:
        assert problem.severity is Severity.WARNING or "is not there" in problem.reason
