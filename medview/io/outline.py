"""What objects that are no pictures say: an outline in lines of plain text, to be read as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from medview.core.outline import Line, Outline
from medview.core.study import Instance, Series, SeriesKind
from medview.io.archives import read_all
from medview.io.identity import person
from medview.io.multiframe import damage_refused, data_set

_MOST_LINES, _DEEPEST, _LONGEST = 5000, 40, 2000
_LONGEST_FILE = 1 << 20
_KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
#: What an object is called by its modality, where its kind alone says too little.
_BY_MODALITY = MappingProxyType({
    "ECG": "Electrocardiogram", "HD": "Haemodynamic waveform", "EPS": "Electrophysiology waveform",
    "RESP": "Respiratory waveform", "EEG": "Electroencephalogram", "AU": "Audio recording",
    "RWV": "Real world value mapping", "REG": "Registration", "FID": "Fiducials",
    "ANN": "Annotations of a slide", "M3D": "3D model", "KO": "Key object selection",
    "STAIN": "Slide preparation", "RTRECORD": "Treatment record", "PLAN": "Plan",
})  # fmt: skip
_BY_KIND: Mapping[SeriesKind, str] = MappingProxyType({
    SeriesKind.SEGMENTATION: "Segmentation", SeriesKind.STRUCTURE_SET: "Structure set",
    SeriesKind.DOSE: "Dose", SeriesKind.PLAN: "Treatment plan",
    SeriesKind.REPORT: "Structured report", SeriesKind.PRESENTATION: "Presentation state",
    SeriesKind.DOCUMENT: "Document", SeriesKind.SLIDE: "Whole-slide picture",
    SeriesKind.OTHER: "Other object",
})  # fmt: skip


def outline(series: Series, password: str = "") -> Outline:
    """What a series says that holds no pictures of a patient. ReadError where it is damaged."""
    lines: list[Line] = []
    several = len(series.instances) > 1
    for number, instance in enumerate(series.instances, start=1):
        if several:
            lines.append(Line(0, f"{number} of {len(series.instances)}", _number(instance)))
        if not series.is_dicom:
            lines += islice(_plain_lines(instance, password), _MOST_LINES - len(lines))
            continue
        ds = data_set(instance, password)
        with damage_refused("The content of the object is damaged"):
            told = list(islice(_lines_of(ds, series.kind), _MOST_LINES - len(lines)))
            lines += [Line(line.depth + several, line.name, line.text) for line in told]
        if len(lines) >= _MOST_LINES:
            lines.append(Line(0, "", f"Only the first {_MOST_LINES} lines are shown"))
            break
    return Outline(title_of(series), tuple(lines))


def _plain_lines(instance: Instance, password: str) -> Iterator[Line]:
    """A file of text as it is."""
    for entry in read_all(instance.path, [instance.member], password):
        for text in entry.data[:_LONGEST_FILE].decode("utf-8", "replace").splitlines():
            yield Line(0, "", _text(text))


def title_of(series: Series) -> str:
    """What an object is, in words: `Structured report`, `Electrocardiogram`."""
    if any(one.sop_class_uid == _KEY_OBJECTS for one in series.instances):
        return _BY_MODALITY["KO"]
    if series.kind is SeriesKind.REPORT and not series.is_dicom:
        return "File of results"
    if series.kind is SeriesKind.OTHER:
        return _BY_MODALITY.get(series.modality, _BY_KIND[SeriesKind.OTHER])
    return _BY_KIND.get(series.kind, "Images")


def _number(instance: Instance) -> str:
    return "" if instance.number is None else f"number {instance.number}"


def _lines_of(ds: Dataset, kind: SeriesKind) -> Iterator[Line]:
    yield from _about(ds)
    yield from _TELLERS.get(kind, _elements)(ds)


def _about(ds: Dataset) -> Iterator[Line]:
    """What all objects may say of themselves."""
    for name, keyword in (
        ("Title", "DocumentTitle"), ("Label", "ContentLabel"), ("Label", "StructureSetLabel"),
        ("Label", "RTPlanLabel"), ("Name", "StructureSetName"), ("Name", "RTPlanName"),
        ("Description", "ContentDescription"), ("Description", "SeriesDescription"),
        ("Made by", "ContentCreatorName"), ("Manufacturer", "Manufacturer"),
        ("Model", "ManufacturerModelName"), ("Date", "ContentDate"),
        ("Completion", "CompletionFlag"), ("Verification", "VerificationFlag"),
    ):  # fmt: skip
        if text := _text(ds.get(keyword)):
            yield Line(0, name, text)


# Structured reports


def _report(ds: Dataset) -> Iterator[Line]:
    """The content tree (PS3.3 C.17.3), references by number not followed."""
    yield Line(0, _concept(ds) or "Content", "")
    yield from _items(ds, 1)


def _items(parent: Dataset, depth: int) -> Iterator[Line]:
    if depth > _DEEPEST:
        yield Line(depth, "", "The report goes on deeper than is shown")
        return
    for item in parent.get("ContentSequence") or ():
        yield Line(depth, _concept(item), _value(item))
        yield from _items(item, depth + 1)


def _concept(item: Dataset) -> str:
    return _meaning(item, "ConceptNameCodeSequence")


def _meaning(item: Dataset, keyword: str) -> str:
    """The meaning of a code, or the code itself."""
    code = (item.get(keyword) or [None])[0]
    if code is None:
        return ""
    return _text(code.get("CodeMeaning")) or _text(code.get("CodeValue"))


def _value(item: Dataset) -> str:
    """The value of a content item in words, by its value type."""
    kind = str(item.get("ValueType", ""))
    if kind == "NUM":
        return _measured(item)
    if kind == "CODE":
        return _meaning(item, "ConceptCodeSequence")
    if kind in ("IMAGE", "COMPOSITE", "WAVEFORM"):
        reference = (item.get("ReferencedSOPSequence") or [None])[0]
        return "" if reference is None else f"refers to {reference.ReferencedSOPClassUID.name}"
    if kind in ("SCOORD", "SCOORD3D", "TCOORD"):
        shape = _text(item.get("GraphicType") or item.get("TemporalRangeType")).lower()
        points = len(item.get("GraphicData") or ())
        return f"{shape}, {points} numbers" if points else shape
    for keyword in ("TextValue", "PersonName", "Date", "Time", "DateTime", "UID"):
        if item.get(keyword) is not None:
            return _text(item[keyword].value)
    if "ReferencedContentItemIdentifier" in item:
        return "refers to another part of this report"
    return ""


def _measured(item: Dataset) -> str:
    values = item.get("MeasuredValueSequence") or ()
    if not values:
        return "no value"
    unit = (values[0].get("MeasurementUnitsCodeSequence") or [None])[0]
    text = "" if unit is None else _text(unit.get("CodeValue"))
    return f"{_text(values[0].get('NumericValue'))} {'' if text == '1' else text}".strip()


# Radiotherapy, segments, presentation, waveforms, slides


def _structures(ds: Dataset) -> Iterator[Line]:
    contours = {
        item.get("ReferencedROINumber"): len(item.get("ContourSequence") or ())
        for item in ds.get("ROIContourSequence") or ()
    }
    kinds = {
        item.get("ReferencedROINumber"): _text(item.get("RTROIInterpretedType")).lower()
        for item in ds.get("RTROIObservationsSequence") or ()
    }
    for item in ds.get("StructureSetROISequence") or ():
        number = item.get("ROINumber")
        count = contours.get(number, 0)
        told = [f"{count} contour{'' if count == 1 else 's'}", kinds.get(number, "")]
        yield Line(0, _text(item.get("ROIName")) or f"Structure {number}", _joined(told))


def _plan(ds: Dataset) -> Iterator[Line]:
    for item in ds.get("FractionGroupSequence") or ():
        yield Line(0, "Fractions planned", _text(item.get("NumberOfFractionsPlanned")))
    for item in (*(ds.get("BeamSequence") or ()), *(ds.get("IonBeamSequence") or ())):
        points = len(item.get("ControlPointSequence") or item.get("IonControlPointSequence") or ())
        told = [_text(item.get("BeamType")).lower(), _text(item.get("RadiationType")).lower(),
                _text(item.get("TreatmentMachineName")), f"{points} control points"]  # fmt: skip
        yield Line(
            0, f"Beam {_text(item.get('BeamName') or item.get('BeamNumber'))}", _joined(told)
        )
    for item in ds.get("DoseReferenceSequence") or ():
        dose = _text(item.get("TargetPrescriptionDose"))
        name = _text(item.get("DoseReferenceDescription")) or "Dose reference"
        yield Line(0, name, f"{dose} Gy" if dose else "")


def _segments(ds: Dataset) -> Iterator[Line]:
    yield Line(0, "Kind", _text(ds.get("SegmentationType")).lower())
    for item in ds.get("SegmentSequence") or ():
        told = [_meaning(item, "SegmentedPropertyTypeCodeSequence"),
                _text(item.get("SegmentAlgorithmType")).lower(),
                _text(item.get("SegmentAlgorithmName"))]  # fmt: skip
        name = _text(item.get("SegmentLabel")) or f"Segment {item.get('SegmentNumber', '')}"
        yield Line(0, name, _joined(told))


def _presentation(ds: Dataset) -> Iterator[Line]:
    images = sum(
        len(item.get("ReferencedImageSequence") or ())
        for item in ds.get("ReferencedSeriesSequence") or ()
    )
    yield Line(0, "Images", str(images))
    for item in ds.get("GraphicAnnotationSequence") or ():
        for text in item.get("TextObjectSequence") or ():
            yield Line(0, "Text", _text(text.get("UnformattedTextValue")))
        if shapes := item.get("GraphicObjectSequence"):
            yield Line(0, "Drawings", str(len(shapes)))


def _document(ds: Dataset) -> Iterator[Line]:
    yield Line(0, "Kind", _text(ds.get("MIMETypeOfEncapsulatedDocument")))
    if concept := _concept(ds):
        yield Line(0, "About", concept)
    size = len(ds.get("EncapsulatedDocument") or b"")
    yield Line(0, "Size", f"{size / 1024:.0f} KiB")


def _slide(ds: Dataset) -> Iterator[Line]:
    wide, high = ds.get("TotalPixelMatrixColumns"), ds.get("TotalPixelMatrixRows")
    if wide and high:
        yield Line(0, "Whole picture", f"{wide} x {high} pixels")
    yield Line(
        0, "Tiles", f"{ds.get('NumberOfFrames', 1)} of {ds.get('Columns')} x {ds.get('Rows')}"
    )
    yield from _elements(ds)


def _others(ds: Dataset) -> Iterator[Line]:
    for number, item in enumerate(ds.get("WaveformSequence") or (), start=1):
        rate, samples = item.get("SamplingFrequency"), item.get("NumberOfWaveformSamples")
        told = [f"{_text(item.get('NumberOfWaveformChannels'))} channels", f"{_text(rate)} Hz",
                f"{float(samples) / float(rate):.1f} s" if rate and samples else ""]  # fmt: skip
        yield Line(0, _text(item.get("MultiplexGroupLabel")) or f"Group {number}", _joined(told))
        for channel in item.get("ChannelDefinitionSequence") or ():
            yield Line(1, _meaning(channel, "ChannelSourceSequence"), "")
    yield from _elements(ds)


def _elements(ds: Dataset, depth: int = 0) -> Iterator[Line]:
    """All elements of a data set with values that can be read, sequences below their names."""
    for element in ds:
        if element.tag.is_private or element.VR in ("OB", "OW", "OF", "OD", "OL", "OV", "UN"):
            continue
        if element.VR != "SQ":
            yield Line(depth, element.name, _element(element))
            continue
        for number, item in enumerate(element.value, start=1):
            several = f" {number}" if len(element.value) > 1 else ""
            yield Line(depth, element.name + several, "")
            if depth < _DEEPEST:
                yield from _elements(item, depth + 1)


def _element(element: DataElement) -> str:
    if element.VR == "UI" and element.VM == 1:
        return str(getattr(element.value, "name", element.value))
    return _text(element.value)


_TELLERS: Mapping[SeriesKind, Callable[[Dataset], Iterator[Line]]] = MappingProxyType({
    SeriesKind.REPORT: _report, SeriesKind.STRUCTURE_SET: _structures, SeriesKind.PLAN: _plan,
    SeriesKind.SEGMENTATION: _segments, SeriesKind.PRESENTATION: _presentation,
    SeriesKind.DOCUMENT: _document, SeriesKind.SLIDE: _slide, SeriesKind.OTHER: _others,
})  # fmt: skip


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(part for part in parts if part)


def _text(value: Any) -> str:
    """A value as one line of text without control characters; numbers in a row up to twelve."""
    if value is None:
        return ""
    if isinstance(value, PersonName):
        return _text(person(str(value)))
    if isinstance(value, (list, tuple, MultiValue)):
        shown = [_text(part) for part in value[:12]]
        return ", ".join(shown) + (", ..." if len(value) > 12 else "")
    text = str(value).strip(" \0")[:_LONGEST]
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
