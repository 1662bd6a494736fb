"""Doses, nuclear medicine and series of several stations, by formula."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import NuclearMedicineImageStorage, RTDoseStorage

from medview.core.geometry import Calibration
from medview.core.study import Series, SeriesKind
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import (
    CtOptions,
    Who,
    ct_datasets,
    new_dataset,
    save,
    set_pixels,
    uid,
)
from tests.helpers.phantoms import AXIAL, Phantom, oblique

SMALL = Phantom(shape=(6, 14, 18), spacing_mm=(3.0, 0.9, 0.7), radius_mm=5)
RNG = np.random.default_rng(3)


def opened(path: Path) -> tuple[Series, LoadedSeries]:
    """The only series at a place."""
    (study,) = scan([path]).studies
    (series,) = study.series
    return series, load(series)


def dose(path: Path, offsets: list[float], **changes: Any) -> np.ndarray[Any, Any]:
    """An oblique dose grid; gives its stored values."""
    who = Who()
    ds = new_dataset(who, RTDoseStorage, uid(path.name), "RTDOSE", uid(path.name, "s"))
    stored = RNG.integers(0, 60000, (len(offsets), 14, 18)).astype(np.uint32)
    set_pixels(ds, stored)
    turned = SMALL.turned(oblique(20, 30))
    ds.NumberOfFrames = len(offsets)
    ds.FrameOfReferenceUID = who.frame_of_reference_uid
    ds.ImagePositionPatient = [f"{x:.6f}" for x in turned.position(0)]
    ds.ImageOrientationPatient = [f"{x:.12f}" for x in (*turned.row, *turned.column)]
    ds.PixelSpacing = ["0.9", "0.7"]
    ds.GridFrameOffsetVector = [str(offset) for offset in offsets]
    ds.DoseUnits, ds.DoseType, ds.DoseGridScaling = "GY", "PHYSICAL", "0.0012"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    save(ds, path)
    return stored


@pytest.mark.parametrize("start", [0.0, 41.5])
@pytest.mark.parametrize("step", [3.0, -3.0])
def test_a_dose_lies_along_its_normal(tmp_path: Path, start: float, step: float) -> None:
    stored = dose(tmp_path / "d", [start + step * k for k in range(6)])
    series, loaded = opened(tmp_path / "d")
    assert series.kind is SeriesKind.DOSE
    (volume,) = loaded.volumes
    values = volume.values()
    turned = SMALL.turned(oblique(20, 30))
    for k in range(6):
        truth = turned.position(0) + step * k * turned.normal
        at = volume.geometry.to_index(truth)
        assert at == pytest.approx(np.rint(at), abs=1e-3)
        plane = values[round(at[0])]
        assert np.allclose(plane, stored[k] * 0.0012, rtol=1e-6)
    assert (volume.unit, volume.quantity.meaning) == ("Gy", "Absorbed Dose")


def test_offsets_that_are_positions_on_the_axis(tmp_path: Path) -> None:
    """They grow towards the head however the plane is turned (PS3.3 C.8.8.3.2)."""
    stored = dose(
        tmp_path / "d",
        [40.0, 43.0, 46.0],
        ImagePositionPatient=[-5, -6, 40],
        ImageOrientationPatient=[1, 0, 0, 0, -1, 0],
    )
    (volume,) = opened(tmp_path / "d")[1].volumes
    values = volume.values()
    for k, height in enumerate((40, 43, 46)):
        at = volume.geometry.to_index(np.array([-5.0, -6.0, height]))
        assert np.allclose(values[round(at[0])], stored[k] * 0.0012, rtol=1e-6)
        assert at == pytest.approx(np.rint(at), abs=1e-3)


def test_a_dose_without_scaling_shows_nothing(tmp_path: Path) -> None:
    dose(tmp_path / "d", [0, 3], DoseGridScaling=None)
    _, loaded = opened(tmp_path / "d")
    assert loaded.volumes == ()
    assert "Dose Grid Scaling" in loaded.problems[0].reason


def test_a_dose_without_offsets_has_no_place(tmp_path: Path) -> None:
    dose(tmp_path / "d", [0, 3, 6], GridFrameOffsetVector=None)
    _, loaded = opened(tmp_path / "d")
    assert loaded.volumes[0].geometry.calibration is Calibration.NONE


def nuclear(path: Path, kind: str, frames: int, **changes: Any) -> np.ndarray[Any, Any]:
    """A nuclear medicine object of that image type; gives its stored values."""
    who = Who()
    ds = new_dataset(who, NuclearMedicineImageStorage, uid(path.name), "NM", uid(path.name, "s"))
    stored = RNG.integers(0, 900, (frames, 14, 18)).astype(np.uint16)
    set_pixels(ds, stored)
    ds.NumberOfFrames, ds.ImageType = frames, ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    ds.PixelSpacing = ["0.9", "0.7"]
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    save(ds, path)
    return stored


def detector() -> Sequence:
    """Where the first slice of SMALL lies."""
    item = Dataset()
    item.ImagePositionPatient = [str(x) for x in SMALL.position(0)]
    item.ImageOrientationPatient = [str(x) for x in (*AXIAL[0], *AXIAL[1])]
    return Sequence([item])


@pytest.mark.parametrize("step", [3.0, -3.0])
def test_a_reconstruction_lies_where_its_detector_says(tmp_path: Path, step: float) -> None:
    stored = nuclear(
        tmp_path / "n", "RECON TOMO", 6, SpacingBetweenSlices=str(step),
        DetectorInformationSequence=detector(), SliceVector=[1, 2, 3, 4, 5, 6],
    )  # fmt: skip
    _, loaded = opened(tmp_path / "n")
    (volume,) = loaded.volumes
    for k in range(6):
        index = volume.geometry.to_index(SMALL.position(0) + np.array([0, 0, step * k]))
        assert np.array_equal(volume.values()[round(index[0])], stored[k])
    assert volume.geometry.spacing_mm == pytest.approx((3, 0.9, 0.7))


def test_a_gated_reconstruction_is_a_volume_for_each_slot(tmp_path: Path) -> None:
    stored = nuclear(
        tmp_path / "n", "RECON GATED TOMO", 12, SpacingBetweenSlices="3",
        DetectorInformationSequence=detector(),
        SliceVector=[1, 2, 3, 4, 5, 6] * 2, TimeSlotVector=[1] * 6 + [2] * 6,
    )  # fmt: skip
    _, loaded = opened(tmp_path / "n")
    assert [volume.label for volume in loaded.volumes] == ["Time slot 1", "Time slot 2"]
    for slot, volume in enumerate(loaded.volumes):
        assert np.array_equal(volume.values(), stored[6 * slot : 6 * slot + 6])


def test_a_dynamic_study_is_a_clip_with_its_times(tmp_path: Path) -> None:
    phases = []
    for duration in (1000, 5000):
        item = Dataset()
        item.ActualFrameDuration, item.NumberOfFramesInPhase = duration, 2
        phases.append(item)
    nuclear(
        tmp_path / "n", "DYNAMIC", 4, PhaseVector=[1, 1, 2, 2],
        PhaseInformationSequence=Sequence(phases),
    )  # fmt: skip
    series, loaded = opened(tmp_path / "n")
    assert series.kind is SeriesKind.CLIP
    (clip,) = loaded.clips
    assert clip.frame_times_s == pytest.approx((0, 1, 2, 7))


def test_pauses_of_a_dynamic_study_count(tmp_path: Path) -> None:
    first, second = Dataset(), Dataset()
    first.PhaseDelay, first.ActualFrameDuration, first.PauseBetweenFrames = 300, 1000, 500
    second.PhaseDelay, second.ActualFrameDuration, second.PauseBetweenFrames = 4000, 2000, 0
    nuclear(
        tmp_path / "n", "DYNAMIC", 5, PhaseVector=[1, 1, 2, 2, 2],
        PhaseInformationSequence=Sequence([first, second]),
    )  # fmt: skip
    (clip,) = opened(tmp_path / "n")[1].clips
    # 1 s counted, 0.5 s pause, 1 s counted, 4 s until the next phase, which goes on without pause.
    assert clip.frame_times_s == pytest.approx((0, 1.5, 6.5, 8.5, 10.5))


def test_detectors_that_count_together_are_clips_of_their_own(tmp_path: Path) -> None:
    phase = Dataset()
    phase.ActualFrameDuration = 2000
    stored = nuclear(
        tmp_path / "n", "DYNAMIC", 6, PhaseVector=[1] * 6, DetectorVector=[1, 2] * 3,
        EnergyWindowVector=[1] * 6, PhaseInformationSequence=Sequence([phase]),
    )  # fmt: skip
    clips = opened(tmp_path / "n")[1].clips
    assert [clip.frame_times_s for clip in clips] == [(0, 2, 4)] * 2
    for detector, clip in enumerate(clips):
        assert np.array_equal(clip.pictures.voxels, stored[detector::2])
        assert f"Detector {detector + 1}" in clip.pictures.notes


def test_detectors_that_counted_once_show_each_their_own_picture(tmp_path: Path) -> None:
    stored = nuclear(tmp_path / "n", "DYNAMIC", 3, DetectorVector=[1, 2, 3])
    clips = opened(tmp_path / "n")[1].clips
    assert len(clips) == 3
    for clip, picture in zip(clips, stored, strict=True):
        assert np.array_equal(clip.pictures.voxels, picture[np.newaxis])


def write_slices(folder: Path, slices: list[Dataset]) -> None:
    """The slices as files with identifiers of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, ds in enumerate(slices):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(str(folder), number)
        ds.InstanceNumber = number + 1
        save(ds, folder / str(number))


def test_stations_that_overlap_are_volumes_of_their_own(tmp_path: Path) -> None:
    """Two passes of one series whose slices interleave: neither is a gap of the other."""
    z = SMALL.origin_lps_mm
    second = replace(SMALL, origin_lps_mm=(z[0], z[1], z[2] + 10.2))
    write_slices(tmp_path, [
        ds
        for number, phantom in enumerate((SMALL, second), start=1)
        for ds in ct_datasets(phantom, CtOptions(extra={"AcquisitionNumber": number}))
    ])  # fmt: skip
    _, loaded = opened(tmp_path)
    assert len(loaded.volumes) == 2
    for volume, phantom in zip(loaded.volumes, (SMALL, second), strict=True):
        assert np.allclose(volume.geometry.affine, phantom.affine)
        assert np.array_equal(volume.values(), phantom.values())
        assert any("Acquisition" in note for note in volume.notes)


def test_phases_whose_trigger_times_wander(tmp_path: Path) -> None:
    """A cine of the heart: every slice has its own times, in the same order."""
    slices = []
    for phase in range(3):
        phantom = replace(SMALL, inside=100 * phase + 50)
        for k, ds in enumerate(ct_datasets(phantom, CtOptions(modality="MR"))):
            ds.TriggerTime = str(100 * phase + 7 * k)
            slices.append(ds)
    order = np.random.default_rng(1).permutation(len(slices))
    write_slices(tmp_path, [slices[n] for n in order])
    _, loaded = opened(tmp_path)
    assert [volume.time_index for volume in loaded.volumes] == [0, 1, 2]
    for phase, volume in enumerate(loaded.volumes):
        assert np.array_equal(volume.values(), replace(SMALL, inside=100 * phase + 50).values())
        assert volume.label.startswith("Trigger time")


def test_a_last_pass_that_was_broken_off(tmp_path: Path) -> None:
    slices = []
    for moment in (1, 2, 3):
        options = CtOptions(
            missing=(2, 3, 4, 5) if moment == 3 else (),
            extra={"TemporalPositionIdentifier": moment},
        )
        slices += ct_datasets(replace(SMALL, inside=40 * moment), options)
    write_slices(tmp_path, slices)
    _, loaded = opened(tmp_path)
    assert [volume.label for volume in loaded.volumes] == [
        "Time point 1",
        "Time point 2",
        "Time point 3",
    ]
    assert [volume.geometry.shape[0] for volume in loaded.volumes] == [6, 6, 2]


def test_directions_of_diffusion(tmp_path: Path) -> None:
    weights = [("0", None), ("1000", [1.0, 0, 0]), ("1000", [0, 1.0, 0]), ("2000", [0, 0, 1.0])]
    slices = []
    for number, (weight, direction) in enumerate(weights):
        extra: dict[str, Any] = {"DiffusionBValue": float(weight)}
        if direction:
            extra["DiffusionGradientOrientation"] = direction
        options = CtOptions(modality="MR", extra=extra)
        slices += ct_datasets(replace(SMALL, inside=30 * number), options)
    write_slices(tmp_path, slices)
    _, loaded = opened(tmp_path)
    assert [volume.label for volume in loaded.volumes] == [
        "b 0 s/mm2",
        "b 1000 s/mm2, Gradient direction 0, 1, 0",
        "b 1000 s/mm2, Gradient direction 1, 0, 0",
        "b 2000 s/mm2",
    ]
