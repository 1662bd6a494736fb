"""Disks made read-only or pulled out under a running program: it is told, and nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from medview.core.errors import ExportError
from medview.core.events import Level
from medview.core.paths import Paths
from medview.services import bundle
from medview.services.bundle import Services
from tests.end2end.random_edits import state_kept, state_of
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.disks import Disk, disk, needs_disks
from tests.helpers.phantoms import Phantom

pytestmark = needs_disks
FORMATS = ("segmentation", "sr", "pdf", "json")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "own", 16 << 10) as made:
        yield made


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "out", 16 << 10) as made:
        yield made


@pytest.fixture
def services(
    own: Disk, resources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    monkeypatch.setattr("medview.services.store._RETRY_S", 0.05)
    write_ct(tmp_path / "ct", Phantom(shape=(8, 20, 22), spacing_mm=(2, 1, 1), radius_mm=6))
    paths = Paths.in_profile(resources, own.path / "profile")
    paths.create()
    paths.settings_file.write_text("[loading]\nworkers = 1\nready_mb = 0\n")
    with bundle.running(paths) as running:
        running.workspace.reader = "Dr Ada"
        running.commands.run("study.open", paths=[str(tmp_path / "ct")])
        running.commands.wait_idle(120)
        paint(running)
        running.commands.wait_idle(60)
        yield running


def paint(services: Services) -> None:
    volume = next(iter(services.workspace.volumes.values()))
    number = len(services.workspace.history.entries(study_of(services)))
    place = [float(value) for value in volume.geometry.to_lps_mm((number % 8, 10, 11))]
    services.commands.run("segment.paint", points_lps_mm=[place], radius_mm=3.0 + number)


def study_of(services: Services) -> str:
    return next(iter(services.workspace.studies))


def hashes(folder: Path) -> dict[str, str]:
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(folder.iterdir())
    }


def wait_for_error(services: Services) -> str:
    """What the reader is told."""
    for _ in range(1000):
        services.tasks.pump()
        services.tasks.wait(0.02)
        told = [one for one in services.workspace.notices if one.level is Level.ERROR]
        if told:
            return told[-1].text
    raise AssertionError("never told")


def test_a_read_only_profile_is_told_and_saving_goes_on_after(
    services: Services, own: Disk
) -> None:
    store = own.path / "profile" / "store.sqlite"
    with services.store._one_writer:  # a disk with files that are being written stays as it is
        services.store._connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr]
    paint(services)
    assert str(store) in wait_for_error(services)
    with services.store._one_writer:
        services.store._connection.execute("PRAGMA query_only = 0")  # type: ignore[union-attr]
    services.commands.wait_idle(60)
    assert state_kept(store, study_of(services)) == state_of(services.workspace)
    assert services.workspace.notices[-1].text == "Your work is saved again"


def test_a_profile_that_is_pulled_out_is_told(services: Services, own: Disk) -> None:
    """Writing to the open file goes on without an error: that is no saving."""
    store = own.path / "profile" / "store.sqlite"
    away = own.path / "away"
    store.parent.rename(away)
    paint(services)
    assert f"{store} is gone" in wait_for_error(services)
    assert not services.commands.is_idle()
    away.rename(store.parent)
    services.commands.wait_idle(60)
    assert state_kept(store, study_of(services)) == state_of(services.workspace)


@pytest.mark.parametrize("how", ["read-only", "gone"])
def test_an_export_onto_such_a_disk_names_the_way_out(
    services: Services, out: Disk, tmp_path: Path, how: str
) -> None:
    study, folder = study_of(services), out.path / "export"
    services.export.export_now(study, folder, formats=FORMATS)
    before = hashes(folder)
    paint(services)
    if how == "read-only":
        out.remount("ro")
    else:
        out.vanish()
        out.path.chmod(0o755)
        (out.path / "export").touch()  # and something else lies there
    with pytest.raises(ExportError) as caught:
        services.export.export_now(study, folder, formats=FORMATS)
    assert str(folder) in caught.value.user_text
    assert "Choose another folder" in caught.value.hint
    if how == "read-only":
        assert hashes(folder) == before
    other = tmp_path / "other"
    services.export.export_now(study, other, formats=FORMATS)
    assert hashes(other).keys() == before.keys()


def test_a_disk_pulled_out_during_an_export_leaves_no_half_file(
    services: Services, out: Disk, tmp_path: Path
) -> None:
    study, folder = study_of(services), out.path / "export"
    services.export.export(study, folder, FORMATS)
    for _ in range(400):
        services.tasks.pump()
        services.tasks.wait(0.005)
        if folder.exists():
            break
    out.vanish()
    services.commands.wait_idle(60)
    left = [one.name for one in folder.iterdir()] if folder.exists() else []
    assert not [name for name in left if name.startswith(".writing")]
    services.export.export_now(study, tmp_path / "other", formats=FORMATS)
    assert (tmp_path / "other" / "result.json").exists()
