"""The commands for models, as a script or a key runs them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from medview.core.errors import CommandError, ModelError
from medview.core.jobs import JobState
from medview.services import commands_ai
from medview.services.commands import Registry
from medview.services.jobs import Jobs
from medview.services.settings import Settings
from tests.helpers import desk
from tests.helpers.desk import STUDY, VOLUME_UID
from tests.helpers.fake_engine import fake_catalog, write_fake_model


class Puppet:
    """A client whose worker never answers."""

    on_wake = None

    def submit(self, order: object) -> None: ...

    def cancel(self, job_uid: str) -> None: ...

    def forget(self, volume_uid: str) -> None: ...


@pytest.fixture
def services(tmp_path: Path) -> SimpleNamespace:
    work = desk.workspace()
    catalog = fake_catalog(tmp_path)
    write_fake_model(tmp_path, "net", task="segmentation")
    write_fake_model(tmp_path, "ct_only", task="segmentation", scope={"modality": ["CT"]})
    catalog.refresh()
    settings = Settings(None)
    jobs = Jobs(work, catalog, Puppet(), desk.desk(work)[0], settings)  # type: ignore[arg-type]
    viewing = SimpleNamespace(volume=work.volumes[VOLUME_UID], clip=None)
    return SimpleNamespace(
        workspace=work,
        jobs=jobs,
        viewing=viewing,
        catalog=catalog,
        shelf=SimpleNamespace(),
        settings=settings,
    )


@pytest.fixture
def registry(services: SimpleNamespace) -> Registry:
    made = Registry()
    commands_ai.register(made, services)
    return made


def test_a_bare_run_takes_the_best_model_for_the_image_shown(
    registry: Registry, services: SimpleNamespace
) -> None:
    job = services.workspace.jobs[registry.run("ai.run")]
    assert (job.model_id, job.inputs[0].uid) == ("net", VOLUME_UID)


def test_a_run_takes_what_is_named(registry: Registry, services: SimpleNamespace) -> None:
    uid = registry.run("ai.run", model="fake", volume=VOLUME_UID, device="cpu")
    job = services.workspace.jobs[uid]
    assert (job.model_id, job.device, job.override_scope) == ("fake", "cpu", False)
    with pytest.raises(ModelError):
        registry.run("ai.run", model="ct_only")
    uid = registry.run("ai.run", model="ct_only", override=True)
    assert services.workspace.jobs[uid].override_scope


def test_a_run_is_asked_for_the_maps_of_the_settings(
    registry: Registry, services: SimpleNamespace
) -> None:
    def wished() -> object:
        return services.workspace.jobs[registry.run("ai.run")].parameters

    assert wished() == {"maps": ["saliency"]}
    services.settings.set("ai.uncertainty", True)
    assert wished() == {"maps": ["uncertainty", "saliency"]}
    services.settings.set("ai.uncertainty", False)
    services.settings.set("ai.saliency", False)
    assert wished() == {}


def test_without_an_image_there_is_nothing_to_run_on(
    registry: Registry, services: SimpleNamespace
) -> None:
    services.viewing.volume = None
    with pytest.raises(CommandError, match="no image"):
        registry.run("ai.run")
    with pytest.raises(CommandError, match="not open"):
        registry.run("ai.run", volume="gone")
    services.workspace.close_study(STUDY)
    with pytest.raises(CommandError, match="not possible"):
        registry.run("ai.run")


def test_without_a_fitting_model_the_reader_is_told(
    registry: Registry, services: SimpleNamespace, tmp_path: Path
) -> None:
    for name in ("net", "fake"):
        (tmp_path / name / "configs" / "metadata.json").unlink()
    services.catalog.refresh()
    with pytest.raises(ModelError, match="No installed model"):
        registry.run("ai.run")


def test_cancel_stops_the_one_named_or_all(registry: Registry, services: SimpleNamespace) -> None:
    with pytest.raises(CommandError, match="not possible"):
        registry.run("ai.cancel")
    running, first, second, third = (registry.run("ai.run") for _ in range(4))
    jobs = services.workspace.jobs
    assert registry.run("ai.cancel", job=second) == 1
    assert [jobs[uid].state for uid in (first, second, third)] == [
        JobState.QUEUED,
        JobState.CANCELLED,
        JobState.QUEUED,
    ]
    assert registry.run("ai.cancel") == 3
    assert jobs[first].state is jobs[third].state is JobState.CANCELLED
    assert jobs[running].stage == "Cancelling"
