"""Models the reader adds: whole or not at all, as they were or not at all, trusted or not run."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medview.core.errors import ExportError, ModelError
from medview.core.paths import Paths
from medview.core.succession import Difference, Rival, Succession, Verdict, plain_succession
from medview.inference import scope
from medview.inference.catalog import Catalog, load_card
from medview.inference.receipts import hash_folder
from medview.inference.trust import TrustFile
from medview.services import bundle
from medview.services.prompting import Answering
from medview.services.shelf import Shelf
from tests.helpers.fake_engine import FAKE_ENGINES, write_fake_model
from tests.helpers.web_server import serving
from tests.unit.inference.test_marks import folder_of, network

ROOT = Path(__file__).resolve().parents[3]


class Trail:
    """Remembers what goes into the audit trail."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def record(self, actor: str, action: str, _object: str, **more: str) -> None:
        self.rows.append((actor, action, more["model"]))


@pytest.fixture
def desk(tmp_path: Path) -> SimpleNamespace:
    paths = Paths.in_profile(ROOT / "resources", tmp_path / "profile")
    paths.create()
    trust, trail = TrustFile(paths.trust_file), Trail()
    catalog = Catalog([paths.shipped_models, paths.own_models], FAKE_ENGINES, trust)
    shelf = Shelf(paths, catalog, trail, trust)  # type: ignore[arg-type]
    return SimpleNamespace(paths=paths, catalog=catalog, shelf=shelf, trail=trail)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_fake_model(tmp_path / "given", "mine")


def zipped(folder: Path, target: Path, *, top: bool = True) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent if top else folder))
    return target


def own(desk: SimpleNamespace) -> list[str]:
    return sorted(path.name for path in desk.paths.own_models.iterdir())


def test_a_folder_is_added_and_found_again(desk: SimpleNamespace, model: Path) -> None:
    card = desk.shelf.add(str(model), by="Dr A")
    assert card.id == "mine"
    assert card.folder_sha256 == hash_folder(model)
    assert own(desk) == ["mine", "mine.receipt.json"]
    again = Catalog([desk.paths.own_models], FAKE_ENGINES)
    assert again.card("mine").folder_sha256 == card.folder_sha256
    again.verify("mine")
    assert desk.trail.rows == [("Dr A", "model.add", "mine 1.2.3")]


def test_the_hash_of_a_folder_is_what_sha256sum_says(model: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(model).as_posix()}\n"
        for path in sorted(model.rglob("*"))
        if path.is_file()
    ]
    assert hash_folder(model) == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("top", [True, False])
def test_a_zip_is_added(desk: SimpleNamespace, model: Path, tmp_path: Path, top: bool) -> None:
    archive = zipped(model, tmp_path / "any name.zip", top=top)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert desk.shelf.add(str(archive), sha256=digest).id == "mine"
    desk.catalog.verify("mine")


def test_a_url_is_added_and_the_download_does_not_stay(
    desk: SimpleNamespace, model: Path, tmp_path: Path
) -> None:
    content = zipped(model, tmp_path / "mine.zip").read_bytes()
    with serving(content, drops=[200]) as served:
        card = desk.shelf.add(served.url, sha256=hashlib.sha256(content).hexdigest())
    assert card.id == "mine"
    assert list((desk.paths.cache / "downloads").iterdir()) == []


def test_an_offer_is_fetched_by_its_id_and_must_be_what_it_says(
    desk: SimpleNamespace, tmp_path: Path
) -> None:
    """A miniature of TotalSegmentator's weights, offered as the real ones are."""
    folder = tmp_path / "Dataset297_TotalSegmentator_total_3mm_1559subj"
    results = folder / "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
    (results / "fold_0").mkdir(parents=True)
    (results / "fold_0" / "checkpoint_final.pth").write_bytes(b"weights")
    plans = {"dataset_name": folder.name, "configurations": {"3d_fullres": {"spacing": [3, 3, 3]}}}
    (results / "plans.json").write_text(json.dumps(plans))
    labels = {"background": 0, "spleen": 1}
    (results / "dataset.json").write_text(
        json.dumps({"channel_names": {"0": "CT"}, "labels": labels})
    )
    content = zipped(folder, tmp_path / "weights.zip").read_bytes()
    shipped = json.loads(
        (ROOT / "resources/known_models/totalsegmentator_total_3mm.json").read_text()
    )
    known = tmp_path / "resources" / "known_models"
    known.mkdir(parents=True)
    with serving(content, drops=[300]) as served:
        ours = {"url": served.url, "bytes": len(content)}
        for name, digest in (("good", hashlib.sha256(content).hexdigest()), ("bad", "0" * 64)):
            offer = {**shipped["download"], **ours, "id": name, "sha256": digest}
            (known / f"{name}.json").write_text(json.dumps({"download": offer}))
        paths = Paths.in_profile(tmp_path / "resources", tmp_path / "profile")
        shelf = Shelf(paths, desk.catalog, desk.trail, desk.shelf._trust)
        assert [offer.id for offer in shelf.offers] == ["bad", "good"]
        with pytest.raises(ModelError, match="SHA-256"):
            shelf.add("bad")
        card = shelf.add("good", by="Dr A")
    assert card.title == "TotalSegmentator CT: total, 3 mm"
    assert card.license.startswith("Apache-2.0")
    assert len(served.asked) == 3  # one for the bad, two as the good one broke off
    assert own(desk) == [card.id, f"{card.id}.receipt.json"]


def test_nothing_is_fetched_that_was_not_asked_for(desk: SimpleNamespace) -> None:
    (offer,) = desk.shelf.offers
    assert offer.url.startswith("https://github.com/wasserth/TotalSegmentator/releases/")
    assert offer.size == "135 MB"
    assert "never able to try" in offer.note
    assert not (desk.paths.cache / "downloads").exists()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_another_hash_than_stated_is_refused(
    desk: SimpleNamespace, model: Path, tmp_path: Path, kind: str
) -> None:
    source = model if kind == "folder" else zipped(model, tmp_path / "mine.zip")
    with pytest.raises(ModelError, match="SHA-256"):
        desk.shelf.add(str(source), sha256="0" * 64)
    assert own(desk) == []


@pytest.mark.parametrize("name", ["configs/metadata.json", "models/behaviour.json", "extra.txt"])
def test_one_changed_byte_anywhere_is_refused(
    desk: SimpleNamespace, model: Path, name: str
) -> None:
    (model / "extra.txt").write_text("words")
    desk.shelf.add(str(model))
    path = desk.paths.own_models / "mine" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError):
        Catalog([desk.paths.own_models], FAKE_ENGINES).verify("mine")


def test_a_file_that_was_put_in_is_refused(desk: SimpleNamespace, model: Path) -> None:
    desk.shelf.add(str(model))
    (desk.paths.own_models / "mine" / "more.py").write_text("print()")
    with pytest.raises(ModelError, match="not those that were added"):
        desk.catalog.verify("mine")


def test_no_two_models_share_an_id(desk: SimpleNamespace, model: Path) -> None:
    desk.shelf.add(str(model))
    with pytest.raises(ModelError, match="already"):
        desk.shelf.add(str(model))
    shutil.copytree(ROOT / "resources" / "models" / "threshold_body", model.parent / "other")
    with pytest.raises(ModelError, match="threshold_body already"):
        desk.shelf.add(str(model.parent / "other"))
    assert own(desk) == ["mine", "mine.receipt.json"]


def test_own_models_are_removed_and_shipped_ones_stay(desk: SimpleNamespace, model: Path) -> None:
    desk.shelf.add(str(model))
    desk.shelf.remove("mine", by="Dr A")
    assert own(desk) == []
    assert "mine" not in {card.id for card in desk.catalog.cards()}
    assert desk.trail.rows[-1] == ("Dr A", "model.remove", "mine 1.2.3")
    with pytest.raises(ModelError, match="comes with medview"):
        desk.shelf.remove("threshold_body")


def test_an_export_is_a_checked_copy(desk: SimpleNamespace, model: Path, tmp_path: Path) -> None:
    desk.shelf.add(str(model))
    out = tmp_path / "out" / "copy"
    names = desk.shelf.export("mine", out)
    assert hash_folder(out) == hash_folder(model)
    assert "configs/metadata.json" in names
    with pytest.raises(ExportError, match="not empty"):
        desk.shelf.export("mine", out)
    weights = desk.paths.own_models / "mine" / "models" / "behaviour.json"
    weights.write_text(weights.read_text() + " ")
    with pytest.raises(ModelError):
        desk.shelf.export("mine", tmp_path / "second")
    assert not (tmp_path / "second").exists()


# What archives and folders may do


def climbing(archive: zipfile.ZipFile) -> None:
    archive.writestr("mine/../../evil.txt", "x")


def absolute(archive: zipfile.ZipFile) -> None:
    archive.writestr("/tmp/evil.txt", "x")


def backslash(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("mine")
    info.filename = "..\\evil.txt"
    archive.writestr(info, "x")


def link(archive: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("mine/weights")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(info, "/etc/passwd")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("mine/zeros", bytes(80 << 20), zipfile.ZIP_DEFLATED)


def empty(_archive: zipfile.ZipFile) -> None:
    """Nothing in it."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (climbing, "outside"),
        (absolute, "outside"),
        (backslash, "outside"),
        (link, "links"),
        (bomb, "200 times"),
        (empty, "no files"),
    ],
)
def test_unsafe_archives_write_nothing(
    desk: SimpleNamespace,
    tmp_path: Path,
    make: Callable[[zipfile.ZipFile], None],
    words: str,
) -> None:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        make(archive)
    with pytest.raises(ModelError, match=words):
        desk.shelf.add(str(path))
    assert own(desk) == []
    assert not list(tmp_path.rglob("evil*"))


def test_a_damaged_archive_leaves_nothing(
    desk: SimpleNamespace, model: Path, tmp_path: Path
) -> None:
    path = zipped(model, tmp_path / "mine.zip")
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ModelError):
        desk.shelf.add(str(path))
    assert own(desk) == []


def test_links_in_a_folder_are_not_followed(desk: SimpleNamespace, model: Path) -> None:
    (model / "models" / "more").symlink_to("/etc/hostname")
    with pytest.raises(ModelError, match="link"):
        desk.shelf.add(str(model))
    assert own(desk) == []


# Trust


def with_code(model: Path) -> None:
    path = model / "configs" / "metadata.json"
    metadata: dict[str, Any] = json.loads(path.read_text())
    metadata["medview"]["engine"] = "torchscript"
    path.write_text(json.dumps(metadata))


def test_a_program_is_trusted_by_the_hash_of_its_folder(desk: SimpleNamespace, model: Path) -> None:
    with_code(model)
    card = desk.shelf.add(str(model))
    assert card.code
    assert not card.may_run
    assert scope.refusals(scope.fit(card, None, None), final_only=True)
    trusted = desk.shelf.trust("mine", "Dr A")
    assert trusted.may_run
    assert not scope.refusals(scope.fit(trusted, None, None))
    assert desk.trail.rows[-1][:2] == ("Dr A", "model.trust")
    fresh = Catalog([desk.paths.own_models], FAKE_ENGINES, TrustFile(desk.paths.trust_file))
    assert fresh.card("mine").may_run
    assert not desk.shelf.distrust("mine", "Dr A").may_run
    assert desk.trail.rows[-1][:2] == ("Dr A", "model.distrust")


def test_trust_does_not_outlive_a_change_or_a_removal(desk: SimpleNamespace, model: Path) -> None:
    with_code(model)
    desk.shelf.add(str(model))
    desk.shelf.trust("mine", "Dr A")
    desk.shelf.remove("mine")
    assert not desk.shelf.add(str(model)).may_run
    desk.shelf.trust("mine", "Dr A")
    (desk.paths.own_models / "mine" / "extra.py").write_text("")
    with pytest.raises(ModelError):
        desk.shelf.trust("mine", "Dr B")


def test_a_damaged_list_trusts_nothing_and_is_said(desk: SimpleNamespace, model: Path) -> None:
    with_code(model)
    desk.shelf.add(str(model))
    desk.shelf.trust("mine", "Dr A")
    desk.paths.trust_file.write_text("{")
    desk.catalog.refresh()
    assert not desk.catalog.card("mine").may_run
    assert any("trusted" in problem.reason for problem in desk.catalog.problems)


def test_nothing_to_trust_where_nothing_is_a_program(desk: SimpleNamespace, model: Path) -> None:
    desk.shelf.add(str(model))
    with pytest.raises(ModelError, match="nothing to trust"):
        desk.shelf.trust("mine", "Dr A")


def test_a_program_put_there_by_hand_is_not_offered(desk: SimpleNamespace, model: Path) -> None:
    with_code(model)
    shutil.copytree(model, desk.paths.own_models / "mine")
    desk.catalog.refresh()
    assert "mine" not in {card.id for card in desk.catalog.cards()}
    assert "by hand" in desk.catalog.problems[-1].reason


# Successors


def compared(
    desk: SimpleNamespace, folder: Path, old: str, *, difference: float = 0.1, sha256: str = ""
) -> Path:
    """Write into a model folder how it did against one that is installed."""
    card, before = load_card(folder, FAKE_ENGINES), desk.catalog.card(old)
    ci95 = (difference - 0.05, difference + 0.05)
    one = Difference(0.5, 0.5 + difference, difference, ci95, more_is_better=True, headline=True)
    rival = Rival(card.id, card.version, sha256 or card.sha256)
    against = Rival(before.id, before.version, before.sha256)
    found = Succession(rival, against, "segmentation", "val", 9, 9, {"dice_a": one})
    (folder / "docs").mkdir(exist_ok=True)
    text = json.dumps(plain_succession(found, "words"))
    (folder / "docs" / "comparison.json").write_text(text)
    return folder


def test_a_model_takes_the_place_of_the_one_it_was_compared_with(
    desk: SimpleNamespace, tmp_path: Path
) -> None:
    desk.shelf.add(str(write_fake_model(tmp_path / "a", "mine")))
    before = desk.catalog.card("mine")
    tuned = write_fake_model(tmp_path / "b", "mine_tuned", steps=7)
    card = desk.shelf.add(str(compared(desk, tuned, "mine")), by="Dr A", replace=True)
    assert (card.id, card.version) == ("mine", f"1.2.3+{card.sha256[:8]}")
    assert card.sha256 != before.sha256
    desk.catalog.verify("mine")
    assert own(desk) == ["mine", "mine.receipt.json"]
    assert desk.trail.rows[-1] == ("Dr A", "model.replace", f"mine {card.version}")
    # And this one can be replaced in turn, though not by what was held against the first.
    late = write_fake_model(tmp_path / "d", "mine_late", steps=8)
    found = json.loads((tuned / "docs" / "comparison.json").read_text())
    found["new"]["weights_sha256"] = load_card(late, FAKE_ENGINES).sha256
    (late / "docs").mkdir()
    (late / "docs" / "comparison.json").write_text(json.dumps(found))
    with pytest.raises(ModelError, match="without a comparison"):
        desk.shelf.add(str(late), replace=True)
    desk.shelf.add(str(compared(desk, late, "mine")), replace=True)
    assert desk.catalog.card("mine").sha256 == load_card(late, FAKE_ENGINES).sha256


def test_a_shipped_model_comes_back_when_its_successor_is_removed(
    desk: SimpleNamespace, tmp_path: Path
) -> None:
    shipped = desk.catalog.card("threshold_body")
    tuned = compared(desk, write_fake_model(tmp_path, "body_tuned"), "threshold_body")
    card = desk.shelf.add(str(tuned), replace=True)
    assert (card.id, desk.catalog.card("threshold_body")) == ("threshold_body", card)
    folders = [desk.paths.shipped_models, desk.paths.own_models]
    fresh = Catalog(folders, FAKE_ENGINES)  # the next start
    assert fresh.card("threshold_body").sha256 == card.sha256
    assert fresh.problems == ()
    desk.shelf.remove("threshold_body")
    assert desk.catalog.card("threshold_body") == shipped
    with pytest.raises(ModelError, match="comes with medview"):
        desk.shelf.remove("threshold_body")


def test_a_folder_that_was_put_there_by_hand_takes_no_place(desk: SimpleNamespace) -> None:
    """Only by the reader's word, which the receipt holds."""
    shipped = desk.catalog.card("threshold_body")
    shutil.copytree(
        desk.paths.shipped_models / "threshold_body", desk.paths.own_models / "threshold_body"
    )
    desk.catalog.refresh()
    assert desk.catalog.card("threshold_body") == shipped
    assert [problem.folder.name for problem in desk.catalog.problems] == ["threshold_body"]


def test_nothing_is_replaced_unasked_or_without_figures(
    desk: SimpleNamespace, tmp_path: Path
) -> None:
    desk.shelf.add(str(write_fake_model(tmp_path / "a", "mine")))
    before = desk.catalog.card("mine")
    again = write_fake_model(tmp_path / "b", "mine", steps=7)
    with pytest.raises(ModelError, match="without a comparison"):
        desk.shelf.add(str(again), replace=True)
    with pytest.raises(ModelError, match="already") as error:
        desk.shelf.add(str(again))
    assert "compare the two" in error.value.hint
    compared(desk, again, "mine", difference=-0.2)
    with pytest.raises(ModelError, match="already") as error:
        desk.shelf.add(str(again))
    assert "The new model is worse than mine 1.2.3" in error.value.hint
    compared(desk, again, "mine", sha256="0" * 64)  # figures of other weights
    with pytest.raises(ModelError, match="without a comparison"):
        desk.shelf.add(str(again), replace=True)
    (again / "docs" / "comparison.json").write_text("{")
    with pytest.raises(ModelError, match=r"comparison\.json"):
        desk.shelf.add(str(again), replace=True)
    assert desk.catalog.card("mine") == before
    assert own(desk) == ["mine", "mine.receipt.json"]


def test_a_compared_model_may_stand_beside_the_one_it_came_from(
    desk: SimpleNamespace, tmp_path: Path
) -> None:
    desk.shelf.add(str(write_fake_model(tmp_path / "a", "mine")))
    tuned = compared(desk, write_fake_model(tmp_path / "b", "mine_tuned", steps=7), "mine")
    ready = desk.shelf.prepare(str(tuned))
    assert ready.succession is not None
    assert ready.succession.verdict is Verdict.BETTER
    assert desk.shelf.take(ready).id == "mine_tuned"
    assert {"mine", "mine_tuned"} <= {card.id for card in desk.catalog.cards()}


def test_a_network_for_marks_answers_in_place_of_the_shipped_one_until_it_is_removed(
    tmp_path: Path,
) -> None:
    paths = Paths.in_profile(ROOT / "resources", tmp_path / "profile")
    paths.create()
    catalog, trail = bundle.catalog(paths), Trail()
    shelf = Shelf(paths, catalog, trail, TrustFile(paths.trust_file))  # type: ignore[arg-type]
    answering = Answering(catalog.beside, lambda: True)

    def asked() -> str:
        _, model, problem = answering.ready()
        assert problem == ""
        assert model is not None
        return model.model_id

    assert asked() == "clicks"
    given = folder_of(network().state_dict(), tmp_path / "given")
    assert shelf.add(str(given), by="Dr A").id == "pointer"
    assert asked() == "pointer"
    assert [card.id for card in shelf.added] == ["pointer"]
    assert "pointer" not in {card.id for card in catalog.cards()}
    assert catalog.problems == ()
    with pytest.raises(ModelError, match="There is a model pointer already"):
        shelf.add(str(given))
    assert "configs/metadata.json" in shelf.export("pointer", tmp_path / "out")
    shelf.remove("pointer", by="Dr A")
    assert asked() == "clicks"
    assert trail.rows[-1] == ("Dr A", "model.remove", "pointer 2.1.0")
    with pytest.raises(ModelError, match="comes with medview"):
        shelf.remove("clicks")
