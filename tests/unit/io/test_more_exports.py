"""What else an export writes: presentation states, key objects, captures, contours, surfaces."""

from __future__ import annotations

import io
import json
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom import Dataset, dcmread

from medview.core.codes import LENGTH
from medview.core.findings import Measurement, PictureBox
from medview.core.geometry import Calibration, Geometry
from medview.core.graphics import MarkKind
from medview.core.maps import MapKind, ScalarMap
from medview.core.report import KeyImage, Report
from medview.core.study import Series, SeriesKind, Study
from medview.core.volume import Window
from medview.imaging.outlines import encloses, keyholed, outlines
from medview.imaging.surface import surface_of
from medview.io.export import export
from medview.io.presentation import annotations_of, presentation_of
from medview.io.request import (
    ExportedFiles,
    ExportFormat,
    ExportRequest,
    MapExport,
    ShownImages,
    gather,
)
from medview.io.rtss_read import drawn_on, read_structures
from medview.io.seg_read import read_segmentations
from medview.io.sr_read import brought_by
from medview.reporting.fhir import bundle_of
from tests.helpers.dicom_phantoms import CtOptions, write_ct, write_projection
from tests.helpers.exports import (
    BY_MODEL,
    MODEL,
    finding,
    placed,
    segment,
    segmentation_of,
    study_of,
    volume_of,
)
from tests.helpers.phantoms import Phantom
from tests.helpers.validators import dciodvfy, dicom_sr_validator, dsrdump
from tests.unit.io.test_export_files import PHANTOM, request_of

PICTURE = np.random.default_rng(3).integers(0, 256, (31, 27, 3)).astype(np.uint8)


def png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(PICTURE).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(write_ct(tmp_path / "ct", PHANTOM, CtOptions(shuffled=True)))


def ordered(study: Study) -> tuple[str, ...]:
    """The images by their place along the grid."""
    series = study.series[0]
    places = {}
    for one in series.instances:
        position = dcmread(one.path).ImagePositionPatient
        places[round(float(PHANTOM.geometry.to_index(list(position))[0]))] = one.sop_instance_uid
    return tuple(places[k] for k in sorted(places))


def full_request(folder: Path, study: Study, *formats: ExportFormat) -> ExportRequest:
    request = request_of(folder, study)
    series, geometry = study.series[0], PHANTOM.geometry
    uids = ordered(study)
    line = Measurement(LENGTH, 4.0, "mm", "line", BY_MODEL, "", tuple(
        tuple(geometry.to_lps_mm((2, 1, column)).tolist()) for column in (1, 4)))  # fmt: skip
    across = replace(line, points_lps_mm=tuple(
        tuple(geometry.to_lps_mm((k, 1, 1)).tolist()) for k in (0, 3)))  # fmt: skip
    boxed = finding("Node", picture_box=PictureBox((1.0, 2.0, 4.0, 5.0), 1, uids[1]))
    measured = finding("Vessel", measurements=(line, across))
    place = tuple(geometry.to_lps_mm((3, 2, 2)).tolist())
    key = KeyImage("volume-1", "axial", place, "A slice", png(), uids[3])
    oblique = replace(key, plane="coronal", sop_instance_uid="", caption="Another plane")
    report = replace(
        request.report,
        findings=(*request.report.findings, boxed, measured),
        key_images=(key, oblique),
    )
    shown = ShownImages(series, uids, geometry, Window(40.0, 400.0, "Soft tissue"), inverted=True)
    return replace(
        request,
        report=report,
        formats=formats,
        shown=shown,
        frames={one.uid: geometry.frame_of_reference_uid for one in report.findings},
        fhir=json.dumps(bundle_of(report, study, request.pdf)),
    )


def exported(tmp_path: Path, study: Study, *formats: ExportFormat) -> ExportedFiles:
    return export(full_request(tmp_path / "out", study, *formats))


# -- presentation state ----------------------------------------------------------------------


def test_a_presentation_state_draws_each_finding_on_its_image(study: Study, tmp_path: Path) -> None:
    done = exported(tmp_path, study, ExportFormat.PRESENTATION)
    state = dcmread(tmp_path / "out" / "presentation.dcm")
    uids = ordered(study)
    drawn = {
        item.ReferencedImageSequence[0].ReferencedSOPInstanceUID: item
        for item in state.GraphicAnnotationSequence
    }
    assert drawn.keys() == {uids[1], uids[2]}
    # PS3.3 C.10.5.1.2: PIXEL, column then row, the corner of the first pixel being 0, 0.
    (box,) = drawn[uids[1]].GraphicObjectSequence
    assert list(box.GraphicData) == [2, 1, 5, 1, 5, 4, 2, 4, 2, 1]
    (line,) = drawn[uids[2]].GraphicObjectSequence
    assert np.allclose(line.GraphicData, [1.5, 1.5, 4.5, 1.5], atol=1e-4)
    words = [text.UnformattedTextValue for text in drawn[uids[2]].TextObjectSequence]
    assert words == ["Vessel 4.0 mm"]
    (window,) = state.SoftcopyVOILUTSequence
    assert (float(window.WindowCenter), float(window.WindowWidth)) == (40, 400)
    assert state.PresentationLUTShape == "INVERSE"
    assert (float(state.RescaleSlope), state.RescaleType) == (1.0, "HU")
    assert any("1 measurements do not lie on one image" in note for note in done.notes)
    assert not dciodvfy(tmp_path / "out" / "presentation.dcm")


def test_what_is_drawn_comes_back_as_it_was(study: Study, tmp_path: Path) -> None:
    exported(tmp_path, study, ExportFormat.PRESENTATION)
    state = presentation_of(dcmread(tmp_path / "out" / "presentation.dcm"))
    look = state.look_at(ordered(study)[1])
    assert look is not None
    box = next(mark for mark in look.graphics.marks if mark.kind is MarkKind.LINES)
    assert box.points == ((0.5, 1.5), (0.5, 4.5), (3.5, 4.5), (3.5, 1.5), (0.5, 1.5))
    assert look.window == Window(40.0, 400.0, "Soft tissue")
    assert state.inverted is True


# -- key objects and captures ----------------------------------------------------------------


def test_key_objects_name_the_acquired_images(study: Study, tmp_path: Path) -> None:
    exported(tmp_path, study, ExportFormat.KEY_OBJECTS)
    path = tmp_path / "out" / "key_objects.dcm"
    selection = dcmread(path)
    (title,) = selection.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113000", "DCM")  # CID 7010
    images = [item for item in selection.ContentSequence if item.ValueType == "IMAGE"]
    told = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images]
    assert told == [ordered(study)[3]]  # the reformatted picture lies nearest to the same one
    assert all("ConceptNameCodeSequence" not in item for item in images)
    assert not dciodvfy(path)
    assert not dicom_sr_validator(path)
    assert "Of Interest" in dsrdump(path)


def test_a_selection_names_the_frames_of_a_clip(study: Study, tmp_path: Path) -> None:
    request = full_request(tmp_path / "out", study, ExportFormat.KEY_OBJECTS)
    first, second = request.report.key_images
    frames = [replace(first, uid=f"u{n}", frame_number=n) for n in (7, 2)]
    whole = replace(second, sop_instance_uid=ordered(study)[1])
    (series,) = study.series
    clips = tuple(replace(one, frames=9) for one in series.instances)
    request = replace(request, series=replace(series, instances=clips), segmentations=())
    export(replace(request, report=replace(request.report, key_images=(*frames, whole))))
    chosen = dcmread(tmp_path / "out" / "key_objects.dcm")
    images = [one for one in chosen.ContentSequence if one.ValueType == "IMAGE"]
    told = [one.ReferencedSOPSequence[0].get("ReferencedFrameNumber") for one in images]
    assert [list(told[0]), told[1]] == [[2, 7], None]
    assert not dicom_sr_validator(tmp_path / "out" / "key_objects.dcm")


def test_without_a_key_image_there_is_no_selection(study: Study, tmp_path: Path) -> None:
    request = full_request(tmp_path / "out", study, ExportFormat.KEY_OBJECTS)
    bare = replace(request, report=replace(request.report, key_images=()))
    done = export(bare)
    assert done.files == ()
    assert any("no key image is an image of the study" in note for note in done.notes)


def test_a_capture_holds_the_very_picture(study: Study, tmp_path: Path) -> None:
    exported(tmp_path, study, ExportFormat.CAPTURES)
    first, second = (dcmread(tmp_path / "out" / f"capture-0{n}.dcm") for n in (1, 2))
    assert np.array_equal(first.pixel_array, PICTURE)
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert [first.InstanceNumber, second.InstanceNumber] == [1, 2]
    assert first.BurnedInAnnotation == "YES"
    assert first.SourceImageSequence[0].ReferencedSOPInstanceUID == ordered(study)[3]
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "capture-01.dcm")))
    assert np.array_equal(read.squeeze(), PICTURE)
    assert not dciodvfy(tmp_path / "out" / "capture-01.dcm")


# -- label map segmentation ------------------------------------------------------------------


def test_a_label_map_holds_the_numbers_of_its_segments(study: Study, tmp_path: Path) -> None:
    exported(tmp_path, study, ExportFormat.LABEL_MAP)
    path = tmp_path / "out" / "segmentation_labelmap.dcm"
    assert dcmread(path).SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    seg = hd.seg.segread(path)
    assert seg.segmentation_type.value == "LABELMAP"
    labels = full_request(tmp_path, study).segmentations[0].labels()
    seen = seg.get_volume(combine_segments=True)
    marked = np.argwhere(seen.array)
    assert np.array_equal(placed(seen.array, marked, seen.affine, PHANTOM.geometry), labels)
    series = replace(study_of([path]).series[0], kind=SeriesKind.SEGMENTATION)
    (found,) = read_segmentations(series, PHANTOM.geometry)
    assert np.array_equal(found.labels, labels)


# -- contours --------------------------------------------------------------------------------


def test_contours_maps_and_surfaces_of_a_projection_are_left_out_and_named(tmp_path: Path) -> None:
    write_projection(tmp_path / "dx.dcm", shape=(24, 20))
    study = study_of([tmp_path / "dx.dcm"])
    series = study.series[0]
    flat = Geometry((1, 24, 20), np.eye(4), calibration=Calibration.NONE)
    volume = volume_of(series, flat)
    labels = np.zeros((1, 24, 20), np.uint8)
    labels[0, 3:9, 4:8] = 1
    found = segmentation_of(volume, labels, [segment(1, "Lung")])
    likely = ScalarMap(
        volume.uid, MapKind.PROBABILITY, flat, labels.astype(np.float32), (0.0, 1.0), "Lung"
    )
    request = ExportRequest(
        tmp_path / "out",
        study,
        series,
        Report(study.uid),
        {"findings": []},
        gather([found], {volume.uid: volume}, study),
        formats=(
            ExportFormat.STRUCTURES,
            ExportFormat.MAPS,
            ExportFormat.STL,
            ExportFormat.SEGMENTATION,
        ),
        maps=(MapExport(likely, series, volume.instance_uids),),
    )
    done = export(request)
    assert [one.path.name for one in done.files] == ["segmentation.dcm"]
    told = [note for note in done.notes if "no place in the patient" in note]
    assert [note.split()[1] for note in told] == ["contours", "map", "surfaces"]


def test_segments_of_a_stack_without_places_are_left_to_other_formats(
    study: Study, tmp_path: Path
) -> None:
    nowhere = replace(PHANTOM.geometry, calibration=Calibration.NONE)
    volume = volume_of(study.series[0], nowhere)
    labels = PHANTOM.sphere().astype(np.uint8)
    found = segmentation_of(volume, labels, [segment(1, "Heart")])
    request = ExportRequest(
        tmp_path / "out",
        study,
        study.series[0],
        Report(study.uid),
        {"findings": []},
        gather([found], {volume.uid: volume}, study),
        formats=(ExportFormat.SEGMENTATION, ExportFormat.LABEL_MAP, ExportFormat.NRRD),
    )
    done = export(request)
    assert [one.path.name for one in done.files] == ["segmentation.seg.nrrd"]
    (told,) = done.notes
    assert "no place in the patient" in told
    assert "NRRD" in told


def masks(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    return [generator.random(generator.integers(1, 14, 2)) < generator.random()
            for _ in range(count)]  # fmt: skip


def test_outlines_enclose_the_marked_pixels_and_no_other() -> None:
    for mask in masks(60):
        rings = outlines(mask)
        for place in np.ndindex(mask.shape):
            assert sum(encloses(ring, place) for ring in rings) % 2 == mask[place]


def test_keyholes_change_nothing_of_what_is_enclosed() -> None:
    ring = np.zeros((9, 11), dtype=bool)
    ring[1:8, 1:10] = True
    ring[3:6, 3:5] = ring[4, 7] = False
    joined = keyholed(outlines(ring))
    assert len(joined) == 1
    for place in np.ndindex(ring.shape):
        assert encloses(joined[0], place) == ring[place]


def structures(tmp_path: Path, study: Study) -> Dataset:
    exported(tmp_path, study, ExportFormat.STRUCTURES)
    return dcmread(tmp_path / "out" / "structures.dcm")


def test_contours_lie_on_their_images_in_millimetres(study: Study, tmp_path: Path) -> None:
    found = structures(tmp_path, study)
    labels = full_request(tmp_path, study).segmentations[0].labels()
    seen = np.zeros_like(labels)
    uids = ordered(study)
    for item in found.ROIContourSequence:
        for contour in item.ContourSequence:
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            index = PHANTOM.geometry.to_index(points)
            (k,) = {round(float(value)) for value in index[:, 0]}
            image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            assert image == uids[k]
            for place in np.ndindex(labels.shape[1:]):
                if encloses(index[:, 1:], place):
                    seen[(k, *place)] ^= int(item.ReferencedROINumber)
    assert np.array_equal(seen, labels)
    names = [item.ROIName for item in found.StructureSetROISequence]
    assert names == ["Left lobe", "Right lobe"]
    colours = [list(item.ROIDisplayColor) for item in found.ROIContourSequence]
    assert colours == [[200, 40, 30], [200, 80, 30]]
    assert not dciodvfy(tmp_path / "out" / "structures.dcm")


def series_of(path: Path, uid: str) -> Series:
    ds = dcmread(path)
    base = study_of([path]) if "Modality" in ds and "PatientID" in ds else None
    assert base is not None
    return replace(base.series[0], kind=SeriesKind.STRUCTURE_SET, uid=uid)


def test_structures_come_back_voxel_by_voxel(study: Study, tmp_path: Path) -> None:
    structures(tmp_path, study)
    series = series_of(tmp_path / "out" / "structures.dcm", "1.2.3")
    labels = full_request(tmp_path, study).segmentations[0].labels()
    (found,) = read_structures(series, PHANTOM.geometry, "volume-1")
    assert np.array_equal(found.labels, labels)
    assert [segment.label for segment in found.segments] == ["Left lobe", "Right lobe"]
    assert found.segments[0].type.value == "5366008"
    assert found.segments[0].color_rgb == (200, 40, 30)
    drawn = drawn_on(series)
    assert drawn.instance_uids == frozenset(ordered(study))


# -- label maps and surfaces -----------------------------------------------------------------


def test_slicer_finds_its_segments_in_the_nrrd(study: Study, tmp_path: Path) -> None:
    exported(tmp_path, study, ExportFormat.NRRD, ExportFormat.NIFTI)
    image = sitk.ReadImage(str(tmp_path / "out" / "segmentation.seg.nrrd"))
    labels = full_request(tmp_path, study).segmentations[0].labels()
    assert np.array_equal(sitk.GetArrayFromImage(image), labels)
    corner = np.array(image.TransformIndexToPhysicalPoint((5, 7, 3)))
    assert np.allclose(corner, PHANTOM.geometry.to_lps_mm((3, 7, 5)), atol=1e-4)
    assert image.GetMetaData("Segment0_Name") == "Left lobe"
    assert image.GetMetaData("Segment1_LabelValue") == "2"
    assert "SCT^5366008^Hippocampus" in image.GetMetaData("Segment1_Tags")
    k, j, i = np.nonzero(labels == 2)
    extent = [i.min(), i.max(), j.min(), j.max(), k.min(), k.max()]
    assert image.GetMetaData("Segment1_Extent") == " ".join(map(str, extent))
    nifti = sitk.ReadImage(str(tmp_path / "out" / "segmentation.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(nifti), labels)


def edges(faces: np.ndarray) -> Counter[tuple[int, int]]:
    return Counter((f[a], f[b]) for f in faces.tolist() for a, b in ((0, 1), (1, 2), (2, 0)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_edge_of_a_surface_is_met_once_from_either_side(seed: int) -> None:
    mask = np.random.default_rng(seed).random((5, 6, 7)) < 0.5
    met = edges(surface_of(mask).faces)
    assert met
    assert set(met.values()) == {1}
    assert all((b, a) in met for a, b in met)


def test_a_smoothed_ball_keeps_its_volume() -> None:
    k, j, i = np.mgrid[-14:15, -14:15, -14:15]
    ball = surface_of(k * k + j * j + i * i <= 144)
    assert ball.volume == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)
    assert np.linalg.norm(ball.points - 14, axis=1) == pytest.approx(12, abs=0.7)


def test_an_stl_is_closed_in_millimetres_and_turned_outwards(tmp_path: Path) -> None:
    phantom = Phantom(shape=(10, 12, 14))
    study = study_of(write_ct(tmp_path / "ct", phantom))
    request = request_of(tmp_path / "out", study, phantom)
    export(replace(request, formats=(ExportFormat.STL,)))
    labels = request.segmentations[0].labels()
    data = (tmp_path / "out" / "surface-01.stl").read_bytes()
    assert b"SPACE=LPS" in data[:80]
    (count,) = struct.unpack("<I", data[80:84])
    assert len(data) == 84 + 50 * count
    rows = np.frombuffer(data[84:], np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]))
    corners = rows["c"].astype(float)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 0
    points = corners.reshape(-1, 3)
    place = phantom.geometry.to_lps_mm(np.argwhere(labels == 1))
    step = max(phantom.geometry.spacing_mm)
    assert np.all(points.min(axis=0) >= place.min(axis=0) - step)
    assert np.all(points.max(axis=0) <= place.max(axis=0) + step)


# -- FHIR ------------------------------------------------------------------------------------


def test_the_bundle_tells_findings_numbers_and_images(study: Study, tmp_path: Path) -> None:
    exported(tmp_path, study, ExportFormat.FHIR)
    bundle = json.loads((tmp_path / "out" / "report.fhir.json").read_text(encoding="utf-8"))
    resources = [entry["resource"] for entry in bundle["entry"]]
    kinds = Counter(one["resourceType"] for one in resources)
    assert kinds == {"Patient": 1, "ImagingStudy": 1, "Observation": 4, "DiagnosticReport": 1}
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    report = resources[-1]
    assert {one["reference"] for one in report["result"]} <= urls
    assert report["status"] == "partial"
    left = next(one for one in resources if one.get("code", {}).get("text") == "Left lobe")
    request = full_request(tmp_path, study)
    (number,) = left["component"]
    assert number["valueQuantity"]["code"] == "mL"
    assert number["valueQuantity"]["value"] == pytest.approx(
        request.report.findings[0].measurements[0].value
    )
    assert left["bodySite"]["coding"][1]["code"] == "7771000"
    imaging = next(one for one in resources if one["resourceType"] == "ImagingStudy")
    assert {i["uid"] for i in imaging["series"][0]["instance"]} == set(ordered(study))


def test_the_model_of_fhir_accepts_the_bundle(study: Study) -> None:
    bundle = pytest.importorskip("fhir.resources.R4B.bundle")
    made = bundle_of(full_request(Path("out"), study).report, study, b"%PDF-1.4")
    read = bundle.Bundle.model_validate(made)
    assert len(read.entry) == 7


def test_maps_leave_as_parametric_maps_and_probabilities(study: Study, tmp_path: Path) -> None:
    series = study.series[0]
    geometry = PHANTOM.geometry
    values = np.random.default_rng(2).random(geometry.shape).astype(np.float32)
    chance = ScalarMap("volume-1", MapKind.PROBABILITY, geometry, values, (0, 1), "Liver")
    doubt = replace(chance, kind=MapKind.UNCERTAINTY, uid="other")
    request = full_request(tmp_path / "out", study, ExportFormat.MAPS, ExportFormat.PROBABILITIES)
    maps = tuple(MapExport(one, series, ordered(study), MODEL) for one in (chance, doubt))
    files = export(replace(request, maps=maps))
    assert [one.path.name for one in files.files] == [
        "map-01.dcm", "map-02.dcm", "probability-01.dcm"]  # fmt: skip
    assert all(dciodvfy(one.path) == [] for one in files.files)
    first, second = (dcmread(one.path) for one in files.files[:2])
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    equipment = [one.get("ManufacturerModelName") for one in first.ContributingEquipmentSequence]
    assert MODEL.model_id in equipment


def test_key_objects_come_back_as_key_images(study: Study, tmp_path: Path) -> None:
    (file,) = exported(tmp_path, study, ExportFormat.KEY_OBJECTS).files
    back = brought_by(dcmread(file.path))
    named = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in dcmread(file.path).ContentSequence
        if item.ValueType == "IMAGE"
    }
    assert {one.sop_instance_uid for one in back.pictures} == named
    assert ordered(study)[3] in named
    assert "A slice" in back.pictures[0].caption
    assert not back.findings
    assert back.document is None  # no report takes the place of a selection


def test_drawings_of_ours_come_back_as_boxes(study: Study, tmp_path: Path) -> None:
    (file,) = exported(tmp_path, study, ExportFormat.PRESENTATION).files
    back = annotations_of(dcmread(file.path))
    (node,) = (one for one in back.findings if one.label == "Node")
    assert node.picture_box is not None
    assert node.picture_box.box_px == pytest.approx((1.0, 2.0, 4.0, 5.0))
    assert node.picture_box.sop_instance_uid == ordered(study)[1]
