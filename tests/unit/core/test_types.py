"""An object that exists is valid: refusals, equality, and what crosses process borders."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medview.core.clip import Clip, Region, RegionFormat, region_at
from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME, Code
from medview.core.errors import Cancelled, GeometryError, MedviewError, ReadError
from medview.core.findings import (
    Finding,
    Measurement,
    Person,
    Provenance,
    Review,
    ReviewState,
    utc_now,
)
from medview.core.geometry import Box, Calibration, Geometry
from medview.core.jobs import InferenceJob, JobState
from medview.core.models import InputSpec, ModelCard, OutputSpec, Scope, Task
from medview.core.paths import Paths
from medview.core.report import Report, ReportStatus, Signature
from medview.core.segmentation import LabelEdit, Segment, Segmentation
from medview.core.shared_array import SharedArray
from medview.core.study import Instance, Patient, Series, Study
from medview.core.views import HangingProtocol, Rule, match
from medview.core.volume import Volume, Window

READER = Provenance(Person("Dr. Example"), datetime(2026, 1, 2, tzinfo=UTC))


def segment(number: int = 1, label: str = "Thing") -> Segment:
    return Segment(number, label, ANATOMICAL_STRUCTURE, VOLUME, (255, 0, 0), READER)


def segmentation(labels: np.ndarray) -> Segmentation:
    return Segmentation("v", Geometry(labels.shape, np.eye(4)), labels, (segment(),))


def test_codes_are_equal_by_value_and_scheme() -> None:
    assert Code("1", "SCT", "One") == Code("1", "SCT", "Uno")
    assert len({Code("1", "SCT", "One"), Code("1", "SCT", "Uno")}) == 1
    assert Code("1", "SCT", "One") != Code("1", "DCM", "One")
    assert Code("1", "SCT", "One") != "1"
    with pytest.raises(ValueError, match="code"):
        Code("", "SCT", "One")


def test_patient_never_shows_who_it_is() -> None:
    patient = Patient("4711", "Doe^Jane", "19700101", "F")
    instance = Instance("1.2", "1.3", "secret/doe.dcm")
    series = Series("1", "2", "CT", "Jane Doe", (instance,), headers={"PatientAge": "055Y"})
    study = Study("2", patient, "Jane Doe", series=(series,))
    for shown in (repr(patient), repr(instance), repr(study)):
        assert "Doe" not in shown
        assert "4711" not in shown
        assert "secret" not in shown


def test_series_cross_process_borders() -> None:
    series = Series("1", "2", "CT", "Chest", (), headers={"PatientAge": "055Y"})
    twin = copy.deepcopy(series)
    assert twin == series
    assert twin.headers["PatientAge"] == "055Y"
    assert not series.is_dicom
    with pytest.raises(TypeError):
        series.headers["PatientAge"] = "1"  # type: ignore[index]
    with pytest.raises(ValueError, match="UID"):
        Series("", "2", "CT", "", ())


def test_study_finds_its_series() -> None:
    series = Series("1", "2", "CT", "Chest", ())
    study = Study("2", Patient("1", "A"), series=(series,))
    assert study.find_series("1") is series
    with pytest.raises(KeyError):
        study.find_series("9")


def test_volume_values_follow_the_rescale() -> None:
    stored = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    volume = Volume("v", "s", Geometry((2, 2, 2), np.eye(4)), stored, slope=2, intercept=-10)
    assert volume.values().dtype == np.float32
    assert np.array_equal(volume.values(), stored * 2.0 - 10)
    assert volume.value_of(7) == 4
    assert volume.channels == 1
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1
    with pytest.raises(GeometryError):
        Volume("v", "s", Geometry((2, 2, 3), np.eye(4)), stored)


def test_float_volumes_are_not_copied() -> None:
    values = np.ones((1, 2, 3), dtype=np.float32)
    volume = Volume("v", "s", Geometry((1, 2, 3), np.eye(4)), values)
    assert np.shares_memory(volume.values(), values)
    assert not volume.is_padding(values).any()


def test_padding_is_a_closed_range_of_stored_values() -> None:
    stored = np.array([[[-2000, -1999, 0, -1024]]], dtype=np.int16)
    volume = Volume("v", "s", Geometry((1, 1, 4), np.eye(4)), stored, padding=(-2000, -1999))
    assert volume.is_padding(stored).tolist() == [[[True, True, False, False]]]


def test_colour_volumes_have_channels() -> None:
    voxels = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    assert Volume("v", "s", Geometry((1, 2, 2), np.eye(4)), voxels).channels == 3


@pytest.mark.parametrize(("center", "width"), [(0, 0), (np.nan, 1), (0, -1), (0, np.inf)])
def test_windows_need_a_width(center: float, width: float) -> None:
    with pytest.raises(ValueError, match="window"):
        Window(center, width)


def test_clips_have_a_time_for_each_frame() -> None:
    frames = np.zeros((2, 3, 3), dtype=np.uint8)
    flat = Geometry((2, 3, 3), np.eye(4), "", Calibration.NONE)
    pictures = Volume("c", "s", flat, frames, instance_uids=("1.2", "1.2"))
    clip = Clip(pictures, (0.0, 0.04))
    assert not clip.frames.flags.writeable
    assert (clip.uid, clip.series_uid, clip.sop_instance_uid) == ("c", "s", "1.2")
    with pytest.raises(ValueError, match="times"):
        Clip(pictures, (0.0,))
    with pytest.raises(ValueError, match="backwards"):
        Clip(pictures, (0.04, 0.0))
    with pytest.raises(ValueError, match="one place"):
        Clip(replace(pictures, geometry=Geometry((2, 3, 3), np.eye(4))), (0.0, 0.04))


def test_rate_and_last_duration_follow_the_times() -> None:
    flat = Geometry((4, 3, 3), np.eye(4), "", Calibration.NONE)
    pictures = Volume("c", "s", flat, np.zeros((4, 3, 3), dtype=np.uint8))
    clip = Clip(pictures, (0.0, 0.1, 0.2, 0.5))
    assert clip.rate_hz == pytest.approx(6)
    assert clip.last_duration_s == pytest.approx(0.1)


DOPPLER = Region(
    (100, 200, 299, 299), (0.01, -0.5), ("s", "cm/s"), RegionFormat.SPECTRUM, 3, (0, 60), (2.0, 0.0)
)


def test_regions_give_physical_values() -> None:
    assert DOPPLER.value_at(100, 260) == pytest.approx((2.0, 0.0))
    # Above the base line flow is towards the probe: 40 pixels up are +20 cm/s, 50 right +0.5 s.
    assert DOPPLER.value_at(150, 220) == pytest.approx((2.5, 20.0))
    assert replace(DOPPLER, origin_px=(None, 60)).value_at(150, 220) == (None, pytest.approx(20.0))
    assert replace(DOPPLER, unit=("1", "cm/s")).value_at(150, 220)[0] is None
    assert DOPPLER.spacing_mm is None


def test_only_planes_have_millimetres() -> None:
    plane = Region((0, 0, 99, 99), (0.02, -0.03), ("cm", "cm"), RegionFormat.PLANE)
    assert plane.spacing_mm == pytest.approx((0.2, 0.3))
    assert replace(plane, spacing=(0.0, 0.03)).spacing_mm is None
    assert replace(plane, unit=("s", "cm"), format=RegionFormat.M_MODE).spacing_mm is None


def test_the_region_on_top_counts() -> None:
    tissue = Region((0, 0, 99, 99), (0.1, 0.1), ("cm", "cm"), RegionFormat.PLANE, 1,
                    is_low_priority=True)  # fmt: skip
    flow = Region((20, 20, 59, 59), (0.2, 0.2), ("cm", "cm"), RegionFormat.PLANE, 2)
    assert region_at((tissue, flow), 30, 30) is flow
    assert region_at((tissue, flow), 10, 10) is tissue
    assert region_at((tissue, flow), 59.4, 59.4) is flow
    assert region_at((tissue, flow), 59.6, 59.6) is tissue
    assert region_at((tissue, flow), 120, 10) is None


def test_regions_of_another_picture_do_not_fit() -> None:
    region = Region((84, 31, 595, 414), (0.05, 0.05), ("cm", "cm"), RegionFormat.PLANE)
    assert region.fits(480, 640)
    assert not region.fits(240, 320)


@pytest.mark.parametrize("change", [{"box_px": (5, 0, 4, 9)}, {"spacing": (float("nan"), 1.0)}])
def test_regions_need_extent_and_numbers(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="region"):
        replace(DOPPLER, **change)


def test_decisions_name_person_and_time() -> None:
    with pytest.raises(ValueError, match="names"):
        Review(ReviewState.ACCEPTED)
    with pytest.raises(ValueError, match="zone"):
        Provenance(Person("A"), datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="name"):
        Person(" ")
    assert ReviewState.EDITED.counts
    assert not ReviewState.REJECTED.counts


def test_findings_keep_probability_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="between"):
        Finding("Nodule", VOLUME, READER, probability=1.2)
    finding = Finding("Nodule", VOLUME, READER, probability=0.5)
    done = finding.reviewed(Review(ReviewState.ACCEPTED, "A", utc_now()))
    assert done.uid == finding.uid
    assert done.review.state is ReviewState.ACCEPTED
    assert Measurement(VOLUME, 1.0, "mL", "count", READER).uid


def test_segments_and_segmentations_refuse_nonsense() -> None:
    labels = np.zeros((2, 3, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match="65535"):
        segment(0)
    with pytest.raises(ValueError, match="name"):
        segment(1, " ")
    with pytest.raises(ValueError, match="share"):
        Segmentation("v", Geometry((2, 3, 4), np.eye(4)), labels, (segment(), segment()))
    with pytest.raises(GeometryError):
        Segmentation("v", Geometry((2, 3, 5), np.eye(4)), labels, ())
    with pytest.raises(ValueError, match="uint8"):
        segmentation(labels.astype(np.int32))
    one = segmentation(labels)
    assert one.revised().revision == 1
    assert one.revised().labels is labels
    assert one.with_segments(()).segments == ()
    assert one.find_segment(1).label == "Thing"
    with pytest.raises(KeyError):
        one.find_segment(2)


@given(
    hnp.arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 3)),
    hnp.arrays(np.uint8, (2, 3, 4), elements=st.integers(0, 3)),
)
def test_edits_keep_both_sides_exactly(labels: np.ndarray, after: np.ndarray) -> None:
    box = Box((1, 1, 1), (3, 4, 5))
    one = segmentation(labels.copy())
    edit = LabelEdit.between(one, box, after, "Paint")
    if edit is None:
        assert np.array_equal(labels[box.slices], after)
        return
    assert edit.cost_bytes == len(edit.before) + len(edit.after)
    changed = labels.copy()
    assert np.array_equal(changed[edit.box.slices], edit.labels_before())
    changed[edit.box.slices] = edit.labels_after()
    assert np.array_equal(changed[box.slices], after)
    changed[edit.box.slices] = edit.labels_before()
    assert np.array_equal(changed, labels)


def test_an_edit_fits_its_box() -> None:
    one = segmentation(np.zeros((2, 2, 2), dtype=np.uint16))
    with pytest.raises(GeometryError):
        LabelEdit.between(one, Box((0, 0, 0), (1, 1, 1)), np.zeros((2, 1, 1)), "Paint")


def test_jobs_only_move_forward() -> None:
    job = InferenceJob("m", "1", ())
    running = job.step(JobState.LOADING).step(JobState.RUNNING)
    done = running.step(JobState.DONE)
    assert done.ended_at is not None
    assert done.state.is_over
    for state in JobState:
        with pytest.raises(ValueError, match="cannot become"):
            done.step(state)
    with pytest.raises(ValueError, match="cannot become"):
        job.step(JobState.DONE)
    assert running.step(JobState.DIED, error="gone").error == "gone"


def test_reports_hold_only_what_somebody_accepted() -> None:
    proposed = Finding("Nodule", VOLUME, READER)
    with pytest.raises(ValueError, match="accepted"):
        Report("s", findings=(proposed,))
    with pytest.raises(ValueError, match="signature"):
        Report("s", status=ReportStatus.FINAL)
    accepted = proposed.reviewed(Review(ReviewState.ACCEPTED, "A", utc_now()))
    signature = Signature("A", utc_now(), "0" * 64)
    report = Report("s", ReportStatus.FINAL, findings=(accepted,), signatures=(signature,))
    assert report.status.is_signed
    assert not ReportStatus.DRAFT.is_signed


def test_cards_name_an_engine_class() -> None:
    def card(model_id: str, engine: str) -> ModelCard:
        spec, out = InputSpec(), OutputSpec("labels", ())
        return ModelCard(model_id, "1", "T", Task.SEGMENTATION, engine, "", (), Scope(), spec, out)

    assert card("m", "a.b:Engine").clinical_use is False
    with pytest.raises(ValueError, match="module:Class"):
        card("m", "a.b")
    with pytest.raises(ValueError, match="needs"):
        card("", "a.b:Engine")


def test_errors_cross_process_borders_with_all_texts() -> None:
    error = ReadError("what", "do", "tech")
    twin = copy.copy(error)
    assert isinstance(twin, ReadError)
    assert (twin.user_text, twin.hint, twin.detail) == ("what", "do", "tech")
    assert isinstance(Cancelled(), MedviewError)


def test_profile_folders_are_private(tmp_path: Path) -> None:
    paths = Paths.in_profile(tmp_path / "resources", tmp_path / "profile")
    paths.create()
    assert paths.store_file.parent == tmp_path / "profile"
    assert paths.settings_file.name == "settings.toml"
    assert paths.shipped_models == tmp_path / "resources" / "models"
    assert paths.own_models.is_dir()
    assert (paths.cache.stat().st_mode & 0o077) == 0


def test_shared_arrays_are_seen_by_name_and_leave_nothing() -> None:
    original = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    owner = SharedArray.copy_of(original)
    with SharedArray.attach(owner.key) as guest:
        guest.array[0, 0, 0] = 99
    assert owner.array[0, 0, 0] == 99
    view = owner.array[1]
    key = owner.key
    owner.close()
    owner.close()
    assert np.array_equal(view, original[1])
    with pytest.raises(FileNotFoundError):
        SharedArray.attach(key)


def test_hanging_protocols_pick_by_weight_and_requirement() -> None:
    scout = Series("1", "s", "CT", "Scout", ())
    lung = Series("2", "s", "CT", "Lung 1.0", (), headers={"SliceThickness": "1.0"})
    study = Study("s", Patient("1", "A"), series=(scout, lung))
    ct = Rule("Modality", "equals", "ct", required=True)
    thin = Rule("SliceThickness", "at_most", "2", weight=5)
    protocol = HangingProtocol("CT", "mpr", (ct, thin))
    assert match((protocol,), study) == (protocol, lung)
    contains = HangingProtocol("S", "one", (ct, Rule("SeriesDescription", "matches", "^scout", 9)))
    assert match((protocol, contains), study) == (contains, scout)
    at_least = HangingProtocol("T", "one", (Rule("SliceThickness", "at_least", "0.5", 20),))
    assert match((contains, at_least), study) == (at_least, lung)
    found = HangingProtocol("C", "one", (Rule("SeriesDescription", "contains", "ung", 30),))
    assert match((found, at_least), study)[0] is found
    mr = HangingProtocol("MR", "mpr", (Rule("Modality", "equals", "MR", required=True),))
    with pytest.raises(LookupError):
        match((mr,), study)
    with pytest.raises(ValueError, match="operator"):
        Rule("Modality", "is", "CT")


@pytest.mark.parametrize("slope", [1.0, 0.1, -2.5, 1e-7])
@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.int32])
def test_values_of_a_volume_are_those_of_its_voxels_bit_for_bit(slope: float, kind: type) -> None:
    stored = np.arange(24).reshape(2, 3, 4).astype(kind)
    volume = Volume("v", "s", Geometry((2, 3, 4), np.eye(4)), stored, slope, 0.3)
    formula = (stored.astype(np.float64) * slope + 0.3).astype(np.float32)
    np.testing.assert_array_equal(volume.values(), formula)
    np.testing.assert_array_equal(volume.value_of(stored), formula)
