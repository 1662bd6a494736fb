"""Activity to standardised uptake: the formulas, and what they refuse to be guessed from.

Sources: QIBA FDG-PET/CT Profile, vendor-neutral pseudo-code of SUV; IBSI SUV computation;
DICOM PS3.3 C.8.9. Times are in seconds, activities in becquerel, masses in kilograms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

WEIGHT = "Patient's Weight (0010,1030)"
SIZE = "Patient's Size (0010,1020)"
SEX = "Patient's Sex (0010,0040)"
BIRTH = "Patient's Birth Date (0010,0030)"
DOSE = "Radionuclide Total Dose (0018,1074)"
HALF_LIFE = "Radionuclide Half Life (0018,1075)"
START = "Radiopharmaceutical Start DateTime (0018,1078)"
START_TIME = "Radiopharmaceutical Start Time (0018,1072)"
SERIES_TIME = "Series Time (0008,0031)"
ACQUISITION_TIME = "Acquisition Time (0008,0032)"
REFERENCE_TIME = "Frame Reference Time (0054,1300)"
DECAY = "Decay Correction (0054,1102)"

#: Limits beyond which a number cannot be what its unit says (a person or a small animal).
_WEIGHT_KG = (0.005, 500.0)
_SIZE_M = (0.03, 2.6)
_DOSE_BQ = (1e6, 1e11)
#: An injection longer ago than this many half-lives left nothing to measure.
_MOST_HALF_LIVES = 10.0
#: Dynamic scans may begin this long before the injection.
_BEFORE_INJECTION_S = 300.0
#: Half-lives in seconds (Laboratoire National Henri Becquerel, table of radionuclides).
_NUCLIDES = {
    "11C": 1221.8, "13N": 597.9, "15O": 122.2, "18F": 6586.2, "64CU": 45721.0, "68GA": 4062.6,
    "82RB": 76.4, "86Y": 53064.0, "89ZR": 282276.0, "90Y": 230700.0, "124I": 360806.0,
    "44SC": 14551.0, "52MN": 483000.0, "55CO": 63108.0, "22NA": 82084000.0, "68GE": 23412000.0,
}  # fmt: skip
_HALF_LIFE_TOLERANCE = 0.03
#: Times are written in whole seconds, and some scanners give the middle of an image for its mean.
_SAME_START_S = 5.0


class Refused(Exception):
    """An input is missing or contradicts another; `tag` names it, the text says why."""

    def __init__(self, tag: str, why: str) -> None:
        super().__init__(f"{tag} {why}")
        self.tag = tag


class Decay(StrEnum):
    """What the pixel values were corrected to (0054,1102)."""

    NONE = "NONE"
    START = "START"
    ADMIN = "ADMIN"


@dataclass(frozen=True)
class Person:
    """Who was scanned. None or "" where the header says nothing."""

    weight_kg: float | None = None
    size_m: float | None = None
    sex: str = ""


@dataclass(frozen=True)
class Injection:
    """What was given and when; `only_time` says that the header gave no date."""

    dose_bq: float | None
    half_life_s: float | None
    at: datetime | None
    nuclide: str = ""
    only_time: bool = False


@dataclass(frozen=True)
class Scan:
    """When activity was counted.

    `series_at` is the Series Date and Time, `first_at` the earliest acquisition, `private_at` the
    start that the vendor keeps for itself, in the element `private_tag`; `reckoned_at` is what the
    times of the images give, see `reckoned_start`.
    """

    decay: Decay
    series_at: datetime | None = None
    first_at: datetime | None = None
    private_at: datetime | None = None
    private_tag: str = ""
    reckoned_at: datetime | None = None
    is_dynamic: bool = False

    @property
    def is_reckoned(self) -> bool:
        """Whether the start is that of the times of the images, for want of a better one."""
        return (
            self.decay is Decay.START
            and self.private_at is None
            and self.reckoned_at is not None
            and None not in (self.series_at, self.first_at)
            and scan_start(self) == self.reckoned_at != self.series_at
        )


@dataclass(frozen=True)
class Moment:
    """When one image was taken: its start, its length, its offset from the series start."""

    at: datetime | None = None
    duration_s: float | None = None
    reference_s: float | None = None


def checked_weight(person: Person) -> float:
    """The weight in kilograms; Refused where there is none to trust."""
    return _within(person.weight_kg, _WEIGHT_KG, WEIGHT, "kg")


def _within(value: float | None, limits: tuple[float, float], tag: str, unit: str) -> float:
    if value is None:
        raise Refused(tag, "is missing")
    if not math.isfinite(value) or value <= 0:
        raise Refused(tag, f"is {value:g}")
    if not limits[0] <= value <= limits[1]:
        raise Refused(tag, f"cannot be {value:g} {unit}")
    return value


def checked_dose(injection: Injection) -> float:
    """The injected activity in Bq; Refused where it cannot be becquerel (MBq written, say)."""
    return _within(injection.dose_bq, _DOSE_BQ, DOSE, "Bq")


def checked_half_life(injection: Injection) -> float:
    """The half-life in seconds; Refused where it contradicts the nuclide."""
    value = _within(injection.half_life_s, (1.0, 1e10), HALF_LIFE, "s")
    known = _NUCLIDES.get(injection.nuclide.upper())
    if known is not None and abs(value - known) > _HALF_LIFE_TOLERANCE * known:
        raise Refused(HALF_LIFE, f"of {value:g} s contradicts {injection.nuclide} ({known:g} s)")
    return value


def scan_start(scan: Scan) -> datetime:
    """The moment that START refers to: the vendor's own record, else Series Date and Time.

    The series time of reprocessed images lies after their acquisition: then it is not that
    moment. Without the vendor's record it is reckoned from the times of the images (QIBA), and
    where these say nothing, or contradict each other, nothing is that moment.
    """
    if scan.private_at is not None:
        if scan.first_at is not None and _apart(scan.first_at, scan.private_at) < -1:
            raise Refused(f"Scan start {scan.private_tag}", "lies after the acquisition")
        return scan.private_at
    if scan.series_at is None:
        raise Refused(SERIES_TIME, "is missing")
    if scan.first_at is None:
        raise Refused(ACQUISITION_TIME, "is missing")
    if _apart(scan.first_at, scan.series_at) < -1:
        if scan.reckoned_at is not None and _apart(scan.first_at, scan.reckoned_at) >= -1:
            return scan.reckoned_at
        raise Refused(SERIES_TIME, "lies after the acquisition")
    if _apart(scan.first_at, scan.series_at) > 86400:
        raise Refused(SERIES_TIME, "lies more than a day before the acquisition")
    return scan.series_at


def _apart(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds()


def mean_count_s(half_life_s: float, duration_s: float) -> float:
    """How long after its start an image counted at its mean rate (QIBA): ln(u/(1-e^-u))/lambda."""
    rate = math.log(2) / half_life_s
    decayed = rate * duration_s
    if decayed < 1e-6:
        return duration_s / 2
    return math.log(decayed / -math.expm1(-decayed)) / rate


def reckoned_start(moments: Sequence[Moment], injection: Injection) -> datetime | None:
    """The scan start by the times of the images; None where they do not say it, all the same.

    QIBA: Acquisition Date and Time, less Frame Reference Time (from that start to the moment of
    the mean count rate), and the time from the beginning of the image to that moment.
    """
    if injection.half_life_s is None or not injection.half_life_s > 0:
        return None
    starts = []
    for moment in moments:
        if moment.at is None or not moment.duration_s or not moment.reference_s:
            return None
        if moment.duration_s < 0 or moment.reference_s < 0:
            return None
        mean_s = mean_count_s(injection.half_life_s, moment.duration_s)
        starts.append(moment.at + timedelta(seconds=mean_s - moment.reference_s))
    if not starts or _apart(max(starts), min(starts)) > _SAME_START_S:
        return None
    return min(starts)


def uncorrected_at(scan: Scan, moment: Moment, half_life_s: float) -> datetime:
    """When the values of an image without decay correction hold (PS3.3 C.8.9.4.1.5).

    Series Date and Time plus Frame Reference Time; or the mean of the image's own duration.
    """
    counted = None
    if moment.at is not None and moment.duration_s:
        counted = moment.at + timedelta(seconds=mean_count_s(half_life_s, moment.duration_s))
    if moment.reference_s is None:
        if counted is None:
            raise Refused(REFERENCE_TIME, "is missing")
        return counted
    told = scan_start(scan) + timedelta(seconds=moment.reference_s)
    if moment.at is not None:
        late = _apart(told, moment.at)
        if not -2 <= late <= (moment.duration_s or 3600.0) + 2:
            raise Refused(REFERENCE_TIME, "does not fit the acquisition time")
    return told


def injected_at(injection: Injection, reference: datetime, *, is_dynamic: bool) -> datetime:
    """When the dose was given, checked against the moment that values refer to.

    A time of day without a date is taken on the day of the scan, or the day before where it
    would lie after it.
    """
    at = injection.at
    tag = START_TIME if injection.only_time else START
    if at is None:
        raise Refused(START, "is missing")
    if injection.only_time:
        at = datetime.combine(reference.date(), at.time())
        if _apart(reference, at) < (-_BEFORE_INJECTION_S if is_dynamic else 0):
            at -= timedelta(days=1)
    waited = _apart(reference, at)
    if waited < (-_BEFORE_INJECTION_S if is_dynamic else 0):
        raise Refused(tag, "lies after the scan")
    if waited > _MOST_HALF_LIVES * checked_half_life(injection):
        raise Refused(tag, f"lies {_span(waited)} before the scan: too long for the nuclide")
    return at


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def decayed_dose_bq(injection: Injection, scan: Scan, moment: Moment) -> float:
    """The dose that was left at the moment the values refer to: D exp(-ln 2 t / T)."""
    dose = checked_dose(injection)
    if scan.decay is Decay.ADMIN:
        return dose
    half_life = checked_half_life(injection)
    if scan.decay is Decay.START:
        reference = scan_start(scan)
    else:
        reference = uncorrected_at(scan, moment, half_life)
    waited = _apart(reference, injected_at(injection, reference, is_dynamic=scan.is_dynamic))
    return dose * math.exp(-math.log(2) * waited / half_life)


def body_weight_factor(weight_kg: float, dose_bq: float) -> float:
    """Bq/ml to SUVbw in g/ml: weight in grams over activity."""
    return weight_kg * 1000 / dose_bq


def lean_mass_janmahasatian_kg(person: Person) -> float:
    """Lean body mass (Janmahasatian et al., Clin Pharmacokinet 2005;44:1051)."""
    weight, size, sex = _built(person)
    index = weight / size**2
    base, slope = {"M": (6680, 216), "F": (8780, 244)}[sex]
    return 9270 * weight / (base + slope * index)


def lean_mass_james_kg(person: Person) -> float:
    """Lean body mass (James 1976, with 128 for men; Hallynck et al. 1981)."""
    weight, size, sex = _built(person)
    slope, bend = {"M": (1.10, 128), "F": (1.07, 148)}[sex]
    return slope * weight - bend * (weight / (100 * size)) ** 2


def ideal_mass_kg(person: Person) -> float:
    """Ideal body weight from height (Devine's rule in metric form, as in the IBSI and QIBA text).

    Men 48.0 + 1.06 (h - 152), women 45.5 + 0.91 (h - 152), h in cm.
    """
    _, size, sex = _built(person)
    base, slope = {"M": (48.0, 1.06), "F": (45.5, 0.91)}[sex]
    return base + slope * (100 * size - 152)


def surface_area_cm2(person: Person) -> float:
    """Body surface (Du Bois and Du Bois 1916): 0.007184 W^0.425 H^0.725 m2, W in kg, H in cm."""
    weight = checked_weight(person)
    size = _within(person.size_m, _SIZE_M, SIZE, "m")
    return float(71.84 * weight**0.425 * (100 * size) ** 0.725)


def _built(person: Person) -> tuple[float, float, str]:
    weight = checked_weight(person)
    size = _within(person.size_m, _SIZE_M, SIZE, "m")
    if person.sex not in ("M", "F"):
        raise Refused(SEX, f"is “{person.sex}”" if person.sex else "is missing")
    return weight, size, person.sex


#: Name and UCUM unit of each kind of SUV.
Kind = tuple[str, str]
LEAN_MASS: Kind = ("SUVlbm (Janmahasatian)", "g/ml{SUVlbm(Janma)}")
LEAN_MASS_JAMES: Kind = ("SUVlbm (James)", "g/ml{SUVlbm(James128)}")
SURFACE: Kind = ("SUVbsa", "cm2/ml{SUVbsa}")
IDEAL_WEIGHT: Kind = ("SUVibw", "g/ml{SUVibw}")


def ratios(person: Person) -> dict[Kind, float]:
    """What turns SUVbw into the other kinds; those whose inputs are missing are left out."""
    weight = checked_weight(person)
    sizes: dict[Kind, Callable[[], float]] = {
        LEAN_MASS: lambda: 1000 * lean_mass_janmahasatian_kg(person),
        LEAN_MASS_JAMES: lambda: 1000 * lean_mass_james_kg(person),
        SURFACE: lambda: surface_area_cm2(person),
        IDEAL_WEIGHT: lambda: 1000 * ideal_mass_kg(person),
    }
    found = {}
    for kind, measure in sizes.items():
        try:
            size = measure()
        except Refused:
            continue
        if size > 0:
            found[kind] = size / (1000 * weight)
    return found
