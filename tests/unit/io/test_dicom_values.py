"""What stored numbers mean: rescaling, signs, bits, padding, LUTs, windows, units, colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundMultiFrameImageStorage,
)

from medview.core.geometry import Calibration
from medview.core.volume import Volume
from medview.io.reading import load, thumbnail
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import (
    CtOptions,
    Who,
    ct_datasets,
    new_dataset,
    save,
    set_pixels,
    uid,
    write_ct,
    write_projection,
)
from tests.helpers.phantoms import Phantom

SMALL = Phantom(shape=(4, 20, 16), radius_mm=4)


def one_volume(path: Path) -> Volume:
    (study,) = scan([path]).studies
    (volume,) = load(study.series[0]).volumes
    return volume


def write_one(path: Path, ds: Dataset, **attributes: object) -> Path:
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return save(ds, path)


def secondary(stored: np.ndarray, bits_stored: int | None = None) -> Dataset:
    ds = new_dataset(Who(), SecondaryCaptureImageStorage, uid("sc"), "OT", uid("sc series"))
    set_pixels(ds, stored, bits_stored)
    return ds


def test_constant_rescale_keeps_stored_values(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(slope=0.5))
    volume = one_volume(tmp_path)
    assert volume.voxels.dtype == np.uint16
    assert (volume.slope, volume.intercept) == (0.5, -1024)
    assert np.array_equal(volume.values(), SMALL.values())
    assert volume.unit == "[hnsf'U]"


def test_a_scale_for_each_slice_gives_real_values(tmp_path: Path) -> None:
    slopes = (1.0, 2.0, 0.5, 1.0)
    write_ct(tmp_path, SMALL, CtOptions(slopes=slopes))
    volume = one_volume(tmp_path)
    assert volume.voxels.dtype == np.float32
    assert (volume.slope, volume.intercept) == (1, 0)
    stored = np.rint((SMALL.values() + 1024.0) / np.array(slopes)[:, None, None])
    truth = stored * np.array(slopes)[:, None, None] - 1024
    assert np.array_equal(volume.values(), truth.astype(np.float32))


def test_padding_survives_a_scale_for_each_slice(tmp_path: Path) -> None:
    padding = {"PixelPaddingValue": 24, "PixelPaddingRangeLimit": 30}
    write_ct(tmp_path, SMALL, CtOptions(slopes=(1.0, 2.0, 0.5, 1.0), extra=padding))
    volume = one_volume(tmp_path)
    padded = volume.is_padding(volume.voxels)
    assert np.array_equal(padded[0], SMALL.values()[0] == -1000)
    assert not padded[1].any()


@pytest.mark.parametrize("slope", ["0", "nan", "1e400", "abc"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_senseless_rescale_is_not_applied(tmp_path: Path, slope: str) -> None:
    from pydicom import config

    with config.disable_value_validation():
        for path in write_ct(tmp_path, SMALL):
            data = path.read_bytes()
            tag = b"\x28\x00\x53\x10DS"
            at = data.index(tag)
            length = int.from_bytes(data[at + 6 : at + 8], "little")
            text = slope.encode().ljust(len(slope) + len(slope) % 2)
            end = at + 8 + length
            path.write_bytes(data[: at + 6] + len(text).to_bytes(2, "little") + text + data[end:])
    volume = one_volume(tmp_path)
    assert volume.unit == "1"
    assert volume.geometry.calibration is Calibration.NONE
    assert any("make no sense" in note for note in volume.notes)
    assert np.array_equal(volume.values(), SMALL.values() + 1024)


def test_signed_values_in_fewer_bits(tmp_path: Path) -> None:
    true = np.array([[-2048, -1], [0, 2047]], dtype=np.int16)
    dirty = (true.astype(np.int64) & 0x0FFF).astype(np.int16)  # upper bits are no sign
    write_one(tmp_path / "a", secondary(dirty, 12))
    assert np.array_equal(one_volume(tmp_path).voxels[0], true)


def test_overlay_bits_are_no_pixels(tmp_path: Path) -> None:
    true = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
    write_one(tmp_path / "a", secondary(true | 0x8000, 12))
    assert np.array_equal(one_volume(tmp_path).voxels[0], true)


def test_high_bit_above_the_stored_bits(tmp_path: Path) -> None:
    true = np.arange(12, dtype=np.uint16).reshape(3, 4) * 80
    write_one(tmp_path / "a", secondary(true << 4, 12), HighBit=15)
    assert np.array_equal(one_volume(tmp_path).voxels[0], true)


def test_big_endian(tmp_path: Path) -> None:
    true = np.arange(30, dtype=np.uint16).reshape(5, 6) * 1000
    ds = secondary(true)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = true.astype(">u2").tobytes()
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    assert np.array_equal(one_volume(tmp_path).voxels[0], true)


@pytest.mark.parametrize("shape", [(5, 6), (5, 5), (2, 3, 5)])
def test_big_endian_bytes_in_words(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """OW turns two and two bytes, whatever they belong to (PS3.5 7.3)."""
    true = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    ds = secondary(true)
    if len(shape) == 3:
        ds.NumberOfFrames = shape[0]
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    words = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
    ds.add_new("PixelData", "OW", words)
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    (study,) = scan([tmp_path]).studies
    found = load(study.series[0])
    voxels = [clip.pictures.voxels for clip in found.clips] or [found.volumes[0].voxels]
    assert np.array_equal(voxels[0].reshape(shape), true)


def test_modality_lut_replaces_rescale(tmp_path: Path) -> None:
    table = (np.arange(256) ** 2 % 5000).astype(np.uint16)
    item = Dataset()
    item.LUTDescriptor = [256, 10, 16]
    item.add_new("LUTData", "OW", table.tobytes())
    item.ModalityLUTType = "US"
    stored = np.array([[0, 10, 11], [100, 265, 4000]], dtype=np.uint16)
    write_one(tmp_path / "a", secondary(stored), ModalityLUTSequence=DicomSequence([item]))
    volume = one_volume(tmp_path)
    truth = table[np.clip(stored.astype(int) - 10, 0, 255)]
    assert np.array_equal(volume.values()[0], truth)


def test_padding_as_the_pixels_have_it(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(extra={"PixelPaddingValue": 0}))
    assert one_volume(tmp_path).padding == (0, 0)


def test_signed_padding_written_unsigned(tmp_path: Path) -> None:
    ds = secondary(np.array([[-2000, 5]], dtype=np.int16))
    ds.add_new(0x00280120, "US", 65536 - 2000)
    save(ds, tmp_path / "a")
    volume = one_volume(tmp_path)
    assert volume.padding == (-2000, -2000)
    assert volume.is_padding(volume.voxels).tolist() == [[[True, False]]]


def test_windows_with_their_names_and_function(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(extra={"VOILUTFunction": "SIGMOID"}))
    windows = one_volume(tmp_path).default_windows
    assert [(w.center, w.width, w.explanation, w.function) for w in windows] == [
        (40, 400, "SOFT", "SIGMOID"),
        (-600, 1500, "LUNG", "SIGMOID"),
    ]


def test_a_window_without_width_is_left_out(tmp_path: Path) -> None:
    write_ct(tmp_path, SMALL, CtOptions(extra={"WindowWidth": ["0", "1500"]}))
    assert [w.width for w in one_volume(tmp_path).default_windows] == [1500]


def test_monochrome1_says_so(tmp_path: Path) -> None:
    write_projection(tmp_path / "a", monochrome1=True)
    assert one_volume(tmp_path).inverted


def test_mixed_photometric_never_share_a_volume(tmp_path: Path) -> None:
    mixed = {k: {"PhotometricInterpretation": "MONOCHROME1"} for k in (0, 1)}
    write_ct(tmp_path, SMALL, CtOptions(per_slice=mixed))
    (study,) = scan([tmp_path]).studies
    volumes = load(study.series[0]).volumes
    assert sorted((v.inverted, v.geometry.shape[0]) for v in volumes) == [(False, 2), (True, 2)]


@pytest.mark.parametrize(
    ("units", "kind", "unit"),
    [
        ("GML", "BW", "g/ml{SUVbw}"),
        ("GML", None, "g/ml{SUVbw}"),
        ("GML", "LBM", "g/ml{SUVlbm}"),
        ("BQML", None, "Bq/ml"),
        ("CNTS", None, "{counts}"),
    ],
)
def test_units_of_positron_emission(
    tmp_path: Path, units: str, kind: str | None, unit: str
) -> None:
    options = CtOptions(
        modality="PT",
        extra={"Units": units, "SUVType": kind, "RescaleType": None,
               "SOPClassUID": PositronEmissionTomographyImageStorage},
    )  # fmt: skip
    write_ct(tmp_path, SMALL, options)
    assert one_volume(tmp_path).unit == unit


def test_ct_without_rescale_is_no_hounsfield(tmp_path: Path) -> None:
    nothing = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None}
    write_ct(tmp_path, SMALL, CtOptions(extra=nothing))
    volume = one_volume(tmp_path)
    assert volume.unit == "1"
    assert any("not Hounsfield" in note for note in volume.notes)


def rgb_ramp() -> np.ndarray:
    ramp = np.zeros((16, 20, 3), dtype=np.uint8)
    ramp[..., 0] = np.arange(20) * 12
    ramp[..., 1] = np.arange(16)[:, None] * 15
    ramp[..., 2] = 77
    return ramp


def test_colour_by_pixel_and_by_plane(tmp_path: Path) -> None:
    ramp = rgb_ramp()
    write_one(tmp_path / "a" / "x", _in(tmp_path / "a", secondary(ramp)))
    planar = secondary(ramp)
    planar.PlanarConfiguration = 1
    planar.PixelData = np.ascontiguousarray(ramp.transpose(2, 0, 1)).tobytes()
    write_one(tmp_path / "b" / "x", _in(tmp_path / "b", planar))
    for folder in ("a", "b"):
        volume = one_volume(tmp_path / folder)
        assert volume.channels == 3
        assert np.array_equal(volume.voxels[0], ramp)


def _in(folder: Path, ds: Dataset) -> Dataset:
    folder.mkdir()
    return ds


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    ramp = rgb_ramp().astype(np.float64)
    r, g, b = ramp[..., 0], ramp[..., 1], ramp[..., 2]
    ybr = np.stack(  # PS3.3 C.7.6.3.1.2
        [
            0.299 * r + 0.587 * g + 0.114 * b,
            -0.1687 * r - 0.3313 * g + 0.5 * b + 128,
            0.5 * r - 0.4187 * g - 0.0813 * b + 128,
        ],
        axis=-1,
    )
    ds = secondary(np.rint(ybr).clip(0, 255).astype(np.uint8))
    write_one(tmp_path / "a", ds, PhotometricInterpretation="YBR_FULL")
    voxels = one_volume(tmp_path).voxels[0].astype(int)
    assert np.abs(voxels - ramp).max() <= 2


def test_palette_becomes_rgb(tmp_path: Path) -> None:
    ds = secondary(np.arange(12, dtype=np.uint8).reshape(3, 4))
    ds.PhotometricInterpretation = "PALETTE COLOR"
    tables = {}
    for color, factor in (("Red", 3), ("Green", 5), ("Blue", 7)):
        tables[color] = (np.arange(256) * factor % 256).astype(np.uint8)
        setattr(ds, f"{color}PaletteColorLookupTableDescriptor", [256, 0, 8])
        setattr(ds, f"{color}PaletteColorLookupTableData", tables[color].tobytes())
    save(ds, tmp_path / "a")
    voxels = one_volume(tmp_path).voxels[0]
    index = np.arange(12).reshape(3, 4)
    for channel, color in enumerate(("Red", "Green", "Blue")):
        assert np.array_equal(voxels[..., channel], tables[color][index])


def test_several_frames_over_time_are_a_clip(tmp_path: Path) -> None:
    frames = np.arange(3 * 8 * 10, dtype=np.uint8).reshape(3, 8, 10)
    ds = new_dataset(Who(), UltrasoundMultiFrameImageStorage, uid("us"), "US", uid("us series"))
    set_pixels(ds, frames)
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 1, 2
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 8, 7
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.02, 0.03
    write_one(
        tmp_path / "a", ds, NumberOfFrames=3, FrameTime="40", FrameIncrementPointer=0x00181063,
        SequenceOfUltrasoundRegions=DicomSequence([region]),
    )  # fmt: skip
    (study,) = scan([tmp_path]).studies
    (clip,) = load(study.series[0]).clips
    assert np.array_equal(clip.frames, frames)
    assert clip.frame_times_s == pytest.approx((0, 0.04, 0.08))
    assert clip.regions[0].box_px == (1, 2, 8, 7)
    assert clip.regions[0].unit == ("cm", "cm")
    assert clip.regions[0].spacing == (0.02, 0.03)


def test_thumbnail_shows_the_middle_slice_in_its_window(tmp_path: Path) -> None:
    phantom = replace(SMALL, shape=(5, 40, 20), spacing_mm=(2, 1, 2))
    write_ct(tmp_path, phantom)
    (study,) = scan([tmp_path]).studies
    picture = thumbnail(study.series[0], 40)
    assert picture is not None
    assert picture.shape == (40, 40)
    assert picture[0, 0] == 0
    assert picture[20, 20] == int((60 - (40 - 200)) / 400 * 255)


def test_thumbnail_of_monochrome1_is_inverted(tmp_path: Path) -> None:
    stored = write_projection(tmp_path / "a", monochrome1=True)
    (study,) = scan([tmp_path]).studies
    picture = thumbnail(study.series[0], 60)
    assert picture is not None
    assert stored[0, 0] < stored[-1, -1]
    assert picture[0, 0] > picture[-1, -1]


def test_a_series_without_pictures_has_no_thumbnail(tmp_path: Path) -> None:
    for ds in ct_datasets(SMALL):
        del ds.PixelData
        save(ds, tmp_path / str(ds.InstanceNumber))
    (study,) = scan([tmp_path]).studies
    assert thumbnail(study.series[0]) is None
    assert load(study.series[0]).volumes == ()
    assert "holds no image" in load(study.series[0]).problems[0].reason
