"""Who and what a DICOM file belongs to: patient, study, series, kind of object."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

from medview.core.study import Patient, SeriesKind
from medview.io.nuclear import is_moving
from medview.io.plan import VIDEO_SYNTAXES
from medview.io.projection import PROJECTIONS
from medview.io.values import Values

#: What objects written by medview call their manufacturer.
OURS = "medview"
_STORAGE = "1.2.840.10008.5.1.4.1.1."

#: SOP class UIDs (below the storage root, longest match first) of objects that are no pictures.
_KINDS: tuple[tuple[str, SeriesKind], ...] = (
    ("66.4", SeriesKind.SEGMENTATION),
    ("66.7", SeriesKind.SEGMENTATION),
    ("66.8", SeriesKind.SEGMENTATION),
    ("66", SeriesKind.OTHER),
    ("67", SeriesKind.OTHER),
    ("68", SeriesKind.OTHER),
    ("481.3", SeriesKind.STRUCTURE_SET),
    ("481.2", SeriesKind.DOSE),
    ("481.1", SeriesKind.IMAGES),
    ("481.23", SeriesKind.IMAGES),
    ("481", SeriesKind.PLAN),
    ("88", SeriesKind.REPORT),
    ("11", SeriesKind.PRESENTATION),
    ("104", SeriesKind.DOCUMENT),
    ("77.1.6", SeriesKind.SLIDE),
    ("91.1", SeriesKind.OTHER),
    ("9", SeriesKind.OTHER),
    ("4.2", SeriesKind.OTHER),
)
#: Pictures of patients.
IMAGE_KINDS = (SeriesKind.VOLUME, SeriesKind.IMAGES, SeriesKind.CLIP)
#: What a plan of volumes can be made for: pictures, and grids of doses.
PICTURED = (*IMAGE_KINDS, SeriesKind.DOSE)
#: Enhanced XA and XRF: their frames are moments, though functional groups tell of each.
_SHADOWS = frozenset(("12.1.1", "12.2.1"))
_VOLUMES = frozenset(("CT", "MR", "PT", "NM"))
_PICTURES = PROJECTIONS | {"US", "IVUS", "ES", "XC", "OP", "GM", "OT", "SC"}


def kind_of(values: Values) -> SeriesKind:
    """What an object is, from its SOP class, its modality and whether it has frames."""
    stated = _kind_of_class(values.get("SOPClassUID", ""))
    if stated is not None:
        return stated
    if int(values.get("_PixelOffset", "-1")) < 0:
        # An image whose pixels are missing is still what its header says; the plan refuses it.
        if values.get("Modality") in _VOLUMES:
            return SeriesKind.VOLUME
        pictured = values.get("Modality") in _PICTURES and values.get("Rows")
        return SeriesKind.IMAGES if pictured else SeriesKind.OTHER
    if is_moving(values) and values.get("NumberOfFrames", "").strip() not in ("", "0", "1"):
        return SeriesKind.CLIP
    grouped = (
        values.get("PerFrameFunctionalGroupsSequence")
        and values.get("SOPClassUID", "").removeprefix(_STORAGE) not in _SHADOWS
    )
    if values.get("Modality") in _VOLUMES or grouped:
        return SeriesKind.VOLUME
    if values.get("ImagePositionPatient") and values.get("ImageOrientationPatient"):
        return SeriesKind.VOLUME
    frames = values.get("NumberOfFrames", "").strip()
    video = values.get("_TransferSyntax") in VIDEO_SYNTAXES
    several = video or (frames.isdigit() and int(frames) > 1)
    return SeriesKind.CLIP if several else SeriesKind.IMAGES


@lru_cache(maxsize=256)
def _kind_of_class(sop_class: str) -> SeriesKind | None:
    """What objects of a SOP class are, where they are no pictures of patients."""
    suffix = sop_class.removeprefix(_STORAGE)
    if suffix != sop_class:
        for prefix, kind in _KINDS:
            if suffix == prefix or suffix.startswith(prefix + "."):
                return kind
    return None


def person(name: str) -> str:
    """A DICOM person name for people: `Family, Given Middle`, groups joined by ` = `.

    All of the alphabetic, ideographic and phonetic groups that are given are shown (PS3.5 6.2.1).
    """
    shown = []
    for group in name.split("="):
        family, *others = (part.strip() for part in group.split("^"))
        given, middle, prefix, suffix = (*others[:4], "", "", "", "")[:4]
        first = " ".join(part for part in (prefix, given, middle) if part)
        text = ", ".join(part for part in (family, first, suffix) if part)
        if text and text not in shown:
            shown.append(text)
    return " = ".join(shown)


def patient_of(values: Values) -> Patient:
    """The patient a header names."""
    return Patient(
        id=values.get("PatientID", ""),
        name=person(values.get("PatientName", "")),
        birth_date=values.get("PatientBirthDate", ""),
        sex=values.get("PatientSex", ""),
        issuer=values.get("IssuerOfPatientID", ""),
    )


Identity = tuple[str, str, str, str]


def identity_of(values: Values) -> Identity:
    """What tells patients apart: ID, issuer, name without its spelling's accidents, birth date."""
    letters = values.get("PatientName", "").casefold().split("=")[0]
    name = "".join(letter for letter in letters if letter.isalnum())
    return (
        values.get("PatientID", "").strip(),
        values.get("IssuerOfPatientID", "").strip(),
        name,
        values.get("PatientBirthDate", "").strip(),
    )


def compatible(one: Identity, other: Identity) -> bool:
    """Whether two identities may be the same person: nothing that both state differs."""
    return all(not a or not b or a == b for a, b in zip(one, other, strict=True))


def uid_from(*parts: object) -> str:
    """A UID made from what identifies a thing, the same every time (PS3.5 B.2)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def study_uid_of(values: Mapping[str, str]) -> str:
    """Study Instance UID, or one made from patient and date where it is missing."""
    given = values.get("StudyInstanceUID", "")
    return given or uid_from("study", *identity_of(values), values.get("StudyDate", ""))


def series_uid_of(values: Mapping[str, str]) -> str:
    """Series Instance UID, or one made from study, modality, number and description."""
    if given := values.get("SeriesInstanceUID", ""):
        return given
    keys = ("Modality", "SeriesNumber", "SeriesDescription")
    return uid_from("series", study_uid_of(values), *(values.get(key, "") for key in keys))
