"""Times of frames and ultrasound regions as headers state them, and videos inside DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedXAImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
    VideoEndoscopicImageStorage,
    XRayAngiographicImageStorage,
)

from medview.core.clip import Clip, RegionFormat, fitting
from medview.core.geometry import Calibration
from medview.core.study import SeriesKind, Severity
from medview.core.volume import Volume
from medview.imaging.windowing import apply_window
from medview.io.cine import UNTIMED, Timing, regions_of, timing_of
from medview.io.plan import LoadedSeries
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import Who, new_dataset, save, set_pixels, uid
from tests.unit.io.test_video import encoded, moving

UNITS = ("1", "%", "dB", "cm", "s", "Hz", "dB/s", "cm/s", "cm2", "cm2/s", "cm3", "cm3/s", "deg")
FRAME_TIME, FRAME_TIME_VECTOR, PAGES = 0x00181063, 0x00181065, 0x00182001


def timing(count: int = 3, **stated: Any) -> Timing:
    """What is made of a header that states these."""
    ds = Dataset()
    for keyword, value in stated.items():
        setattr(ds, keyword, value)
    texts = {}
    for keyword in ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"):
        value = stated.get(keyword)
        if value is not None:
            texts[keyword] = "\\".join(map(str, value)) if isinstance(value, list) else str(value)
    return timing_of(texts, ds, count)


@pytest.mark.parametrize(
    ("stated", "times"),
    [
        ({"FrameTime": "33"}, (0, 0.033, 0.066)),
        ({"RecommendedDisplayFrameRate": "25"}, (0, 0.04, 0.08)),
        ({"CineRate": "10"}, (0, 0.1, 0.2)),
        ({"FrameTime": "0", "CineRate": "10"}, (0, 0.1, 0.2)),
        # The first increment belongs to the first frame and counts nothing (PS3.3 C.7.6.5).
        ({"FrameTimeVector": ["0", "100", "50"]}, (0, 0.1, 0.15)),
        ({"FrameTimeVector": ["40", "100", "50"]}, (0, 0.1, 0.15)),
        ({"FrameTimeVector": ["100", "50"]}, (0, 0.1, 0.15)),
        ({"FrameTimeVector": ["0", "100", "0"]}, (0, 0.1, 0.1)),
        ({"FrameTimeVector": ["0", "100", "-50"], "CineRate": "10"}, (0, 0.1, 0.2)),
        (
            {"FrameTimeVector": ["0", "1"], "FrameTime": "20"},
            (0, 0.02, 0.04),
        ),
        ({"ActualFrameDuration": "200"}, (0, 0.2, 0.4)),
        ({"EffectiveDuration": 1.5}, (0, 0.5, 1.0)),
    ],
)
def test_times_of_frames(stated: dict[str, Any], times: tuple[float, ...]) -> None:
    found = timing(**stated)
    assert found.times_s == pytest.approx(times)
    assert not found.tolerated


def test_the_pointer_says_which_of_two_times_holds() -> None:
    both = {"FrameTime": "10", "FrameTimeVector": ["0", "100", "50"]}
    vector = timing(**both, FrameIncrementPointer=FRAME_TIME_VECTOR)
    assert vector.times_s == pytest.approx((0, 0.1, 0.15))
    assert timing(**both, FrameIncrementPointer=FRAME_TIME).times_s == pytest.approx(
        (0, 0.01, 0.02)
    )


@pytest.mark.parametrize("stated", [{}, {"FrameTimeVector": ["0"]}, {"CineRate": "0"}])
def test_without_any_time_one_a_second_is_assumed_and_told(stated: dict[str, Any]) -> None:
    found = timing(**stated)
    assert found.times_s == (0, 1, 2)
    assert found.tolerated == (UNTIMED,)


def test_frames_of_enhanced_objects_carry_their_own_times() -> None:
    groups = []
    for second in ("01.5", "02.0", "03.25"):
        content = Dataset()
        content.FrameAcquisitionDateTime = f"202601020930{second}"
        item = Dataset()
        item.FrameContentSequence = Sequence([content])
        groups.append(item)
    found = timing(PerFrameFunctionalGroupsSequence=Sequence(groups))
    assert found.times_s == pytest.approx((0, 0.5, 1.75))


def test_sweeping_and_heart_beats_are_taken_over() -> None:
    found = timing(FrameTime="33", PreferredPlaybackSequencing=1, RWaveTimeVector=[120.0, 980.0])
    assert found.sweeps
    assert found.notes == ("R waves at 0.12, 0.98 s",)
    assert not timing(FrameTime="33", PreferredPlaybackSequencing=0).sweeps


def region(**change: Any) -> Dataset:
    item = Dataset()
    stated = {
        "RegionSpatialFormat": 3, "RegionDataType": 3, "RegionFlags": 1,
        "RegionLocationMinX0": 10, "RegionLocationMinY0": 20, "RegionLocationMaxX1": 59,
        "RegionLocationMaxY1": 44, "PhysicalUnitsXDirection": 4, "PhysicalUnitsYDirection": 7,
        "PhysicalDeltaX": 0.01, "PhysicalDeltaY": -0.5, "ReferencePixelX0": 0,
        "ReferencePixelY0": 12, "ReferencePixelPhysicalValueX": 2.0,
        "ReferencePixelPhysicalValueY": 0.0,
    } | change  # fmt: skip
    for keyword, value in stated.items():
        if value is not None:
            setattr(item, keyword, value)
    return item


def regions(*items: Dataset, rows: int = 48, columns: int = 64) -> tuple[Any, tuple[str, ...]]:
    ds = Dataset()
    ds.SequenceOfUltrasoundRegions = Sequence(items)
    return regions_of(ds, rows, columns)


def test_regions_keep_units_origin_and_sign() -> None:
    (found,), told = regions(region())
    assert (found.box_px, found.spacing, found.unit) == (
        (10, 20, 59, 44), (0.01, -0.5), ("s", "cm/s")
    )  # fmt: skip
    assert (found.format, found.data_type, found.is_low_priority) == (
        RegionFormat.SPECTRUM,
        3,
        True,
    )
    # 10 pixels below the base line, at row 32: velocity away from the probe.
    assert found.value_at(20, 42) == pytest.approx((2.1, -5.0))
    assert told == ()


@pytest.mark.parametrize(
    ("code", "unit"),
    list(enumerate(UNITS)),
)
def test_units_of_regions(code: int, unit: str) -> None:
    (found,), _ = regions(region(PhysicalUnitsXDirection=code))
    assert found.unit[0] == unit


@pytest.mark.parametrize(
    "change",
    [
        {"PhysicalUnitsXDirection": 13}, {"PhysicalDeltaX": None}, {"RegionLocationMaxX1": 5},
        {"PhysicalDeltaY": float("nan")}, {"RegionLocationMinX0": None},
    ],
)  # fmt: skip
def test_regions_that_make_no_sense_are_left_out(change: dict[str, Any]) -> None:
    found, _ = regions(region(**change), region())
    assert len(found) == 1


def test_regions_beside_the_picture_are_told() -> None:
    found, told = regions(region(), rows=24, columns=32)
    assert len(told) == 1
    assert fitting(found, 24, 32) == ()
    assert fitting(found, 48, 64) == found


def written(path: Path, ds: Dataset, **extra: Any) -> LoadedSeries:
    for keyword, value in extra.items():
        setattr(ds, keyword, value)
    save(ds, path)
    (study,) = scan([path]).studies
    return load(study.series[0])


def multi_frame(
    storage: str, modality: str, count: int = 4
) -> tuple[Dataset, np.ndarray[Any, Any]]:
    frames = np.arange(count * 48, dtype=np.uint8).reshape(count, 6, 8)
    ds = new_dataset(Who(), storage, uid(modality), modality, uid(f"{modality} series"))
    set_pixels(ds, frames)
    ds.NumberOfFrames = count
    return ds, frames


def test_angiography_keeps_its_calibration(tmp_path: Path) -> None:
    ds, frames = multi_frame(XRayAngiographicImageStorage, "XA")
    loaded = written(tmp_path / "a", ds, FrameTime="66.6", FrameIncrementPointer=FRAME_TIME,
                     ImagerPixelSpacing=["0.4", "0.3"])  # fmt: skip
    (clip,) = loaded.clips
    assert np.array_equal(clip.frames, frames)
    assert clip.pictures.geometry.calibration is Calibration.DETECTOR
    assert clip.pictures.geometry.spacing_mm[1:] == pytest.approx((0.4, 0.3))


def test_enhanced_angiography_is_a_clip_calibrated_by_its_groups(tmp_path: Path) -> None:
    ds, frames = multi_frame(EnhancedXAImageStorage, "XA")
    shared, properties = Dataset(), Dataset()
    properties.ImagerPixelSpacing = ["0.4", "0.3"]
    shared.FramePixelDataPropertiesSequence = [properties]
    ds.SharedFunctionalGroupsSequence = [shared]
    items = []
    for second in range(4):
        item, content = Dataset(), Dataset()
        content.FrameReferenceDateTime = f"2024050110150{second}.5"
        item.FrameContentSequence = [content]
        items.append(item)
    loaded = written(tmp_path / "a", ds, PerFrameFunctionalGroupsSequence=items)
    (study,) = scan([tmp_path / "a"]).studies
    assert study.series[0].kind is SeriesKind.CLIP
    (clip,) = loaded.clips
    assert np.array_equal(clip.frames, frames)
    assert clip.frame_times_s == pytest.approx((0, 1, 2, 3))
    assert clip.pictures.geometry.calibration is Calibration.DETECTOR
    assert clip.pictures.geometry.spacing_mm[1:] == pytest.approx((0.4, 0.3))


def test_grey_clips_without_a_window_are_seen_as_recorded(tmp_path: Path) -> None:
    ds, _ = multi_frame(UltrasoundMultiFrameImageStorage, "US")
    (clip,) = written(tmp_path / "a", ds, FrameTime="40").clips
    (window,) = clip.pictures.default_windows
    stored = np.arange(256)
    assert np.array_equal(np.floor(apply_window(stored, window) + 0.5), stored)


def test_ultrasound_has_no_pixel_spacing(tmp_path: Path) -> None:
    ds, _ = multi_frame(UltrasoundMultiFrameImageStorage, "US")
    loaded = written(tmp_path / "a", ds, FrameTime="40", FrameIncrementPointer=FRAME_TIME,
                     PixelSpacing=["0.4", "0.3"])  # fmt: skip
    (clip,) = loaded.clips
    assert clip.pictures.geometry.calibration is Calibration.NONE


def test_pages_are_no_moments(tmp_path: Path) -> None:
    ds, frames = multi_frame(SecondaryCaptureImageStorage, "OT")
    loaded = written(tmp_path / "a", ds, FrameIncrementPointer=PAGES, PageNumberVector=[1, 2, 3, 4])
    assert not loaded.clips
    assert all(isinstance(one, Volume) for one in loaded.volumes)
    assert sum(len(one.voxels) for one in loaded.volumes) == len(frames)


def endoscopy(data: bytes, syntax: str, count: int | None, **extra: Any) -> Dataset:
    """A video object as endoscopes write it: one stream in one or more fragments."""
    ds = new_dataset(Who(), VideoEndoscopicImageStorage, uid("video"), "ES", uid("video series"))
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 48, 64, 3, 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PhotometricInterpretation = "YBR_PARTIAL_420"
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([data], fragments_per_frame=extra.pop("fragments", 1), has_bot=False)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    if count is not None:
        ds.NumberOfFrames = count
    for keyword, value in extra.items():
        setattr(ds, keyword, value)
    return ds


def opened(path: Path, ds: Dataset) -> tuple[Clip, LoadedSeries]:
    ds.save_as(path, enforce_file_format=True)
    (study,) = scan([path]).studies
    assert study.series[0].kind is SeriesKind.CLIP
    loaded = load(study.series[0])
    (clip,) = loaded.clips
    return clip, loaded


@pytest.mark.parametrize(
    ("syntax", "codec", "container", "pixels"),
    [
        ("100", "mpeg2video", "mpeg2video", "yuv420p"),
        ("101", "mpeg2video", "mpegts", "yuv420p"),
        ("102", "libx264", "h264", "yuv420p"),
        ("103", "libx264", "mp4", "yuv420p"),
        ("104.1", "libx264", "mpegts", "yuv420p"),
        ("107", "libx265", "hevc", "yuv420p"),
        ("108", "libx265", "mp4", "yuv420p10le"),
    ],
)
def test_videos_inside_objects_are_those_of_the_stream(
    tmp_path: Path, syntax: str, codec: str, container: str, pixels: str
) -> None:
    quiet = {"x265-params": "log-level=none:lossless=1"} if codec == "libx265" else {}
    frames = moving()
    data = encoded(frames, codec, container, pixels=pixels, **quiet)
    ds = endoscopy(data, f"1.2.840.10008.1.2.4.{syntax}", 12, FrameTime="40",
                   FrameIncrementPointer=FRAME_TIME)  # fmt: skip
    clip, loaded = opened(tmp_path / "a", ds)
    assert clip.frames.shape == frames.shape
    assert clip.frame_times_s == pytest.approx(np.arange(12) * 0.04)
    assert not loaded.problems
    # The codecs lose a little; each frame is still nearest to its own original.
    apart = np.abs(clip.frames[:, None].astype(int) - frames[None].astype(int)).mean(axis=(2, 3, 4))
    assert np.array_equal(apart.argmin(axis=1), np.arange(12))


def test_streams_in_several_fragments_are_put_together(tmp_path: Path) -> None:
    data = encoded(moving(), "libx264", "mp4", pixels="yuv420p")
    syntax = "1.2.840.10008.1.2.4.102.1"
    whole, _ = opened(tmp_path / "a", endoscopy(data, syntax, 12, FrameTime="40"))
    parts, _ = opened(tmp_path / "b", endoscopy(data, syntax, 12, FrameTime="40", fragments=5))
    assert np.array_equal(whole.frames, parts.frames)


def test_without_times_in_the_header_those_of_the_stream_hold(tmp_path: Path) -> None:
    times_ms = [0, 40, 55, 200, 201, 900, 1000, 1040, 1400, 1410, 1500, 2000]
    data = encoded(moving(), "libx264", "mp4", pixels="yuv420p", times_ms=times_ms)
    clip, loaded = opened(tmp_path / "a", endoscopy(data, "1.2.840.10008.1.2.4.102", None))
    assert clip.frame_times_s == pytest.approx(np.array(times_ms) / 1000)
    assert not loaded.problems


def test_fewer_frames_than_the_header_says_are_told(tmp_path: Path) -> None:
    data = encoded(moving(), "libx264", "mp4", pixels="yuv420p")
    ds = endoscopy(data, "1.2.840.10008.1.2.4.102", 20, FrameTime="40")
    clip, loaded = opened(tmp_path / "a", ds)
    assert len(clip.frames) == 12
    (problem,) = loaded.problems
    assert problem.reason.startswith("12 of 20 frames")
    assert problem.severity is Severity.WARNING


@pytest.mark.parametrize("change", [{"Rows": 50}, {"PixelData": encapsulate([b"nonsense" * 40])}])
def test_streams_that_contradict_the_header_are_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    data = encoded(moving(), "libx264", "mp4", pixels="yuv420p")
    ds = endoscopy(data, "1.2.840.10008.1.2.4.102", 12, FrameTime="40", **change)
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    (study,) = scan([tmp_path]).studies
    loaded = load(study.series[0])
    assert not loaded.clips
    assert loaded.problems[0].severity is Severity.REFUSED


def test_real_cine_files_are_those_of_pydicom(shared: Path) -> None:
    for path in sorted((shared / "data" / "multiframe").iterdir()):
        (study,) = scan([path]).studies
        for clip in load(study.series[0]).clips:
            ds = dcmread(path)
            step_s = float(ds.FrameTime) / 1000
            assert clip.frame_times_s == pytest.approx(np.arange(ds.NumberOfFrames) * step_s)
            if clip.pictures.channels == 1:
                truth = ds.pixel_array
                assert np.abs(truth.astype(int) - clip.frames).max() <= 1
