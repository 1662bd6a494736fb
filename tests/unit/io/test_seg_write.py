"""What leaves as DICOM SEG: read back by other programs, voxel for voxel, in the right place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import Dataset, dcmread

from medview.core.codes import LEFT, Code
from medview.core.errors import ExportError
from medview.core.findings import (
    Author,
    Laterality,
    ModelAuthor,
    Person,
    Provenance,
    Review,
    ReviewState,
)
from medview.core.geometry import Calibration, Geometry
from medview.core.segmentation import Segment
from medview.core.study import SeriesKind, Study
from medview.io.dicom_write import person_name
from medview.io.request import SegmentationExport, gather
from medview.io.seg_read import read_segmentations
from medview.io.seg_write import SegmentTracking, SegOptions, algorithm_type, write_segmentation
from medview.io.seg_write import verify_segmentation as verify
from medview.io.sources import read_sources
from tests.helpers.dicom_phantoms import CtOptions, write_ct, write_enhanced, write_projection
from tests.helpers.exports import (
    AT,
    BY_MODEL,
    MODEL,
    placed,
    random_labels,
    segment,
    segmentation_of,
    study_of,
    volume_of,
)
from tests.helpers.phantoms import AXIAL, CORONAL, SAGITTAL, Phantom, Vector, oblique

SHAPE = (5, 9, 7)  # 63 pixels a frame: frames do not begin on whole bytes
SPACING = (2.5, 0.8, 0.7)
CLICKS = ModelAuthor("clicks", "2.1.0", "cd" * 32)
THREE = (segment(1, "Left head"), segment(2, "Left tail"), segment(3, "Right head"))


def flipped(plane: tuple[Vector, Vector], row: int, column: int) -> tuple[Vector, Vector]:
    (a, b, c), (d, e, f) = plane
    return (a * row, b * row, c * row), (d * column, e * column, f * column)


ORIENTATIONS = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": oblique(20, 30),
    "axial, both flipped": flipped(AXIAL, -1, -1),
    "sagittal, row flipped": flipped(SAGITTAL, -1, 1),
    "coronal, column flipped": flipped(CORONAL, 1, -1),
    "oblique, row flipped": flipped(oblique(-35, 50), -1, 1),
}


def phantom_of(plane: tuple[Vector, Vector] = AXIAL) -> Phantom:
    return Phantom(shape=SHAPE, spacing_mm=SPACING, row=plane[0], column=plane[1])


def exported(
    study: Study,
    geometry: Geometry,
    path: Path,
    labels: npt.NDArray[np.uint8] | None = None,
    segments: tuple[Segment, ...] = THREE,
    tracking: dict[int, SegmentTracking] | None = None,
    *,
    label_map: bool = False,
) -> tuple[SegmentationExport, Dataset]:
    labels = random_labels(geometry.shape, 3) if labels is None else labels
    volume = volume_of(study.series[0], geometry)
    segmentation = segmentation_of(volume, labels, segments)
    (export,) = gather([segmentation], {volume.uid: volume}, study)
    sources = read_sources(study.series[0])
    options = SegOptions(AT, tracking or {}, "Dr Anna Müller", label_map=label_map)
    write_segmentation(export, sources, path, options)
    return export, dcmread(path)


def seen_by_highdicom(path: Path, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Labels on our grid, placed by the positions that highdicom reports."""
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    return placed(volume.array, np.argwhere(volume.array), volume.affine, geometry)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_orientation_reads_back_in_highdicom(tmp_path: Path, name: str) -> None:
    phantom = phantom_of(ORIENTATIONS[name])
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(shuffled=True)))
    path = tmp_path / "seg.dcm"
    exported(study, phantom.geometry, path)
    assert np.array_equal(seen_by_highdicom(path, phantom.geometry), random_labels(SHAPE, 3))


@pytest.mark.parametrize("name", ["axial", "sagittal", "oblique", "coronal, column flipped"])
def test_dcmqi_sees_the_same_voxels(tmp_path: Path, name: str) -> None:
    program = Path(sys.prefix) / "bin" / "segimage2itkimage"
    if not program.exists():
        pytest.skip("dcmqi is not installed")
    phantom = phantom_of(ORIENTATIONS[name])
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(shuffled=True)))
    path = tmp_path / "seg.dcm"
    exported(study, phantom.geometry, path)
    command = [program, "--inputDICOM", path, "--outputDirectory", tmp_path, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    seen = np.zeros(SHAPE, dtype=np.uint8)
    for file in tmp_path.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        affine = np.eye(4)
        steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine[:3, :3], affine[:3, 3] = steps[:, ::-1], image.GetOrigin()
        seen += placed(array, np.argwhere(array), affine, phantom.geometry)
    assert np.array_equal(seen, random_labels(SHAPE, 3))


def test_multi_frame_source_is_referred_to_frame_by_frame(tmp_path: Path) -> None:
    phantom = phantom_of(SAGITTAL)
    write_enhanced(tmp_path / "mf.dcm", phantom, shuffled=True)
    study = study_of([tmp_path / "mf.dcm"])
    path = tmp_path / "seg.dcm"
    _, dataset = exported(study, phantom.geometry, path)
    assert np.array_equal(seen_by_highdicom(path, phantom.geometry), random_labels(SHAPE, 3))
    source = dcmread(tmp_path / "mf.dcm")
    for group in dataset.PerFrameFunctionalGroupsSequence:
        item = group.DerivationImageSequence[0].SourceImageSequence[0]
        frame = source.PerFrameFunctionalGroupsSequence[int(item.ReferencedFrameNumber) - 1]
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert np.allclose(
            frame.PlanePositionSequence[0].ImagePositionPatient,
            group.PlanePositionSequence[0].ImagePositionPatient,
        )


def test_each_frame_refers_to_the_image_it_lies_on(tmp_path: Path) -> None:
    phantom = phantom_of(oblique(10, 5))
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(shuffled=True)))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm")
    headers = {h.SOPInstanceUID: h for h in map(dcmread, (tmp_path / "ct").iterdir())}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(headers[uid].ImagePositionPatient, place, atol=1e-6)
    series = dataset.ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == study.series[0].uid
    assert len(series.ReferencedInstanceSequence) == SHAPE[0]


def test_spacing_comes_from_positions_not_from_wrong_headers(tmp_path: Path) -> None:
    phantom = phantom_of()
    wrong = CtOptions(extra={"SpacingBetweenSlices": "5"})
    study = study_of(write_ct(tmp_path / "ct", phantom, wrong))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm")
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == 2.5
    assert float(measures.SliceThickness) == 2.5
    assert [float(v) for v in measures.PixelSpacing] == [0.8, 0.7]


def test_missing_slice_leaves_the_others_in_place(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(missing=(2,))))
    path = tmp_path / "seg.dcm"
    _, dataset = exported(study, phantom.geometry, path)
    assert np.array_equal(seen_by_highdicom(path, phantom.geometry), random_labels(SHAPE, 3))
    referring = [
        len(group.DerivationImageSequence) == 1
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert sum(referring) == 3 * 3  # three segments on slices 0, 1 and 3; slice 4 is empty


def test_only_counting_segments_leave_renumbered(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    proposed = segment(2, "Not decided", Review())
    segments = (segment(1, "First"), proposed, segment(3, "Third"), segment(9, "Empty"))
    export, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm", segments=segments)
    assert [s.SegmentLabel for s in dataset.SegmentSequence] == ["First", "Third"]
    assert [s.SegmentNumber for s in dataset.SegmentSequence] == [1, 2]
    assert export.numbers == {1: 1, 3: 2}
    expected = random_labels(SHAPE, 3)
    expected[expected == 2] = 0
    expected[expected == 3] = 2
    assert np.array_equal(export.labels(), expected)


def test_segments_are_coded_coloured_and_tracked(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    uid = "0f3b7c52-6a0e-4f0a-9a53-0f5c0c5a3b11"
    tracking = {1: SegmentTracking(uid, "Left head", Laterality.LEFT)}
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm", tracking=tracking)
    item = dataset.SegmentSequence[0]
    assert item.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    kind = item.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("5366008", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == LEFT.value
    assert item.TrackingID == "Left head"
    assert item.TrackingUID == f"2.25.{int(uid.replace('-', ''), 16)}"
    rgb = hd.color.CIELabColor.from_dicom_value(item.RecommendedDisplayCIELabValue).to_rgb(
        clip=True
    )
    assert np.abs(np.array(rgb) - (200, 40, 30)).max() <= 2


def test_algorithm_and_its_weights_are_named(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    edited = Review(ReviewState.EDITED, "Dr Reader", AT)
    drawn = Provenance(Person("Dr Reader"), AT)
    segments = (
        segment(1, "Untouched"),
        segment(2, "Corrected", edited),
        segment(3, "Drawn", provenance=drawn),
    )
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm", segments=segments)
    kinds = [item.SegmentAlgorithmType for item in dataset.SegmentSequence]
    assert kinds == ["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]
    algorithm = dataset.SegmentSequence[1].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("hippocampus_mr", "1.2.0")
    assert MODEL.weights_sha256 in algorithm.AlgorithmParameters
    assert "SegmentationAlgorithmIdentificationSequence" not in dataset.SegmentSequence[2]
    equipment = [e.get("ManufacturerModelName") for e in dataset.ContributingEquipmentSequence]
    assert "hippocampus_mr" in equipment


@pytest.mark.parametrize(
    ("author", "aids"),
    [
        (Person("Dr Reader"), (MODEL,)),
        (Person("Dr Reader"), (MODEL, CLICKS)),
        (MODEL, (CLICKS,)),
    ],
)
def test_models_that_helped_are_named_and_all_come_back(
    tmp_path: Path, author: Author, aids: tuple[ModelAuthor, ...]
) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    drawn = Provenance(author, AT, aids=aids)
    segments = tuple(segment(n, f"Lobe {n}", provenance=drawn) for n in (1, 2, 3))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm", segments=segments)
    item = dataset.SegmentSequence[0]
    assert item.SegmentAlgorithmType == "SEMIAUTOMATIC"
    (algorithm,) = item.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmName == MODEL.model_id
    series = replace(study_of([tmp_path / "seg.dcm"]).series[0], kind=SeriesKind.SEGMENTATION)
    (found,) = read_segmentations(series, phantom.geometry)
    back = found.segments[0].provenance
    assert (back.author, back.aids) == (author, aids)


def test_a_persons_correction_of_a_model_is_semiautomatic() -> None:
    corrected = Provenance(Person("Dr Reader"), AT, derived_from=("another",))
    assert algorithm_type(corrected, Review()) == "SEMIAUTOMATIC"
    assert algorithm_type(BY_MODEL, Review()) == "AUTOMATIC"


def test_identity_of_the_source_is_kept_and_the_rest_is_new(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    _, first = exported(study, phantom.geometry, tmp_path / "1.dcm")
    _, second = exported(study, phantom.geometry, tmp_path / "2.dcm")
    assert first.StudyInstanceUID == study.uid
    assert first.PatientID == "PHANTOM-1"
    assert first.SpecificCharacterSet == "ISO_IR 192"
    assert str(first.ContentCreatorName) == "Müller^Anna^^Dr"
    assert (first.Manufacturer, first.ManufacturerModelName) == ("medview", "medview")
    assert "Not for clinical use" in first.SeriesDescription
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value.startswith("2.25.")
        assert first[keyword].value != second[keyword].value
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_values_that_break_their_format_are_not_carried_on(tmp_path: Path) -> None:
    odd = CtOptions(extra={"PatientSex": "MALE", "PatientWeight": "0", "PatientAge": "045Y"})
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom, odd))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm")
    assert dataset.PatientSex == ""
    assert dataset.PatientAge == "045Y"
    assert "PatientWeight" not in dataset


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PatientIdentityRemoved": "YES"}, "not stated by the source"),
        ({"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"}, "by hand"),
        ({"PatientIdentityRemoved": "NO", "DeidentificationMethod": "by hand"}, None),
    ],
)
def test_how_identity_was_removed_goes_along(
    tmp_path: Path, given: dict[str, str], expected: str | None
) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(extra=given)))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm")
    assert dataset.PatientIdentityRemoved == given["PatientIdentityRemoved"]
    assert dataset.get("DeidentificationMethod") == expected


def test_coded_removal_of_identity_goes_along(tmp_path: Path) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = "113100", "DCM"
    item.CodeMeaning = "Basic Application Confidentiality Profile"
    extra = {"PatientIdentityRemoved": "YES", "DeidentificationMethodCodeSequence": [item]}
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(extra=extra)))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm")
    assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert "DeidentificationMethod" not in dataset


def test_private_codes_are_declared(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    own = segment(1, "Nucleus", type=Code("7", "99MEDVIEW", "Nucleus"))
    _, dataset = exported(study, phantom.geometry, tmp_path / "seg.dcm", segments=(own,))
    declared = [i.CodingSchemeDesignator for i in dataset.CodingSchemeIdentificationSequence]
    assert declared == ["99MEDVIEW"]


def test_a_radiograph_is_segmented_without_patient_space(tmp_path: Path) -> None:
    write_projection(tmp_path / "dx.dcm", shape=(24, 20))
    study = study_of([tmp_path / "dx.dcm"])
    geometry = Geometry((1, 24, 20), np.eye(4), calibration=Calibration.NONE)
    labels = np.zeros((1, 24, 20), dtype=np.uint8)
    labels[0, 3:9, 5:11] = 1
    _, dataset = exported(study, geometry, tmp_path / "seg.dcm", labels, (segment(1, "Lung"),))
    assert np.array_equal(dataset.pixel_array, labels[0])
    assert "FrameOfReferenceUID" not in dataset or not dataset.FrameOfReferenceUID
    assert dataset.PatientOrientation == ["L", "F"]


def test_a_stack_without_patient_space_is_refused_in_words(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    nowhere = Geometry(SHAPE, phantom.affine, calibration=Calibration.NONE)
    with pytest.raises(ExportError, match="no place in the patient"):
        exported(study, nowhere, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_reading_back_notices_one_wrong_voxel(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    path = tmp_path / "seg.dcm"
    export, dataset = exported(study, phantom.geometry, path)
    pixels = bytearray(dataset.PixelData)
    pixels[3] ^= 0b0001_0000
    dataset.PixelData = bytes(pixels)
    dataset.save_as(path)
    with pytest.raises(ExportError, match="1 voxels differ"):
        verify(path, export.labels(), export.geometry)


def test_reading_back_notices_a_frame_that_nobody_places(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    path = tmp_path / "seg.dcm"
    export, dataset = exported(study, phantom.geometry, path, label_map=True)
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(path)
    with pytest.raises(ExportError, match="voxels differ"):
        verify(path, export.labels(), export.geometry)
    dataset.PixelData = dataset.PixelData[: SHAPE[1] * SHAPE[2]]
    dataset.save_as(path)
    with pytest.raises(ExportError, match="does not read back"):
        verify(path, export.labels(), export.geometry)


def two_parts(folder: Path, phantom: Phantom) -> list[Path]:
    """Every other slice in one multi-frame image, the rest in another of the same series."""
    write_enhanced(folder / "whole.dcm", phantom)
    paths = []
    for part in (0, 1):
        ds = dcmread(folder / "whole.dcm")
        pixels = ds.pixel_array[part::2]
        ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[part::2]
        ds.NumberOfFrames, ds.PixelData = len(pixels), pixels.tobytes()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.77{part}"
        paths.append(folder / f"part-{part}.dcm")
        ds.save_as(paths[-1])
    return paths


def test_all_images_of_a_stack_in_two_parts_are_named(tmp_path: Path) -> None:
    """Each multi-frame image holds every other slice."""
    whole = phantom_of()
    study = study_of(two_parts(tmp_path, whole))
    path = tmp_path / "seg.dcm"
    _, dataset = exported(study, whole.geometry, path)
    used = {
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for group in dataset.PerFrameFunctionalGroupsSequence
    }
    assert len(used) == 2
    (series,) = dataset.ReferencedSeriesSequence
    named = {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence}
    assert named == used


def test_reading_back_notices_a_moved_slice(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    path = tmp_path / "seg.dcm"
    export, dataset = exported(study, phantom.geometry, path)
    place = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    x, y, z = place.ImagePositionPatient
    place.ImagePositionPatient = [x, y, z + 1.0]
    dataset.save_as(path)
    with pytest.raises(ExportError, match="beside its grid"):
        verify(path, export.labels(), export.geometry)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    phantom = phantom_of(oblique(15, -20))
    extra = {"PatientName": "Мюллер^Анна", "PatientSex": "WEIBLICH", "StudyDate": ""}
    study = study_of(write_ct(tmp_path / "ct", phantom, CtOptions(extra=extra)))
    path = tmp_path / "seg.dcm"
    exported(study, phantom.geometry, path, tracking={1: SegmentTracking("a", "b")})
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    assert "Error" not in told.stderr


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Dr Anna Müller", "Müller^Anna^^Dr"),
        ("Anna Maria Müller", "Müller^Anna Maria"),
        ("Müller^Anna", "Müller^Anna"),
        ("Reader", "Reader^"),
        ("a\\b = c", "c^a b"),
        ("  ", ""),
    ],
)
def test_names_become_person_names(written: str, expected: str) -> None:
    assert person_name(written) == expected


def test_labels_of_a_snapshot_do_not_follow_later_edits(tmp_path: Path) -> None:
    phantom = phantom_of()
    study = study_of(write_ct(tmp_path / "ct", phantom))
    volume = volume_of(study.series[0], phantom.geometry)
    labels = random_labels(SHAPE, 3)
    segmentation = segmentation_of(volume, labels, THREE)
    (export,) = gather([segmentation], {volume.uid: volume}, study)
    before = labels.copy()
    labels[:] = 0
    assert np.array_equal(export.labels(), before)
    assert gather([replace(segmentation)], {volume.uid: volume}, study) == ()
