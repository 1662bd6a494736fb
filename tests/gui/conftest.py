"""A window on a real desk: services of a fresh profile, one CT of known content, a fake model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PyQt6.QtCore import QEvent
from PyQt6.QtWidgets import QApplication, QDialog

from medview.core.findings import SegmentRef
from medview.core.jobs import InferenceJob, InferenceResult, JobInput
from medview.core.paths import Paths
from medview.core.segmentation import Segmentation
from medview.core.study import Instance, Patient, Series, Study
from medview.services import bundle
from medview.services.bundle import Services
from medview.ui import theme
from medview.ui.main_window import MainWindow
from tests.helpers import desk as made
from tests.helpers.fake_engine import fake_catalog
from tests.helpers.phantoms import Phantom

JANE = Patient("0815", "DOE^JANE^M", "19700131", "F")
JOHN = Patient("4711", "ROE^JOHN", "19450508", "M")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The off-screen platform says of much that it does not support it; nothing is lost."""
    for item in items:
        if "gui" in item.path.parts:
            item.add_marker(pytest.mark.qt_log_ignore("This plugin does not support", extend=True))


@dataclass
class Desk:
    """A window and the services behind it."""

    services: Services
    window: MainWindow
    phantom: Phantom

    def run(self, command_id: str, **arguments: Any) -> Any:
        """As a script does it."""
        result = self.services.commands.run(command_id, **arguments)
        self.turn()
        return result

    def turn(self, times: int = 6) -> None:
        """Let Qt do what is due."""
        for _ in range(times):
            QApplication.processEvents()

    def wait(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Let the window live until something holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            QApplication.processEvents()
            time.sleep(0.005)
        self.turn()

    def open(self, patient: Patient = JANE, uid: str = "1") -> Study:
        """Open a study of that patient with one CT, already loaded, and show it."""
        instances = tuple(
            Instance(f"{uid}.9.{k}", "1.2.840.10008.5.1.4.1.1.2", f"{k}", number=1 + k)
            for k in range(self.phantom.shape[0])
        )
        series = Series(f"{uid}.1", uid, "CT", "Thorax", instances, number=4)
        study = Study(uid, patient, "Chest", "20260102", "0930", "A7", series=(series,))
        small = np.full((12, 16), 90, np.uint8)
        # A picture that is there already spares every test the start of reading processes.
        self.services.loading._thumbnails[series.uid] = small
        self.services.workspace.open_studies([study])
        uids = tuple(instance.sop_instance_uid for instance in instances)
        volume = replace(
            self.phantom.volume(), uid=f"{uid}.1.v", series_uid=series.uid, instance_uids=uids
        )
        self.services.workspace.add_volume(volume)
        self.services.viewing.show_series(series.uid)
        self.turn()
        return study

    def propose(self) -> tuple[str, ...]:
        """A model's proposal: the sphere as `Structure 1`, a slice of it as `Structure 2`."""
        work = self.services.workspace
        volume = self.services.viewing.volume
        assert volume is not None
        labels = self.phantom.sphere().astype(np.uint8)
        labels[0:2] = 0
        labels[1, 4:9, 4:9] = 2
        segments = (made.segment(1), made.segment(2))
        mask = Segmentation(volume.uid, volume.geometry, labels, segments, "Proposal")
        voxel = volume.geometry.voxel_volume_ml
        findings = tuple(
            replace(
                made.finding(
                    SegmentRef(mask.uid, n), float((labels == n).sum() * voxel), f"Structure {n}"
                ),
                probability=0.87,
                location_lps_mm=tuple(float(x) for x in self.phantom.center_lps_mm),
            )
            for n in (1, 2)
        )
        job = InferenceJob(
            "finder", "1.0", (JobInput(volume.uid),), work.study_of(volume.uid).uid, uid="job"
        )
        uids = self.services.review.propose(InferenceResult("job", (mask,), findings), job)
        self.turn()
        return uids

    def dialog(self, kind: type[QDialog]) -> Any:
        """The open dialog of a class."""
        self.turn()
        found = [
            widget
            for widget in QApplication.topLevelWidgets()
            if isinstance(widget, kind) and widget.isVisible()
        ]
        assert len(found) == 1, f"{len(found)} dialogs {kind.__name__}"
        return found[0]

    def dialogs(self) -> list[QDialog]:
        """All dialogs that are open."""
        self.turn()
        return [
            widget
            for widget in QApplication.topLevelWidgets()
            if isinstance(widget, QDialog) and widget.isVisible()
        ]

    def told(self) -> list[str]:
        """What the reader was told so far."""
        return [notice.text for notice in self.services.workspace.notices]


@pytest.fixture
def empty_desk(
    qapp: QApplication, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Desk]:
    """A window with nothing open; a fake model is installed."""
    models = tmp_path / "fake_models"
    models.mkdir()
    monkeypatch.setattr(bundle, "catalog", lambda _paths: fake_catalog(models, steps=3))
    services = bundle.build(Paths.in_profile(resources, tmp_path / "profile"))
    services.workspace.reader = "Dr Ada"
    theme.apply(qapp, resources)
    window = MainWindow(services)
    window.resize(1280, 800)
    window.show()
    desk = Desk(services, window, Phantom())
    # A display without a window manager gives the keyboard to nobody by itself.
    window.activateWindow()
    desk.wait(window.isActiveWindow)
    yield desk
    for dialog in desk.dialogs():
        dialog.close()
    window.close()
    bundle.close(services)
    window.deleteLater()
    # Outside an event loop nothing is deleted later: windows would pile up.
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    desk.turn()


@pytest.fixture
def desk(empty_desk: Desk) -> Desk:
    """A window with the CT open."""
    empty_desk.open()
    return empty_desk
