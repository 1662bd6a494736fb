"""Marks through the commands: a preview after every one, one step of the history at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medview.core.errors import CommandError
from medview.core.findings import ModelAuthor, Person, Review, SegmentRef
from medview.core.paths import Paths
from medview.core.study import Patient, Series, Study
from medview.imaging.reslice import PlaneFrame
from medview.imaging.walker import walked
from medview.inference.catalog import ANSWERERS, Catalog
from medview.io.seg_write import algorithm_type
from medview.services import bundle
from medview.services.bundle import Services
from medview.services.prompting import Answering
from medview.services.rules import Ground, Overlap, Where
from tests.helpers.phantoms import Phantom, oblique
from tests.unit.inference.test_marks import folder_of, network

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
TURNED = oblique(20, 30)
PHANTOM = Phantom((18, 40, 44), row=TURNED[0], column=TURNED[1])


class Bench:
    """The program's services with one oblique CT of a ball, and two segments of the reader's."""

    def __init__(self, folder: Path) -> None:
        self.services: Services = bundle.build(
            Paths.in_profile(RESOURCES, folder), keeps_work=False
        )
        series = Series("1.1", "1", "CT", "Thorax", ())
        self.services.workspace.open_studies([Study("1", Patient("7", "DOE^J"), series=(series,))])
        self.services.workspace.add_volume(replace(PHANTOM.volume(), uid="v", series_uid="1.1"))
        self.services.settings.set("segment.network", value=False)
        self.services.viewing.show_series("1.1")
        self.ball = PHANTOM.sphere()
        self.run("segment.add", label="One")

    def run(self, command_id: str, **arguments: Any) -> Any:
        result = self.services.commands.run(command_id, **arguments)
        self.services.commands.wait_idle(200)
        return result

    @property
    def active(self) -> SegmentRef:
        ref = self.services.viewing.overlay.active
        assert ref is not None
        return ref

    @property
    def middle(self) -> np.ndarray:
        """The voxel in the middle of the ball."""
        return np.argwhere(self.ball).mean(axis=0).round()

    def mark(self, *shift: float, what: str = "adds") -> None:
        """A mark beside the middle of the ball, in index steps."""
        place = self.middle + np.array(shift or (0, 0, 0))
        point = self.services.viewing.require_volume().geometry.to_lps_mm(place)
        self.run("segment.prompt", points_lps_mm=[tuple(point)], what=what)

    def mask(self, ref: SegmentRef | None = None) -> np.ndarray:
        ref = ref or self.active
        return self.services.workspace.segmentations[ref.segmentation_uid].labels == ref.number

    @property
    def frame(self) -> PlaneFrame:
        return self.services.viewing.frame(self.services.viewing.active_plane)

    def seen(self) -> np.ndarray:
        """What the preview shows in the slice through the middle of the ball."""
        preview, frame = self.services.effects.preview, self.frame
        number = int(self.middle[frame.normal])
        labels = frame.pixels(self.mask().astype(np.uint16), number)
        return labels if preview is None else preview.over(labels, frame, number)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    bundle.close(one.services)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_click_is_a_preview_and_accepting_it_one_step(bench: Bench) -> None:
    steps = len(bench.services.history.entries("1"))
    bench.mark()
    number = int(bench.middle[bench.frame.normal])
    truth = bench.frame.pixels(bench.ball, number)
    assert dice(bench.seen() > 0, truth) > 0.9
    assert not bench.mask().any()
    assert len(bench.services.prompting.marks) == 1
    bench.run("segment.accept")
    assert dice(bench.frame.pixels(bench.mask(), number), truth) > 0.9
    assert len(bench.services.history.entries("1")) == steps + 1
    assert bench.services.prompting.marks == ()
    bench.run("edit.undo")
    assert not bench.mask().any()


def test_dropping_leaves_everything_as_it_was(bench: Bench) -> None:
    bench.mark()
    bench.run("segment.drop")
    assert bench.services.effects.preview is None
    assert bench.services.prompting.marks == ()
    assert not bench.mask().any()


def test_marks_add_up_and_the_last_is_taken_back(bench: Bench) -> None:
    bench.mark()
    first = bench.seen().copy()
    bench.mark(0, 0, 3, what="takes")
    assert len(bench.services.prompting.marks) == 2
    assert bench.seen().sum() < first.sum()
    bench.run("segment.prompt_back")
    assert np.array_equal(bench.seen(), first)
    bench.run("segment.prompt_back")
    assert bench.services.effects.preview is None


def test_an_outline_through_all_slices(bench: Bench) -> None:
    bench.run("segment.prompt_solid", on=True)
    bench.mark()
    bench.run("segment.accept")
    assert dice(bench.mask(), bench.ball) > 0.85


def test_rules_and_locks_are_obeyed(bench: Bench) -> None:
    one = bench.active
    bench.mark()
    bench.run("segment.accept")
    held = bench.mask(one).copy()
    bench.run("segment.add", label="Two")
    bench.services.viewing.toolbox.set_rules(overlap=Overlap.SPARE)
    bench.mark()
    bench.run("segment.accept")
    assert np.array_equal(bench.mask(one), held)
    assert not (bench.mask() & held).any()
    bench.services.viewing.toolbox.set_rules(overlap=Overlap.GROUP, where=Where.OUTSIDE)
    bench.mark()
    assert not (bench.seen() == bench.active.number).any()
    bench.run("segment.drop")
    bench.run("segment.lock")
    with pytest.raises(CommandError, match="locked"):
        bench.mark()


def test_labels_that_change_meanwhile_end_the_preview(bench: Bench) -> None:
    bench.mark()
    point = bench.services.viewing.require_volume().geometry.to_lps_mm(bench.middle)
    bench.run("segment.paint", points_lps_mm=[tuple(point)])
    assert bench.services.effects.preview is None
    assert bench.services.prompting.marks == ()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"what": "maybe"}, "no maybe"),
        ({"what": "box"}, "two of its corners"),
        ({"points_lps_mm": [("a", 1, 2)]}, "three numbers"),
        ({"points_lps_mm": [(9e5, 9e5, 9e5)]}, "beside the image"),
    ],
)
def test_what_makes_no_sense_is_refused(
    bench: Bench, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        bench.run("segment.prompt", **arguments)


def test_there_is_nothing_to_take_back_at_first(bench: Bench) -> None:
    with pytest.raises(CommandError):
        bench.services.prompting.take_back()


def test_marks_wait_for_an_effect_at_work(bench: Bench) -> None:
    gate = threading.Event()

    def wish(_ground: Ground) -> None:
        gate.wait(120)

    bench.services.effects.work(bench.active, "Slow", wish)
    try:
        with pytest.raises(CommandError, match="still at work"):
            bench.services.commands.run("segment.prompt")
    finally:
        gate.set()
    bench.services.commands.wait_idle(200)
    bench.mark()
    assert len(bench.services.prompting.marks) == 1


def test_marks_end_with_their_study(bench: Bench) -> None:
    bench.mark()
    bench.services.workspace.close_study("1")
    assert bench.services.prompting.marks == ()
    assert bench.services.effects.preview is None


MODEL = ModelAuthor("pointer", "2.1.0", "ab" * 32)


def by_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walks answer in the name of a model."""
    monkeypatch.setattr(bench.services.prompting, "_ask_by", lambda: (walked, MODEL, ""))


def test_a_model_that_helped_is_named_by_segment_finding_and_report(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_network(bench, monkeypatch)
    bench.services.workspace.reader = "Dr Ada"
    bench.mark()
    bench.run("segment.accept")
    assert bench.services.history.undo_title == "Outline by pointer 2.1.0: One"
    (one,) = bench.services.workspace.segmentations.values()
    assert one.find_segment(1).provenance.aids == (MODEL,)
    assert isinstance(one.find_segment(1).provenance.author, Person)
    assert algorithm_type(one.find_segment(1).provenance, Review()) == "SEMIAUTOMATIC"
    bench.run("segment.report")
    (finding,) = bench.services.workspace.findings.values()
    assert finding.provenance.aids == (MODEL,)
    report = bench.services.workspace.report_of("1")
    assert report is not None
    assert "No AI model" not in report.ai_statement
    assert "pointer version 2.1.0, weights sha256 abababababab" in report.ai_statement
    assert "helped the reader to draw One" in report.ai_statement
    bench.run("edit.undo")
    bench.run("edit.undo")
    (one,) = bench.services.workspace.segmentations.values()
    assert not one.labels.any()
    assert one.find_segment(1).provenance.aids == ()


def test_a_finding_says_so_too_when_a_model_helps_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.services.workspace.reader = "Dr Ada"
    bench.mark()
    bench.run("segment.accept")
    bench.run("segment.report")
    (finding,) = bench.services.workspace.findings.values()
    assert finding.provenance.aids == ()
    by_network(bench, monkeypatch)
    bench.mark(4)
    bench.run("segment.accept")
    (finding,) = bench.services.workspace.findings.values()
    assert finding.provenance.aids == (MODEL,)
    assert [one.provenance.aids for one in finding.measurements] == [(MODEL,)]


def test_a_network_that_cannot_be_read_is_told_once_and_walks_answer(
    bench: Bench, tmp_path: Path
) -> None:
    folder = folder_of({"layer.weight": torch.zeros(2, 2)}, tmp_path / "models" / "one")
    answering = Answering(Catalog((folder.parent,), ANSWERERS), lambda: True)
    bench.services.prompting._ask_by = answering.ready
    bench.mark()
    bench.mark(4)
    assert bench.seen().any()
    told = [one.text for one in bench.services.workspace.notices]
    assert [one for one in told if "Pointer" in one] == [
        "The weights of Pointer are not those of a network for marks."
    ]
    bench.run("segment.accept")
    (one,) = bench.services.workspace.segmentations.values()
    assert one.find_segment(1).provenance.aids == ()


def test_a_network_that_is_missing_is_told_and_walks_answer(bench: Bench, tmp_path: Path) -> None:
    answering = Answering(Catalog((tmp_path / "none",), ANSWERERS), lambda: True)
    bench.services.prompting._ask_by = answering.ready
    bench.mark()
    bench.mark(4)
    assert bench.seen().any()
    told = [(one.text, one.hint) for one in bench.services.workspace.notices]
    assert told.count(
        (
            "The network that answers marks is missing.",
            "Marks are answered without a network, by random walks.",
        )
    ) == len([one for one in told if "network" in one[0]])
    assert any("missing" in text for text, _ in told)


@pytest.mark.parametrize("broken", ["card", "weights"])
def test_the_next_network_answers_where_the_readers_own_is_broken(
    bench: Bench, tmp_path: Path, broken: str
) -> None:
    own = folder_of(network().state_dict(), tmp_path / "own" / "one")
    if broken == "card":
        (own / "configs" / "metadata.json").write_text("{", encoding="utf-8")
    else:
        (own / "models" / "model.safetensors").write_bytes(b"garbage")
    folders = (tmp_path / "own", RESOURCES / "prompts")
    bench.services.prompting._ask_by = Answering(Catalog(folders, ANSWERERS), lambda: True).ready
    bench.mark()
    assert bench.seen().any()
    (told,) = [one for one in bench.services.workspace.notices if "answered by" in one.hint]
    assert told.text.endswith(
        "metadata.json of one cannot be read."
        if broken == "card"
        else "Pointer are not the ones it was released with."
    )
    assert told.hint.startswith("Marks are answered by clicks ")


@pytest.mark.parametrize("wanted", [True, False])
def test_the_reader_chooses_whether_a_network_answers(tmp_path: Path, wanted: bool) -> None:
    folder = folder_of(network().state_dict(), tmp_path / "models" / "one")
    answering = Answering(Catalog((folder.parent,), ANSWERERS), lambda: wanted)
    answer, model, problem = answering.ready()
    assert problem == ""
    assert (answer is walked) is not wanted
    assert (model.model_id if model else "") == ("pointer" if wanted else "")


def outlined_by_network(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    by_network(bench, monkeypatch)
    bench.services.workspace.reader = "Dr Ada"
    bench.mark()
    bench.run("segment.accept")


def aids(bench: Bench) -> dict[str, tuple[ModelAuthor, ...]]:
    """The models that helped, by segment."""
    every = bench.services.workspace.segmentations.values()
    return {s.label: s.provenance.aids for one in every for s in one.segments}


@pytest.mark.parametrize("way", ["paste", "paste slice", "combine"])
def test_a_shape_taken_over_names_the_model_it_comes_from(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    outlined_by_network(bench, monkeypatch)
    bench.services.viewing.set_crosshair(
        bench.services.viewing.require_volume().geometry.to_lps_mm(bench.middle)
    )
    bench.run("segment.copy_slice" if way == "paste slice" else "segment.copy")
    bench.run("segment.add", label="Two")
    assert aids(bench)["Two"] == ()
    bench.services.viewing.toolbox.set_rules(overlap=Overlap.SHARE)
    before = bench.services.history.undo_title
    if way == "combine":
        bench.run("segment.combine", operation="union", other=1)
    else:
        bench.run("segment.paste")
    assert bench.mask().any()
    assert aids(bench)["Two"] == (MODEL,)
    bench.run("edit.undo")
    assert bench.services.history.undo_title == before
    assert aids(bench)["Two"] == ()


def test_the_parts_of_what_a_model_helped_with_name_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlined_by_network(bench, monkeypatch)
    corner = bench.services.viewing.require_volume().geometry.to_lps_mm((2.0, 4.0, 4.0))
    bench.run("segment.paint", center_lps_mm=corner.tolist(), radius_mm=3, sphere=True)
    bench.run("segment.split")
    assert aids(bench) == {"One": (MODEL,), "One 2": (MODEL,)}


def test_a_network_that_is_switched_off_midway_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.services.viewing.toolbox.set_prompts_solid(solid=False)
    by_network(bench, monkeypatch)
    bench.mark()
    monkeypatch.setattr(bench.services.prompting, "_ask_by", lambda: (walked, None, ""))
    bench.mark(2)
    bench.run("segment.accept")
    assert aids(bench) == {"One": (MODEL,)}
    assert "pointer" in bench.services.history.undo_title
