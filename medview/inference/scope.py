"""Whether a model fits an image: what its card says against what the headers say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType

import numpy as np

from medview.core.clip import Clip
from medview.core.errors import ModelError
from medview.core.geometry import Geometry
from medview.core.models import ModelCard, Task
from medview.core.study import Series, SeriesKind, Severity, Study
from medview.core.volume import Volume

#: Modalities (0008,0060) whose pictures are flat: a model for these alone needs no patient space.
_FLAT = frozenset(
    {"CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF", "OP", "XC", "ES", "US", "SM", "GM"}
)
_UNSTATED = frozenset({"", "OT", "UN"})

#: What slices across a direction of the body are called, by either of its letters.
_PLANES: Mapping[str, str] = MappingProxyType(
    {**dict.fromkeys("RL", "sagittal"), **dict.fromkeys("AP", "coronal"),
     **dict.fromkeys("SIHF", "axial")}
)  # fmt: skip
#: Slices this much further apart than pixels are the plane an image was taken in.
_THICK = 1.5
#: Degrees by which a head or body lies askew in ordinary images; more is a grid turned on purpose.
_ASKEW = 20.0
#: How X-ray pictures lie on a screen: towards the patient's left, and towards the feet.
_UPRIGHT = ("L", "F")

#: Body regions and the words Body Part Examined (0018,0015) has for them.
_REGIONS: Mapping[str, str] = MappingProxyType(
    {
        "head": "HEAD BRAIN SKULL CRANIUM NEURO HEADNECK HIPPOCAMPUS CEREBRUM",
        "neck": "NECK HEADNECK CSPINE CERVICALSPINE THYROID LARYNX",
        "chest": "CHEST THORAX LUNG HEART CHESTABDOMEN CHESTABDPELVIS RIB TSPINE",
        "abdomen": "ABDOMEN LIVER KIDNEY PANCREAS SPLEEN ABDOMENPELVIS CHESTABDOMEN CHESTABDPELVIS"
        " LSPINE",
        "pelvis": "PELVIS PROSTATE BLADDER HIP ABDOMENPELVIS CHESTABDPELVIS RECTUM SSPINE",
        "spine": "SPINE CSPINE TSPINE LSPINE SSPINE CERVICALSPINE THORACICSPINE LUMBARSPINE",
        "breast": "BREAST MAMMA",
        "limb": "KNEE ANKLE FOOT LEG THIGH SHOULDER ELBOW WRIST HAND ARM FEMUR TIBIA HUMERUS"
        " FOREARM EXTREMITY HIP FINGER TOE CALF",
    }
)
_EVERYWHERE = frozenset({"WHOLEBODY", "BODY"})

#: Words of descriptions and protocols that name an MR contrast, the telling ones first.
_CONTRAST_WORDS: tuple[tuple[str, str], ...] = (
    ("FLAIR", r"FLAIR|DARK.?FLUID|TIRM"),
    ("diffusion", r"DWI|DIFF|ADC|DTI|TRACEW"),
    ("susceptibility", r"SWI|SWAN|T2\*|T2STAR"),
    ("T1", r"(?<![A-Z0-9])T1|MPRAGE|MP2RAGE|SPGR|BRAVO|MDEFT"),
    ("T2", r"(?<![A-Z0-9])T2|HASTE|CISS|FIESTA"),
    ("PD", r"(?<![A-Z])PD(?![A-Z])|PROTON"),
)


@dataclass(frozen=True)
class Reason:
    """One way in which an image leaves a model's card: refused, or run with a warning.

    `final`: nothing the reader says can help, the model cannot look at the image.
    """

    severity: Severity
    text: str
    final: bool = False


@dataclass(frozen=True)
class Candidate:
    """A series a model could look at, and what speaks against it."""

    study: Study
    series: Series
    reasons: tuple[Reason, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing forbids it."""
        return not refusals(self.reasons)


def refusals(reasons: Iterable[Reason], *, final_only: bool = False) -> tuple[str, ...]:
    """The words of those reasons that forbid a run; `final_only` when the reader insists."""
    return tuple(
        reason.text
        for reason in reasons
        if reason.severity is Severity.REFUSED and (reason.final or not final_only)
    )


def fit(
    card: ModelCard, study: Study | None, series: Series | None, geometry: Geometry | None = None
) -> tuple[Reason, ...]:
    """What speaks against running the model there; empty if nothing does.

    Without `geometry` (not loaded yet) only the headers are looked at. What the headers do not
    state is no reason to refuse, but said where it matters. Refused: another modality, region,
    MR contrast or X-ray view than the card's, no patient space where the model measures in it, a
    single image for a model of volumes. Cautions: a region, contrast or view that is not stated,
    age and spacing outside the card's, slices in another plane, a body or picture that lies
    askew, an image smaller than what the model looks at in one piece.
    """
    reasons: list[Reason] = list(_trust(card))
    if series is not None:
        reasons += _modality(card, series)
        reasons += _region(card, study, series)
        reasons += _contrast(card, series)
        reasons += _view(card, series)
        reasons += _content(card, series, geometry)
    if geometry is not None:
        reasons += _space(card, geometry)
        reasons += _lie(card, geometry)
        reasons += _field_of_view(card, geometry)
    if study is not None and series is not None:
        reasons += _age(card, study, series)
    return tuple(reasons)


def fit_image(
    card: ModelCard, study: Study | None, series: Series | None, image: Volume | Clip
) -> tuple[Reason, ...]:
    """What speaks against running the model on an image that is loaded: `fit`, and its channels.

    Models of motion look at clips, all others at volumes; neither can look at the other.
    """
    if isinstance(image, Clip):
        if card.task is not Task.MOTION:
            text = "The series is a clip; the model looks at single pictures and volumes."
            return (Reason(Severity.REFUSED, text, final=True),)
        return fit(card, study, series)
    if card.task is Task.MOTION:
        return (Reason(Severity.REFUSED, "The model looks at clips.", final=True),)
    reasons = fit(card, study, series, image.geometry)
    wanted = card.inputs.channels
    if image.channels == wanted or card.inputs.grey != "mean":
        return reasons  # or colours are just what it is made for
    kind = "in colour" if image.channels > 1 else "grey"
    if card.inputs.looks_at_pictures:
        read = "grey" if wanted == 1 else "colour"
        return (*reasons, _caution(f"The image is {kind}; the model reads it as {read}."))
    text = f"The image is {kind}; the model takes {wanted} channel(s)."
    return (*reasons, Reason(Severity.REFUSED, text, final=True))


def ranked(card: ModelCard, studies: Iterable[Study]) -> tuple[Candidate, ...]:
    """All series with pictures, the best-fitting first; ties go to the one with more images."""
    candidates = [
        Candidate(study, series, fit(card, study, series))
        for study in studies
        for series in study.series
        if series.kind in (SeriesKind.VOLUME, SeriesKind.IMAGES, SeriesKind.CLIP)
    ]
    return tuple(sorted(candidates, key=_badness))


def preference(card: ModelCard, reasons: tuple[Reason, ...]) -> tuple[bool, bool, int, bool]:
    """What to sort models by that look at one image, the first to offer first.

    Those that are not refused, networks before rules, the less doubtful ones, and those made for
    a part of the body before those for any.
    """
    rules = card.task is Task.RULES
    return bool(refusals(reasons)), rules, len(reasons), not card.scope.body_part


def best_series(card: ModelCard, studies: Iterable[Study]) -> Candidate:
    """The series that fits best by its headers; ModelError with the reasons if none does."""
    candidates = ranked(card, studies)
    if candidates and candidates[0].fits:
        return candidates[0]
    reasons = {text for candidate in candidates for text in refusals(candidate.reasons)}
    raise ModelError(
        f"No series fits {card.title or card.id}.",
        hint=" ".join(sorted(reasons)) or "There is no series with pictures.",
    )


def contrast_of(series: Series) -> str:
    """The MR contrast of a series: T1, T2, PD, FLAIR, diffusion, susceptibility; "" if unknown.

    Echo Time (0018,0081), Repetition Time (0018,0080) and Inversion Time (0018,0082) in
    milliseconds where they are conclusive for spin or gradient echoes, else the words of the
    description and protocol.
    """
    text = " ".join(
        (series.description, *(series.headers.get(k, "") for k in ("ProtocolName", "SequenceName")))
    ).upper()
    words = [name for name, pattern in _CONTRAST_WORDS if re.search(pattern, text)]
    if words and words[0] in ("FLAIR", "diffusion", "susceptibility"):
        return words[0]
    by_times = _contrast_by_times(series)
    return by_times or (words[0] if len(words) == 1 else "")


def _contrast_by_times(series: Series) -> str:
    echo, repetition, inversion = (
        _number(series.headers.get(f"{name}Time", ""))
        for name in ("Echo", "Repetition", "Inversion")
    )
    if echo is None or "EP" in series.headers.get("ScanningSequence", "").split("\\"):
        return ""
    if echo >= 60:
        return "FLAIR" if inversion and inversion >= 1500 else "T2"
    if echo <= 30 and inversion and 300 <= inversion <= 1400:
        return "T1"
    if echo <= 30 and repetition and not inversion:
        return "T1" if repetition <= 1000 else "PD" if repetition >= 2000 else ""
    return ""


def _trust(card: ModelCard) -> list[Reason]:
    """A program in a model folder runs only where the reader said so."""
    if card.may_run:
        return []
    text = (
        f"The model brings a program ({card.code}); it runs only after you have trusted it"
        f" (medview models trust {card.id})."
    )
    return [Reason(Severity.REFUSED, text, final=True)]


def _modality(card: ModelCard, series: Series) -> list[Reason]:
    allowed = card.scope.modality
    if not allowed or series.modality in allowed:
        return []
    wanted = " or ".join(allowed)
    if series.modality in _UNSTATED:
        return [
            _caution(f"The file does not say how the image was made; the model is for {wanted}.")
        ]
    return [_refused(f"The image is {series.modality}; the model is for {wanted}.")]


def _region(card: ModelCard, study: Study | None, series: Series) -> list[Reason]:
    stated = re.sub(r"[^A-Z0-9]", "", series.body_part.upper())
    allowed = {re.sub(r"[^A-Z0-9]", "", part.upper()) for part in card.scope.body_part}
    if not allowed or allowed & _EVERYWHERE or stated in allowed | _EVERYWHERE:
        return []
    wanted = _either([part.lower() for part in card.scope.body_part])
    regions = set[str]().union(*(_regions_of(part) for part in allowed))
    if not stated:
        return _region_by_words(study, series, regions, wanted)
    text = f"The image shows the {series.body_part.lower()}; the model is for the {wanted}."
    here = _regions_of(stated)
    if not here:
        return [_caution(text)]
    return [] if here & regions else [_refused(text)]


def _region_by_words(
    study: Study | None, series: Series, regions: set[str], wanted: str
) -> list[Reason]:
    """Where no Body Part Examined is stated: what descriptions and protocol say, as far as known.

    They are written by hand and not to be relied on, so they are no reason to refuse.
    """
    texts = (
        series.description,
        series.headers.get("ProtocolName", ""),
        study.description if study is not None else "",
    )
    for text in texts:
        words = re.findall(r"[A-Z]+", text.upper())
        here = set[str]().union(*(_regions_of(word) for word in words))
        if here & regions:
            return []
        if here:
            told = _either(sorted(here))
            return [
                _caution(f"The description speaks of the {told}; the model is for the {wanted}.")
            ]
    return [
        _caution(
            "The headers do not tell which part of the body the image shows; the model is for the"
            f" {wanted}."
        )
    ]


def _either(words: Sequence[str]) -> str:
    """Words as people name a choice: `a, b or c`."""
    head, last = words[:-1], words[-1]
    return f"{', '.join(head)} or {last}" if head else last


def _regions_of(word: str) -> set[str]:
    return {region for region, words in _REGIONS.items() if word in words.split()}


def _contrast(card: ModelCard, series: Series) -> list[Reason]:
    allowed = card.scope.weighting
    if not allowed or series.modality != "MR":
        return []
    found, wanted = contrast_of(series), " or ".join(allowed)
    if not found:
        return [
            _caution(f"The headers do not tell the contrast; the model is for {wanted} images.")
        ]
    if found in allowed:
        return []
    return [_refused(f"The headers say {found}; the model is for {wanted} images.")]


def _view(card: ModelCard, series: Series) -> list[Reason]:
    """X-ray pictures from another side, by View Position (0018,5101), mirrored or turned ones."""
    allowed = card.scope.views
    if not allowed:
        return []
    found = series.headers.get("ViewPosition", "").strip().upper()
    wanted = _either(allowed)
    if not found:
        return [_caution(f"The headers do not tell the view; the model is for {wanted}.")]
    if found not in allowed:
        return [_refused(f"The view is {found}; the model is for {wanted}.")]
    lies = series.headers.get("PatientOrientation", "").upper().split("\\")
    if len(lies) != 2 or (lies[0][:1], lies[1][:1]) == _UPRIGHT:
        return []
    text = (
        f"The picture is stored mirrored or turned (rows to {lies[0]}, columns to {lies[1]}); the"
        " model was shown pictures with the patient's left on the right and the feet below."
    )
    return [_caution(text)]


def _lie(card: ModelCard, geometry: Geometry) -> list[Reason]:
    """How the body lies in the grid, where that matters: a model with an orientation of its own."""
    inputs = card.inputs
    if not (inputs.orientation and geometry.in_patient_space) or inputs.localise:
        return []
    return [*_plane(card, geometry), *_askew(card, geometry)]


def _plane(card: ModelCard, geometry: Geometry) -> list[Reason]:
    """A model of slices in one plane, given thick slices in another."""
    thin = [n for n, size in enumerate(card.inputs.patch_shape) if size == 1]
    spacing = geometry.spacing_mm
    thick = max(range(3), key=lambda axis: spacing[axis])
    if len(thin) != 1 or spacing[thick] < _THICK * sorted(spacing)[1]:
        return []
    wanted = _PLANES[card.inputs.orientation[thin[0]]]
    here = _PLANES[geometry.orientation[thick]]
    if here == wanted:
        return []
    return [
        _caution(
            f"The slices are {here} and {spacing[thick]:.2g} mm apart; the model looks at {wanted}"
            " ones."
        )
    ]


def _askew(card: ModelCard, geometry: Geometry) -> list[Reason]:
    """A grid that is turned against the axes of the body, for a model that is shown it as it is."""
    if card.inputs.along_body:
        return []
    steps = geometry.affine[:3, :3]
    nearest = np.abs(steps / np.linalg.norm(steps, axis=0)).max(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(nearest.min(), 0, 1))))
    if degrees <= _ASKEW:
        return []
    return [
        _caution(
            f"The image is turned by {degrees:.0f}° against the axes of the body; the model was"
            " shown images along them."
        )
    ]


def _content(card: ModelCard, series: Series, geometry: Geometry | None) -> list[Reason]:
    if series.kind not in (SeriesKind.VOLUME, SeriesKind.IMAGES, SeriesKind.CLIP):
        text = f"The series holds no pictures but a {series.kind.replace('_', ' ')}."
        return [Reason(Severity.REFUSED, text, final=True)]
    if "LOCALIZER" in series.headers.get("ImageType", "").upper().split("\\"):
        return [_refused("The series is a localizer.")]
    frames = geometry.shape[0] if geometry else sum(one.frames for one in series.instances)
    if series.is_dicom and card.inputs.spacing_mm and 0 < frames < 3:
        return [_refused(f"The series has {frames} image(s); the model looks at volumes.")]
    return []


def _space(card: ModelCard, geometry: Geometry) -> list[Reason]:
    if not geometry.in_patient_space:
        flat = bool(card.scope.modality) and set(card.scope.modality) <= _FLAT
        flat = flat or card.inputs.looks_at_pictures
        text = "The image does not say where in the patient it lies; the model measures there."
        return [] if flat else [Reason(Severity.REFUSED, text, final=True)]
    if card.scope.spacing_mm is None:
        return []
    low, high = card.scope.spacing_mm
    spacing = geometry.spacing_mm
    if low <= min(spacing) and max(spacing) <= high:
        return []
    voxel = " × ".join(f"{size:.2g}" for size in spacing)
    return [_caution(f"Voxels are {voxel} mm; the model was made for {low:g} to {high:g} mm.")]


def _field_of_view(card: ModelCard, geometry: Geometry) -> list[Reason]:
    """Whether the image covers as much as the model looks at in one piece, by half at least."""
    patch, spacing = card.inputs.patch_shape, card.inputs.spacing_mm
    if not spacing or len(patch) != len(spacing) or not geometry.in_patient_space:
        return []
    needed = sorted(size * step for size, step in zip(patch, spacing, strict=True))
    covered = sorted(
        size * step for size, step in zip(geometry.shape, geometry.spacing_mm, strict=True)
    )
    if all(have >= need / 2 for have, need in zip(covered, needed, strict=True)):
        return []
    here, there = (" × ".join(f"{length:.0f}" for length in one) for one in (covered, needed))
    return [_caution(f"The image covers {here} mm; the model looks at {there} mm at once.")]


def room(card: ModelCard, free_mb: float) -> tuple[Reason, ...]:
    """Whether there is the memory that the card asks for; refused where it is not."""
    if card.memory_mb <= free_mb:
        return ()
    text = f"The model needs {card.memory_mb:,} MB of memory; {free_mb:,.0f} MB are free."
    return (_refused(text),)


def _age(card: ModelCard, study: Study, series: Series) -> list[Reason]:
    if card.scope.age_years is None:
        return []
    low, high = card.scope.age_years
    age = age_years(study, series)
    if age is None:
        return [_caution(f"The age is not known; the model is for {low:g} to {high:g} years.")]
    if low <= age <= high:
        return []
    shown = f"{age:.0f}" if age >= 2 else f"{age:.1f}"
    return [_caution(f"The model is for {low:g} to {high:g} years; this patient is {shown}.")]


def age_years(study: Study, series: Series) -> float | None:
    """Age at the examination: Patient's Age (0010,1010), else from birth date and study date."""
    stated = re.fullmatch(r"(\d{3})([DWMY])", series.headers.get("PatientAge", "").strip())
    if stated:
        days = {"D": 1.0, "W": 7.0, "M": 30.4375, "Y": 365.25}[stated[2]]
        return int(stated[1]) * days / 365.25
    born, seen = _date(study.patient.birth_date), _date(study.date)
    return (seen - born).days / 365.25 if born and seen and seen >= born else None


def _date(text: str) -> date | None:
    digits = text.strip().replace("-", "").replace(".", "")
    try:
        return datetime.strptime(digits, "%Y%m%d").date()  # noqa: DTZ007  (a day, not a moment)
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text.split("\\", maxsplit=1)[0])
    except ValueError:
        return None


def _badness(candidate: Candidate) -> tuple[int, int, int]:
    cautions = len(candidate.reasons) - len(refusals(candidate.reasons))
    images = sum(instance.frames for instance in candidate.series.instances)
    return len(refusals(candidate.reasons)), cautions, -images


def _refused(text: str) -> Reason:
    return Reason(Severity.REFUSED, text)


def _caution(text: str) -> Reason:
    return Reason(Severity.WARNING, text)
