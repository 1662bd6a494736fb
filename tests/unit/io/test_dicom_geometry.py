"""Where voxels are: computed series against the affine of their definition."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medview.core.geometry import Calibration
from medview.core.study import Series
from medview.core.volume import Volume
from medview.io.describe import info
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import (
    CtOptions,
    Who,
    ct_datasets,
    save,
    uid,
    write_ct,
    write_enhanced,
    write_projection,
)
from tests.helpers.phantoms import PLANES, Phantom, oblique

SMALL = Phantom(shape=(8, 20, 16), radius_mm=5)


def one_series(folder: Path) -> Series:
    (study,) = scan([folder]).studies
    (series,) = study.series
    return series


def loaded(folder: Path) -> LoadedSeries:
    return load(one_series(folder))


def one_volume(folder: Path) -> Volume:
    (volume,) = loaded(folder).volumes
    return volume


def far_corner_apart_mm(volume: Volume, affine: npt.NDArray[np.float64]) -> float:
    corners = np.array(
        [(k, j, i, 1) for k in (0, 1) for j in (0, 1) for i in (0, 1)], dtype=np.float64
    )
    corners[:, :3] *= np.array(volume.geometry.shape) - 1
    return float(np.abs(corners @ (volume.geometry.affine - affine).T).max())


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("reverse", [False, True])
def test_orientation(tmp_path: Path, plane: str, *, reverse: bool) -> None:
    phantom = SMALL.turned(PLANES[plane])
    paths = write_ct(tmp_path, phantom, CtOptions(shuffled=reverse))
    if reverse:
        paths[0].rename(tmp_path / "zzz")
    volume = one_volume(tmp_path)
    assert volume.geometry.calibration is Calibration.PATIENT
    assert far_corner_apart_mm(volume, phantom.affine) < 1e-6
    assert np.array_equal(volume.values(), phantom.values())
    assert volume.notes == ()


@settings(max_examples=12, deadline=None)
@given(
    about_x=st.floats(-80, 80),
    about_z=st.floats(-170, 170),
    tilt=st.sampled_from([0.0, -20.0, 12.5]),
    step=st.floats(0.3, 8),
)
def test_any_lie_in_the_patient(
    tmp_path_factory: pytest.TempPathFactory,
    about_x: float,
    about_z: float,
    tilt: float,
    step: float,
) -> None:
    folder = tmp_path_factory.mktemp("oblique")
    phantom = replace(
        SMALL.turned(oblique(about_x, about_z)), tilt_deg=tilt, spacing_mm=(step, 0.9, 0.6)
    )
    write_ct(folder, phantom, CtOptions(shuffled=True))
    volume = one_volume(folder)
    assert far_corner_apart_mm(volume, phantom.affine) < 1e-4
    assert np.array_equal(volume.values(), phantom.values())
    assert any("askew" in note for note in volume.notes) == (tilt != 0)
    shutil.rmtree(folder)


def test_sphere_volume_does_not_ask_slice_thickness(tmp_path: Path) -> None:
    phantom = Phantom(tilt_deg=20)
    write_ct(tmp_path, phantom)
    volume = one_volume(tmp_path)
    inside = (volume.values() == phantom.inside).sum()
    measured_ml = float(inside) * volume.geometry.voxel_volume_ml
    assert measured_ml == pytest.approx(phantom.volume_ml, rel=0.02)


def test_missing_slice_stays_empty_and_moves_nothing(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(missing=(3,)))
    volume = one_volume(tmp_path)
    assert volume.geometry.shape == SMALL.shape
    assert far_corner_apart_mm(volume, SMALL.affine) < 1e-6
    kept = [k for k in range(8) if k != 3]
    assert np.array_equal(volume.values()[kept], SMALL.values()[kept])
    assert (volume.values()[3] == -1024).all()
    assert any("7.5 mm" in note for note in volume.notes)
    assert volume.instance_uids[3] == ""


def test_two_spacings_are_two_volumes(tmp_path: Path) -> None:
    near = replace(SMALL, shape=(6, 20, 16), spacing_mm=(2.0, 0.8, 0.7))
    z = near.origin_lps_mm[2] + 5 * 2.0 + 1.1
    far = replace(near, spacing_mm=(5.0, 0.8, 0.7), origin_lps_mm=(*near.origin_lps_mm[:2], z))
    datasets = ct_datasets(near)
    for n, ds in enumerate(ct_datasets(far)):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("far", n)
        datasets.append(ds)
    for n, ds in enumerate(datasets):
        save(ds, tmp_path / str(n))
    volumes = loaded(tmp_path).volumes
    assert sorted(round(v.geometry.spacing_mm[0], 6) for v in volumes) == [2.0, 5.0]
    for volume in volumes:
        step = volume.geometry.spacing_mm[0]
        truth = near if step < 3 else far
        assert far_corner_apart_mm(volume, truth.affine) < 1e-6
        assert any("unevenly" in note for note in volume.notes)


def test_positions_without_any_grid_give_no_millimetres(tmp_path: Path) -> None:
    places = {k: {"ImagePositionPatient": [0, 0, z]} for k, z in enumerate((0, 1, 3, 7, 15))}
    write_ct(tmp_path, replace(SMALL, shape=(5, 20, 16)), CtOptions(per_slice=places))
    volume = one_volume(tmp_path)
    assert volume.geometry.calibration is Calibration.NONE
    assert volume.geometry.shape == (5, 20, 16)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": None},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": None},
        {"ImagePositionPatient": None},
    ],
)
def test_geometry_is_not_guessed(tmp_path: Path, attributes: dict[str, object]) -> None:
    write_ct(tmp_path, SMALL, CtOptions(extra=attributes))
    volume = one_volume(tmp_path)
    assert volume.geometry.calibration is Calibration.NONE
    assert volume.geometry.shape == SMALL.shape
    assert any("without millimetres" in note for note in volume.notes)
    assert np.array_equal(volume.values(), SMALL.values())


def test_two_patients_in_one_series_are_kept_apart(tmp_path: Path) -> None:
    whose = {k: {"PatientID": "OTHER"} for k in range(1, 8, 2)}
    write_ct(tmp_path, SMALL, CtOptions(per_slice=whose))
    result = scan([tmp_path])
    assert {study.patient.id for study in result.studies} == {"PHANTOM-1", "OTHER"}
    assert len({study.uid for study in result.studies}) == 2
    assert len({series.uid for study in result.studies for series in study.series}) == 2
    assert any("Two patients" in problem.reason for problem in result.problems)
    for study in result.studies:
        (volume,) = load(study.series[0]).volumes
        assert volume.geometry.shape[0] == 4


def test_two_frames_of_reference_never_share_a_volume(tmp_path: Path) -> None:
    frames = {k: {"FrameOfReferenceUID": uid("other")} for k in range(4, 8)}
    write_ct(tmp_path, SMALL, CtOptions(per_slice=frames))
    volumes = loaded(tmp_path).volumes
    assert [volume.geometry.shape[0] for volume in volumes] == [4, 4]
    assert len({volume.geometry.frame_of_reference_uid for volume in volumes}) == 2


def test_localizer_and_other_sizes_are_split_off(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL)
    scout = replace(SMALL, shape=(1, 20, 16)).turned(PLANES["coronal"])
    smaller = replace(SMALL, shape=(2, 10, 16))
    for name, phantom in (("scout", scout), ("small", smaller)):
        for k, ds in enumerate(ct_datasets(phantom)):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(name, k)
            if name == "scout":
                ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            save(ds, tmp_path / f"{name}{k}")
    volumes = loaded(tmp_path).volumes
    assert [v.geometry.shape for v in volumes] == [(8, 20, 16), (2, 10, 16), (1, 20, 16)]
    assert far_corner_apart_mm(volumes[0], SMALL.affine) < 1e-6
    assert volumes[2].geometry.orientation[0] in "PA"


@pytest.mark.parametrize(
    ("keyword", "words"),
    [
        ("EchoTime", "Echo time {} ms"),
        ("DiffusionBValue", "b {} s/mm2"),
        ("NominalPercentageOfCardiacPhase", "Phase {} %"),
        ("TemporalPositionIdentifier", "Time point {}"),
        ("AcquisitionNumber", "Acquisition {}"),
    ],
)
def test_repeated_places_are_told_apart(tmp_path: Path, keyword: str, words: str) -> None:
    for moment in (3, 1, 2):
        shifted = replace(SMALL, inside=100 * moment)
        options = CtOptions(extra={keyword: moment, "InstanceNumber": None})
        for k, ds in enumerate(ct_datasets(shifted, options)):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(moment, k)
            save(ds, tmp_path / f"{moment}-{k}")
    volumes = loaded(tmp_path).volumes
    assert [volume.time_index for volume in volumes] == [0, 1, 2]
    for moment, volume in enumerate(volumes, start=1):
        assert np.array_equal(volume.values(), replace(SMALL, inside=100 * moment).values())
        assert volume.notes[0] == words.format(moment)


def test_a_second_slice_at_one_place_is_a_volume_of_its_own(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL)
    extra = ct_datasets(SMALL)[2]
    extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = uid("twice")
    extra.InstanceNumber = 99
    save(extra, tmp_path / "twice")
    volumes = loaded(tmp_path).volumes
    assert [volume.geometry.shape[0] for volume in volumes] == [8, 1]
    assert [volume.time_index for volume in volumes] == [None, None]
    assert far_corner_apart_mm(volumes[0], SMALL.affine) < 1e-6
    assert any("share a place" in note for note in volumes[0].notes)


def test_one_unreadable_slice_keeps_the_others_in_place(tmp_path: Path) -> None:
    paths = write_ct(tmp_path, SMALL)
    paths[2].write_bytes(paths[2].read_bytes()[:-200])
    result = loaded(tmp_path)
    (volume,) = result.volumes
    assert far_corner_apart_mm(volume, SMALL.affine) < 1e-6
    kept = [k for k in range(8) if k != 2]
    assert np.array_equal(volume.values()[kept], SMALL.values()[kept])
    assert (volume.values()[2] == -1024).all()
    assert [problem.path for problem in result.problems] == [paths[2]]
    assert "cut short" in result.problems[0].reason
    assert any("Slice 3 of 8" in note for note in volume.notes)


def test_enhanced_frames_lie_where_their_groups_say(tmp_path: Path) -> None:
    phantom = SMALL.turned(oblique(25, 40))
    truth = write_enhanced(tmp_path / "mf", phantom, times=3, shuffled=True)
    volumes = loaded(tmp_path).volumes
    assert [volume.time_index for volume in volumes] == [0, 1, 2]
    for time, volume in enumerate(volumes):
        assert far_corner_apart_mm(volume, phantom.affine) < 1e-5
        assert np.array_equal(volume.voxels, truth[time])
        assert np.array_equal(volume.values(), truth[time].astype(np.float32) * 2 - 7)


@pytest.mark.parametrize(
    ("attributes", "calibration", "row_mm", "column_mm"),
    [
        ({}, Calibration.NONE, 1, 1),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, Calibration.DETECTOR, 0.2, 0.1),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
            Calibration.MAGNIFIED,
            0.16,
            0.08,
        ),
        (
            {
                "ImagerPixelSpacing": [0.2, 0.2],
                "DistanceSourceToDetector": 1800,
                "DistanceSourceToPatient": 1500,
            },
            Calibration.MAGNIFIED,
            0.2 / 1.2,
            0.2 / 1.2,
        ),
        (
            {"PixelSpacing": [0.12, 0.12], "PixelSpacingCalibrationType": "FIDUCIAL",
             "ImagerPixelSpacing": [0.2, 0.2]},
            Calibration.FIDUCIAL,
            0.12,
            0.12,
        ),
        (
            {"PixelSpacing": [0.12, 0.12], "PixelSpacingCalibrationType": "GEOMETRY",
             "ImagerPixelSpacing": [0.2, 0.2]},
            Calibration.MAGNIFIED,
            0.12,
            0.12,
        ),
        (
            {"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.2, 0.2]},
            Calibration.DETECTOR,
            0.2,
            0.2,
        ),
        (
            {"PixelSpacing": [0.15, 0.15], "ImagerPixelSpacing": [0.2, 0.2]},
            Calibration.MAGNIFIED,
            0.15,
            0.15,
        ),
        ({"ImagerPixelSpacing": [0, 0.1]}, Calibration.NONE, 1, 1),
        ({"PixelAspectRatio": [3, 2]}, Calibration.NONE, 1.5, 1),
    ],
)  # fmt: skip
def test_projection_pixel_size(
    tmp_path: Path,
    attributes: dict[str, object],
    calibration: Calibration,
    row_mm: float,
    column_mm: float,
) -> None:
    stored = write_projection(tmp_path / "dx", attributes=attributes)
    volume = one_volume(tmp_path)
    assert volume.geometry.calibration is calibration
    assert volume.geometry.spacing_mm[1:] == pytest.approx((row_mm, column_mm))
    assert np.array_equal(volume.voxels[0], stored)


def test_a_projection_with_a_position_is_still_no_slice(tmp_path: Path) -> None:
    write_projection(
        tmp_path / "dx",
        attributes={
            "ImagePositionPatient": [0, 0, 0],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [0.2, 0.2],
            "ImagerPixelSpacing": [0.2, 0.2],
        },
    )
    assert one_volume(tmp_path).geometry.calibration is Calibration.DETECTOR


def test_a_patient_known_in_part_is_the_same_patient(tmp_path: Path) -> None:
    write_ct(tmp_path / "a", SMALL)
    write_projection(tmp_path / "b", who=Who(birth_date=""))
    (study,) = scan([tmp_path]).studies
    assert len(study.series) == 2


def test_what_is_missing_counts_in_no_statistics(tmp_path: Path) -> None:
    """A slice that is not there is drawn empty, and its emptiness is no value of the patient."""
    warm = replace(SMALL, inside=80)
    paths = write_ct(tmp_path, warm, CtOptions(missing=(3,)))
    paths[4].write_bytes(paths[4].read_bytes()[:-200])
    (volume,) = loaded(tmp_path).volumes
    assert volume.empty_slices == (3, 5)
    described = info([tmp_path])["patients"][0]["studies"][0]["series"][0]["volumes"][0]
    there = [k for k in range(warm.shape[0]) if k not in (3, 5)]
    assert described["mean"] == pytest.approx(float(warm.values()[there].mean()), rel=1e-6)
    assert described["min"] == -1000


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("ImageOrientationPatient", None, "Image Orientation is missing"),
        ("ImageOrientationPatient", [0] * 6, "Image Orientation makes no sense"),
        ("ImagePositionPatient", None, "Image Position is missing"),
        ("PixelSpacing", [0, 0], "Pixel Spacing makes no sense"),
    ],
)
def test_what_keeps_a_slice_without_a_place_is_named(
    tmp_path: Path, keyword: str, value: list[int] | None, words: str
) -> None:
    write_ct(tmp_path, SMALL, CtOptions(extra={keyword: value}))
    (volume,) = loaded(tmp_path).volumes
    assert volume.geometry.calibration is Calibration.NONE
    assert "Orientation unknown" in volume.notes[0]
    assert words in volume.notes[0]
