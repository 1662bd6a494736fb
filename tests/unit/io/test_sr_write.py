"""What leaves as DICOM SR, seen by highdicom, by dcmqi and by the standard's validator."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport
from pydicom import Dataset, dcmread

from medview.core.codes import LENGTH, Code
from medview.core.errors import ExportError
from medview.core.findings import (
    Finding,
    Laterality,
    Measurement,
    Person,
    PictureBox,
    Provenance,
    Review,
    ReviewState,
)
from medview.core.report import Report, ReportStatus, Signature
from medview.io.dicom_write import dicom_uid_of
from medview.io.request import Predecessor
from medview.io.sources import Sources, read_sources
from medview.io.sr_content import ImagePlace, SegmentPlace, SrOptions
from medview.io.sr_write import told_in, verify_report, write_report
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import AT, BY_MODEL, MODEL, finding, study_of
from tests.helpers.phantoms import Phantom
from tests.helpers.validators import dciodvfy, dicom_sr_validator, dsrdump

LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT
CYST = Code("33595009", "SCT", "Cyst")


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    study = study_of(write_ct(tmp_path / "ct", Phantom(shape=(3, 8, 8))))
    return read_sources(study.series[0])


def report_of(*findings: Finding, status: ReportStatus = ReportStatus.DRAFT) -> Report:
    signatures = (Signature("Dr Anna Müller", AT, "0" * 64),) if status.is_signed else ()
    return Report("1.2.3", status=status, findings=findings, signatures=signatures)


def written(
    report: Report, sources: Sources, path: Path, options: SrOptions | None = None
) -> Dataset:
    write_report(report, sources, path, options or SrOptions(AT, reader="Dr Anna Müller"))
    return dcmread(path)


def content_of(dataset: Dataset) -> MeasurementReport:
    return Comprehensive3DSR.from_dataset(dataset).content


def test_findings_become_measurement_groups(sources: Sources, tmp_path: Path) -> None:
    left = finding("Left hippocampus", LEFT, 3.4256789)
    right = finding("Right hippocampus", RIGHT, 3.5, probability=0.875)
    dataset = written(report_of(left, right), sources, tmp_path / "sr.dcm")
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert told_in(dataset) == {
        dicom_uid_of(left.uid): [("118565006", 3.4256789, "mL")],
        dicom_uid_of(right.uid): [("118565006", 3.5, "mL"), ("122157", 0.875, "1")],
    }
    first, second = content_of(dataset).get_image_measurement_groups()
    assert first.tracking_identifier == "Left hippocampus"
    assert first.finding_type.value == "5366008"
    assert first.finding_sites[0].laterality.value == "7771000"
    assert second.finding_sites[0].laterality.value == "24028007"


def test_finding_with_a_segment_refers_to_it(sources: Sources, tmp_path: Path) -> None:
    one = finding("Left hippocampus", LEFT, 3.4)
    series = str(sources.first.SeriesInstanceUID)
    options = SrOptions(AT, {one.uid: SegmentPlace("2.25.11", "2.25.12", 4, series)})
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm", options)
    (group,) = content_of(dataset).get_volumetric_roi_measurement_groups()
    assert group.referenced_segment.referenced_sop_instance_uid == "2.25.11"
    assert group.referenced_segment.referenced_segment_numbers == [4]
    evidence = Comprehensive3DSR.from_dataset(dataset).get_evidence()
    assert ("2.25.12", "2.25.11") in {(e[1], e[2]) for e in evidence}
    assert len(evidence) == 1 + 3


def test_qualitative_finding_keeps_code_and_words(sources: Sources, tmp_path: Path) -> None:
    text = "Kleine Zyste am Temporalpol – ohne Raumforderung; ≤ 8 mm."
    by_person = Provenance(Person("Dr Reader"), AT)
    one = finding("Cyst", LEFT, code=CYST, text=text, provenance=by_person)
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm")
    (group,) = content_of(dataset).get_image_measurement_groups()
    assert group.finding_type.value == CYST.value
    assert text in [i.get("TextValue") for i in group[0].ContentSequence]
    assert dataset.SpecificCharacterSet == "ISO_IR 192"
    names = [i.ConceptNameCodeSequence[0].CodeMeaning for i in group[0].ContentSequence]
    assert "Algorithm Name" not in names


def test_model_and_reader_are_observers_and_weights_are_named(
    sources: Sources, tmp_path: Path
) -> None:
    dataset = written(report_of(finding("Left x", LEFT, 1.0)), sources, tmp_path / "sr.dcm")
    told = {
        (i.ConceptNameCodeSequence[0].CodeMeaning, str(i.get("TextValue") or i.get("PersonName")))
        for i in dataset.ContentSequence
    }
    assert ("Person Observer Name", "Müller^Anna^^Dr") in told
    assert ("Device Observer Name", "hippocampus_mr") in told
    (group,) = content_of(dataset).get_image_measurement_groups()
    texts = [i.get("TextValue", "") for i in group[0].ContentSequence]
    assert f"weights_sha256={MODEL.weights_sha256}" in texts
    assert "1.2.0" in texts


def test_unsigned_stays_unverified_and_signed_is_verified(sources: Sources, tmp_path: Path) -> None:
    one = finding("Left x", LEFT, 1.0)
    draft = written(report_of(one), sources, tmp_path / "draft.dcm")
    assert (draft.VerificationFlag, draft.CompletionFlag) == ("UNVERIFIED", "PARTIAL")
    assert "VerifyingObserverSequence" not in draft
    final = written(report_of(one, status=ReportStatus.FINAL), sources, tmp_path / "final.dcm")
    assert (final.VerificationFlag, final.PreliminaryFlag) == ("VERIFIED", "FINAL")
    observer = final.VerifyingObserverSequence[0]
    assert str(observer.VerifyingObserverName) == "Müller^Anna^^Dr"
    assert str(observer.VerificationDateTime).startswith("20260304050607")


def test_tracking_stays_the_same_and_objects_are_new(sources: Sources, tmp_path: Path) -> None:
    report = report_of(finding("Left x", LEFT, 1.0))
    first = written(report, sources, tmp_path / "1.dcm")
    second = written(report, sources, tmp_path / "2.dcm")
    assert told_in(first).keys() == told_in(second).keys()
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_private_codes_are_declared(sources: Sources, tmp_path: Path) -> None:
    own = finding("Thing", code=Code("1", "99MEDVIEW", "Thing"))
    dataset = written(report_of(own), sources, tmp_path / "sr.dcm")
    declared = [i.CodingSchemeDesignator for i in dataset.CodingSchemeIdentificationSequence]
    assert "99MEDVIEW" in declared


def test_reading_back_notices_another_number(sources: Sources, tmp_path: Path) -> None:
    one = finding("Left x", LEFT, 1.0)
    path = tmp_path / "sr.dcm"
    written(report_of(one), sources, path)
    (measurement,) = one.measurements
    other = replace(one, measurements=(replace(measurement, value=1.001),))
    with pytest.raises(ExportError, match="does not read back"):
        verify_report(report_of(other), path)
    with pytest.raises(ExportError, match="does not read back"):
        verify_report(report_of(), path)


ON_IMAGE = PictureBox((1.0, 2.0, 5.0, 7.0), 1)


def places_of(sources: Sources) -> dict[str, ImagePlace]:
    series = str(sources.first.SeriesInstanceUID)
    return {i.sop_instance_uid: ImagePlace(series, i.sop_class_uid) for i in sources.instances}


def test_a_box_on_a_picture_is_a_region_of_that_image(sources: Sources, tmp_path: Path) -> None:
    image = sources.instances[1].sop_instance_uid
    one = finding("Node", picture_box=replace(ON_IMAGE, sop_instance_uid=image))
    options = SrOptions(AT, images=places_of(sources))
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm", options)
    (group,) = content_of(dataset).get_planar_roi_measurement_groups()
    region = group.roi
    # PS3.3 C.18.6.1.2: column then row, from the corner of the first pixel; closed.
    assert region.value.tolist() == [[2, 1], [7, 1], [7, 5], [2, 5], [2, 1]]
    (source,) = region.ContentSequence
    assert source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image


def test_each_key_frame_of_a_box_is_a_region_of_the_same_thing(
    sources: Sources, tmp_path: Path
) -> None:
    images = [one.sop_instance_uid for one in sources.instances[:2]]
    first = replace(ON_IMAGE, sop_instance_uid=images[0], slice_index=0)
    later = replace(first, sop_instance_uid=images[1], slice_index=1, box_px=(2.0, 3.0, 6.0, 8.0))
    one = finding("Valve", picture_box=first, key_boxes=(later,))
    options = SrOptions(AT, images=places_of(sources))
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm", options)
    every = list(content_below(dataset))
    regions = [item for item in every if item.ValueType == "SCOORD"]
    assert [item.GraphicData[:2] for item in regions] == [[2, 1], [3, 2]]
    named = [item.ContentSequence[0].ReferencedSOPSequence[0] for item in regions]
    assert [item.ReferencedSOPInstanceUID for item in named] == images
    assert len([item for item in every if named_by(item) == "112040"]) == 1  # one tracked thing


def content_below(item: Dataset) -> Iterator[Dataset]:
    for one in item.get("ContentSequence", ()):
        yield one
        yield from content_below(one)


def named_by(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def test_a_box_in_space_is_two_faces_in_its_frame_of_reference(
    sources: Sources, tmp_path: Path
) -> None:
    one = finding("Node", box_lps_mm=((1.0, 2.0, 3.0), (11.0, 22.0, 33.0)))
    options = SrOptions(AT, frames={one.uid: "2.25.77"})
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm", options)
    (group,) = content_of(dataset).get_volumetric_roi_measurement_groups()
    faces = group.roi.graphic_data
    corners = np.concatenate(faces)
    assert len(faces) == 2
    assert corners.min(axis=0).tolist() == [1, 2, 3]
    assert corners.max(axis=0).tolist() == [11, 22, 33]
    assert group.roi.frame_of_reference_uid == "2.25.77"


def test_without_a_frame_of_reference_nothing_is_said_of_millimetres(
    sources: Sources, tmp_path: Path
) -> None:
    one = finding("Node", box_lps_mm=((1.0, 2.0, 3.0), (11.0, 22.0, 33.0)))
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm")
    assert "SCOORD3D" not in str(dataset)


def test_a_length_carries_its_points_identity_and_method(sources: Sources, tmp_path: Path) -> None:
    image = sources.instances[0].sop_instance_uid
    flat = Measurement(LENGTH, 4.0, "mm", "estimated at the detector", BY_MODEL, "Diameter",
                       ((0.0, 1.0, 2.0), (0.0, 1.0, 6.0)), image)  # fmt: skip
    deep = Measurement(LENGTH, 5.0, "mm", "line", BY_MODEL, "", ((1.0, 2.0, 3.0), (1.0, 6.0, 6.0)))
    one = finding("Node", measurements=(flat, deep))
    options = SrOptions(AT, images=places_of(sources), frames={one.uid: "2.25.77"})
    dataset = written(report_of(one), sources, tmp_path / "sr.dcm", options)
    (group,) = content_of(dataset).get_image_measurement_groups()
    first, second = (item for item in group[0].ContentSequence if item.ValueType == "NUM")
    told = {i.ConceptNameCodeSequence[0].CodeMeaning: i for i in first.ContentSequence}
    assert told["Tracking Identifier"].TextValue == "Diameter"
    assert dicom_uid_of(flat.uid) == told["Tracking Unique Identifier"].UID
    method = told["Measurement Method"].ConceptCodeSequence[0]
    assert method.CodeMeaning == "estimated at the detector"
    assert list(told["Source"].GraphicData) == [2.5, 1.5, 6.5, 1.5]
    (place,) = (i for i in second.ContentSequence if i.ValueType == "SCOORD3D")
    assert list(place.GraphicData) == [1, 2, 3, 1, 6, 6]


def test_an_amended_report_names_the_document_it_replaces(sources: Sources, tmp_path: Path) -> None:
    options = SrOptions(AT, predecessors=(Predecessor("2.25.3", "2.25.4", "2.25.5"),))
    report = report_of(finding("Left x", LEFT, 1.0), status=ReportStatus.AMENDED)
    dataset = written(report, sources, tmp_path / "sr.dcm", options)
    (study,) = dataset.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (document,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("2.25.3", "2.25.4")
    assert document.ReferencedSOPInstanceUID == "2.25.5"
    assert document.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.mark.parametrize("findings", [(), (finding("Left x", LEFT, 1.0),)])
def test_images_that_nothing_can_refer_to_are_no_evidence(
    tmp_path: Path, findings: tuple[Finding, ...]
) -> None:
    (path,) = write_ct(tmp_path / "ct", Phantom(shape=(1, 8, 8)))
    study = study_of([path])
    nameless = dcmread(path)
    del nameless.SOPInstanceUID
    nameless.save_as(path, enforce_file_format=False)
    sources = read_sources(study.series[0])
    assert not sources.can_be_referred_to
    dataset = written(report_of(*findings), sources, tmp_path / "sr.dcm")
    assert dataset.StudyInstanceUID == study.uid
    assert dataset.PatientID == study.patient.id
    assert "CurrentRequestedProcedureEvidenceSequence" not in dataset
    assert "PertinentOtherEvidenceSequence" not in dataset
    assert study.series[0].instances[0].sop_instance_uid not in str(dataset)
    assert not dciodvfy(tmp_path / "sr.dcm")


def full(sources: Sources) -> tuple[tuple[Finding, ...], SrOptions]:
    """Findings of every kind, and what their places refer to."""
    image = sources.instances[1].sop_instance_uid
    box = replace(ON_IMAGE, sop_instance_uid=image)
    line = Measurement(LENGTH, 8.25, "mm", "line", BY_MODEL, "", ((1, 2, 3), (1, 2, 11.25)))
    flat = Measurement(LENGTH, 4.0, "mm", "line", BY_MODEL, "", ((0, 1, 2), (0, 1, 6)), image)
    findings = (
        *FULL,
        finding("Boxed", picture_box=box, measurements=(flat,)),
        finding("In space", box_lps_mm=((1, 2, 3), (4, 5, 6)), measurements=(line,)),
        finding("Point", location_lps_mm=(1.0, 2.0, 3.0)),
    )
    frame = str(sources.first.FrameOfReferenceUID)
    return findings, SrOptions(
        AT,
        reader="Dr Anna Müller",
        frames={one.uid: frame for one in findings},
        images=places_of(sources),
        predecessors=(Predecessor("2.25.3", "2.25.4", "2.25.5"),),
    )


@pytest.mark.parametrize("status", [ReportStatus.DRAFT, ReportStatus.AMENDED])
def test_others_find_no_fault_with_all_there_can_be(
    sources: Sources, tmp_path: Path, status: ReportStatus
) -> None:
    path = tmp_path / "sr.dcm"
    findings, options = full(sources)
    written(report_of(*findings, status=status), sources, path, options)
    assert not dciodvfy(path)
    assert "Boxed" in dsrdump(path)


@pytest.mark.parametrize("kind", ["words", "segment", "region"])
def test_pixelmed_finds_its_templates_and_no_fault(
    sources: Sources, tmp_path: Path, kind: str
) -> None:
    # One kind of group at a time: this program holds all groups of a report to one template.
    path = tmp_path / "sr.dcm"
    findings, options = full(sources)
    one = finding("Left hippocampus", LEFT, 3.4)
    series = str(sources.first.SeriesInstanceUID)
    options = replace(options, places={one.uid: SegmentPlace("2.25.11", "2.25.12", 1, series)})
    boxed = next(f for f in findings if f.picture_box is not None)
    chosen = {"words": FULL, "segment": (one,), "region": (replace(boxed, measurements=()),)}
    written(report_of(*chosen[kind]), sources, path, options)
    assert not dicom_sr_validator(path)


FULL = (
    finding("Left hippocampus", LEFT, 3.4, probability=0.5),
    finding("Cyst", LEFT, code=CYST, text="Small cyst.", site=Code("12738006", "SCT", "Brain")),
    finding("Node", measurements=(Measurement(LENGTH, 8.25, "mm", "line", BY_MODEL),)),
    finding("Mass", review=Review(ReviewState.EDITED, "Dr Reader", AT)),
)


@pytest.mark.parametrize("status", [ReportStatus.DRAFT, ReportStatus.FINAL])
@pytest.mark.parametrize("findings", [FULL, ()])
def test_dciodvfy_finds_no_error(
    sources: Sources, tmp_path: Path, status: ReportStatus, findings: tuple[Finding, ...]
) -> None:
    path = tmp_path / "sr.dcm"
    written(report_of(*findings, status=status), sources, path)
    assert not dciodvfy(path)


def test_dcmqi_reads_values_sites_and_tracking(sources: Sources, tmp_path: Path) -> None:
    program = Path(sys.prefix) / "bin" / "tid1500reader"
    if not program.exists():
        pytest.skip("dcmqi is not installed")
    path, out = tmp_path / "sr.dcm", tmp_path / "sr.json"
    one = finding("Left hippocampus", LEFT, 3.4)
    series = str(sources.first.SeriesInstanceUID)
    options = SrOptions(AT, {one.uid: SegmentPlace("2.25.11", "2.25.12", 1, series)})
    written(report_of(one), sources, path, options)
    subprocess.run(
        [program, "--inputDICOM", path, "--outputMetadata", out], check=True, capture_output=True
    )
    (group,) = json.loads(out.read_text())["Measurements"]
    assert group["TrackingUniqueIdentifier"] == dicom_uid_of(one.uid)
    assert group["Finding"]["CodeValue"] == "5366008"
    assert group["Laterality"]["CodeValue"] == "7771000"
    (item,) = group["measurementItems"]
    assert float(item["value"]) == 3.4
    assert item["units"]["CodeValue"] == "mL"
    assert group["measurementAlgorithmIdentification"]["AlgorithmName"] == "hippocampus_mr"
