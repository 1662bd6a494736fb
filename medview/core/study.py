"""Patient, study, series, instance: identity and headers, no pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType


class SeriesKind(StrEnum):
    """What a series holds, in the words of `medview info`."""

    VOLUME = "volume"
    IMAGES = "images"
    CLIP = "clip"
    SEGMENTATION = "segmentation"
    STRUCTURE_SET = "structure_set"
    DOSE = "dose"
    PLAN = "plan"
    REPORT = "report"
    PRESENTATION = "presentation"
    DOCUMENT = "document"
    SLIDE = "slide"
    OTHER = "other"

    @property
    def is_shown(self) -> bool:
        """Whether a series of this kind is shown as pictures."""
        return self in _SHOWN


_SHOWN = frozenset((SeriesKind.VOLUME, SeriesKind.IMAGES, SeriesKind.CLIP, SeriesKind.DOSE))


@dataclass(frozen=True)
class Patient:
    """Who was imaged. The repr shows nothing that identifies."""

    id: str
    name: str
    birth_date: str = ""
    sex: str = ""
    issuer: str = ""

    def __repr__(self) -> str:
        return "Patient(…)"

    def may_be(self, other: Patient) -> bool:
        """Whether what both state of themselves agrees."""
        pairs = ((self.id, other.id), (self.issuer, other.issuer),
                 (self.birth_date, other.birth_date))  # fmt: skip
        return all(not one or not another or one == another for one, another in pairs)


@dataclass(frozen=True)
class Instance:
    """One file (or one member of it) with what sorting and referencing need.

    `member` is its name inside the archive at `path`, which is kept as text, in `file`: thousands
    of paths would take longer to cross to another process than all else. `headers` holds header
    values as text by DICOM keyword where they differ from those of its series.
    """

    sop_instance_uid: str
    sop_class_uid: str
    file: str
    number: int | None = None
    frames: int = 1
    transfer_syntax_uid: str = ""
    member: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def path(self) -> Path:
        """The file, or the archive that holds it."""
        return Path(self.file)

    @property
    def shown(self) -> Path:
        """What it is called where something is told of it."""
        return self.path / self.member if self.member else self.path

    def __repr__(self) -> str:
        return f"Instance(frames={self.frames})"


@dataclass(frozen=True)
class Series:
    """Images of one acquisition, as the scanner grouped them.

    `headers` holds further header values as text by DICOM keyword (EchoTime, BodyPartExamined,
    PatientAge, ...), those of the first instance; others say where they differ.
    """

    uid: str
    study_uid: str
    modality: str
    description: str
    instances: tuple[Instance, ...]
    kind: SeriesKind = SeriesKind.VOLUME
    number: int | None = None
    body_part: str = ""
    laterality: str = ""
    frame_of_reference_uid: str = ""
    acquired_at: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.uid:
            raise ValueError("A series needs a UID")
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))

    def __reduce__(self) -> tuple[object, ...]:
        """Cross process borders: a mapping proxy cannot be sent, its dictionary can."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["headers"] = dict(self.headers)
        return _series_from, (values,)

    @property
    def is_dicom(self) -> bool:
        """Whether its instances are DICOM objects that an export can refer to."""
        return any(instance.sop_class_uid for instance in self.instances)


def _series_from(values: dict[str, object]) -> Series:
    return Series(**values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Study:
    """One examination of one patient."""

    uid: str
    patient: Patient
    description: str = ""
    date: str = ""
    time: str = ""
    accession: str = ""
    id: str = ""
    referring_physician: str = ""
    series: tuple[Series, ...] = ()

    def companions_of(self, series: Series) -> tuple[Series, ...]:
        """Series that may say what the values of this one mean: real-world value maps."""
        return tuple(one for one in self.series if one.modality == "RWV" and one.uid != series.uid)

    def find_series(self, uid: str) -> Series:
        """The series with that UID; KeyError if it is not of this study."""
        for series in self.series:
            if series.uid == uid:
                return series
        raise KeyError(uid)

    def __repr__(self) -> str:
        return f"Study(series={len(self.series)})"


class ProblemKind(StrEnum):
    """What a problem of reading asks of the window: most ask nothing.

    `password`: an archive needs one; `patients`: files of several patients came under one
    identifier; `conflict`: different images carry one identifier; `changed`: a file is no longer
    what it was when it was opened.
    """

    FILE = "file"
    PASSWORD = "password"  # noqa: S105  (a kind, not a secret)
    PATIENTS = "patients"
    CONFLICT = "conflict"
    CHANGED = "changed"


class Severity(StrEnum):
    """How bad a problem of reading is: `refused` means nothing of the file is shown."""

    REFUSED = "refused"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """A file that could not be read, or only with tolerance: path, reason and what to do."""

    path: Path
    reason: str
    severity: Severity = Severity.REFUSED
    hint: str = ""
    kind: ProblemKind = ProblemKind.FILE
