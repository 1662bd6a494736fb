"""Series that are no pictures: segments go onto their own images only, the rest is told."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from medview.core.events import Level
from medview.core.findings import PictureBox, SegmentRef
from medview.core.outline import Outline
from medview.core.report import Report, Section
from medview.core.study import Series, SeriesKind
from medview.io.dicom_write import ObjectOptions
from medview.io.request import Predecessor, gather
from medview.io.rtss_write import write_structures
from medview.io.sources import read_sources
from medview.io.sr_content import SegmentPlace, SrOptions, image_places
from medview.io.sr_write import write_report
from medview.reporting.tables import result_json
from medview.services.audit import Audit
from medview.services.bringing_in import BringingIn
from medview.services.documents import Documents
from medview.services.leaving import predecessors_in
from medview.services.loading import Loading
from medview.services.objects import Objects, results_in
from medview.services.settings import Settings
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers.desk import desk
from tests.helpers.dicom_phantoms import CtOptions, Who, ct_datasets, uid, write_ct
from tests.helpers.exports import (
    ACCEPTED,
    AT,
    finding,
    segment,
    segmentation_of,
    study_of,
    volume_of,
)
from tests.helpers.phantoms import Phantom
from tests.helpers.seg_objects import segmentation_object

SMALL = Phantom(shape=(7, 20, 16), radius_mm=5)


@dataclass
class Bench:
    work: Workspace
    tasks: Tasks
    loading: Loading
    viewing: Viewing
    objects: Objects
    audit: Audit

    def settle(self) -> None:
        """Wait until nothing is under way."""
        end = time.monotonic() + 60
        while not (self.loading.idle and self.tasks.idle):
            assert time.monotonic() < end, "never came to rest"
            self.tasks.wait(0.05)
            self.tasks.pump()

    def open(self, folder: Path) -> None:
        """Open a folder and show what it holds."""
        self.loading.open_paths([folder])
        self.settle()

    def show(self, kind: SeriesKind) -> Series:
        """Open the only series of a kind."""
        found = [one for s in self.work.studies.values() for one in s.series if one.kind is kind]
        (series,) = found
        self.objects.open(series.uid)
        self.settle()
        return series


@pytest.fixture
def bench() -> Iterator[Bench]:
    settings = Settings(None)
    work, tasks = Workspace(settings), Tasks(import_workers=1)
    loading, viewing = Loading(work, tasks), Viewing(work, settings)
    review, audit = desk(work)
    documents = Documents(work, tasks, loading, viewing, BringingIn(work, review, audit))
    objects = Objects(work, tasks, loading, viewing, documents)
    yield Bench(work, tasks, loading, viewing, objects, audit)
    for study_uid in list(work.studies):
        work.close_study(study_uid)
    tasks.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A CT and a SEG on it."""
    write_ct(tmp_path, SMALL)
    segmentation_object(ct_datasets(SMALL), SMALL.sphere()[..., None], tmp_path)
    return tmp_path


def change(path: Path, **attributes: str) -> None:
    """Change attributes of a file."""
    ds = dcmread(path)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.save_as(path)


def test_segments_go_onto_their_images_once(bench: Bench, folder: Path) -> None:
    bench.open(folder)
    for _ in range(2):
        bench.show(SeriesKind.SEGMENTATION)
        (found,) = bench.work.segmentations.values()
        assert np.array_equal(found.labels == 1, SMALL.sphere())
        assert bench.viewing.volume is bench.work.volumes[found.volume_uid]
    bench.work.history.undo()
    assert not bench.work.segmentations


def test_segments_without_their_images_are_told(bench: Bench, folder: Path) -> None:
    for path in folder.glob("ct*"):
        path.unlink()
    told: list[tuple[Series, Outline]] = []
    bench.objects.on_outline = lambda series, outline: told.append((series, outline))
    bench.open(folder)
    series = bench.show(SeriesKind.SEGMENTATION)
    assert not bench.work.segmentations
    assert "not open" in bench.work.notices[-1].text
    ((one, outline),) = told
    assert one.uid == series.uid
    assert outline.title == "Segmentation"
    assert any(line.name == "Part 1" for line in outline.lines)


def test_segments_on_images_that_are_not_there(bench: Bench, folder: Path) -> None:
    """Another series under the same identifier, without any of the images that are named."""
    for path in folder.glob("ct*"):
        ds = dcmread(path)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(path.name, "other")
        ds.save_as(path)
    bench.open(folder)
    bench.show(SeriesKind.SEGMENTATION)
    assert not bench.work.segmentations
    assert any("not open" in notice.text for notice in bench.work.notices)


def test_segments_of_another_frame_of_reference_are_refused(bench: Bench, folder: Path) -> None:
    change(folder / "seg.dcm", FrameOfReferenceUID="1.2.3.4.5")
    bench.open(folder)
    bench.show(SeriesKind.SEGMENTATION)
    assert not bench.work.segmentations
    notice = bench.work.notices[-1]
    assert notice.level is Level.ERROR
    assert "frame of reference" in notice.text


def test_segments_of_another_patient_are_refused(bench: Bench, folder: Path) -> None:
    change(folder / "seg.dcm", PatientID="SOMEBODY-ELSE", PatientName="Else^Somebody")
    bench.open(folder)
    bench.show(SeriesKind.SEGMENTATION)
    assert not bench.work.segmentations
    notice = bench.work.notices[-1]
    assert notice.level is Level.ERROR
    assert "another patient" in notice.text


@pytest.fixture
def with_structures(folder: Path) -> Path:
    """The CT with the same sphere as contours of a structure set instead of the SEG."""
    (folder / "seg.dcm").unlink()
    study = study_of(sorted(folder.glob("ct*")))
    volume = volume_of(study.series[0], SMALL.geometry)
    labels = SMALL.sphere().astype(np.uint8)
    made = segmentation_of(volume, labels, [segment(1, "Sphere")])
    (export,) = gather([made], {volume.uid: volume}, study)
    options = ObjectOptions("RTSTRUCT", 9, "Contours", AT)
    write_structures(export, read_sources(study.series[0]), folder / "rs.dcm", options)
    return folder


def test_structures_go_onto_their_images_and_away_by_undo(
    bench: Bench, with_structures: Path
) -> None:
    bench.open(with_structures)
    bench.show(SeriesKind.STRUCTURE_SET)
    (found,) = bench.work.segmentations.values()
    assert np.array_equal(found.labels == 1, SMALL.sphere())
    assert found.segments[0].label == "Sphere"
    bench.work.history.undo()
    assert not bench.work.segmentations


def test_structures_of_another_patient_are_refused(bench: Bench, with_structures: Path) -> None:
    change(with_structures / "rs.dcm", PatientID="SOMEBODY-ELSE", PatientName="Else^Somebody")
    bench.open(with_structures)
    bench.show(SeriesKind.STRUCTURE_SET)
    assert not bench.work.segmentations
    assert "another patient" in bench.work.notices[-1].text


def test_structures_without_their_images_are_told(bench: Bench, with_structures: Path) -> None:
    for path in with_structures.glob("ct*"):
        path.unlink()
    told: list[Outline] = []
    bench.objects.on_outline = lambda _series, outline: told.append(outline)
    bench.open(with_structures)
    bench.show(SeriesKind.STRUCTURE_SET)
    assert any("not open" in notice.text for notice in bench.work.notices)
    assert any(line.name == "Sphere" for line in told[0].lines)


def test_any_series_can_be_described(bench: Bench, tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(who=Who(patient_name="<b>Bold</b>^\x07Bell")))
    told: list[Outline] = []
    bench.objects.on_outline = lambda _, outline: told.append(outline)
    bench.open(tmp_path)
    (study,) = bench.work.studies.values()
    bench.objects.describe(study.series[0].uid)
    bench.settle()
    (outline,) = told
    texts = {line.name: line.text for line in outline.lines}
    assert texts["Patient's Name"] == "<b>Bold</b>,  Bell"
    assert texts["Patient ID"] == "PHANTOM-1"


@pytest.fixture
def with_report(folder: Path) -> Path:
    """The CT with its SEG, and an SR about the segment, a box on a slice, and its words."""
    study = study_of(sorted(folder.glob("ct*")))
    sources = read_sources(study.series[0])
    seg = dcmread(folder / "seg.dcm", stop_before_pixels=True)
    image = sources.instances[3].sop_instance_uid
    on_picture = finding("Nodule", picture_box=PictureBox((1.0, 2.0, 5.0, 7.0), 0, image))
    segmented = finding("Sphere", volume_ml=0.5)
    report = Report(
        study.uid, findings=(segmented, on_picture), sections=(Section("Impression", "Benign."),)
    )
    series_uid = study.series[0].uid
    place = SegmentPlace(str(seg.SOPInstanceUID), str(seg.SeriesInstanceUID), 1, series_uid)
    options = SrOptions(AT, {segmented.uid: place}, images=image_places(study), reader="Dr Reader")
    write_report(report, sources, folder / "sr.dcm", options)
    return folder


def test_a_report_comes_back_as_findings_on_their_images(bench: Bench, with_report: Path) -> None:
    bench.open(with_report)
    bench.show(SeriesKind.REPORT)
    sphere, nodule = bench.work.findings.values()
    (segmentation,) = bench.work.segmentations.values()  # the SEG came along
    assert sphere.segment_ref == SegmentRef(segmentation.uid, 1)
    assert sphere.measurements[0].value == 0.5
    assert sphere.review == ACCEPTED
    assert nodule.picture_box is not None
    volume = bench.work.volumes[segmentation.volume_uid]
    named = volume.instance_uids[nodule.picture_box.slice_index]
    assert named == nodule.picture_box.sop_instance_uid
    report = bench.work.report_of(next(iter(bench.work.studies)))
    assert report is not None
    assert "Benign." in [section.text for section in report.sections]
    assert len(report.findings) == 2
    bench.show(SeriesKind.REPORT)
    assert len(bench.work.findings) == 2
    assert "here already" in bench.work.notices[-1].text
    bench.work.history.undo()
    assert not bench.work.findings


def test_a_report_that_was_brought_in_is_named_by_the_next(bench: Bench, with_report: Path) -> None:
    bench.open(with_report)
    bench.show(SeriesKind.REPORT)
    (study_uid,) = bench.work.studies
    (named,) = predecessors_in(bench.audit.rows(study_uid))
    written = dcmread(with_report / "sr.dcm", stop_before_pixels=True)
    assert named == Predecessor(study_uid, written.SeriesInstanceUID, written.SOPInstanceUID)


def test_a_report_on_images_that_are_not_there_is_told(bench: Bench, with_report: Path) -> None:
    for path in [*with_report.glob("ct*"), with_report / "seg.dcm"]:
        path.unlink()
    told: list[Outline] = []
    bench.objects.on_outline = lambda _series, outline: told.append(outline)
    bench.open(with_report)
    bench.show(SeriesKind.REPORT)
    assert not bench.work.findings
    assert any("not open" in notice.text for notice in bench.work.notices)
    assert told


def test_findings_on_single_images_that_are_gone_are_listed(
    bench: Bench, with_report: Path
) -> None:
    sorted(with_report.glob("ct*"))[3].unlink()
    (with_report / "seg.dcm").unlink()
    bench.open(with_report)
    bench.show(SeriesKind.REPORT)
    assert len(bench.work.findings) == 2
    assert all(one.segment_ref is None for one in bench.work.findings.values())
    assert "2 findings on images or segments that are not open" in bench.work.notices[-1].text


def test_a_report_of_another_patient_is_refused(bench: Bench, with_report: Path) -> None:
    change(with_report / "sr.dcm", PatientID="SOMEBODY-ELSE", PatientName="Else^Somebody")
    bench.open(with_report)
    bench.show(SeriesKind.REPORT)
    assert not bench.work.findings
    assert any("another patient" in notice.text for notice in bench.work.notices)


def test_results_dropped_by_themselves_come_in_at_once(
    bench: Bench, with_report: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    apart = tmp_path_factory.mktemp("results")
    for name in ("sr.dcm", "seg.dcm"):
        (with_report / name).rename(apart / name)
    bench.loading.on_opened = bench.objects.offer
    bench.open(with_report)
    assert not bench.work.findings
    bench.open(apart)
    assert len(bench.work.findings) == 2
    assert len(bench.work.segmentations) == 1
    assert all(one.segment_ref or one.picture_box for one in bench.work.findings.values())


def test_results_that_come_with_images_wait_to_be_asked_for(
    bench: Bench, with_report: Path
) -> None:
    bench.loading.on_opened = bench.objects.offer
    bench.open(with_report)
    assert not bench.work.findings
    assert not bench.work.segmentations
    assert bench.work.notices[-1].command == "study.bring_in"
    (study,) = bench.work.studies.values()
    bench.objects.bring_in(results_in(study))
    bench.settle()
    assert len(bench.work.findings) == 2


def test_a_file_of_results_needs_the_study_it_speaks_of(
    bench: Bench, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = study_of(sorted(folder.glob("ct*")))
    image = study.series[0].instances[3].sop_instance_uid
    one = finding("Nodule", picture_box=PictureBox((1.0, 2.0, 500.0, 7.0), 0, image))
    told = result_json(study, study.series[0], [], [one], places={})
    path = tmp_path_factory.mktemp("results") / "result.json"
    path.write_text(json.dumps(told))
    bench.loading.on_opened = bench.objects.offer
    bench.open(path)
    assert not bench.work.studies
    assert "not open" in bench.work.problems[-1].reason
    bench.open(folder)
    bench.open(path)
    (found,) = bench.work.findings.values()
    assert found.uid == one.uid
    assert found.picture_box is not None
    # Cut off at the border of the image of 20 rows.
    assert found.picture_box.box_px == (1.0, 2.0, 20.0, 7.0)
