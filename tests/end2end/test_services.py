"""All services together, without a window: from dropped files to an export, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME
from medview.core.errors import CommandError, MedviewError
from medview.core.events import Level
from medview.core.findings import Finding, Measurement, Provenance, ReviewState, SegmentRef, utc_now
from medview.core.jobs import InferenceJob, InferenceResult, JobInput
from medview.core.paths import Paths
from medview.core.report import ReportStatus
from medview.core.segmentation import Segment, Segmentation
from medview.core.volume import Volume
from medview.services import bundle
from medview.services.bundle import Services
from medview.services.kept import read_kept
from tests.helpers.desk import HIPPOCAMPUS, MODEL
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.phantoms import Phantom

PHANTOM = Phantom()


@pytest.fixture
def paths(tmp_path: Path, resources: Path) -> Paths:
    made = Paths.in_profile(resources, tmp_path / "profile")
    made.create()
    # One worker: tests wait for what it imports, not for what it reads.
    made.settings_file.write_text("[loading]\nworkers = 1\n")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ct(tmp_path / "ct", PHANTOM)
    return tmp_path / "ct"


@pytest.fixture
def services(paths: Paths) -> Iterator[Services]:
    with bundle.running(paths) as running:
        running.workspace.reader = "Dr Ada"
        yield running


def open_folder(services: Services, folder: Path) -> Volume:
    services.commands.run("study.open", paths=[str(folder)])
    services.commands.wait_idle(60)
    return next(iter(services.workspace.volumes.values()))


def propose(services: Services, volume: Volume) -> Finding:
    """The phantom's sphere, as a model would find it."""
    mask = PHANTOM.sphere()
    made = Provenance(MODEL, utc_now(), "job")
    segment = Segment(1, "Sphere", ANATOMICAL_STRUCTURE, HIPPOCAMPUS, (200, 40, 40), made)
    labels = Segmentation(volume.uid, volume.geometry, mask.astype(np.uint8), (segment,), "Found")
    volume_ml = float(mask.sum()) * volume.geometry.voxel_volume_ml
    measured = Measurement(VOLUME, volume_ml, "mL", "Voxel count", made, "Volume")
    finding = Finding(
        "Sphere", HIPPOCAMPUS, made, measurements=(measured,), segment_ref=SegmentRef(labels.uid, 1)
    )
    study_uid = services.workspace.study_of(volume.uid).uid
    job = InferenceJob("finder", "1.0", (JobInput(volume.uid),), study_uid, uid="job")
    services.review.propose(InferenceResult("job", (labels,), (finding,)), job)
    return finding


def test_from_a_folder_to_an_export_and_back_after_a_kill(
    services: Services, folder: Path, tmp_path: Path, resources: Path
) -> None:
    commands, work = services.commands, services.workspace
    volume = open_folder(services, folder)
    (study_uid,) = work.studies
    assert services.viewing.volume is volume
    assert services.viewing.layout.name == "four"
    finding = propose(services, volume)
    uid = finding.segment_ref.segmentation_uid if finding.segment_ref else ""
    centre = [float(x) for x in PHANTOM.center_lps_mm]
    commands.run(
        "segment.erase", center_lps_mm=centre, radius_mm=3.0, sphere=True, segmentation_uid=uid,
        segment=1,
    )  # fmt: skip
    smaller = work.findings[finding.uid].measurements[0].value
    assert 0 < smaller < finding.measurements[0].value
    commands.run("finding.accept")
    assert work.findings[finding.uid].review.state is ReviewState.EDITED
    commands.run("edit.undo")
    assert work.findings[finding.uid].review.state is ReviewState.PROPOSED
    commands.run("edit.redo")
    commands.run("segment.rename", label="Ball", segmentation_uid=uid, segment=1)
    commands.run("segment.recolor", color_rgb=[1, 2, 3], segmentation_uid=uid, segment=1)
    assert work.segmentations[uid].find_segment(1).color_rgb == (1, 2, 3)
    _report_and_export(services, study_uid, smaller, tmp_path / "out")
    killed_like = Paths.in_profile(resources, tmp_path / "after")
    shutil.copytree(services.paths.data, killed_like.data)
    before = read_kept(services.paths.store_file, study_uid)
    _brought_back(killed_like, study_uid, before.segmentations[0][1])


def _report_and_export(services: Services, study_uid: str, volume_ml: float, out: Path) -> None:
    commands, work = services.commands, services.workspace
    for section in work.reports[study_uid].sections:
        commands.run("report.set_section", heading=section.heading, text="A ball.")
    commands.run("report.illustrate")
    commands.wait_idle(60)
    commands.run("report.sign", despite_contradictions=True)
    commands.run("report.export", folder=str(out))
    commands.wait_idle(120)
    assert work.notices[-1].level is Level.INFO, work.notices[-1]
    written = {path.name for path in out.iterdir()}
    assert {
        "segmentation.dcm", "report.dcm", "report_pdf.dcm", "report.pdf", "result.json",
        "findings.csv", "report.html", "key-01.png",
    } <= written  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    (told,) = result["findings"]
    assert (told["state"], told["by"]) == ("edited", "Dr Ada")
    assert told["measurements"][0]["value"] == pytest.approx(volume_ml)
    assert told["segment"] == {"file": "segmentation.dcm", "number": 1}
    assert result["models"][0]["weights_sha256"] == MODEL.weights_sha256
    actions = [row["action"] for row in result["audit"]]
    assert actions[:4] == ["study.open", "finding.propose", "segment.edit", "finding.accept"]
    assert "edit.undo" in actions
    assert actions[-1] == "report.sign"
    assert services.audit.rows()[-1].action == "report.export"


def _brought_back(paths: Paths, study_uid: str, labels: Segmentation) -> None:
    """In a profile as a kill would have left it, one command brings everything back."""
    with bundle.running(paths) as again:
        assert [one.study_uid for one in again.store.unfinished()] == [study_uid]
        again.commands.run("study.restore")
        again.commands.wait_idle(60)
        assert again.store.unfinished() == ()
        work = again.workspace
        restored = work.segmentations[labels.uid]
        assert np.array_equal(restored.labels, labels.labels)
        assert restored.segments == labels.segments
        assert work.findings_of(study_uid)[0].review.by == "Dr Ada"
        report = work.reports[study_uid]
        assert report.status is ReportStatus.FINAL
        assert report.key_images[0].png.startswith(b"\x89PNG")
        assert again.audit.verify() == ()
        assert "is back" in work.notices[-1].text
        assert not again.history.can_undo


def test_work_comes_back_with_its_study_and_fits_no_other_grid(
    paths: Paths, folder: Path, tmp_path: Path
) -> None:
    with bundle.running(paths) as first:
        volume = open_folder(first, folder)
        propose(first, volume)
        first.commands.wait_idle(30)
        first.commands.run("study.close")
        open_folder(first, folder)
        assert len(first.workspace.findings) == 1
        assert first.history.can_undo  # what brought it can still be taken back
    moved = tmp_path / "moved"
    write_ct(moved, replace(PHANTOM, origin_lps_mm=(5.0, 5.0, 5.0)))
    with bundle.running(paths) as second:
        assert second.store.unfinished() == ()
        open_folder(second, moved)
        assert not second.workspace.segmentations
        assert not second.workspace.findings
        assert "do not fit" in second.workspace.notices[-1].text


def test_commands_say_what_is_missing(services: Services) -> None:
    for command_id in ("study.close", "report.sign", "report.export", "edit.undo", "study.restore"):
        with pytest.raises(CommandError, match="not possible now"):
            services.commands.run(command_id)
    with pytest.raises(CommandError, match="Nothing to open"):
        services.commands.run("study.open")
    assert services.commands.clashes() == ()
    assert all(command.help for command in services.commands.list())


def test_without_keeping_work_only_the_trail_is_kept_and_failures_are_told(
    paths: Paths, folder: Path, tmp_path: Path
) -> None:
    with bundle.running(paths, keeps_work=False) as services:
        volume = open_folder(services, folder)
        propose(services, volume)
        study_uid = services.workspace.study_of(volume.uid).uid
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(MedviewError):
            services.export.export_now(study_uid, tmp_path / "file" / "out", proposals=True)
        assert "export failed" in services.workspace.notices[-1].text
        result = services.export.export_now(study_uid, tmp_path / "good", proposals=True)
        assert result["findings"][0]["state"] == "proposed"
        assert (tmp_path / "good" / "segmentation.dcm").is_file()
        services.review.accept_all(study_uid, "Dr Bea", by_command=True)
        services.commands.wait_idle(30)
    assert not read_kept(paths.store_file, study_uid)
    with bundle.running(paths) as again:
        done = [row.action for row in again.audit.rows() if row.action.startswith("finding")]
        assert done == ["finding.propose", "finding.accept"]
        assert again.audit.verify() == ()


@pytest.mark.parametrize("drawing", [True, False], ids=["while drawing", "while rendering"])
def test_a_study_closed_during_its_export_ends_the_export(
    services: Services, folder: Path, tmp_path: Path, drawing: bool
) -> None:
    volume = open_folder(services, folder)
    propose(services, volume)
    services.review.accept_all(services.workspace.study_of(volume.uid).uid, "Dr Ada")
    if not drawing:
        services.commands.run("report.illustrate")
        services.commands.wait_idle(60)
    services.commands.run("report.export", folder=str(tmp_path / "out"))
    services.commands.run("study.close")
    services.commands.wait_idle(120)
    assert not services.workspace.reports
    written = list((tmp_path / "out").glob("*"))
    told = [notice.text for notice in services.workspace.notices]
    assert bool(written) != any("closed before" in text for text in told)
    assert not (drawing and written)
