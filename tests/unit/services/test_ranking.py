"""The images of a folder come in the order of the program beside, each once, failures told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from medview.core.errors import CommandError, ModelError
from medview.core.events import Level
from medview.core.study import Patient, Study
from medview.inference.catalog import Catalog
from medview.services import ranking as room
from medview.services.ranking import Ranking
from medview.services.settings import Settings
from medview.services.workspace import Workspace
from tests.helpers import slow_ranking
from tests.helpers.fake_engine import FAKE_ENGINES, write_fake_model


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.setattr(room, "own_command", lambda: [sys.executable, slow_ranking.__file__])
    monkeypatch.setattr(room, "_LOOK_S", 0.01)
    write_fake_model(tmp_path / "models", "mine")
    workspace, opened = Workspace(Settings(None)), list[Path]()

    def open_paths(paths: list[Path], *, on_done: Callable[[tuple[Study, ...]], object]) -> None:
        opened.extend(paths)
        studies = tuple(Study(path.name, Patient("1", "One")) for path in paths)
        workspace.open_studies(studies)
        on_done(studies)

    loading = SimpleNamespace(open_paths=open_paths)
    catalog = Catalog([tmp_path / "models"], FAKE_ENGINES)
    made = Ranking(workspace, catalog, loading, tmp_path / "cache")  # type: ignore[arg-type]
    (tmp_path / "pictures").mkdir()
    return SimpleNamespace(
        ranking=made, opened=opened, workspace=workspace, pictures=tmp_path / "pictures",
        cache=tmp_path / "cache",
    )  # fmt: skip


def wait(ranking: Ranking, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        ranking.pump()
        time.sleep(0.01)


def test_images_open_one_after_the_other_the_doubtful_first(desk: SimpleNamespace) -> None:
    for name, size in (("a", 300), ("b", 900), ("c", 0), ("d", 600)):
        (desk.pictures / f"{name}.png").write_bytes(bytes(size))
    ranking = desk.ranking
    ranking.begin("mine", desk.pictures)
    with pytest.raises(CommandError, match="are being put in order"):
        ranking.begin("mine", desk.pictures)
    with pytest.raises(CommandError, match="are being put in order"):
        ranking.open_next()
    wait(ranking, lambda: not ranking.is_running)
    assert [path.name for path in desk.opened] == ["b.png"]
    said = [(one.level, one.text) for one in desk.workspace.notices]
    assert (Level.WARNING, "c.png has no place in the order: image cannot be read") in said
    assert said[-1] == (Level.INFO, "b.png: number 1 of 3.")
    assert desk.workspace.notices[-1].hint == "Uncertainty 0.90 (size)."
    ranking.open_next()
    ranking.open_next()
    assert [path.name for path in desk.opened] == ["b.png", "d.png", "a.png"]
    with pytest.raises(CommandError, match="No image is waiting"):
        ranking.open_next()
    assert list(desk.cache.iterdir()) == []


def test_the_image_before_is_put_away_unless_it_was_open_already(desk: SimpleNamespace) -> None:
    for name, size in (("a", 300), ("b", 900), ("d", 600)):
        (desk.pictures / f"{name}.png").write_bytes(bytes(size))
    desk.workspace.open_studies([Study("d.png", Patient("1", "One"))])
    desk.ranking.begin("mine", desk.pictures)
    wait(desk.ranking, lambda: not desk.ranking.is_running)
    assert set(desk.workspace.studies) == {"b.png", "d.png"}
    desk.ranking.open_next()
    assert set(desk.workspace.studies) == {"d.png"}
    desk.ranking.open_next()
    assert set(desk.workspace.studies) == {"a.png", "d.png"}


def test_why_nothing_was_put_in_order_is_told(desk: SimpleNamespace) -> None:
    desk.ranking.begin("mine", desk.pictures)
    wait(desk.ranking, lambda: not desk.ranking.is_running)
    last = desk.workspace.notices[-1]
    assert last.level is Level.ERROR
    assert "no image without a label" in last.text
    assert desk.opened == []


def test_what_cannot_be_begun_is_refused(desk: SimpleNamespace) -> None:
    with pytest.raises(CommandError, match="no folder"):
        desk.ranking.begin("mine", desk.pictures / "none")
    with pytest.raises(ModelError, match="no model other"):
        desk.ranking.begin("other", desk.pictures)
    assert not desk.ranking.is_running


def test_the_program_beside_ends_with_this_one(
    desk: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = "import time; time.sleep(60)"
    monkeypatch.setattr(room, "own_command", lambda: [sys.executable, "-c", sleep])
    desk.ranking.begin("mine", desk.pictures)
    process = desk.ranking._process
    desk.ranking.close()
    assert process.poll() is not None
    assert not desk.ranking.is_running
    assert list(desk.cache.iterdir()) == []
