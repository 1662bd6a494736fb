"""What a reader drew enters the report by a command, with numbers that follow what is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.codes import AREA, LENGTH, TISSUE, VOLUME
from medview.core.errors import CommandError, MedviewError
from medview.core.findings import (
    Finding,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
    SegmentRef,
    utc_now,
)
from medview.core.geometry import Calibration, Geometry
from medview.core.paths import Paths
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Patient, Series, Study
from medview.core.timeline import ClipTrack, FramePoint, Track, TrackShape
from medview.core.volume import Volume
from medview.services import bundle
from medview.services.bundle import Services
from medview.services.edits import (
    AddSegmentation,
    ChangeFindings,
    ChangeSegments,
    ChangeTracks,
    FindingStep,
    TrackStep,
)
from tests.helpers.clips import clip, open_clip
from tests.helpers.phantoms import Phantom, oblique

RESOURCES = Path(__file__).resolve().parents[3] / "resources"
TURNED = oblique(20, 30)
PHANTOM = Phantom((18, 40, 44), row=TURNED[0], column=TURNED[1])
FRAMES = 6


class Bench:
    """The program's services, with a ball to outline or a clip to follow points on."""

    def __init__(self, folder: Path) -> None:
        self.services: Services = bundle.build(
            Paths.in_profile(RESOURCES, folder), keeps_work=False
        )
        self.work = self.services.workspace
        self.work.reader = "Dr Ada"

    def run(self, command_id: str, **arguments: Any) -> Any:
        result = self.services.commands.run(command_id, **arguments)
        self.services.commands.wait_idle(200)
        return result

    def open_ball(self) -> np.ndarray:
        """Show a CT of a ball, with an empty segment of the reader's."""
        series = Series("1.1", "1", "CT", "Thorax", ())
        self.work.open_studies([Study("1", Patient("7", "DOE^J"), series=(series,))])
        self.work.add_volume(replace(PHANTOM.volume(), uid="v", series_uid="1.1"))
        self.services.viewing.show_series("1.1")
        self.run("segment.add", label="Left nodule")
        return PHANTOM.sphere()

    def paint(self, radius_mm: float) -> None:
        middle = np.argwhere(PHANTOM.sphere()).mean(axis=0)
        center = self.services.viewing.require_volume().geometry.to_lps_mm(middle)
        self.run("segment.paint", center_lps_mm=center.tolist(), radius_mm=radius_mm, sphere=True)

    @property
    def findings(self) -> Sequence[Finding]:
        return self.work.findings_of("1")

    def volume_ml(self) -> float:
        """What is painted, counted here."""
        (one,) = self.work.segmentations.values()
        return float(np.count_nonzero(one.labels) * PHANTOM.volume().geometry.voxel_volume_ml)

    def open_clip(self) -> None:
        open_clip(self.work, clip([n / 10 for n in range(FRAMES)]))
        self.services.viewing.show_series("1.3")

    def put(self, places: Sequence[Sequence[FramePoint]], shape: TrackShape) -> str:
        """A track that is seen on every frame, as if a model had followed it."""
        (uid,) = self.work.clips
        track = Track("Wall", shape, tuple(tuple(one) for one in places), (0,), (255, 0, 0))
        made = ClipTrack(uid, track, Provenance(Person("Dr Ada"), utc_now()))
        self.work.apply(ChangeTracks("1", (TrackStep(None, made),), "Place Wall"))
        return track.uid

    def move(self, uid: str, places: Sequence[Sequence[FramePoint]]) -> None:
        old = self.work.tracks[uid]
        new = replace(old, track=replace(old.track, places=tuple(tuple(p) for p in places)))
        self.work.apply(ChangeTracks("1", (TrackStep(old, new),), "Correct Wall"))

    def numbers(self) -> dict[str, float]:
        (one,) = self.findings
        return {m.name: m.value for m in one.measurements}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    bundle.close(made.services)


def test_a_segment_enters_the_report_with_its_volume(bench: Bench) -> None:
    bench.open_ball()
    bench.paint(8)
    bench.run("segment.report")
    (one,) = bench.findings
    assert (one.label, one.review.state, one.review.by) == (
        "Left nodule", ReviewState.ACCEPTED, "Dr Ada",
    )  # fmt: skip
    assert one.laterality == "left"
    (size,) = one.measurements
    assert (size.kind, size.unit) == (VOLUME, "mL")
    assert size.value == pytest.approx(bench.volume_ml())
    assert size.value == pytest.approx(4 / 3 * np.pi * 0.8**3, rel=0.06)
    report = bench.work.report_of("1")
    assert report is not None
    assert "Left nodule" in "\n".join(section.text for section in report.sections)
    assert bench.services.results.finding_uid == one.uid
    middle = np.argwhere(PHANTOM.sphere()).mean(axis=0)
    center = PHANTOM.volume().geometry.to_lps_mm(middle)
    assert one.location_lps_mm is not None
    assert np.linalg.norm(np.array(one.location_lps_mm) - center) < 8
    assert bench.services.history.undo_title == "Add to the report: Left nodule"


def test_its_volume_follows_the_pen_and_it_is_told_once(bench: Bench) -> None:
    bench.open_ball()
    bench.paint(6)
    bench.run("segment.report")
    bench.run("segment.report")
    before = bench.numbers()["Volume"]
    bench.paint(10)
    assert bench.numbers()["Volume"] == pytest.approx(bench.volume_ml())
    assert bench.numbers()["Volume"] > 2 * before
    bench.run("edit.undo")
    assert bench.numbers()["Volume"] == pytest.approx(before)
    bench.run("edit.undo")
    assert not bench.findings


def test_an_empty_segment_and_a_reader_without_a_name_are_refused(bench: Bench) -> None:
    bench.open_ball()
    bench.run("segment.report")
    assert bench.work.notices[-1].text == "Left nodule has no voxels yet"
    assert not bench.findings
    bench.work.reader = ""
    with pytest.raises(MedviewError, match="needs a name"):
        bench.run("segment.report")


def test_a_rejected_one_may_be_told_anew(bench: Bench) -> None:
    bench.open_ball()
    bench.paint(6)
    bench.run("segment.report")
    bench.run("finding.reject", uid=bench.findings[0].uid)
    bench.run("segment.report")
    assert [one.review.state for one in bench.findings] == [
        ReviewState.REJECTED, ReviewState.ACCEPTED,
    ]  # fmt: skip


def test_a_followed_point_enters_the_report_with_its_excursion(bench: Bench) -> None:
    bench.open_clip()
    places = [[(20.0 + n, 30.0 + 2 * n)] for n in range(FRAMES)]
    uid = bench.put(places, TrackShape.POINT)
    found = bench.run("track.report")
    (one,) = bench.findings
    assert one.uid == found
    (moved,) = one.measurements
    assert (moved.kind, moved.name, moved.unit) == (LENGTH, "Largest displacement", "{px}")
    assert moved.value == pytest.approx(np.hypot(5, 10))
    box = one.picture_box
    assert box is not None
    top, left, bottom, right = box.box_px
    assert top < 20.5 < bottom
    assert left < 30.5 < right
    bench.move(uid, [*places[:-1], [(20.0, 60.0)]])
    assert bench.numbers()["Largest displacement"] == pytest.approx(30)
    assert bench.findings[0].review.state is ReviewState.ACCEPTED
    bench.run("edit.undo")
    assert bench.numbers()["Largest displacement"] == pytest.approx(np.hypot(5, 10))


def test_a_contour_tells_its_areas_and_by_how_much_it_shrinks(bench: Bench) -> None:
    bench.open_clip()
    sides = [20.0, 18.0, 10.0, 12.0, 16.0, 20.0]
    squares = [[(5.0, 5.0), (5.0, 5 + s), (5 + s, 5 + s), (5 + s, 5.0)] for s in sides]
    bench.put(squares, TrackShape.CONTOUR)
    bench.run("track.report")
    numbers = bench.numbers()
    assert numbers["Largest area"] == pytest.approx(400)
    assert numbers["Smallest area"] == pytest.approx(100)
    assert numbers["Fractional area change"] == pytest.approx(75)
    kinds = {m.name: m.kind for m in bench.findings[0].measurements}
    assert kinds["Largest area"] == AREA
    report = bench.work.report_of("1")
    assert report is not None
    assert "75" in "\n".join(section.text for section in report.sections)


def test_a_line_tells_its_lengths_and_strain(bench: Bench) -> None:
    bench.open_clip()
    lengths = [20.0, 16.0, 15.0, 18.0, 21.0, 20.0]
    bench.put([[(10.0, 5.0), (10.0, 5 + n)] for n in lengths], TrackShape.LINE)
    bench.run("track.report")
    numbers = bench.numbers()
    assert (numbers["Largest length"], numbers["Smallest length"]) == (21, 15)
    assert numbers["Largest strain"] == pytest.approx(-25)


def test_the_model_that_followed_a_track_is_named(bench: Bench) -> None:
    bench.open_clip()
    uid = bench.put([[(20.0 + n, 30.0)] for n in range(FRAMES)], TrackShape.POINT)
    bench.run("track.report")
    assert bench.findings[0].provenance.aids == ()
    motion, old = ModelAuthor("motion", "1.0.0", "ab" * 32), bench.work.tracks[uid]
    new = replace(old, provenance=old.provenance.aided_by(motion))
    bench.work.apply(ChangeTracks("1", (TrackStep(old, new),), "Follow Wall"))
    assert bench.findings[0].provenance.aids == (motion,)
    report = bench.work.report_of("1")
    assert report is not None
    assert "motion version 1.0.0" in report.ai_statement
    assert "helped the reader to draw Wall" in report.ai_statement


def test_a_point_on_one_frame_says_nothing_yet(bench: Bench) -> None:
    bench.open_clip()
    bench.put([[(20.0, 30.0)], *[[] for _ in range(FRAMES - 1)]], TrackShape.POINT)
    with pytest.raises(CommandError, match="one frame only"):
        bench.run("track.report")
    assert not bench.findings


def test_place_and_box_follow_a_segment_that_is_drawn_elsewhere(bench: Bench) -> None:
    bench.open_ball()
    bench.paint(6)
    bench.run("segment.report")
    geometry = PHANTOM.volume().geometry
    corner = geometry.to_lps_mm((3.0, 6.0, 6.0)).tolist()
    bench.run("segment.paint", center_lps_mm=corner, radius_mm=4, sphere=True)
    middle = geometry.to_lps_mm(np.argwhere(PHANTOM.sphere()).mean(axis=0)).tolist()
    bench.run("segment.erase", center_lps_mm=middle, radius_mm=14, sphere=True)
    (labels,) = (one.labels for one in bench.work.segmentations.values())
    (one,) = bench.findings
    assert one.location_lps_mm is not None
    assert one.box_lps_mm is not None
    place = np.floor(geometry.to_index(one.location_lps_mm) + 0.5).astype(int)
    assert labels[tuple(place)] == 1
    drawn = np.argwhere(labels == 1)
    corners = [
        geometry.to_lps_mm(np.array(index) - 0.5)
        for index in np.ndindex(2, 2, 2)
        for index in [np.where(index, drawn.max(axis=0) + 1, drawn.min(axis=0))]
    ]
    np.testing.assert_allclose(one.box_lps_mm[0], np.min(corners, axis=0), atol=1e-6)
    np.testing.assert_allclose(one.box_lps_mm[1], np.max(corners, axis=0), atol=1e-6)
    bench.run("edit.undo")
    assert bench.findings[0].box_lps_mm != one.box_lps_mm


def test_the_box_of_a_track_follows_it_and_so_does_its_name(bench: Bench) -> None:
    bench.open_clip()
    uid = bench.put([[(20.0 + n, 30.0)] for n in range(FRAMES)], TrackShape.POINT)
    bench.run("track.report")
    bench.move(uid, [[(5.0 + n, 3.0)] for n in range(FRAMES)])
    box = bench.findings[0].picture_box
    assert box is not None
    top, left, bottom, right = box.box_px
    assert top < 5.5 < bottom < 20
    assert left < 3.5 < right < 30
    bench.run("track.rename", name="Septum", track=uid)
    assert bench.findings[0].label == "Septum"


def test_a_finding_is_called_as_its_segment_is(bench: Bench) -> None:
    bench.open_ball()
    bench.paint(6)
    bench.run("segment.report")
    bench.run("segment.rename", label="Right nodule")
    (one,) = bench.findings
    assert (one.label, one.laterality) == ("Right nodule", "right")
    assert one.review.state is ReviewState.ACCEPTED
    bench.run("finding.edit", uid=one.uid, label="Metastasis")
    (segmentation,) = bench.work.segmentations.values()
    assert segmentation.segments[0].label == "Metastasis"


MODEL = ModelAuthor("lesions", "1.0.0", "cd" * 32)


def propose(bench: Bench) -> None:
    """A model's segment of the ball, with its finding."""
    ball, volume = bench.open_ball(), bench.services.viewing.require_volume()
    by = Provenance(MODEL, utc_now())
    segment = Segment(1, "Lesion", TISSUE, TISSUE, (9, 9, 9), by, Review())
    made = Segmentation("v", volume.geometry, ball.astype(np.uint8), (segment,), "Lesions")
    ref = SegmentRef(made.uid, 1)
    finding = Finding("Lesion", TISSUE, by, segment_ref=ref)
    bench.work.apply(AddSegmentation("1", made, "Lesions"))
    bench.work.apply(ChangeFindings("1", (FindingStep(None, finding),), "Lesions"))
    bench.services.viewing.overlay.select(ref)


@pytest.mark.parametrize("repaints", [False, True])
def test_what_a_model_drew_is_the_readers_only_once_it_was_changed(
    bench: Bench, repaints: bool
) -> None:
    propose(bench)
    bench.run("finding.reject", uid=bench.findings[0].uid)
    if repaints:
        bench.paint(18)
    bench.run("segment.report")
    (one,) = (f for f in bench.findings if f.review.state.counts)
    (size,) = one.measurements
    assert size.provenance.author == one.provenance.author
    report = bench.work.report_of("1")
    assert report is not None
    segment = bench.work.segmentations[one.segment_ref.segmentation_uid].segments[0]
    assert segment.review.state.counts
    if repaints:
        assert one.provenance.author == Person("Dr Ada")
        assert one.provenance.aids == (MODEL,)
        assert "helped the reader to draw Lesion" in report.ai_statement
        assert segment.review.state is ReviewState.EDITED
    else:
        assert one.provenance.author == MODEL
        assert "1 accepted unchanged" in report.ai_statement


def test_nothing_is_said_of_help_with_what_is_not_decided(bench: Bench) -> None:
    propose(bench)
    (uid,) = (uid for uid, one in bench.work.segmentations.items() if one.title == "Lesions")
    before = bench.work.segmentations[uid].segments
    by = before[0].provenance.aided_by(ModelAuthor("pointer", "2.1.0", ""))
    after = (replace(before[0], provenance=by),)
    bench.work.apply(ChangeSegments("1", uid, before, after, "Outline"))
    assert bench.findings[0].provenance.aids
    statement = bench.services.review.begin_report("1").ai_statement
    assert "helped" not in statement
    bench.run("finding.accept", uid=bench.findings[0].uid)
    report = bench.work.report_of("1")
    assert report is not None
    assert "helped the reader to draw Lesion" in report.ai_statement


def test_the_share_of_a_stack_of_pictures_follows_the_pen(bench: Bench) -> None:
    series = Series("1.1", "1", "OT", "Stack", ())
    bench.work.open_studies([Study("1", Patient("7", "DOE^J"), series=(series,))])
    grid = Geometry((5, 20, 20), np.eye(4), calibration=Calibration.NONE)
    volume = Volume("v", "1.1", grid, np.zeros((5, 20, 20), np.int16))
    bench.work.add_volume(volume)
    bench.services.viewing.show_series("1.1")
    bench.run("segment.add", label="Spot")
    bench.run("segment.paint", center_lps_mm=[2, 10, 10], radius_mm=2)
    bench.run("segment.report")
    bench.run("segment.paint", center_lps_mm=[2, 10, 10], radius_mm=5)
    (labels,) = (one.labels for one in bench.work.segmentations.values())
    (share,) = bench.findings[0].measurements
    assert share.unit == "%"
    assert share.value == pytest.approx(100 * np.count_nonzero(labels) / labels.size)


def test_of_two_readers_the_one_who_corrects_a_track_is_of_the_new_opinion(bench: Bench) -> None:
    bench.open_clip()
    two = bench.services.two_readers
    bench.services.settings.set("reading.readers", "two")
    uid = bench.put([[(20.0 + n, 30.0)] for n in range(FRAMES)], TrackShape.POINT)
    bench.run("track.report")
    bench.move(uid, [[(20.0 + 3 * n, 30.0)] for n in range(FRAMES)])
    (one,) = bench.findings
    seen = two.lens(one)
    assert seen is not None
    assert [m.value for m in seen.measurements] == [pytest.approx(15)]
    two.finish("1")
    bench.work.reader = "Dr Bea"
    bench.run("track.report")
    two.finish("1")
    (one,) = bench.findings
    assert (one.review.state.counts, one.review.by) == (True, "Dr Ada and Dr Bea")
    assert bench.numbers() == {"Largest displacement": pytest.approx(15)}


def test_a_track_that_the_second_reader_corrects_is_for_a_third(bench: Bench) -> None:
    bench.open_clip()
    two = bench.services.two_readers
    bench.services.settings.set("reading.readers", "two")
    uid = bench.put([[(20.0 + n, 30.0)] for n in range(FRAMES)], TrackShape.POINT)
    for name in ("Dr Ada", "Dr Bea"):
        bench.work.reader = name
        bench.run("track.report")
        if name == "Dr Bea":
            bench.move(uid, [[(20.0 + 3 * n, 30.0)] for n in range(FRAMES)])
        two.finish("1")
    (one,) = two.agreement("1").disputed
    values = [m.value for said in one.opinions for m in said.measurements]
    assert values == [pytest.approx(5), pytest.approx(15)]


def test_a_reader_who_has_finished_tells_of_nothing_more(bench: Bench) -> None:
    bench.open_ball()
    bench.paint(8)
    bench.services.settings.set("reading.readers", "two")
    bench.services.two_readers.finish("1")
    with pytest.raises(MedviewError, match="Dr Ada has finished reading this study"):
        bench.run("segment.report")
    assert not bench.findings
