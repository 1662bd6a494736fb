"""What every DICOM object written here has in common, and Encapsulated PDF.

Identity is copied from the source: patient and study as they are there, with values that break
their own format left out. Study, series, frame of reference and image UIDs of the source are
kept to the letter even where they are no valid UIDs, because a reference that does not match
points nowhere. Everything new gets a UID under 2.25 (PS3.5 B.2).
"""

from __future__ import annotations

import errno
import io
import os
import re
import struct
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from highdicom import ContributingEquipment
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom import Dataset, FileMetaDataset, config, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR
from pydicom.sr.codedict import codes
from pydicom.tag import BaseTag
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DT, PersonName, validate_value

from medview import __version__
from medview.core.codes import BOTH, LEFT, RIGHT, Code
from medview.core.errors import ExportError
from medview.core.findings import Laterality, ModelAuthor
from medview.core.paths import room_words, sync_folder
from medview.core.study import Instance
from medview.io.conformance import require_conformance
from medview.io.identity import OURS
from medview.io.sources import Sources

MANUFACTURER = OURS
MODEL_NAME = "medview"
NOT_CLINICAL = "Not for clinical use"
UTF8 = "ISO_IR 192"

#: Patient (PS3.3 C.7.1.1), General Study (C.7.2.1) and Patient Study (C.7.2.2), type 2 first.
_TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
           "ReferringPhysicianName", "StudyID", "AccessionNumber")  # fmt: skip
_OPTIONAL = ("IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod",
             "StudyDescription", "PatientAge", "PatientSize", "PatientWeight")  # fmt: skip
#: A UID (PS3.5 9.1).
_UID = re.compile(r"(?=.{1,64}$)[0-2](\.(0|[1-9][0-9]*))+")
_TITLES = frozenset(("dr", "prof", "mr", "mrs", "ms", "med"))
_ACQUISITION = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber",
                "InstitutionName", "StationName")  # fmt: skip


class Encoded(NamedTuple):
    """An element with its value in pieces, Explicit VR Little Endian (VRs with long lengths)."""

    tag: BaseTag
    vr: str
    value: Sequence[bytes | memoryview]


def new_dicom_uid() -> str:
    """A UID that exists nowhere else: 2.25 and a random UUID as a decimal number."""
    return f"2.25.{uuid.uuid4().int}"


def dicom_uid_of(identifier: str) -> str:
    """The UID that always stands for one of our identifiers: the same UUID under 2.25."""
    try:
        number = uuid.UUID(identifier).int
    except ValueError:
        number = uuid.uuid5(uuid.NAMESPACE_OID, identifier).int
    return f"2.25.{number}"


def tracking_uid(identifier: str) -> str:
    """The UID that tracks a thing from one object to the next: that it came with, or its own."""
    return identifier if _UID.fullmatch(identifier) else dicom_uid_of(identifier)


def identifier_of(uid: str) -> str:
    """The identifier that `tracking_uid` makes a UID of: a UUID where it stands for one."""
    number = uid.removeprefix("2.25.")
    if number != uid and number.isdigit() and int(number) < 1 << 128:
        return str(uuid.UUID(int=int(number)))
    return uid


SIDES: Mapping[Laterality, Code] = {
    Laterality.LEFT: LEFT,
    Laterality.RIGHT: RIGHT,
    Laterality.BOTH: BOTH,
}


def concept(code: Code) -> CodedConcept:
    """A code as DICOM writes it."""
    return CodedConcept(code.value, code.scheme, code.meaning[:64])


def coding_schemes(used: Iterable[Code]) -> list[CodingSchemeIdentificationItem] | None:
    """Private coding schemes among those used, declared as (0008,0110) asks."""
    private = sorted({code.scheme for code in used if code.scheme.startswith("99")})
    items = [
        CodingSchemeIdentificationItem(designator=name, name=f"{name}, local codes of medview")
        for name in private
    ]
    return items or None


def person_name(name: str) -> str:
    """A name as a person writes it in the components of a Person Name (PS3.5 6.2.1).

    `Dr Anna Müller` -> `Müller^Anna^^Dr`; one that has components already is kept.
    """
    clean = " ".join(re.sub(r"[\\=\x00-\x1f]", " ", name).split())
    if "^" in clean or not clean:
        return clean[:64]
    words = clean.split()
    titles = [word for word in words[:-1] if word.rstrip(".").casefold() in _TITLES]
    given = [word for word in words[:-1] if word not in titles]
    parts = (words[-1], " ".join(given), "", " ".join(titles))
    return "^".join(parts).rstrip("^")[:64] if len(words) > 1 else f"{clean[:62]}^"


def spoken_name(name: object) -> str:
    """A Person Name as a person writes it, the reverse of `person_name`."""
    family, given, middle, prefix, suffix = (*str(name).split("=")[0].split("^"), *[""] * 5)[:5]
    return " ".join(
        part.strip() for part in (prefix, given, middle, family, suffix) if part.strip()
    )


@contextmanager
def foreign_values() -> Iterator[None]:
    """Let values of the source through as they are; `identity_of` has judged them already."""
    with config.disable_value_validation():
        yield


def identity_of(sources: Sources) -> Dataset:
    """Patient and study of the source, in UTF-8, as a new object may carry them.

    Values that break the format of their attribute (a date in words, a sex of `male`) are left
    empty. Numbers of zero for size and weight are left out.
    """
    source, identity = sources.first, Dataset()
    identity.SpecificCharacterSet = UTF8
    with foreign_values():
        for keyword in _TYPE_2:
            setattr(identity, keyword, _valid_text(source, keyword))
        for keyword in (*_OPTIONAL, *_ACQUISITION):
            text = _valid_text(source, keyword)
            if text and not (keyword in ("PatientSize", "PatientWeight") and float(text) == 0):
                setattr(identity, keyword, text)
        identity.StudyInstanceUID = UID(source.StudyInstanceUID)
        _add_deidentification(identity, source)
    return identity


def _add_deidentification(identity: Dataset, source: Dataset) -> None:
    """How identity was removed: (0012,0063) or (0012,0064) must go with (0012,0062) YES."""
    if identity.get("PatientIdentityRemoved") != "YES":
        identity.pop("DeidentificationMethod", None)
        return
    methods = source.get("DeidentificationMethodCodeSequence")
    if methods:
        identity.DeidentificationMethodCodeSequence = [
            coded(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
            for item in methods
            if {"CodeValue", "CodingSchemeDesignator", "CodeMeaning"} <= set(item.dir())
        ]
    elif "DeidentificationMethod" not in identity:
        identity.DeidentificationMethod = "not stated by the source"


def _valid_text(source: Dataset, keyword: str) -> str:
    value = source.get(keyword)
    if value is None:
        return ""
    parts = [value] if isinstance(value, str | PersonName) or not _many(value) else list(value)
    text = str(parts[0]).strip() if parts else ""
    if keyword == "PatientSex" and text not in ("M", "F", "O"):
        return ""
    try:
        validate_value(dictionary_VR(keyword), text, config.RAISE)
    except ValueError:
        return ""
    return text


def _many(value: object) -> bool:
    return isinstance(value, Sequence)


def ill_formed_references(sources: Sources) -> tuple[str, ...]:
    """Words about UIDs of the source that are kept although they break the UID format."""
    pairs = {
        "study": str(sources.first.get("StudyInstanceUID", "")),
        "series": str(sources.first.get("SeriesInstanceUID", "")),
        "frame of reference": str(sources.first.get("FrameOfReferenceUID", "")),
        "image": sources.instances[0].sop_instance_uid,
    }
    bad = [name for name, uid in pairs.items() if uid and not UID(uid, config.IGNORE).is_valid]
    notes = []
    if bad:
        notes.append(
            f"The source has ill-formed UIDs ({', '.join(bad)}); they were kept as they are so "
            "that the new objects still belong to it. Strict receivers may refuse them."
        )
    if not sources.can_be_referred_to:
        notes.append(
            "The source images have no SOP Instance UID; the new objects cannot point to them."
        )
    return tuple(notes)


def models_as_equipment(models: Sequence[ModelAuthor]) -> list[ContributingEquipment]:
    """The models that took part, as Contributing Equipment (PS3.3 C.12.1)."""
    return [
        ContributingEquipment(
            manufacturer=MANUFACTURER,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            manufacturer_model_name=model.model_id[:64],
            software_versions=model.version[:64],
            contribution_description=f"AI model, weights sha256 {model.weights_sha256}"
            if model.weights_sha256
            else "AI model",
        )
        for model in models
    ]


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file that appears under its name whole or not at all.

    Temporary file in the same folder, fsync, rename, fsync of the folder. An earlier file of
    that name stays until the new one is safe. ExportError names the path, and where the disk is
    full the room that is needed, for which `write` is called once more.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        why = str(error.strerror or error)
        if error.errno == errno.ENOSPC:
            why += f": {room_words(_Counted.size_of(write), path.parent)}"
        raise ExportError(
            f"{path} could not be written ({why})",
            "Choose another folder or make room on the disk, then export again.",
            str(error),
        ) from error


class _Counted(io.RawIOBase):
    """A file that keeps nothing but its length."""

    def __init__(self) -> None:
        super().__init__()
        self._place = self._end = 0

    @staticmethod
    def size_of(write: Callable[[BinaryIO], object]) -> int:
        """The length of the file that `write` fills, in bytes."""
        counted = _Counted()
        write(cast("BinaryIO", counted))
        return counted._end

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        self._place = start + offset
        return self._place

    def write(self, data: Any) -> int:
        length = memoryview(data).nbytes
        self._place += length
        self._end = max(self._end, self._place)
        return length


def write_dataset(dataset: Dataset, path: Path, tail: Sequence[Encoded] = ()) -> str:
    """Write one object as a DICOM file (PS3.10) and give back its SOP Instance UID.

    `tail` are elements that come last by their tags and are too large to go through the library:
    of those the data set holds a sample, which alone is looked at.
    ExportError, before anything is written, if it would be no valid object.
    """
    require_conformance(dataset, path.name)
    for element in tail:
        del dataset[element.tag]

    def write(file: BinaryIO) -> None:
        dcmwrite(file, dataset, enforce_file_format=True)
        for tag, vr, value in tail:
            size = sum(memoryview(piece).nbytes for piece in value)
            head = struct.pack("<HH2sHI", tag.group, tag.element, vr.encode(), 0, size)
            file.writelines((head, *value))

    with foreign_values():
        write_file(path, write)
    return str(dataset.SOPInstanceUID)


def add_equipment(dataset: Dataset, models: Sequence[ModelAuthor]) -> None:
    """Enhanced General Equipment (PS3.3 C.7.5.2): this program, and the models it ran."""
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.SoftwareVersions = __version__
    dataset.DeviceSerialNumber = __version__
    if models:
        dataset.ContributingEquipmentSequence = models_as_equipment(models)


@dataclass(frozen=True)
class ObjectOptions:
    """What tells a new object from others of its study."""

    modality: str
    series_number: int
    series_description: str
    now: datetime
    models: tuple[ModelAuthor, ...] = ()
    series_uid: str = ""
    instance_number: int = 1


def new_object(sources: Sources, sop_class_uid: str, options: ObjectOptions) -> Dataset:
    """A new object of the study of the source, with what all objects have in common."""
    found = identity_of(sources)
    for keyword in _ACQUISITION:
        found.pop(keyword, None)
    found.SOPClassUID = UID(sop_class_uid)
    found.SOPInstanceUID = new_dicom_uid()
    found.InstanceCreationDate, found.InstanceCreationTime = date_time(options.now)
    found.Modality = options.modality
    found.SeriesInstanceUID = options.series_uid or new_dicom_uid()
    found.SeriesNumber = options.series_number
    found.SeriesDescription = options.series_description[:64]
    found.InstanceNumber = options.instance_number
    add_equipment(found, options.models)
    found.file_meta = _file_meta(sop_class_uid, found.SOPInstanceUID)
    return found


def write_pdf(
    pdf: bytes,
    sources: Sources,
    path: Path,
    *,
    title: str,
    models: Sequence[ModelAuthor] = (),
    verified: bool = False,
    now: datetime,
) -> str:
    """A PDF as Encapsulated PDF (PS3.3 A.45.1) of the study; returns its SOP Instance UID.

    ExportError if these bytes are no PDF, or differ when the file is read again.
    """
    if not pdf.startswith(b"%PDF-") or b"%%EOF" not in pdf[-1024:]:
        raise ExportError("The report could not be made into a PDF", "Export it as text instead.")
    document = new_object(
        sources,
        EncapsulatedPDFStorage,
        ObjectOptions("DOC", 9903, f"Report (PDF). {NOT_CLINICAL}", now, tuple(models)),
    )
    document.SeriesDate, document.SeriesTime = date_time(now)
    document.ConversionType = "WSD"
    document.ContentDate, document.ContentTime = date_time(now)
    document.AcquisitionDateTime = now.strftime("%Y%m%d%H%M%S")
    document.BurnedInAnnotation = "YES"
    if sources.can_be_referred_to:
        document.SourceInstanceSequence = [reference(one) for one in sources.instances]
    document.DocumentTitle = title
    document.ConceptNameCodeSequence = [coded("18748-4", "LN", "Diagnostic imaging report")]
    document.VerificationFlag = "VERIFIED" if verified else "UNVERIFIED"
    document.ContentQualification = "RESEARCH"
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    uid = write_dataset(document, path)
    with foreign_values():
        again = dcmread(path)
    if again.EncapsulatedDocument[: again.EncapsulatedDocumentLength] != pdf:
        raise ExportError(f"{path.name} does not read back as it was written")
    return uid


def date_time(moment: datetime) -> tuple[str, str]:
    """A moment as DA and TM."""
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")


def date_time_zone(moment: datetime) -> DT:
    """A moment as DT with a zone, for content items.

    DCMTK 3.6.7 refuses the offset +0000, which PS3.5 allows: Greenwich is told an hour east.
    """
    if not moment.utcoffset():
        moment = moment.astimezone(timezone(timedelta(hours=1)))
    return DT(moment.strftime("%Y%m%d%H%M%S.%f%z"))


def reference(instance: Instance) -> Dataset:
    """A reference to an image."""
    item = Dataset()
    item.ReferencedSOPClassUID = instance.sop_class_uid
    item.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return item


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """A code as the item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _file_meta(sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
