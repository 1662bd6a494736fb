"""How fast folders are read: ratios to other programs measured in the same run.

All of it happens inside the running program: services with warm import workers, and a window
where something has to be seen. Run with `make bench` on a quiet machine.
"""

from __future__ import annotations

import gc
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import numpy.typing as npt
import psutil
import pytest
import SimpleITK as sitk  # noqa: N813  (its usual name)
from PyQt6.QtCore import QTimer
from PyQt6.QtWidgets import QApplication

from medview.core.volume import Volume
from medview.services import bundle
from medview.services.bundle import Services
from medview.services.scanning import scan_now
from medview.ui import theme
from medview.ui.application import let_garbage_wait
from medview.ui.main_window import MainWindow
from medview.ui.slice_view import SliceView
from tests.helpers.big_folders import Batch, voxels_of, write_batch, write_copies, write_mix
from tests.helpers.figures import Quiet, paired, touch_memory

pytestmark = [
    pytest.mark.session_processes,
    pytest.mark.timeout(900),
    pytest.mark.qt_log_ignore("This plugin does not support", extend=True),
]

#: What a scanner of headers is asked for.
_TAGS = [(0x20, 0xD), (0x20, 0xE), (0x10, 0x10), (0x10, 0x20), (0x8, 0x60), (0x20, 0x13),
         (0x20, 0x32), (0x20, 0x37), (0x28, 0x10), (0x28, 0x11)]  # fmt: skip


class Program:
    """The running program, its window open where one is asked for."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.window: MainWindow | None = None
        #: When a view had painted an image.
        self.painted_at: list[float] = []
        self.warm()

    def warm(self) -> None:
        """Both workers have imported all they need."""
        for number in range(4):
            self.services.tasks.call_import("medview.io.scan:survey", (Path(f"no{number}"),))
        self.services.loading.keep_ready(
            int(self.services.settings.number("loading.ready_mb")) << 20
        )
        self.until(lambda: self.services.tasks.idle)

    def until(self, condition: Callable[[], bool]) -> None:
        if self.window is None:
            self.services.tasks.wait_until(condition)
            return
        while not condition():
            QApplication.processEvents()
            self.services.tasks.wait(0.0005)

    def close_all(self) -> None:
        self.until(lambda: self.services.loading.idle and self.services.tasks.idle)
        for uid in list(self.services.workspace.studies):
            self.services.workspace.close_study(uid)
        self.until(lambda: self.services.tasks.idle)
        gc.collect()  # as the program does when nothing is read

    def load(self, folder: Path, slices: int) -> Volume:
        """Open a folder and bring its largest series into memory; what was open is closed."""
        loading, workspace = self.services.loading, self.services.workspace
        # The series wanted, whatever a hanging protocol would choose.
        loading._protocols = ()
        studies: list[Any] = []
        loading.open_paths([folder], on_done=studies.append)
        self.until(lambda: bool(studies))
        all_series = [one for study in studies[0] for one in study.series]
        wanted = max(all_series, key=lambda one: len(one.instances))
        loading.load_series(wanted.uid)
        self.until(lambda: bool(workspace.volumes_of(wanted.uid)))
        (volume,) = workspace.volumes_of(wanted.uid)
        assert volume.geometry.shape[0] == slices
        return volume


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with bundle.running(bundle.find_paths(tmp_path / "profile"), keeps_work=False) as services:
        yield Program(services)


@pytest.fixture
def windowed(program: Program, qapp: QApplication, monkeypatch: Any) -> Iterator[Program]:
    theme.apply(qapp, program.services.paths.resources, "dark")
    painted = SliceView.painted

    def noted(view: SliceView) -> None:
        painted(view)
        if view.port is not None:
            program.painted_at.append(time.perf_counter())

    monkeypatch.setattr(SliceView, "painted", noted)
    window = MainWindow(program.services)
    window.resize(1500, 940)
    window.show()
    program.window = window
    program.until(lambda: program.services.tasks.idle)
    thresholds = gc.get_threshold()
    let_garbage_wait()
    yield program
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    program.close_all()
    window.close()
    program.window = None


Mix = tuple[Path, list[Path], npt.NDArray[np.int16]]


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Mix:
    """600 thin slices among 45 others and 8 letters, and the truth about the 600."""
    folder = tmp_path_factory.mktemp("mix")
    paths, voxels = write_mix(folder)
    return folder, paths, voxels


def by_gdcm(folder: Path) -> None:
    directory = gdcm.Directory()
    directory.Load(str(folder))
    scanner = gdcm.Scanner()
    for tag in _TAGS:
        scanner.AddTag(gdcm.Tag(*tag))
    assert scanner.Scan(directory.GetFilenames())


def by_itk(folder: Path) -> None:
    for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)


def itk_series(paths: list[Path]) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in paths])
    return reader.Execute()


def test_scanning_and_sorting_headers(benchmark: Any, program: Program, mix: Mix) -> None:
    folder, paths, _ = mix
    quiet = Quiet()
    tasks = program.services.tasks
    peers = {"gdcm": lambda: by_gdcm(folder), "sitk": lambda: by_itk(folder)}
    found = paired(benchmark, lambda: scan_now(tasks, [folder]), peers, rounds=9)
    result = scan_now(tasks, [folder])
    series = {len(one.instances): one for study in result.studies for one in study.series}
    assert sorted(series) == [5, 40, 600]
    assert {one.path for one in series[600].instances} == set(paths)
    quiet.judge(holds=found["gdcm"] <= 0.4 and found["sitk"] <= 0.05)


def test_a_volume_into_shared_memory(
    benchmark: Any, program: Program, mix: Mix, tmp_path: Path
) -> None:
    folder, paths, truth = mix
    quiet = Quiet()

    def niix() -> None:
        out = tmp_path / "nii"
        out.mkdir(exist_ok=True)
        for old in out.iterdir():
            old.unlink()
        command = ["dcm2niix", "-z", "n", "-o", str(out), str(folder)]
        subprocess.run(command, capture_output=True, check=True)

    def between() -> None:
        program.close_all()
        touch_memory()

    peers = {"sitk": lambda: itk_series(paths), "dcm2niix": niix}
    found = paired(benchmark, lambda: program.load(folder, 600), peers, rounds=5, between=between)
    between()
    volume = program.load(folder, 600)
    assert np.array_equal(volume.voxels, truth)
    assert (volume.slope, volume.intercept, volume.unit) == (1.0, -1024.0, "[hnsf'U]")
    theirs = sitk.GetArrayFromImage(itk_series(paths[:3]))
    assert np.array_equal(theirs, volume.value_of(truth[:3]))
    program.close_all()
    quiet.judge(holds=found["sitk"] <= 0.30 and found["dcm2niix"] <= 0.5)


def test_the_first_image_on_the_screen(benchmark: Any, windowed: Program, mix: Mix) -> None:
    folder, paths, _ = mix
    quiet = Quiet()
    loading = windowed.services.loading
    uids = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    lengths = [len(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), u)) for u in uids]
    uid = uids[int(np.argmax(lengths))]

    def ours() -> None:
        windowed.painted_at.clear()
        loading.open_paths([folder])
        windowed.until(lambda: bool(windowed.painted_at))

    def peer() -> None:
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        sitk.ReadImage(names[len(names) // 2])

    found = paired(benchmark, ours, {"sitk": peer}, rounds=7, between=windowed.close_all)
    assert len(paths) == 600
    quiet.judge(holds=found["sitk"] <= 0.20)


@pytest.mark.parametrize(
    ("syntax", "goal"),
    [("JPEGLSLossless", 0.5), ("JPEGLosslessProcess14_1", 0.4), ("JPEG2000Lossless", 0.9)],
)
def test_a_compressed_series(
    benchmark: Any, program: Program, tmp_path: Path, syntax: str, goal: float
) -> None:
    batch = Batch(100, series=syntax)
    truth = voxels_of(batch)
    folder = tmp_path / "packed"
    folder.mkdir()
    plain = write_batch(tmp_path / "plain", batch, truth)
    paths = [_packed(path, folder / path.name, syntax) for path in plain]
    quiet = Quiet()
    found = paired(
        benchmark,
        lambda: program.load(folder, 100),
        {"sitk": lambda: itk_series(paths)},
        rounds=5,
        between=program.close_all,
    )
    program.close_all()
    assert np.array_equal(program.load(folder, 100).voxels, truth)
    program.close_all()
    quiet.judge(holds=found["sitk"] <= goal)


def _packed(source: Path, target: Path, syntax: str) -> Path:
    """A file in another transfer syntax, by gdcm."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


@dataclass
class Held:
    """The most bytes beyond those at the beginning: in all, and of shared memory alone."""

    total: float = 0.0
    shared: float = 0.0


@contextmanager
def most_memory() -> Iterator[Held]:
    """What this process, its children and shared memory hold meanwhile."""
    most, over = Held(), threading.Event()

    def held() -> Held:
        shared = float(psutil.disk_usage("/dev/shm").used)
        total = shared
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            try:
                memory = process.memory_info()
                total += memory.rss - memory.shared
            except psutil.Error:
                continue
        return Held(total, shared)

    before = held()

    def watch() -> None:
        while not over.wait(0.003):
            now = held()
            most.total = max(most.total, now.total - before.total)
            most.shared = max(most.shared, now.shared - before.shared)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("ready_mb", [0, 512])
def test_memory_while_a_volume_is_read(
    benchmark: Any, windowed: Program, mix: Mix, ready_mb: int
) -> None:
    folder, _, truth = mix
    windowed.services.loading.keep_ready(0)
    windowed.load(folder, 600)
    windowed.close_all()
    windowed.services.loading.keep_ready(ready_mb << 20)
    windowed.until(lambda: windowed.services.tasks.idle)
    with most_memory() as most:
        benchmark.pedantic(lambda: windowed.load(folder, 600), rounds=1)
        windowed.until(lambda: windowed.services.tasks.idle)
    share = most.total / truth.nbytes
    benchmark.extra_info["x volume"] = round(share, 3)
    print(dict(benchmark.extra_info))  # noqa: T201
    # The voxels stand in shared memory whole: what is measured is there.
    assert most.shared >= truth.nbytes
    assert share <= 1.25


class Heartbeat:
    """How regularly the window's thread gets its turn."""

    def __init__(self) -> None:
        self.gaps_s: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.timeout.connect(self._beat)
        self._timer.start(10)

    def _beat(self) -> None:
        now = time.perf_counter()
        self.gaps_s.append(now - self._last)
        self._last = now

    def stop(self) -> tuple[float, float]:
        """The longest gap, and the one that 99 of 100 do not exceed, in ms."""
        self._timer.stop()
        gaps_ms = 1000 * np.array(self.gaps_s)
        return float(gaps_ms.max()), float(np.percentile(gaps_ms, 99))


def test_forty_studies_at_once(benchmark: Any, windowed: Program, tmp_path: Path) -> None:
    for study in range(40):
        for series in range(5):
            batch = Batch(100, 8, f"study{study}", f"series{series}")
            write_copies(tmp_path / "many" / f"D{study:02d}" / f"S{series}", batch)
    folder = tmp_path / "many"
    quiet = Quiet()
    loading = windowed.services.loading
    opened: list[Any] = []
    gaps: list[tuple[float, float]] = []

    def ours() -> None:
        opened.clear()
        loading.open_paths([folder], on_done=opened.append)
        windowed.until(lambda: bool(opened))

    def floor() -> None:
        for here, _, names in os.walk(folder):
            for name in names:
                descriptor = os.open(Path(here) / name, os.O_RDONLY)
                os.pread(descriptor, 4096, 0)
                os.close(descriptor)

    def between() -> None:
        windowed.close_all()

    def beating() -> None:
        heart = Heartbeat()
        ours()
        windowed.until(lambda: loading.idle and windowed.services.tasks.idle)
        gaps.append(heart.stop())

    found = paired(benchmark, ours, {"floor": floor}, rounds=3, between=between)
    between()
    beating()
    (studies,) = opened
    assert sum(len(one.instances) for study in studies for one in study.series) == 20_000
    assert len(studies) == 40
    longest_ms, usual_ms = gaps[0]
    benchmark.extra_info.update(gap_max_ms=round(longest_ms), gap_p99_ms=round(usual_ms))
    print(dict(benchmark.extra_info))  # noqa: T201
    quiet.judge(holds=found["floor"] <= 15 and longest_ms <= 250 and usual_ms <= 100)


def test_the_window_lives_while_a_volume_is_read(
    benchmark: Any, windowed: Program, mix: Mix
) -> None:
    folder = mix[0]
    windowed.load(folder, 600)
    windowed.close_all()
    quiet = Quiet()
    heart = Heartbeat()
    benchmark.pedantic(lambda: windowed.load(folder, 600), rounds=1)
    windowed.until(lambda: windowed.services.tasks.idle)
    longest_ms, usual_ms = heart.stop()
    benchmark.extra_info.update(gap_max_ms=round(longest_ms), gap_p99_ms=round(usual_ms))
    print(dict(benchmark.extra_info))  # noqa: T201
    quiet.judge(holds=longest_ms <= 250 and usual_ms <= 100)
