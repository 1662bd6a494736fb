"""A whole export: which files, whether they agree with each other, and what is kept on failure."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from pydicom import config, dcmread

from medview.core.errors import ExportError
from medview.core.findings import Laterality, Review
from medview.core.geometry import lps_from_ras, reorder_kji
from medview.core.report import KeyImage, Report
from medview.core.study import Instance, Series, Study
from medview.io.dicom_write import dicom_uid_of, write_file
from medview.io.export import export
from medview.io.nifti_write import write_labels
from medview.io.request import ExportFormat, ExportRequest, SegmentationExport, gather, places
from medview.io.sr_write import told_in
from medview.reporting.tables import ModelRun, findings_csv, result_json
from tests.helpers.dicom_phantoms import CtOptions, write_ct
from tests.helpers.exports import (
    finding,
    random_labels,
    segment,
    segmentation_of,
    study_of,
    volume_of,
)
from tests.helpers.phantoms import Phantom, oblique

PDF = b"%PDF-1.4\nphantom\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n picture"
PHANTOM = Phantom(shape=(4, 8, 6), row=oblique(10, 20)[0], column=oblique(10, 20)[1])


def request_of(folder: Path, study: Study, phantom: Phantom = PHANTOM) -> ExportRequest:
    series = study.series[0]
    volume = volume_of(series, phantom.geometry)
    labels = random_labels(phantom.shape, 2)
    segments = (segment(1, "Left lobe"), segment(2, "Right lobe"))
    segmentation = segmentation_of(volume, labels, segments)
    ml = phantom.geometry.voxel_volume_ml
    findings = [
        finding(
            name,
            Laterality(name.split()[0].lower()),
            float((labels == number).sum() * ml),
            segmentation=segmentation,
            number=number,
        )
        for number, name in enumerate(("Left lobe", "Right lobe"), start=1)
    ]
    rejected = finding("Undecided", review=Review())
    exports = gather([segmentation], {volume.uid: volume}, study)
    image = KeyImage(volume.uid, "axial", (0.0, 0.0, 0.0), "A slice", PNG)
    report = Report(study.uid, findings=tuple(findings), key_images=(image, image))
    run = ModelRun("hippocampus_mr", "1.2.0", "ab12" * 16, "cpu", 1.5)
    everything = [*findings, rejected]
    return ExportRequest(
        folder=folder,
        study=study,
        series=series,
        report=report,
        result=result_json(study, series, [run], everything, places=places(exports), notes=("n",)),
        segmentations=exports,
        pdf=PDF,
        html="<p>report</p>",
        csv=findings_csv(study, findings),
        reader="Dr Anna Müller",
    )


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(write_ct(tmp_path / "ct", PHANTOM, CtOptions(shuffled=True)))


@pytest.fixture
def nifti_study(tmp_path: Path) -> Study:
    path = tmp_path / "head.nii.gz"
    voxels = PHANTOM.values().transpose(2, 1, 0)
    affine = lps_from_ras(reorder_kji(PHANTOM.affine))
    nib.save(nib.Nifti1Image(voxels, affine), path)
    one = Instance("2.25.1", "", path)
    series = Series("2.25.2", "2.25.3", "OT", "head", (one,))
    base = study_of(write_ct(tmp_path / "ct", PHANTOM))
    return replace(base, uid="2.25.3", series=(series,))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_everything_of_a_dicom_study_is_written_under_its_fixed_name(
    study: Study, tmp_path: Path, resources: Path
) -> None:
    out = tmp_path / "out"
    done = export(request_of(out, study))
    assert names_in(out) == {
        "segmentation.dcm", "report.dcm", "report_pdf.dcm", "report.pdf", "report.html",
        "findings.csv", "key-01.png", "key-02.png", "result.json",
    }  # fmt: skip
    assert {file.path.name for file in done.files} == names_in(out)
    for file in done.files:
        assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    schema = json.loads((resources / "schemas" / "result.schema.json").read_text())
    jsonschema.validate(result, schema, cls=jsonschema.Draft202012Validator)
    assert [f["segment"] for f in result["findings"]] == [
        {"file": "segmentation.dcm", "number": 1},
        {"file": "segmentation.dcm", "number": 2},
        None,
    ]


def test_inputs_are_the_checksums_of_the_source_files(study: Study, tmp_path: Path) -> None:
    export(request_of(tmp_path / "out", study))
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    expected = {
        str(dcmread(path).SOPInstanceUID): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "ct").iterdir()
    }
    assert {i["sop_instance_uid"]: i["sha256"] for i in result["inputs"]} == expected


def test_sr_seg_and_json_tell_the_same(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = request_of(out, study)
    export(request)
    seg, sr = dcmread(out / "segmentation.dcm"), dcmread(out / "report.dcm")
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    told = told_in(sr)
    for item, told_finding in zip(seg.SegmentSequence, result["findings"], strict=False):
        assert item.TrackingUID == dicom_uid_of(told_finding["uid"])
        ((_, value, unit),) = told[item.TrackingUID]
        (measured,) = told_finding["measurements"]
        assert (value, unit) == (pytest.approx(measured["value"], rel=1e-9), measured["unit"])
        voxels = seg.pixel_array[
            [
                g.SegmentIdentificationSequence[0].ReferencedSegmentNumber == item.SegmentNumber
                for g in seg.PerFrameFunctionalGroupsSequence
            ]
        ].sum()
        assert value == pytest.approx(voxels * PHANTOM.geometry.voxel_volume_ml, rel=1e-6)
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    referred = {i.ReferencedSOPInstanceUID for s in evidence for i in s.ReferencedSOPSequence}
    assert seg.SOPInstanceUID in referred


def test_encapsulated_pdf_holds_the_very_bytes(study: Study, tmp_path: Path) -> None:
    export(request_of(tmp_path / "out", study))
    document = dcmread(tmp_path / "out" / "report_pdf.dcm")
    assert document.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == PDF
    assert document.StudyInstanceUID == study.uid
    assert document.VerificationFlag == "UNVERIFIED"
    assert (tmp_path / "out" / "report.pdf").read_bytes() == PDF


def test_what_is_no_pdf_is_refused(study: Study, tmp_path: Path) -> None:
    request = replace(request_of(tmp_path / "out", study), pdf=b"<html>")
    with pytest.raises(ExportError, match="PDF"):
        export(request)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error_in_the_pdf(study: Study, tmp_path: Path) -> None:
    export(request_of(tmp_path / "out", study))
    path = tmp_path / "out" / "report_pdf.dcm"
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert "Error" not in told.stderr
    assert "EncapsulatedPDF" in told.stderr


def test_nifti_in_nifti_out_on_the_same_grid(nifti_study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(request_of(out, nifti_study))
    assert "segmentation.nii.gz" in names_in(out)
    assert not any(name.endswith(".dcm") for name in names_in(out))
    image, source = nib.load(out / "segmentation.nii.gz"), nib.load(tmp_path / "head.nii.gz")
    assert np.allclose(image.affine, source.affine, atol=1e-5)
    labels = np.asanyarray(image.dataobj).transpose(2, 1, 0)
    assert np.array_equal(labels, random_labels(PHANTOM.shape, 2))
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    (given,) = result["inputs"]
    assert given["path"] == str(tmp_path / "head.nii.gz")
    assert given["sha256"] == hashlib.sha256((tmp_path / "head.nii.gz").read_bytes()).hexdigest()


def test_sheared_grid_survives_nifti(tmp_path: Path) -> None:
    geometry = Phantom(shape=(4, 8, 6), tilt_deg=15).geometry
    labels = random_labels((4, 8, 6), 3)
    write_labels(labels, geometry, tmp_path / "labels.nii.gz")
    image = nib.load(tmp_path / "labels.nii.gz")
    assert np.allclose(image.affine, lps_from_ras(reorder_kji(geometry.affine)), atol=1e-5)
    assert image.header.get_intent()[0] == "label"


def test_only_what_is_asked_for_is_written(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(replace(request_of(out, study), formats=(ExportFormat.CSV, ExportFormat.JSON)))
    assert names_in(out) == {"findings.csv", "result.json"}
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert all(finding["segment"] is None for finding in result["findings"])


def test_second_segmentation_gets_a_number(study: Study, tmp_path: Path) -> None:
    request = request_of(tmp_path / "out", study)
    (first,) = request.segmentations
    second = replace(first, uid="other", file="segmentation-2.dcm")
    export(replace(request, segmentations=(first, second)))
    objects = [dcmread(tmp_path / "out" / f) for f in ("segmentation.dcm", "segmentation-2.dcm")]
    assert objects[0].SeriesInstanceUID == objects[1].SeriesInstanceUID
    assert objects[0].SOPInstanceUID != objects[1].SOPInstanceUID


def test_a_new_export_takes_away_what_it_no_longer_has(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    request = request_of(out, study)
    export(request)
    (out / "key-02.png").write_bytes(b"changed by the reader")
    (out / "notes.txt").write_text("mine")
    fewer: tuple[SegmentationExport, ...] = ()
    report = replace(request.report, key_images=request.report.key_images[:1])
    export(replace(request, segmentations=fewer, report=report))
    assert "segmentation.dcm" not in names_in(out)
    assert {"notes.txt", "key-02.png", "key-01.png"} <= names_in(out)


def test_a_full_disk_leaves_the_earlier_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.pdf"
    write_file(path, lambda file: file.write(b"first"))

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left") as caught:
        write_file(path, lambda file: file.write(b"second"))
    assert str(path) in caught.value.user_text
    assert path.read_bytes() == b"first"
    assert names_in(tmp_path) == {"report.pdf"}


@pytest.mark.parametrize(
    "start", [b"MZ\x90\0\3\0\0\0", b"\x7fELF\2\1\1", b"<html><script>", b"#!/bin/sh"]
)
def test_what_hides_before_the_images_does_not_leave(
    study: Study, tmp_path: Path, start: bytes
) -> None:
    """Files that are programs and images at once (CVE-2019-11687): exports have an empty start."""
    for instance in study.series[0].instances:
        data = instance.path.read_bytes()
        instance.path.write_bytes(start.ljust(128, b"\0") + data[128:])
    formats = ("segmentation", "label_map", "sr", "pdf_dicom", "structures")
    request = replace(
        request_of(tmp_path / "out", study), formats=tuple(ExportFormat(name) for name in formats)
    )
    written = [file.path for file in export(request).files if file.path.suffix == ".dcm"]
    assert len(written) == len(formats)
    assert all(path.read_bytes()[:132] == bytes(128) + b"DICM" for path in written)


def _killed_at(step: int, request: ExportRequest) -> bool:
    """Export in a process that is killed before its step-th change to the disk; False if it ends.

    Changes are what is synced, renamed and taken away.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    left = iter(range(step))

    def before(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*words: object, **named: object) -> object:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*words, **named)

        return changed

    try:
        os.fsync = before(os.fsync)
        Path.replace = before(Path.replace)  # type: ignore[method-assign,assignment]
        Path.unlink = before(Path.unlink)  # type: ignore[method-assign,assignment]
        export(request)
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_step_of_a_new_export_leaves_every_file_whole(
    study: Study, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    request = request_of(first, study)
    export(request)
    earlier = {path.name: path.read_bytes() for path in first.iterdir()}
    steps = 0
    while True:
        folder = tmp_path / f"again-{steps}"
        shutil.copytree(first, folder)
        if not _killed_at(steps, replace(request, folder=folder)):
            break
        steps += 1
        names = {name for name in names_in(folder) if not name.startswith(".writing-")}
        assert names == earlier.keys()
        for name, data in earlier.items():
            now = (folder / name).read_bytes()
            if now != data and name.endswith(".dcm"):
                dcmread(folder / name).to_json()
            elif now != data:
                assert name == "result.json"
                json.loads(now)
        # What says which files belong together is the last that changes.
        told = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if (folder / "result.json").read_bytes() != earlier["result.json"]:
            assert all(
                hashlib.sha256((folder / one["name"]).read_bytes()).hexdigest() == one["sha256"]
                for one in told["files"]
            )
    assert steps > 3 * len(earlier)


def _zipped(file: BinaryIO) -> None:
    """A writer that goes back in its file."""
    with zipfile.ZipFile(file, "w") as archive, archive.open("a", "w") as member:
        member.write(bytes(2_500_000))


@pytest.mark.parametrize("write", [lambda file: file.write(bytes(2_500_000)), _zipped])
def test_a_full_disk_is_told_with_the_room_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[BinaryIO], object]
) -> None:
    path = tmp_path / "report.pdf"
    write_file(path, write)
    needed = math.ceil(path.stat().st_size / 1e6)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=f"{needed} MB are needed, [0-9]+ MB are free"):
        write_file(path, write)


def test_every_file_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("fsync"), fsync(handle)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (done.append("rename"), rename(self, to))[1]
    )
    write_file(tmp_path / "a", lambda file: file.write(b"a"))
    assert done == ["fsync", "rename", "fsync"]


def test_a_source_that_is_gone_is_named(study: Study, tmp_path: Path) -> None:
    request = request_of(tmp_path / "out", study)
    victim = study.series[0].instances[2].path
    victim.unlink()
    with pytest.raises(ExportError, match=victim.name):
        export(request)


def test_a_source_that_became_another_image_is_refused(study: Study, tmp_path: Path) -> None:
    request = request_of(tmp_path / "out", study)
    first, second = study.series[0].instances[:2]
    first.path.write_bytes(second.path.read_bytes())
    with pytest.raises(ExportError, match="not the image it was"):
        export(request)


def test_ill_formed_and_missing_uids_are_told(tmp_path: Path) -> None:
    paths = write_ct(tmp_path / "ct", PHANTOM)
    with config.disable_value_validation():
        for path in paths:
            dataset = dcmread(path)
            dataset.StudyInstanceUID = "896911bf-1143-4c8d-8f04-f3cd1a7f6204"
            dataset.SOPInstanceUID = ""
            dataset.save_as(path, enforce_file_format=False)
        base = study_of(paths)
    series = base.series[0]
    named = tuple(
        replace(one, sop_instance_uid=f"2.25.{n}") for n, one in enumerate(series.instances, 1)
    )
    study = replace(base, series=(replace(series, instances=named),))
    done = export(request_of(tmp_path / "out", study))
    assert any("ill-formed UIDs (study)" in note for note in done.notes)
    assert any("cannot point" in note for note in done.notes)
    with config.disable_value_validation():
        seg = dcmread(tmp_path / "out" / "segmentation.dcm")
        assert seg.StudyInstanceUID == base.uid
    assert "ReferencedSeriesSequence" not in seg
    assert "SourceImageSequence" not in seg
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert all("path" in given for given in result["inputs"])
    of_images = (ExportFormat.PRESENTATION, ExportFormat.KEY_OBJECTS, ExportFormat.STRUCTURES)
    more = replace(request_of(tmp_path / "all", study), formats=(ExportFormat.SR, *of_images))
    done = export(more)
    written = {one.format for one in done.files}
    assert written == {ExportFormat.SR}
    for words in ("No presentation state", "No key object selection", "No contours"):
        assert any(note.startswith(words) for note in done.notes)
