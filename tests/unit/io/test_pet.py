"""SUV of a digital reference object: right to a tenth of a percent, or refused by name."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from medview.core.volume import Volume
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.pet_phantoms import (
    DOSE_BQ,
    HALF_LIFE_S,
    STARTED,
    WEIGHT_KG,
    Pet,
    activity_for_one,
    dicom_time,
    write_enhanced_pet,
    write_pet,
)

BW = "g/ml{SUVbw}"


def opened(folder: Path) -> Volume:
    (study,) = scan([folder]).studies
    (volume,) = load(study.series[0]).volumes
    return volume


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


LATE = STARTED + timedelta(minutes=20)
AFTER_MIDNIGHT = STARTED + timedelta(hours=14, minutes=5)
NAMELESS: dict[str, Any] = {"RadiopharmaceuticalStartDateTime": None}
GE = (0x0009, "GEMS_PETD_01", 0x0D, "DT", STARTED.strftime("%Y%m%d%H%M%S.00"))
SIEMENS = (0x0071, "SIEMENS MED PT", 0x22, "DT", STARTED.strftime("%Y%m%d%H%M%S.000000"))
REPROCESSED = {"SeriesTime": dicom_time(STARTED + hours(5))}

#: Everything that can be computed, each with SUVbw 1 as its truth.
SUPPORTED = {
    "corrected to the start": Pet(),
    "corrected to the administration": Pet(decay="ADMIN"),
    "not corrected": Pet(decay="NONE"),
    "injected at the start": Pet(waited_s=0),
    "time of day only": Pet(item=NAMELESS),
    "time of day only, over midnight": Pet(started=AFTER_MIDNIGHT, item=NAMELESS),
    "date and time only, over midnight": Pet(
        started=AFTER_MIDNIGHT, item={"RadiopharmaceuticalStartTime": None}
    ),
    "a late image": Pet(
        extra={"AcquisitionTime": dicom_time(LATE), "FrameReferenceTime": "1200000"}
    ),
    "later images of several beds": Pet(
        per_slice={2: {"AcquisitionTime": dicom_time(LATE), "FrameReferenceTime": "1200000"}}
    ),
    "a slope for each slice": Pet(slopes=(0.4, 0.5, 0.8)),
    "reprocessed, GE keeps the start": Pet(extra=REPROCESSED, private=[GE]),
    "reprocessed, Siemens keeps the start": Pet(extra=REPROCESSED, private=[SIEMENS]),
    "no series time, GE keeps the start": Pet(extra={"SeriesTime": None}, private=[GE]),
    "reprocessed, the images tell the start": Pet(
        extra={**REPROCESSED, "AcquisitionTime": dicom_time(LATE), "FrameReferenceTime": "1259937"}
    ),
    "Philips activity": Pet(
        units="CNTS",
        activity_bq_ml=activity_for_one(3600) / 7.5,
        private=[(0x7053, "Philips PET Private Group", 0x09, "DS", "7.5")],
    ),
    "Philips activity beside an unknown SUV factor": Pet(
        units="CNTS",
        activity_bq_ml=activity_for_one(3600) / 7.5,
        private=[
            (0x7053, "Philips PET Private Group", 0x00, "DS", "0.0"),
            (0x7053, "Philips PET Private Group", 0x09, "DS", "7.5"),
        ],
    ),
    "Philips SUV": Pet(
        units="CNTS",
        activity_bq_ml=5000.0,
        private=[(0x7053, "Philips PET Private Group", 0x00, "DS", "0.0002")],
    ),
    "sex not told": Pet(extra={"PatientSex": ""}),
    "no corrections listed": Pet(extra={"CorrectedImage": None}),
    "nuclide named": Pet(item={"RadionuclideCodeSequence": "F-18"}),
    "an offset from Greenwich on one clock": Pet(
        item={"RadiopharmaceuticalStartDateTime": "20240501091500.00+0200",
              "RadiopharmaceuticalStartTime": None},
        extra={"TimezoneOffsetFromUTC": "+0200"},
    ),
    "an injection told in Greenwich time": Pet(
        item={"RadiopharmaceuticalStartDateTime": "20240501071500.00+0000",
              "RadiopharmaceuticalStartTime": None},
        extra={"TimezoneOffsetFromUTC": "+0200"},
    ),
}  # fmt: skip


def coded(name: str) -> DicomSequence:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99TEST", name
    return DicomSequence([code])


def write(folder: Path, pet: Pet) -> Path:
    item = dict(pet.item)
    if isinstance(item.get("RadionuclideCodeSequence"), str):
        item["RadionuclideCodeSequence"] = coded(item["RadionuclideCodeSequence"])
    return write_pet(folder, Pet(**{**vars(pet), "item": item}))


@pytest.mark.parametrize("name", SUPPORTED)
def test_uptake_is_one_to_a_tenth_of_a_percent(tmp_path: Path, name: str) -> None:
    volume = opened(write(tmp_path / "pet", SUPPORTED[name]))
    assert volume.unit == BW, volume.notes
    assert volume.quantity.value == "126401"
    assert volume.values() == pytest.approx(1.0, rel=1e-3)


def dicom_moment(at: datetime) -> str:
    return at.strftime("%Y%m%d%H%M%S.%f")


#: How an enhanced object says to which moment its values are corrected, and how long after the
#: injection that is; the last was not corrected: it holds when its counts were at their mean.
ENHANCED = {
    "the start": (
        {"DecayCorrected": "YES", "DecayCorrectionDateTime": dicom_moment(STARTED)}, 3600),
    "the injection": (
        {"DecayCorrected": "YES", "DecayCorrectionDateTime": dicom_moment(STARTED - hours(1))}, 0),
    "none": ({"DecayCorrected": "NO"}, 3600 + 1200 + 59.937),
}  # fmt: skip


@pytest.mark.parametrize("name", ENHANCED)
@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_enhanced_objects_are_brought_to_uptake(tmp_path: Path, name: str, scale: float) -> None:
    extra, waited_s = ENHANCED[name]
    activity = activity_for_one(waited_s)
    (tmp_path / "pet").mkdir()
    path = tmp_path / "pet" / "e.dcm"
    write_enhanced_pet(path, activity_bq_ml=activity, extra=extra, scale=scale)
    volume = opened(path.parent)
    assert volume.unit == BW, volume.notes
    assert volume.values() == pytest.approx(1.0, rel=1e-3)
    assert any("real-world value map" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("extra", "tag"),
    [
        ({"DecayCorrected": "YES"}, "(0018,9701)"),
        ({}, "(0054,1102)"),
        ({"DecayCorrected": "NO", "AttenuationCorrected": "NO"}, "(0018,9759)"),
        ({"DecayCorrected": "NO", "RadiopharmaceuticalInformationSequence": None}, "(0054,0016)"),
    ],
)
def test_an_enhanced_object_that_lacks_an_input_names_it(
    tmp_path: Path, extra: dict[str, Any], tag: str
) -> None:
    (tmp_path / "pet").mkdir()
    write_enhanced_pet(tmp_path / "pet" / "e.dcm", activity_bq_ml=5000.0, extra=extra)
    volume = opened(tmp_path / "pet")
    assert volume.unit != BW
    assert any(tag in note for note in volume.notes)


def test_frame_times_that_contradict_each_other_tell_no_start(tmp_path: Path) -> None:
    late = {"AcquisitionTime": dicom_time(LATE)}
    apart = {k: {**late, "FrameReferenceTime": str(1_259_937 + 20_000 * k)} for k in range(3)}
    volume = opened(write_pet(tmp_path / "pet", Pet(extra=REPROCESSED, per_slice=apart)))
    assert volume.unit != BW
    assert any("(0008,0031)" in note for note in volume.notes)


def test_an_image_that_was_not_corrected_holds_when_it_was_counted(tmp_path: Path) -> None:
    """Three beds ten minutes apart: each has decayed further, each has its own factor."""
    later = {
        k: {
            "AcquisitionTime": dicom_time(STARTED + timedelta(minutes=10 * k)),
            "FrameReferenceTime": str(600_000 * k),
        }
        for k in range(3)
    }
    volume = opened(write_pet(tmp_path / "pet", Pet(decay="NONE", per_slice=later)))
    growth = 2 ** (600 * np.arange(3) / HALF_LIFE_S)
    assert volume.values()[:, 0, 0] == pytest.approx(growth, rel=1e-3)
    assert "Activity concentration" not in [scale.name for scale in volume.scales]


def test_the_mean_of_a_long_image_is_where_its_counts_are(tmp_path: Path) -> None:
    """Without a reference time: the moment of the mean rate, found here by integrating."""
    pet = Pet(decay="NONE", extra={"FrameReferenceTime": None, "ActualFrameDuration": "3600000"})
    volume = opened(write_pet(tmp_path / "pet", pet))
    times = np.linspace(0, 3600, 200_001)
    mean_rate = np.trapezoid(2 ** (-times / HALF_LIFE_S), times) / 3600
    assert volume.values() == pytest.approx(1 / mean_rate, rel=1e-3)


GIVEN_LATER = dicom_time(STARTED + hours(2))
#: Everything that must not be guessed: what is wrong, and the tag the reader is told.
REFUSED = {
    "weight missing": (Pet(extra={"PatientWeight": None}), "0010,1030"),
    "weight 0": (Pet(extra={"PatientWeight": "0"}), "0010,1030"),
    "weight negative": (Pet(extra={"PatientWeight": "-70"}), "0010,1030"),
    "weight in grams": (Pet(extra={"PatientWeight": "70000"}), "0010,1030"),
    "born after the scan": (Pet(extra={"PatientBirthDate": "20990101"}), "0010,0030"),
    "undefined sex": (Pet(extra={"PatientSex": "X"}), "0010,0040"),
    "dose missing": (Pet(item={"RadionuclideTotalDose": None}), "0018,1074"),
    "dose 0": (Pet(item={"RadionuclideTotalDose": "0"}), "0018,1074"),
    "dose in MBq": (Pet(item={"RadionuclideTotalDose": "370"}), "0018,1074"),
    "dose in mBq": (Pet(item={"RadionuclideTotalDose": "3.7e11"}), "0018,1074"),
    "half-life missing": (Pet(item={"RadionuclideHalfLife": None}), "0018,1075"),
    "half-life 0": (Pet(item={"RadionuclideHalfLife": "0"}), "0018,1075"),
    "half-life in minutes": (
        Pet(item={"RadionuclideHalfLife": "109.8", "RadionuclideCodeSequence": "^18^Fluorine"}),
        "0018,1075",
    ),
    "half-life of another nuclide": (
        Pet(item={"RadionuclideHalfLife": "4062", "RadionuclideCodeSequence": "18F"}), "0018,1075"
    ),
    "no injection told": (
        Pet(extra={"RadiopharmaceuticalInformationSequence": None}), "0054,0016"
    ),
    "no injection time": (
        Pet(item={"RadiopharmaceuticalStartTime": None, **NAMELESS}), "0018,1078"
    ),
    "injection time is no time": (
        Pet(item={"RadiopharmaceuticalStartDateTime": "2024",
                  "RadiopharmaceuticalStartTime": None}),
        "0018,1078",
    ),
    "injected after the scan": (
        Pet(item={"RadiopharmaceuticalStartDateTime": "20240501121500",
                  "RadiopharmaceuticalStartTime": GIVEN_LATER}),
        "0018,1078",
    ),
    "time of day after the scan, too long for the day before": (
        Pet(item={"RadiopharmaceuticalStartTime": dicom_time(STARTED + hours(1)), **NAMELESS}),
        "0018,1072",
    ),
    "dates shifted apart by a day": (
        Pet(item={"RadiopharmaceuticalStartDateTime": "20240430091500"}), "0018,1078"
    ),
    "dates shifted apart by years": (
        Pet(item={"RadiopharmaceuticalStartDateTime": "20190501091500"}), "0018,1078"
    ),
    "dates shifted the other way": (
        Pet(item={"RadiopharmaceuticalStartDateTime": "20250501091500"}), "0018,1078"
    ),
    "two injection times": (
        Pet(item={"RadiopharmaceuticalStartTime": dicom_time(STARTED - hours(2))}), "0018,1078"
    ),
    "decay correction missing": (Pet(extra={"DecayCorrection": None}), "0054,1102"),
    "decay correction undefined": (Pet(extra={"DecayCorrection": "MAYBE"}), "0054,1102"),
    "decay correction not among the corrections": (
        Pet(extra={"CorrectedImage": ["ATTN"]}), "0028,0051"
    ),
    "corrected though it says not": (
        Pet(decay="NONE", extra={"CorrectedImage": ["ATTN", "DECY"]}), "0028,0051"
    ),
    "no attenuation correction": (Pet(extra={"CorrectedImage": ["DECY"]}), "0028,0051"),
    "series time missing": (Pet(extra={"SeriesTime": None}), "0008,0031"),
    "series after acquisition": (Pet(extra=REPROCESSED), "0008,0031"),
    "series days before acquisition": (Pet(extra={"SeriesDate": "20240425"}), "0008,0031"),
    "acquisition time missing": (
        Pet(extra={"AcquisitionTime": None, "AcquisitionDate": None}), "0008,0032"
    ),
    "GE start after acquisition": (
        Pet(private=[(*GE[:4], "20240501131500.00")]), "0009,100D"
    ),
    "not corrected, times do not fit": (
        Pet(decay="NONE", extra={"AcquisitionTime": dicom_time(LATE)}), "0054,1300"
    ),
    "not corrected, neither reference nor duration": (
        Pet(decay="NONE", extra={"FrameReferenceTime": None, "ActualFrameDuration": None}),
        "0054,1300",
    ),
    "units missing": (Pet(extra={"Units": None}), "0054,1001"),
    "counts without a factor": (Pet(units="CNTS"), "7053,1000"),
    "counts with factors of 0": (
        Pet(units="CNTS", private=[(0x7053, "Philips PET Private Group", 0x00, "DS", "0"),
                                   (0x7053, "Philips PET Private Group", 0x09, "DS", "0")]),
        "7053,1009",
    ),
    "proportional counts": (Pet(units="PROPCPS"), "0054,1001"),
    "weight differs between images": (Pet(per_slice={1: {"PatientWeight": "80"}}), "0010,1030"),
    "series time differs between images": (
        Pet(per_slice={1: {"SeriesTime": "090000"}}), "0008,0031"
    ),
    "decay correction differs between images": (
        Pet(per_slice={1: {"DecayCorrection": "ADMIN"}}), "0054,1102"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_nothing_is_guessed(tmp_path: Path, name: str) -> None:
    pet, tag = REFUSED[name]
    volume = opened(write(tmp_path / "pet", pet))
    told = [note for note in volume.notes if note.startswith("No SUV")]
    assert len(told) == 1, volume.notes
    assert tag in told[0]
    assert "SUV" not in volume.unit
    assert not [scale for scale in volume.scales if "SUV" in scale.unit]
    # What is there instead are the values of the file, bit for bit.
    assert volume.values()[0, 0, 0] > 100


def test_two_injections_are_told(tmp_path: Path) -> None:
    folder = write_pet(tmp_path / "pet")
    from pydicom import dcmread

    for path in folder.iterdir():
        ds = dcmread(path)
        items = ds.RadiopharmaceuticalInformationSequence
        ds.RadiopharmaceuticalInformationSequence = DicomSequence([items[0], items[0]])
        ds.save_as(path)
    assert "0054,0016" in " ".join(opened(folder).notes)


def test_the_other_kinds_by_their_formulas(tmp_path: Path) -> None:
    """A man of 70 kg and 1.75 m; numbers worked out by hand from the papers."""
    volume = opened(write_pet(tmp_path / "pet"))
    truth = {
        # 9270 * 70 / (6680 + 216 * 22.857142857) = 55.8605 kg
        "SUVlbm (Janmahasatian)": ("g/ml{SUVlbm(Janma)}", 55.8605 / 70),
        # 1.10 * 70 - 128 * (70 / 175)^2 = 56.52 kg
        "SUVlbm (James)": ("g/ml{SUVlbm(James128)}", 56.52 / 70),
        # 0.007184 * 70^0.425 * 175^0.725 = 1.848094 m2 = 18480.94 cm2
        "SUVbsa": ("cm2/ml{SUVbsa}", 18480.94 / 70000),
        # 48.0 + 1.06 * (175 - 152) = 72.38 kg
        "SUVibw": ("g/ml{SUVibw}", 72.38 / 70),
        "Activity concentration": ("Bq/ml", activity_for_one(3600)),
    }
    assert {scale.name for scale in volume.scales} == set(truth)
    for name, (unit, value) in truth.items():
        other = volume.on_scale(name)
        assert other.unit == unit
        assert other.values() == pytest.approx(value, rel=1e-3)
        back = other.on_scale("SUVbw")
        assert back.unit == BW
        assert np.allclose(back.values(), volume.values(), rtol=1e-6)


def test_a_woman_has_her_own_formulas(tmp_path: Path) -> None:
    volume = opened(write_pet(tmp_path / "pet", Pet(extra={"PatientSex": "F"})))
    # 9270 * 70 / (8780 + 244 * 22.857142857) = 45.1942 kg; 1.07 * 70 - 148 * 0.16 = 51.22 kg
    lean = volume.on_scale("SUVlbm (Janmahasatian)")
    james = volume.on_scale("SUVlbm (James)")
    assert lean.values() == pytest.approx(45.1942 / 70, rel=1e-3)
    assert james.values() == pytest.approx(51.22 / 70, rel=1e-3)


@pytest.mark.parametrize(
    ("extra", "left"),
    [
        ({"PatientSex": "O"}, {"SUVbsa", "Activity concentration"}),
        ({"PatientSize": None}, {"Activity concentration"}),
        ({"PatientSize": "175"}, {"Activity concentration"}),
    ],
)
def test_kinds_without_their_inputs_are_not_offered(
    tmp_path: Path, extra: dict[str, Any], left: set[str]
) -> None:
    volume = opened(write_pet(tmp_path / "pet", Pet(extra=extra)))
    assert {scale.name for scale in volume.scales} == left
    assert volume.values() == pytest.approx(1.0, rel=1e-3)


def test_what_is_uptake_already_stays_as_it_is(tmp_path: Path) -> None:
    pet = Pet(units="GML", activity_bq_ml=3.25, extra={"PatientWeight": "0", "SUVType": "BW"})
    volume = opened(write_pet(tmp_path / "pet", pet))
    assert volume.unit == BW
    assert volume.values() == pytest.approx(3.25, rel=1e-3)
    assert not volume.notes


def test_one_slope_keeps_the_stored_values(tmp_path: Path) -> None:
    volume = opened(write_pet(tmp_path / "pet"))
    assert volume.voxels.dtype == np.uint16
    expected = WEIGHT_KG * 1000 / (DOSE_BQ * 2 ** (-3600 / HALF_LIFE_S))
    assert volume.on_scale("Activity concentration").slope * expected == pytest.approx(volume.slope)
