"""Effects on segments through the commands: rules, steps, undo, previews, dropped work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.errors import CommandError
from medview.core.findings import SegmentRef
from medview.core.geometry import Box
from medview.core.paths import Paths
from medview.core.plain import from_plain, to_plain
from medview.core.segmentation import Segmentation, SegmentState
from medview.core.study import Patient, Series, Study
from medview.core.views import Plane
from medview.imaging.edit import Patch
from medview.services import bundle
from medview.services.bundle import Services
from medview.services.changing import put
from medview.services.edits import AddSegmentation, ChangeSegments
from medview.services.journal import KeptSegmentation
from medview.services.rules import Overlap, Where
from tests.helpers import desk as made
from tests.helpers.phantoms import Phantom, oblique

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
TURNED = oblique(20, 30)
PHANTOM = Phantom((18, 40, 44), row=TURNED[0], column=TURNED[1])


class Bench:
    """The program's services with one oblique CT of a ball, and two segments of the reader's."""

    def __init__(self, folder: Path) -> None:
        self.services: Services = bundle.build(
            Paths.in_profile(RESOURCES, folder), keeps_work=False
        )
        work = self.services.workspace
        work.reader = "Dr Ada"
        series = Series("1.1", "1", "CT", "Thorax", ())
        work.open_studies([Study("1", Patient("7", "DOE^J"), series=(series,))])
        volume = replace(PHANTOM.volume(), uid="v", series_uid="1.1")
        work.add_volume(volume)
        self.services.viewing.show_series("1.1")
        self.run("segment.add", label="One")
        self.one = self.active
        self.run("segment.add", label="Two")
        self.two = self.active
        self.run("segment.select", segment=1)

    def run(self, command_id: str, **arguments: Any) -> Any:
        result = self.services.commands.run(command_id, **arguments)
        self.services.commands.wait_idle(200)
        return result

    @property
    def active(self) -> SegmentRef:
        ref = self.services.viewing.overlay.active
        assert ref is not None
        return ref

    def put(self, ref: SegmentRef, mask: np.ndarray) -> None:
        """Give a segment these voxels besides its own, whatever the rules."""
        toolbox = self.services.viewing.toolbox
        rules = toolbox.rules
        toolbox.set_rules(where=Where.EVERYWHERE, within=None, overlap=Overlap.GROUP)
        put(self.services.viewing, ref, Patch(Box.whole(mask.shape), mask), "Put", adds=True)
        toolbox.set_rules(where=rules.where, within=rules.within, overlap=rules.overlap)

    def mask(self, ref: SegmentRef) -> np.ndarray:
        return self.services.workspace.segmentations[ref.segmentation_uid].labels == ref.number

    def by_name(self, label: str) -> SegmentRef:
        found = [
            SegmentRef(s.uid, segment.number)
            for s in self.services.workspace.segmentations.values()
            for segment in s.segments
            if segment.label == label
        ]
        assert len(found) == 1
        return found[0]

    def state(self) -> dict[str, tuple[bytes, tuple[str, ...]]]:
        """All labels and segments, to be compared."""
        return {
            uid: (s.labels.tobytes(), tuple(one.label for one in s.segments))
            for uid, s in self.services.workspace.segmentations.items()
        }

    def told(self) -> str:
        return self.services.workspace.notices[-1].text


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made_bench = Bench(tmp_path)
    yield made_bench
    bundle.close(made_bench.services)


def ball() -> np.ndarray:
    return PHANTOM.sphere()


def rough() -> np.ndarray:
    """The ball with a hole, a spur and an island."""
    mask = ball().copy()
    mask[9, 19:21, 21:23] = False
    mask[9, 20, 38:42] = True
    mask[2:4, 3:6, 3:6] = True
    return mask


EFFECTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("segment.keep_largest", {}),
    ("segment.remove_small", {"least_ml": 0.2}),
    ("segment.split", {}),
    ("segment.divide", {"plane": "axial"}),
    ("segment.smooth", {"method": "median"}),
    ("segment.smooth", {"method": "closing", "radius_mm": 2.0}),
    ("segment.smooth", {"method": "opening", "radius_mm": 2.0}),
    ("segment.smooth", {"method": "joint", "radius_mm": 2.0}),
    ("segment.margin", {"distance_mm": 2.0}),
    ("segment.margin", {"distance_mm": -2.0}),
    ("segment.hollow", {"thickness_mm": 2.0, "side": "both"}),
    ("segment.fill", {"everywhere": True}),
    ("segment.fill", {"solid": True}),
)


@pytest.mark.parametrize(("command", "arguments"), EFFECTS)
def test_every_effect_is_one_step_that_undo_takes_back_exactly(
    bench: Bench, command: str, arguments: dict[str, Any]
) -> None:
    bench.put(bench.one, rough())
    before, steps = bench.state(), len(bench.services.history.entries("1"))
    bench.run(command, **arguments)
    after = bench.state()
    assert after != before
    assert len(bench.services.history.entries("1")) == steps + 1
    assert (
        "One" in bench.services.history.undo_title
        or "together" in bench.services.history.undo_title
    )
    bench.run("edit.undo")
    assert bench.state() == before
    bench.run("edit.redo")
    assert bench.state() == after


@pytest.mark.parametrize(("command", "arguments"), EFFECTS)
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_no_effect_reaches_beyond_the_mask_rule(
    bench: Bench, command: str, arguments: dict[str, Any], where: str
) -> None:
    bench.put(bench.one, rough())
    guard = np.zeros(PHANTOM.shape, dtype=bool)
    guard[:, :, 18:30] = guard[:, 18:24] = True
    bench.put(bench.two, guard & ~rough())
    before = bench.services.workspace.segmentations[bench.one.segmentation_uid].labels.copy()
    bench.run("segment.mask", where=where, segments=[2], low=-1050, high=500)
    bench.run(command, **arguments)
    after = bench.services.workspace.segmentations[bench.one.segmentation_uid].labels
    inside = before == 2
    allowed = inside if where == "inside" else ~inside
    values = PHANTOM.volume().value_of(PHANTOM.volume().voxels)
    allowed &= (values >= -1050) & (values <= 500)
    assert not ((after != before) & ~allowed).any()


def test_who_gives_way_is_one_rule(bench: Bench) -> None:
    work, whole = bench.services.workspace, ball()
    half = whole.copy()
    half[:, :, 22:] = False
    other = Segmentation(
        "v", work.volumes["v"].geometry, half.astype(np.uint8), (made.segment(1),), "AI"
    )
    work.apply(AddSegmentation("1", other, "AI"))
    ai = SegmentRef(other.uid, 1)
    bench.put(bench.two, half)
    start = bench.state()
    wanted = {
        "group": (whole, np.zeros_like(half), half),
        "all": (whole, np.zeros_like(half), np.zeros_like(half)),
        "spare": (whole & ~half, half, half),
        "share": (whole, half, half),
    }
    for rule, (mine, second, models) in wanted.items():
        bench.run("segment.overlap", rule=rule)
        bench.run("segment.threshold", low=0, high=100)
        bench.run("segment.accept")
        ref = bench.by_name("One")
        np.testing.assert_array_equal(bench.mask(ref), mine, err_msg=rule)
        np.testing.assert_array_equal(bench.mask(bench.two), second, err_msg=rule)
        np.testing.assert_array_equal(bench.mask(ai), models, err_msg=rule)
        assert (ref.segmentation_uid != bench.one.segmentation_uid) == (rule == "share")
        assert bench.services.history.undo_title == "Threshold: One"
        bench.run("edit.undo")
        assert bench.state() == start
        bench.run("segment.select", segment=1, segmentation_uid=bench.one.segmentation_uid)


def test_a_locked_segment_neither_gains_nor_loses(bench: Bench) -> None:
    bench.put(bench.one, rough())
    bench.put(bench.two, ball() & ~rough())
    work = bench.services.workspace
    old = work.segmentations[bench.one.segmentation_uid]
    locked = tuple(replace(s, locked=s.number == 2) for s in old.segments)
    work.apply(ChangeSegments("1", old.uid, old.segments, locked, "Lock"))
    held = bench.mask(bench.two).copy()
    assert held.any()
    for rule in ("group", "all", "spare"):
        bench.run("segment.overlap", rule=rule)
        bench.run("segment.margin", distance_mm=3.0)
        np.testing.assert_array_equal(bench.mask(bench.two), held)
        bench.run("brush.erase_all")
        bench.run("segment.erase", radius_mm=30, sphere=True)
        bench.run("brush.erase_all")
        np.testing.assert_array_equal(bench.mask(bench.two), held)
        assert not bench.mask(bench.one).any()
        bench.put(bench.one, rough())
    bench.run("segment.select", segment=2)
    with pytest.raises(CommandError, match="locked"):
        bench.run("segment.margin", distance_mm=3.0)
    with pytest.raises(CommandError, match="locked"):
        bench.run("segment.paint", radius_mm=5)


def test_a_threshold_is_seen_first_and_done_by_accept(bench: Bench) -> None:
    viewing, effects = bench.services.viewing, bench.services.effects
    values = PHANTOM.volume().value_of(PHANTOM.volume().voxels)
    before = bench.state()
    bench.run("segment.threshold", low=0, high=100)
    preview = effects.preview
    assert preview is not None
    for plane in (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL):
        frame, number = viewing.frame(plane), viewing.slice_number(plane)
        labels = bench.services.workspace.segmentations[preview.segmentation_uid].labels
        seen = preview.over(frame.pixels(labels, number), frame, number)
        fits = (values >= 0) & (values <= 100)
        np.testing.assert_array_equal(seen == 1, frame.pixels(fits, number))
    assert bench.state() == before
    bench.run("segment.drop")
    assert effects.preview is None
    with pytest.raises(CommandError, match="not possible"):
        bench.run("segment.accept")
    bench.run("segment.threshold")
    bench.run("segment.accept")
    assert (bench.mask(bench.one) == (values > -500)).mean() > 0.999
    with pytest.raises(CommandError, match="No value"):
        bench.run("segment.threshold", low=5, high=1)


def test_a_preview_whose_labels_changed_is_gone(bench: Bench) -> None:
    bench.run("segment.threshold", low=0, high=100)
    bench.run("segment.paint", radius_mm=4)
    assert bench.services.effects.preview is None


def test_seeds_grow_as_a_preview(bench: Bench) -> None:
    seed = np.zeros(PHANTOM.shape, dtype=bool)
    seed[8:10, 19:21, 20:24] = True
    bench.run("segment.grow")
    assert bench.services.effects.preview is None
    assert "Seeds of two segments" in bench.told()
    bench.put(bench.one, seed)
    rim = np.zeros(PHANTOM.shape, dtype=bool)
    rim[[0, -1], 2:38, 2:5] = rim[[0, -1], 2:38, 39:42] = True
    bench.put(bench.two, rim)
    before = bench.state()
    bench.run("segment.grow")
    assert bench.services.effects.preview is not None
    assert bench.state() == before
    bench.run("segment.accept")
    one = bench.mask(bench.one)
    assert 2 * (one & ball()).sum() / (one.sum() + ball().sum()) > 0.85
    bench.run("edit.undo")
    assert bench.state() == before


def test_slices_between_are_filled_in_the_plane_in_hand(bench: Bench) -> None:
    sparse = ball().copy()
    sparse[[n for n in range(18) if n % 3]] = False
    bench.put(bench.one, sparse)
    bench.run("segment.between", plane="axial")
    filled = bench.mask(bench.one)
    first, last = np.flatnonzero(sparse.any(axis=(1, 2)))[[0, -1]]
    truth = ball()[first : last + 1]
    found = filled[first : last + 1]
    assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.95
    np.testing.assert_array_equal(filled[::3], sparse[::3])


def test_islands_become_segments_and_nothing_is_lost(bench: Bench) -> None:
    bench.put(bench.one, rough())
    bench.run("segment.split")
    parts = bench.by_name("One 2")
    np.testing.assert_array_equal(bench.mask(bench.one) | bench.mask(parts), rough())
    assert not (bench.mask(bench.one) & bench.mask(parts)).any()
    assert bench.mask(parts).sum() == 18
    assert bench.active == bench.one


def test_work_is_dropped_where_the_labels_changed_meanwhile(bench: Bench) -> None:
    bench.put(bench.one, rough())
    bench.services.commands.run("segment.margin", distance_mm=2.0)
    assert bench.services.effects.busy
    with pytest.raises(CommandError, match="still at work"):
        bench.services.commands.run("segment.margin", distance_mm=2.0)
    bench.services.commands.run("segment.paint", radius_mm=3.0, center_lps_mm=(1e3, 1e3, 1e3))
    seed = np.zeros(PHANTOM.shape, dtype=bool)
    seed[0, 0, 0] = True
    bench.put(bench.two, seed)
    painted = bench.state()
    bench.services.commands.wait_idle(200)
    assert bench.state() == painted
    assert "dropped" in bench.told()
    bench.services.commands.run("segment.margin", distance_mm=2.0)
    bench.run("segment.cancel")
    assert bench.state() == painted
    assert not bench.services.effects.busy


def test_what_cannot_be_done_is_said_in_words(bench: Bench) -> None:
    bench.run("segment.margin", distance_mm=2.0)
    assert "no voxels yet" in bench.told()
    bench.put(bench.one, ball())
    bench.run("segment.keep_largest")
    assert "changes nothing" in bench.told()
    for command, arguments in (
        ("segment.smooth", {"method": "magic"}),
        ("segment.margin", {"distance_mm": 0.0}),
        ("segment.hollow", {"side": "left"}),
        ("segment.overlap", {"rule": "mine"}),
        ("segment.mask", {"where": "there"}),
        ("segment.mask", {"low": 5, "high": 1}),
    ):
        with pytest.raises(CommandError):
            bench.run(command, **arguments)


def test_figures_follow_strokes_and_undo(bench: Bench) -> None:
    volume = PHANTOM.volume()
    values = volume.value_of(volume.voxels)
    uid = bench.one.segmentation_uid
    statistics = bench.services.statistics

    def check() -> None:
        statistics.refresh(uid, lambda: None)
        bench.services.commands.wait_idle(200)
        assert not statistics.is_stale(uid)
        known = statistics.of(uid)
        for ref in (bench.one, bench.two):
            mask = bench.mask(ref)
            if not mask.any():
                assert ref.number not in known
                continue
            found = known[ref.number]
            assert found.voxels == mask.sum()
            assert found.values is not None
            assert found.values.mean == pytest.approx(values[mask].mean())
            assert found.values.standard_deviation == pytest.approx(values[mask].std(ddof=1))
            assert (found.values.minimum, found.values.maximum) == (
                values[mask].min(), values[mask].max(),
            )  # fmt: skip

    bench.put(bench.one, ball())
    check()
    middle = [float(x) for x in PHANTOM.center_lps_mm]
    bench.run("segment.paint", center_lps_mm=middle, radius_mm=14, sphere=True, segment=2)
    assert statistics.is_stale(uid)
    check()
    bench.run("edit.undo")
    check()


def test_contours_scissors_and_traces_are_steps(bench: Bench) -> None:
    viewing = bench.services.viewing
    grid = PHANTOM.geometry
    index = np.array([(9, 9.6, 9.6), (9, 9.6, 29.6), (9, 29.6, 29.6), (9, 29.6, 9.6)])
    points = grid.to_lps_mm(index).tolist()
    bench.run("segment.contour", points_lps_mm=points, plane="axial")
    drawn = bench.mask(bench.one)
    assert set(np.nonzero(drawn)[0]) == {9}
    assert drawn.sum() == 400
    bench.run("segment.contour", points_lps_mm=points, plane="axial", erases=True)
    assert not bench.mask(bench.one).any()
    bench.put(bench.one, ball())
    square = np.zeros(PHANTOM.shape, dtype=bool)
    square[:, 10:30, 10:30] = True
    for what, wanted in (
        ("erase", ball() & ~square), ("keep", ball() & square), ("fill", ball() | square),
    ):  # fmt: skip
        bench.run("segment.cut", points_lps_mm=points, plane="axial", what=what)
        np.testing.assert_array_equal(bench.mask(bench.one), wanted)
        bench.run("edit.undo")
    bench.put(bench.two, square & ~ball())
    bench.run("segment.cut", points_lps_mm=points, plane="axial", what="erase", everything=True)
    assert not (bench.mask(bench.one) | bench.mask(bench.two))[square].any()
    bench.run("edit.undo")
    flat = np.eye(4)
    outline = [grid.to_lps_mm(place)[:2].tolist() for place in ((0, -99, -99), (0, 99, 99))]
    (x0, y0), (x1, y1) = outline
    bench.run(
        "segment.cut_3d", outline=[(x0, y0), (x1, y0), (x1, y1), (x0, y1)], to_view=flat.tolist(),
        what="keep",
    )  # fmt: skip
    np.testing.assert_array_equal(bench.mask(bench.one), ball())
    bench.run("edit.undo") if "3D" in bench.services.history.undo_title else None
    middle = PHANTOM.center_lps_mm
    viewing.set_crosshair(tuple(float(x) for x in middle))
    bench.run("segment.select", segment=2)
    bench.run("segment.trace", point_lps_mm=[float(x) for x in middle], plane="axial")
    number = viewing.slice_number(Plane.AXIAL)
    assert (bench.mask(bench.two) & ball())[number].sum() >= ball()[number].sum()
    for arguments in ({"what": "burn"}, {"points_lps_mm": [[0, 0, 0]]}):
        with pytest.raises(CommandError):
            bench.run("segment.cut", **{"points_lps_mm": points, **arguments})


def test_segments_are_combined_and_mirrored(bench: Bench) -> None:
    half = ball().copy()
    half[:, :, :20] = False
    other = np.zeros_like(half)
    other[4:14, 5:35, 16:26] = True
    bench.run("segment.overlap", rule="share")
    bench.put(bench.one, half)
    bench.run("segment.select", segment=2)
    at = bench.two
    bench.services.viewing.toolbox.set_rules(overlap=Overlap.SHARE)
    from_two = Patch(Box.whole(other.shape), other)
    put(bench.services.viewing, at, from_two, "Put", adds=True)
    two = bench.by_name("Two")
    one = bench.by_name("One")
    assert two.segmentation_uid != one.segmentation_uid
    bench.services.viewing.overlay.select(one)
    start = bench.state()
    arguments = {"other": two.number, "other_uid": two.segmentation_uid}
    for operation, wanted in (
        ("union", half | other), ("subtract", half & ~other), ("intersect", half & other),
        ("copy", other),
    ):  # fmt: skip
        bench.run("segment.combine", operation=operation, **arguments)
        np.testing.assert_array_equal(bench.mask(one), wanted)
        np.testing.assert_array_equal(bench.mask(two), other)
        bench.run("edit.undo")
        assert bench.state() == start
    bench.run("segment.complement")
    np.testing.assert_array_equal(bench.mask(one), ~half)
    bench.run("segment.complement")
    np.testing.assert_array_equal(bench.mask(one), half)
    bench.run("segment.mirror")
    assert (bench.mask(one) != half).any()
    bench.run("segment.mirror")
    np.testing.assert_array_equal(bench.mask(one), half)


def test_segments_and_slices_are_pasted(bench: Bench) -> None:
    half, one, two = ball().copy(), bench.one, bench.two
    half[:, :, :20] = False
    bench.put(one, half)
    bench.run("segment.copy")
    bench.run("segment.select", segment=2)
    bench.run("segment.paste")
    np.testing.assert_array_equal(bench.mask(two), half)
    bench.run("edit.undo")
    bench.run("segment.select", segment=1)
    bench.run("segment.copy_slice", plane="axial")
    number = bench.services.viewing.slice_number(Plane.AXIAL)
    bench.services.viewing.scroll(Plane.AXIAL, -6)
    target = bench.services.viewing.slice_number(Plane.AXIAL)
    assert target != number
    bench.run("segment.paste", plane="axial")
    np.testing.assert_array_equal(bench.mask(one)[target], half[target] | half[number])
    with pytest.raises(CommandError, match="another plane"):
        bench.run("segment.paste", plane="coronal")


def test_lock_state_and_type_are_steps_of_the_reader(bench: Bench) -> None:
    bench.run("segment.lock")
    assert bench.services.viewing.overlay.find(bench.one).locked
    bench.run("segment.lock")
    bench.run("segment.state")
    assert bench.services.viewing.overlay.find(bench.one).state is SegmentState.IN_PROGRESS
    assert bench.services.history.undo_title == "State in progress: One"
    bench.run("segment.classify", type="10200004")
    found = bench.services.viewing.overlay.find(bench.one)
    assert (found.type.meaning, found.category.value, found.label) == ("Liver", "123037004", "One")
    kept = KeptSegmentation.of(
        bench.services.workspace.segmentations[bench.one.segmentation_uid], "1.1"
    )
    assert from_plain(KeptSegmentation, to_plain(kept)) == kept
    with pytest.raises(CommandError, match="No type"):
        bench.run("segment.classify", type="1")
    with pytest.raises(CommandError, match="no state"):
        bench.run("segment.state", state="perhaps")
