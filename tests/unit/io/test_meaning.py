"""Tables, real-world value maps and padding: bit for bit what the formulas of the files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from medview.core.volume import Volume, Window
from medview.imaging.windowing import apply_window, automatic_window, full_window, window_outputs
from medview.io.describe import info
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
    write_ct,
    write_enhanced,
)
from tests.helpers.phantoms import Phantom

SMALL = Phantom(shape=(4, 20, 16), radius_mm=4)


def opened(path: Path) -> Volume:
    """The first volume of the first series with pictures, with its study's maps."""
    (study,) = scan([path]).studies
    for series in study.series:
        volumes = load(series, "", study.companions_of(series)).volumes
        if volumes:
            return volumes[0]
    raise AssertionError("nothing was opened")


def picture(stored: np.ndarray, bits: int | None = None, **attributes: Any) -> Dataset:
    ds = new_dataset(Who(), SecondaryCaptureImageStorage, uid("sc"), "OT", uid("sc series"))
    set_pixels(ds, stored, bits)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def table(outputs: np.ndarray, first: int, bits: int, **attributes: Any) -> Dataset:
    """A LUT item as files have it: 0 stands for 65536 entries, bytes two to a word."""
    item = Dataset()
    kind = "SS" if first < 0 else "US"
    item.add_new("LUTDescriptor", kind, [len(outputs) % 65536, first, bits])
    if bits <= 8:
        raw = outputs.astype(np.uint8).tobytes()
        item.add_new("LUTData", "OW", raw + b"\0" * (len(raw) % 2))
    else:
        item.add_new("LUTData", "OW", outputs.astype("<u2").tobytes())
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("kind", "first", "count", "bits"),
    [
        (np.uint8, 0, 256, 8),
        (np.uint8, 20, 101, 8),
        (np.uint16, 100, 4096, 12),
        (np.uint16, 0, 65536, 16),
        (np.int16, -2048, 4096, 16),
        (np.int16, -32768, 65536, 16),
        (np.int16, -7, 33, 8),
    ],
)
def test_a_modality_table_gives_the_entry_of_each_value(
    tmp_path: Path, kind: type, first: int, count: int, bits: int
) -> None:
    limits = np.iinfo(kind)
    stored = RNG.integers(limits.min, limits.max, (40, 50), endpoint=True).astype(kind)
    outputs = RNG.integers(0, 1 << bits, count)
    item = table(outputs, first, bits, ModalityLUTType="OD")
    save(picture(stored, ModalityLUTSequence=DicomSequence([item])), tmp_path / "a")
    volume = opened(tmp_path)
    truth = outputs[np.clip(stored.astype(int) - first, 0, count - 1)]
    np.testing.assert_array_equal(volume.values()[0], truth)
    assert volume.unit == "{OD}.10*-3"
    assert not volume.notes[1:]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_tables_in_other_encodings(tmp_path: Path, syntax: str) -> None:
    stored = np.arange(200, dtype=np.uint16).reshape(10, 20)
    outputs = np.arange(300) * 7 % 1000
    ds = picture(stored, ModalityLUTSequence=DicomSequence([table(outputs, 5, 16)]))
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = stored.astype(">u2").tobytes()
        ds.ModalityLUTSequence[0].LUTData = outputs.astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "a", enforce_file_format=True)
    truth = outputs[np.clip(stored.astype(int) - 5, 0, 299)]
    np.testing.assert_array_equal(opened(tmp_path).values()[0], truth)


def test_a_modality_table_that_is_cut_short_is_not_believed(tmp_path: Path) -> None:
    item = table(np.arange(100), 0, 16)
    item.LUTDescriptor = [4096, 0, 16]
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
    save(picture(stored, ModalityLUTSequence=DicomSequence([item])), tmp_path / "a")
    volume = opened(tmp_path)
    np.testing.assert_array_equal(volume.values()[0], stored)
    assert any("lacks 3,996 of its 4,096" in note for note in volume.notes)


def test_padding_is_found_before_a_modality_table_is_applied(tmp_path: Path) -> None:
    """Two stored values with one output: only the padding one is no image."""
    outputs = np.full(16, 500)
    outputs[3] = 900
    stored = np.array([[0, 1, 3], [0, 2, 15]], dtype=np.uint8)
    item = table(outputs, 0, 16)
    ds = picture(stored, ModalityLUTSequence=DicomSequence([item]), PixelPaddingValue=0)
    save(ds, tmp_path / "a")
    volume = opened(tmp_path)
    np.testing.assert_array_equal(volume.is_padding(volume.voxels)[0], stored == 0)
    np.testing.assert_array_equal(volume.values()[0][stored > 0], outputs[stored[stored > 0]])


@pytest.mark.parametrize("name", ["codecs/pydicom/mlut_18.dcm",
                                  "projection/CR-ModalitySequenceLUT.dcm"])  # fmt: skip
def test_real_modality_tables_as_pydicom_reads_them(shared: Path, name: str) -> None:
    path = shared / "data" / name
    ds = dcmread(path)
    expected = apply_modality_lut(ds.pixel_array, ds)
    np.testing.assert_array_equal(opened(path).values()[0], expected)


@pytest.mark.parametrize("name", ["codecs/pydicom/vlut_04.dcm", "projection/GH133.dcm"])
def test_real_display_curves_as_pydicom_reads_them(shared: Path, name: str) -> None:
    path = shared / "data" / name
    ds = dcmread(path)
    volume = opened(path)
    stored = ds.pixel_array
    curves = [window for window in volume.default_windows if window.function == "LUT"]
    assert len(curves) == len(ds.VOILUTSequence)
    for index, window in enumerate(curves):
        expected = apply_voi_lut(stored, ds, index=index)
        found = window_outputs(volume.values()[0].astype(float), window)
        np.testing.assert_array_equal(found, expected)


def test_curves_and_windows_can_be_chosen_by_their_names(tmp_path: Path) -> None:
    items = [table(np.arange(256), 0, 8, LUTExplanation="SOFT"), table(np.arange(512), 0, 12)]
    ds = picture(
        np.arange(64, dtype=np.uint8).reshape(8, 8), VOILUTSequence=DicomSequence(items),
        WindowCenter=["50", "100"], WindowWidth=["20", "30"],
        WindowCenterWidthExplanation=["A", "B"], VOILUTFunction="LINEAR_EXACT",
    )  # fmt: skip
    save(ds, tmp_path / "a")
    names = [(w.explanation, w.function) for w in opened(tmp_path).default_windows]
    assert names == [
        ("SOFT", "LUT"), ("VOI LUT 2", "LUT"), ("A", "LINEAR_EXACT"), ("B", "LINEAR_EXACT"),
    ]  # fmt: skip


def test_a_display_curve_without_its_entries_falls_back_to_the_window(tmp_path: Path) -> None:
    item = Dataset()
    item.LUTDescriptor = [65535, 0, 16]
    item.add_new("LUTData", "OW", b"\1\2")
    ds = picture(
        np.arange(64, dtype=np.uint8).reshape(8, 8), VOILUTSequence=DicomSequence([item]),
        WindowCenter="50", WindowWidth="20",
    )  # fmt: skip
    save(ds, tmp_path / "a")
    volume = opened(tmp_path)
    assert [(w.center, w.width, w.function) for w in volume.default_windows] == [(50, 20, "LINEAR")]
    assert any("VOI LUT" in note for note in volume.notes)


def test_a_window_of_no_width_is_told_and_replaced(tmp_path: Path) -> None:
    ds = picture(np.arange(64, dtype=np.uint8).reshape(8, 8), WindowCenter="50", WindowWidth="0")
    save(ds, tmp_path / "a")
    volume = opened(tmp_path)
    assert volume.default_windows == ()
    assert any("window" in note for note in volume.notes)
    assert automatic_window(volume).width > 0


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", None, False),
    ],
)
def test_which_end_is_bright(
    tmp_path: Path, photometric: str, shape: str | None, inverted: bool
) -> None:
    ds = picture(np.arange(64, dtype=np.uint8).reshape(8, 8))
    ds.PhotometricInterpretation = photometric
    if shape:
        ds.PresentationLUTShape = shape
    save(ds, tmp_path / "a")
    assert opened(tmp_path).inverted is inverted


def mapping(slope: float, intercept: float, name: str = "Diffusion") -> Dataset:
    item = Dataset()
    item.LUTExplanation, item.LUTLabel = name, "L"
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", 65535)
    unit = Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mm2/s", "UCUM", "mm2/s"
    item.MeasurementUnitsCodeSequence = DicomSequence([unit])
    return item


def test_a_map_in_the_images_is_offered_with_its_unit(tmp_path: Path) -> None:
    maps = DicomSequence([mapping(2e-6, -0.001)])
    write_ct(tmp_path, SMALL, CtOptions(extra={"RealWorldValueMappingSequence": maps}, slope=0.5))
    volume = opened(tmp_path)
    assert volume.unit == "[hnsf'U]"
    (offered,) = volume.scales
    assert (offered.name, offered.unit) == ("Diffusion", "mm2/s")
    real = volume.on_scale("Diffusion")
    stored = np.rint((SMALL.values() + 1024) / 0.5)
    np.testing.assert_allclose(real.values(), stored * 2e-6 - 0.001, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        real.on_scale(volume.scale_name).values(), volume.values(), atol=1e-3
    )


def test_a_map_for_each_slope_is_one_scale(tmp_path: Path) -> None:
    """Maps are of stored values: where slopes differ, so must they, to mean one thing."""
    slopes = (1.0, 2.0, 0.5, 1.0)
    own = {
        k: {"RealWorldValueMappingSequence": DicomSequence([mapping(3 * s, 7 - 3 * 1024)])}
        for k, s in enumerate(slopes)
    }
    write_ct(tmp_path / "a", SMALL, CtOptions(slopes=slopes, per_slice=own))
    volume = opened(tmp_path / "a")
    truth = 3 * (volume.values() + 1024) + 7 - 3 * 1024
    np.testing.assert_allclose(volume.on_scale("Diffusion").values(), truth, rtol=1e-5)
    same = {"RealWorldValueMappingSequence": DicomSequence([mapping(3, 0)])}
    write_ct(tmp_path / "b", SMALL, CtOptions(slopes=slopes, extra=same, series="other"))
    assert opened(tmp_path / "b").scales == ()


def test_a_map_by_table_gives_its_entries_and_nothing_beside_it(tmp_path: Path) -> None:
    item = mapping(1, 0, "Counts per second")
    del item.RealWorldValueSlope, item.RealWorldValueIntercept
    item.add_new("RealWorldValueFirstValueMapped", "US", 2)
    item.add_new("RealWorldValueLastValueMapped", "US", 5)
    item.RealWorldValueLUTData = [0.5, 1.25, -3.0, 8.0]
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4)
    save(picture(stored, RealWorldValueMappingSequence=DicomSequence([item])), tmp_path / "a")
    real = opened(tmp_path).on_scale("Counts per second").values()[0]
    expected = np.full(12, np.nan, dtype=np.float32)
    expected[2:6] = [0.5, 1.25, -3.0, 8.0]
    np.testing.assert_array_equal(real, expected.reshape(3, 4))


def test_a_map_in_an_object_of_its_own(tmp_path: Path) -> None:
    datasets = ct_datasets(SMALL)
    for ds in datasets:
        save(ds, tmp_path / str(ds.InstanceNumber))
    rwv = new_dataset(Who(), "1.2.840.10008.5.1.4.1.1.67", uid("rwv"), "RWV", uid("rwv series"))
    item = Dataset()
    item.RealWorldValueMappingSequence = DicomSequence([mapping(0.25, 3, "Elsewhere")])
    references = []
    for ds in datasets:
        reference = Dataset()
        reference.ReferencedSOPClassUID = ds.SOPClassUID
        reference.ReferencedSOPInstanceUID = ds.SOPInstanceUID
        references.append(reference)
    item.ReferencedImageSequence = DicomSequence(references)
    rwv.ReferencedImageRealWorldValueMappingSequence = DicomSequence([item])
    save(rwv, tmp_path / "map")
    volume = opened(tmp_path)
    stored = volume.voxels.astype(np.float64)
    np.testing.assert_array_equal(volume.on_scale("Elsewhere").values(), stored * 0.25 + 3)
    described = info([tmp_path])["patients"][0]["studies"][0]["series"]
    offered = [v["scales"] for series in described for v in series["volumes"]]
    assert offered == [[{"name": "Elsewhere", "unit": "mm2/s", "quantity": "Stored value"}]]
    del references[2:]
    item.ReferencedImageSequence = DicomSequence(references)
    save(rwv, tmp_path / "map")
    assert opened(tmp_path).scales == ()


def test_a_map_in_functional_groups(tmp_path: Path) -> None:
    stored = write_enhanced(tmp_path / "mr", SMALL)
    ds = dcmread(tmp_path / "mr")
    maps = DicomSequence([mapping(0.125, 1)])
    ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = maps
    ds.save_as(tmp_path / "mr")
    volume = opened(tmp_path)
    np.testing.assert_array_equal(volume.values(), stored[0] * 2.0 - 7)
    np.testing.assert_array_equal(volume.on_scale("Diffusion").values(), stored[0] * 0.125 + 1)


def test_windows_of_functional_groups(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "mr", SMALL)
    ds = dcmread(tmp_path / "mr")
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.WindowCenter, item.WindowWidth = str(100 + number), "50"
        item.VOILUTFunction = "SIGMOID"
        group.FrameVOILUTSequence = DicomSequence([item])
    ds.save_as(tmp_path / "mr")
    (window,) = opened(tmp_path).default_windows
    assert (window.center, window.width, window.function) == (102, 50, "SIGMOID")


def test_philips_keeps_the_signal_before_display(tmp_path: Path) -> None:
    datasets = ct_datasets(SMALL, CtOptions(modality="MR", slope=2.0, intercept=-1024))
    for ds in datasets:
        ds.Manufacturer = "Philips Medical Systems"
        block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 0.0625)
        save(ds, tmp_path / str(ds.InstanceNumber))
    volume = opened(tmp_path)
    shown = volume.values()
    np.testing.assert_allclose(
        volume.on_scale("Philips floating point").values(), shown / (2.0 * 0.0625), rtol=1e-6
    )


@pytest.mark.parametrize(("kind", "name"), [("f4", "Float"), ("f8", "DoubleFloat")])
def test_padding_of_real_numbers(tmp_path: Path, kind: str, name: str) -> None:
    values = np.array([[-1e30, 0.5, 2.5], [-9e29, 7.25, 3.0]], dtype=kind)
    ds = picture(np.zeros((2, 3), dtype=np.uint16))
    del ds.PixelData
    ds.BitsAllocated = 32 if kind == "f4" else 64
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, keyword)
    setattr(ds, f"{name}PixelData", values.tobytes())
    setattr(ds, f"{name}PixelPaddingValue", -1e30)
    setattr(ds, f"{name}PixelPaddingRangeLimit", -8e29)
    save(ds, tmp_path / "a")
    volume = opened(tmp_path)
    np.testing.assert_array_equal(volume.is_padding(volume.voxels)[0], values < -1)
    described = info([tmp_path])["patients"][0]["studies"][0]["series"][0]["volumes"][0]
    assert (described["min"], described["max"]) == (0.5, 7.25)
    assert described["mean"] == pytest.approx((0.5 + 2.5 + 7.25 + 3.0) / 4)


def test_padding_is_no_value_anywhere(tmp_path: Path) -> None:
    """A range in stored values, before the rescale, on an inverted image."""
    stored = np.array([[-2000, -1990, 0, 100], [-1980, 200, 300, 400]], dtype=np.int16)
    ds = picture(stored, RescaleSlope="2", RescaleIntercept="-10", PixelPaddingValue=-2000,
                 PixelPaddingRangeLimit=-1980)  # fmt: skip
    ds.PhotometricInterpretation = "MONOCHROME1"
    save(ds, tmp_path / "a")
    volume = opened(tmp_path)
    kept = stored[stored >= 0] * 2.0 - 10
    described = info([tmp_path])["patients"][0]["studies"][0]["series"][0]["volumes"][0]
    assert (described["min"], described["max"]) == (kept.min(), kept.max())
    assert described["mean"] == pytest.approx(kept.mean())
    window = full_window(volume)
    assert (window.center - window.width / 2, window.center + window.width / 2) == (-10, 790)
    assert np.isfinite(apply_window(volume.values(), Window(40, 400))).all()


def test_padding_beyond_the_bits_that_are_stored(tmp_path: Path) -> None:
    """-2048 in 12 bits, written as the 16-bit word 0x0800: it is what the pixels hold."""
    stored = np.array([[0x800, 5, 0x7FF]], dtype=np.int16)
    ds = picture(stored, 12)
    ds.add_new("PixelPaddingValue", "SS", 0x800)
    save(ds, tmp_path / "a")
    volume = opened(tmp_path)
    assert volume.voxels.tolist() == [[[-2048, 5, 2047]]]
    assert volume.is_padding(volume.voxels).tolist() == [[[True, False, False]]]


@pytest.mark.parametrize(
    "sequence", ["ModalityLUTSequence", "VOILUTSequence", "RealWorldValueMappingSequence"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_in_a_table_does_not_cost_the_picture(tmp_path: Path, sequence: str) -> None:
    """Elements of another kind than they must be: whatever they say, the pixels are there."""
    item = Dataset()
    item.add_new("LUTDescriptor", "LO", "\xff\xfe")
    item.add_new("LUTData", "FD", [float("nan")] * 3)
    item.add_new("RealWorldValueSlope", "LO", "steep")
    item.add_new("RealWorldValueIntercept", "LO", "low")
    stored = np.arange(12, dtype=np.uint16).reshape(3, 4)
    save(picture(stored, **{sequence: DicomSequence([item])}), tmp_path / "a")
    volume = opened(tmp_path)
    np.testing.assert_array_equal(volume.values()[0], stored)
    assert volume.scales == ()
    assert sequence.startswith("Real") or any("LUT" in note for note in volume.notes)
