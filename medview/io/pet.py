"""Positron emission images: what their headers say of dose, times and person, made into SUV.

A series opens in SUVbw when every input is there and none contradicts another; else in the units
of the file, with the reason in its notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset

from medview.io import suv
from medview.io.values import Values, number

#: Facts that must be the same in all images of a series.
_COMMON = ("Units", "DecayCorrection", "PatientWeight", "PatientSize", "PatientSex",
           "PatientBirthDate", "SeriesDate", "SeriesTime")  # fmt: skip
_NAMES = {
    "Units": "Units (0054,1001)",
    "DecayCorrection": suv.DECAY,
    "PatientWeight": suv.WEIGHT,
    "PatientSize": suv.SIZE,
    "PatientSex": suv.SEX,
    "PatientBirthDate": suv.BIRTH,
    "SeriesDate": "Series Date (0008,0021)",
    "SeriesTime": suv.SERIES_TIME,
}
_CORRECTED = "Corrected Image (0028,0051)"
_ATTENUATION = "Attenuation Corrected (0018,9759)"
_CORRECTED_TO = "Decay Correction DateTime (0018,9701)"
_GE_START = (0x0009, "GEMS_PETD_01", 0x0D)
_SIEMENS_START = (0x0071, "SIEMENS MED PT", 0x22)
_PHILIPS_SUV = (0x7053, "Philips PET Private Group", 0x00)
_PHILIPS_ACTIVITY = (0x7053, "Philips PET Private Group", 0x09)
_NUCLIDE = re.compile(r"(\d{2,3})\W*m?\W*([A-Z][a-z]?)|\b([A-Z][a-z]?)\W{0,2}(\d{2,3})")
_ELEMENTS = {
    "carbon": "C", "nitrogen": "N", "oxygen": "O", "fluorine": "F", "copper": "Cu",
    "gallium": "Ga", "rubidium": "Rb", "zirconium": "Zr", "iodine": "I", "yttrium": "Y",
    "scandium": "Sc", "manganese": "Mn", "cobalt": "Co", "sodium": "Na", "germanium": "Ge",
}  # fmt: skip


@dataclass(frozen=True)
class Uptake:
    """What turns the rescaled values of each image into SUVbw; or why nothing does.

    `factors` has one for each image, empty where SUV is refused. `ratios` turn SUVbw into other
    kinds. `notes` are for the volume.
    """

    factors: tuple[float, ...] = ()
    ratios: Mapping[suv.Kind, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def uptake_of(
    ds: Dataset, frames: Sequence[Values], to_bq_ml: float | None = None
) -> Uptake | None:
    """SUV of the images of a series, `ds` being the header of one of them.

    `to_bq_ml` turns the rescaled values into Bq/ml where a real-world value map says so: enhanced
    objects have no Units. None where the values are SUV already or are no activity.
    """
    units = frames[0].get("Units", "")
    if units in ("GML", "CM2ML", "HU", "PERCENT") or frames[0].get("Modality") != "PT":
        return None
    try:
        return _uptake(_flattened(ds), frames, units, to_bq_ml)
    except suv.Refused as refusal:
        return Uptake(notes=(f"No SUV: {refusal}",))


def _flattened(ds: Dataset) -> Dataset:
    """A header, and what conversion kept of all single slices alike (PS3.3 C.7.6.16.2.25)."""
    groups = (ds.get("SharedFunctionalGroupsSequence") or (Dataset(),))[0]
    kept = (groups.get("UnassignedSharedConvertedAttributesSequence") or (Dataset(),))[0]
    whole = Dataset()
    whole.update(kept)
    whole.update(ds)
    return whole


def _uptake(ds: Dataset, frames: Sequence[Values], units: str, to_bq_ml: float | None) -> Uptake:
    for keyword in _COMMON:
        if len({frame.get(keyword, "") for frame in frames}) > 1:
            raise suv.Refused(_NAMES[keyword], "differs between images of the series")
    if not units and to_bq_ml is None:
        raise suv.Refused(_NAMES["Units"], "is missing")
    person = _person(ds)
    if units == "CNTS":
        direct = _private_number(ds, _PHILIPS_SUV)
        if direct is not None:
            note = "SUVbw by the scanner's own factor (7053,1000)"
            return Uptake((direct,) * len(frames), _ratios(person), (note,))
    to_activity = to_bq_ml if to_bq_ml is not None and not units else _to_activity(ds, units)
    _check_corrections(ds)
    weight = suv.checked_weight(person)
    injection = _injection(ds)
    scan = _scan(ds, frames, injection)
    factors = tuple(
        to_activity
        * suv.body_weight_factor(weight, suv.decayed_dose_bq(injection, scan, _moment(frame)))
        for frame in frames
    )
    notes = []
    if not units:
        notes.append("Activity by the real-world value map of the file")
    if scan.is_reckoned:
        notes.append("The scan start is reckoned from the times of its images")
    if units == "CNTS":
        notes.append("Activity by the scanner's own factor (7053,1009)")
    if injection.only_time and scan.decay is not suv.Decay.ADMIN:
        notes.append("The day of the injection is not given: the last such time before the scan")
    return Uptake(factors, _ratios(person), tuple(notes))


def _ratios(person: suv.Person) -> Mapping[suv.Kind, float]:
    try:
        return suv.ratios(person)
    except suv.Refused:
        return {}


def _to_activity(ds: Dataset, units: str) -> float:
    """What turns the values into Bq/ml."""
    if units == "BQML":
        return 1.0
    if units == "CNTS":
        factor = _private_number(ds, _PHILIPS_ACTIVITY)
        if factor is not None:
            return factor
        raise suv.Refused(
            _NAMES["Units"], "are counts, and the factors (7053,1000) and (7053,1009) are missing"
        )
    raise suv.Refused(_NAMES["Units"], f"“{units}” cannot be brought to Bq/ml")


def _check_corrections(ds: Dataset) -> None:
    """Corrections that the values claim must agree with each other (PS3.3 C.8.9.1.1.4)."""
    if str(ds.get("AttenuationCorrected") or "") == "NO":
        raise suv.Refused(_ATTENUATION, "is NO")
    done = _texts(ds.get("CorrectedImage"))
    if not done:
        return
    if "ATTN" not in done:
        raise suv.Refused(_CORRECTED, "does not name the attenuation correction")
    correction = str(ds.get("DecayCorrection") or "")
    if correction in ("START", "ADMIN") and "DECY" not in done:
        raise suv.Refused(_CORRECTED, f"names no decay correction, {suv.DECAY} is {correction}")
    if correction == "NONE" and "DECY" in done:
        raise suv.Refused(_CORRECTED, f"names a decay correction, {suv.DECAY} is NONE")


def _texts(value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _person(ds: Dataset) -> suv.Person:
    """The person; refuses headers that say what cannot be."""
    born, taken = _date(str(ds.get("PatientBirthDate") or "")), _date(_day(ds))
    if born is not None and taken is not None and born > taken:
        raise suv.Refused(suv.BIRTH, "lies after the scan")
    sex = str(ds.get("PatientSex") or "").strip().upper()
    if sex not in ("M", "F", "O", ""):
        raise suv.Refused(suv.SEX, f"is “{sex[:8]}”, which is not defined")
    return suv.Person(_float(ds, "PatientWeight"), _float(ds, "PatientSize"), sex)


def _day(ds: Dataset) -> str:
    for keyword in ("SeriesDate", "AcquisitionDate", "StudyDate"):
        if day := str(ds.get(keyword) or ""):
            return day
    return ""


def _float(ds: Dataset, keyword: str) -> float | None:
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _injection(ds: Dataset) -> suv.Injection:
    items = ds.get("RadiopharmaceuticalInformationSequence") or ()
    name = "Radiopharmaceutical Information Sequence (0054,0016)"
    if not items:
        raise suv.Refused(name, "is missing")
    if len(items) > 1:
        raise suv.Refused(name, f"tells of {len(items)} injections")
    item = items[0]
    at, zone = _date_time(str(item.get("RadiopharmaceuticalStartDateTime") or ""))
    time = _time(str(item.get("RadiopharmaceuticalStartTime") or ""))
    if str(item.get("RadiopharmaceuticalStartDateTime") or "") and at is None:
        raise suv.Refused(suv.START, "is no date and time")
    local = _offset(str(ds.get("TimezoneOffsetFromUTC") or ""))
    if at is not None and zone is not None and local is not None:
        at += local - zone
    only_time = at is None
    if at is None and time is not None:
        at = datetime(1900, 1, 1) + time  # noqa: DTZ001  (only the time of day counts)
    elif at is not None and time is not None and zone is None:
        told = at - at.replace(hour=0, minute=0, second=0, microsecond=0)
        if abs((told - time).total_seconds()) > 60:
            raise suv.Refused(suv.START, "and Start Time (0018,1072) contradict each other")
    return suv.Injection(
        dose_bq=_float(item, "RadionuclideTotalDose"),
        half_life_s=_float(item, "RadionuclideHalfLife"),
        at=at,
        nuclide=_nuclide(item),
        only_time=only_time,
    )


def _nuclide(item: Dataset) -> str:
    """The radionuclide as mass number and element, "18F"; "" where it is not said."""
    for code in item.get("RadionuclideCodeSequence") or ():
        text = str(code.get("CodeMeaning") or "")
        for word, symbol in _ELEMENTS.items():
            text = re.sub(word, symbol, text, flags=re.IGNORECASE)
        found = _NUCLIDE.search(text.replace("^", ""))
        if found:
            mass, element = found[1] or found[4], found[2] or found[3]
            return f"{mass}{element}".upper()
    return ""


def _scan(ds: Dataset, frames: Sequence[Values], injection: suv.Injection) -> suv.Scan:
    starts = [at for at in (_acquired(frame) for frame in frames) if at is not None]
    private_at, tag = _private_start(ds)
    reckoned_at = suv.reckoned_start([_moment(frame) for frame in frames], injection)
    return suv.Scan(
        decay=_decay(ds, frames[0]),
        series_at=_joined(str(ds.get("SeriesDate") or ""), str(ds.get("SeriesTime") or "")),
        first_at=min(starts, default=None),
        private_at=private_at,
        private_tag=tag,
        reckoned_at=reckoned_at,
        is_dynamic="DYNAMIC" in _texts(ds.get("SeriesType")),
    )


def _decay(ds: Dataset, frame: Values) -> suv.Decay:
    if told := (str(ds.get("DecayCorrection") or "") or frame.get("DecayCorrection", "")).strip():
        try:
            return suv.Decay(told)
        except ValueError:
            raise suv.Refused(suv.DECAY, f"is “{told[:16]}”, which is not defined") from None
    # Enhanced PET says it in two attributes: that it was done, and to which moment.
    corrected = str(ds.get("DecayCorrected") or "")
    if corrected == "NO":
        return suv.Decay.NONE
    if corrected == "YES":
        if _date_time(str(ds.get("DecayCorrectionDateTime") or ""))[0] is None:
            raise suv.Refused(_CORRECTED_TO, "is missing")
        return suv.Decay.START
    raise suv.Refused(suv.DECAY, "is missing")


def _private_start(ds: Dataset) -> tuple[datetime | None, str]:
    """The scan start that values are corrected to, where it is recorded by itself, and its tag."""
    for text, tag in (
        (str(ds.get("DecayCorrectionDateTime") or ""), "(0018,9701)"),
        (_private_text(ds, _GE_START), "(0009,100D)"),
        (_private_text(ds, _SIEMENS_START), "(0071,1022)"),
    ):
        at, _ = _date_time(text)
        if at is not None:
            return at, tag
    return None, ""


def _moment(frame: Values) -> suv.Moment:
    duration, reference = number(frame, "ActualFrameDuration"), number(frame, "FrameReferenceTime")
    duration = number(frame, "FrameAcquisitionDuration") if duration is None else duration
    return suv.Moment(
        at=_acquired(frame),
        duration_s=None if duration is None else duration / 1000,
        reference_s=None if reference is None else reference / 1000,
    )


def _acquired(frame: Values) -> datetime | None:
    for keyword in ("AcquisitionDateTime", "FrameAcquisitionDateTime"):
        at, _ = _date_time(frame.get(keyword, ""))
        if at is not None:
            return at
    day = frame.get("AcquisitionDate", "") or frame.get("SeriesDate", "")
    return _joined(day, frame.get("AcquisitionTime", ""))


def _joined(day: str, time: str) -> datetime | None:
    date, clock = _date(day), _time(time)
    return None if date is None or clock is None else date + clock


def _date(text: str) -> datetime | None:
    text = text.strip().replace(".", "")
    try:
        return datetime.strptime(text[:8], "%Y%m%d") if len(text) >= 8 else None  # noqa: DTZ007
    except ValueError:
        return None


def _time(text: str) -> timedelta | None:
    """HHMMSS.FFFFFF, parts from the right left out, or with colons as in old files."""
    found = re.fullmatch(r"(\d\d)(\d\d)?(\d\d)?(\.\d+)?", text.strip().replace(":", ""))
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    part = float(found[4] or 0)
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + part)


def _date_time(text: str) -> tuple[datetime | None, timedelta | None]:
    """YYYYMMDDHHMMSS.FFFFFF&ZZXX and its offset from UTC, where it has one."""
    found = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d+)?)([+-]\d{4})?", text.strip())
    if found is None:
        return None, None
    return _joined(found[1], found[2]), _offset(found[3] or "")


def _offset(text: str) -> timedelta | None:
    found = re.fullmatch(r"([+-])(\d\d)(\d\d)", text.strip())
    if found is None:
        return None
    span = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return -span if found[1] == "-" else span


def _private_text(ds: Dataset, where: tuple[int, str, int]) -> str:
    group, creator, element = where
    try:
        value = ds.private_block(group, creator)[element].value
    except KeyError:
        return ""
    if isinstance(value, bytes):
        value = value.decode("latin-1").strip(" \0")
    return str(value or "")


def _private_number(ds: Dataset, where: tuple[int, str, int]) -> float | None:
    """A positive private number; None where it is absent or 0, as scanners write for "unknown"."""
    text = _private_text(ds, where)
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e12 else None
