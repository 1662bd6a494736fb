"""What the standard asks of an object, looked at before it is written: nothing is left to luck.

Attributes by module and type are those of PS3.3 (2024), for the modules that an object of ours
must have; a test compares them with the standard's tables as highdicom distributes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from pydicom import Dataset, config
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from medview.core.errors import ExportError

#: Attributes of type 1 (a value is needed) and of type 2 (may be empty) by module.
MODULES: Mapping[str, str] = MappingProxyType({
    "patient": "PatientName=2 PatientID=2 PatientBirthDate=2 PatientSex=2",
    "general-study": "StudyDate=2 StudyTime=2 AccessionNumber=2 ReferringPhysicianName=2 "
    "StudyInstanceUID=1 StudyID=2",
    "general-series": "Modality=1 SeriesInstanceUID=1 SeriesNumber=2",
    "sc-equipment": "ConversionType=1",
    "general-image": "InstanceNumber=2",
    "image-pixel": "SamplesPerPixel=1 PhotometricInterpretation=1 Rows=1 Columns=1 "
    "BitsAllocated=1 BitsStored=1 HighBit=1 PixelRepresentation=1",
    "sop-common": "SOPClassUID=1 SOPInstanceUID=1 ContributingEquipmentSequence.Manufacturer=1 "
    "ContributingEquipmentSequence.PurposeOfReferenceCodeSequence=1",
    "frame-of-reference": "FrameOfReferenceUID=1 PositionReferenceIndicator=2",
    "general-equipment": "Manufacturer=2",
    "enhanced-general-equipment": "Manufacturer=1 ManufacturerModelName=1 DeviceSerialNumber=1 "
    "SoftwareVersions=1",
    "parametric-map-series": "Modality=1 SeriesNumber=1",
    "parametric-map-image": "ImageType=1 ContentQualification=1 InstanceNumber=1 "
    "SamplesPerPixel=1 PhotometricInterpretation=1 BitsAllocated=1 BurnedInAnnotation=1 "
    "RecognizableVisualFeatures=1 LossyImageCompression=1 ContentLabel=1 ContentDescription=2 "
    "PresentationLUTShape=1",
    "multi-frame-dimension": "DimensionOrganizationSequence=1 "
    "DimensionOrganizationSequence.DimensionOrganizationUID=1 "
    "DimensionIndexSequence.DimensionIndexPointer=1",
    "segmentation-series": "Modality=1 SeriesNumber=1",
    "segmentation-image": "ImageType=1 InstanceNumber=1 SamplesPerPixel=1 "
    "PhotometricInterpretation=1 BitsAllocated=1 BitsStored=1 HighBit=1 PixelRepresentation=1 "
    "LossyImageCompression=1 SegmentationType=1 SegmentSequence=1 "
    "SegmentSequence.SegmentedPropertyCategoryCodeSequence=1 SegmentSequence.SegmentNumber=1 "
    "SegmentSequence.SegmentLabel=1 SegmentSequence.SegmentAlgorithmType=1 "
    "SegmentSequence.SegmentedPropertyTypeCodeSequence=1 ContentLabel=1 ContentDescription=2",
    "sr-document-series": "Modality=1 ReferencedPerformedProcedureStepSequence=2 "
    "SeriesInstanceUID=1 SeriesNumber=1",
    "sr-document-general": "ContentDate=1 ContentTime=1 InstanceNumber=1 "
    "VerifyingObserverSequence.VerifyingOrganization=1 "
    "VerifyingObserverSequence.VerificationDateTime=1 "
    "VerifyingObserverSequence.VerifyingObserverName=1 "
    "VerifyingObserverSequence.VerifyingObserverIdentificationCodeSequence=2 "
    "PredecessorDocumentsSequence.StudyInstanceUID=1 "
    "PredecessorDocumentsSequence.ReferencedSeriesSequence.SeriesInstanceUID=1 "
    "PredecessorDocumentsSequence.ReferencedSeriesSequence.ReferencedSOPSequence=1 "
    "PerformedProcedureCodeSequence=2 "
    "CurrentRequestedProcedureEvidenceSequence.StudyInstanceUID=1 "
    "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence.SeriesInstanceUID=1 "
    "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence.ReferencedSOPSequence=1 "
    "CompletionFlag=1 VerificationFlag=1",
    "key-object-document-series": "Modality=1 ReferencedPerformedProcedureStepSequence=2 "
    "SeriesInstanceUID=1 SeriesNumber=1",
    "key-object-document": "ContentDate=1 ContentTime=1 InstanceNumber=1 "
    "CurrentRequestedProcedureEvidenceSequence=1 "
    "CurrentRequestedProcedureEvidenceSequence.StudyInstanceUID=1 "
    "CurrentRequestedProcedureEvidenceSequence.ReferencedSeriesSequence.SeriesInstanceUID=1",
    "encapsulated-document-series": "Modality=1 SeriesInstanceUID=1 SeriesNumber=1",
    "encapsulated-document": "ContentDate=2 AcquisitionDateTime=2 ContentTime=2 InstanceNumber=1 "
    "BurnedInAnnotation=1 ConceptNameCodeSequence=2 DocumentTitle=2 EncapsulatedDocument=1 "
    "MIMETypeOfEncapsulatedDocument=1",
    "rt-series": "Modality=1 OperatorsName=2 SeriesInstanceUID=1 SeriesNumber=2",
    "structure-set": "StructureSetLabel=1 StructureSetDate=2 StructureSetTime=2 "
    "ReferencedFrameOfReferenceSequence.FrameOfReferenceUID=1 StructureSetROISequence.ROINumber=1 "
    "StructureSetROISequence.ReferencedFrameOfReferenceUID=1 StructureSetROISequence.ROIName=2 "
    "StructureSetROISequence.ROIGenerationAlgorithm=2",
    "roi-contour": "ROIContourSequence.ReferencedROINumber=1 "
    "ROIContourSequence.ContourSequence.ContourGeometricType=1 "
    "ROIContourSequence.ContourSequence.NumberOfContourPoints=1 "
    "ROIContourSequence.ContourSequence.ContourData=1",
    "rt-roi-observations": "RTROIObservationsSequence.ObservationNumber=1 "
    "RTROIObservationsSequence.ReferencedROINumber=1 "
    "RTROIObservationsSequence.RTROIInterpretedType=2 RTROIObservationsSequence.ROIInterpreter=2",
    "presentation-series": "Modality=1",
    "presentation-state-identification": "InstanceNumber=1 ContentLabel=1 ContentDescription=2 "
    "PresentationCreationDate=1 PresentationCreationTime=1",
    "presentation-state-relationship": "ReferencedSeriesSequence=1 "
    "ReferencedSeriesSequence.SeriesInstanceUID=1 "
    "ReferencedSeriesSequence.ReferencedImageSequence=1 "
    "ReferencedSeriesSequence.ReferencedImageSequence.ReferencedSOPClassUID=1 "
    "ReferencedSeriesSequence.ReferencedImageSequence.ReferencedSOPInstanceUID=1",
    "displayed-area": "DisplayedAreaSelectionSequence=1 "
    "DisplayedAreaSelectionSequence.DisplayedAreaTopLeftHandCorner=1 "
    "DisplayedAreaSelectionSequence.DisplayedAreaBottomRightHandCorner=1 "
    "DisplayedAreaSelectionSequence.PresentationSizeMode=1",
})  # fmt: skip
_WHO = "patient general-study general-equipment sop-common "
_SEGMENTATION = _WHO + (
    "general-series segmentation-series enhanced-general-equipment general-image image-pixel "
    "segmentation-image multi-frame-dimension"
)
#: Modules an object must have, by SOP class.
OBJECTS: Mapping[str, str] = MappingProxyType({
    "1.2.840.10008.5.1.4.1.1.7": _WHO + "general-series sc-equipment general-image image-pixel",
    "1.2.840.10008.5.1.4.1.1.11.1": _WHO + "general-series presentation-series "
    "presentation-state-identification presentation-state-relationship displayed-area",
    "1.2.840.10008.5.1.4.1.1.30": _WHO + "general-series parametric-map-series "
    "frame-of-reference enhanced-general-equipment general-image parametric-map-image "
    "multi-frame-dimension",
    "1.2.840.10008.5.1.4.1.1.66.4": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.66.7": _SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.88.34": _WHO + "sr-document-series sr-document-general",
    "1.2.840.10008.5.1.4.1.1.88.59": _WHO + "key-object-document-series key-object-document",
    "1.2.840.10008.5.1.4.1.1.104.1": _WHO + "encapsulated-document-series sc-equipment "
    "encapsulated-document",
    "1.2.840.10008.5.1.4.1.1.481.3": _WHO + "rt-series structure-set roi-contour "
    "rt-roi-observations",
})  # fmt: skip

_BULK = frozenset(("OB", "OW", "OF", "OD", "OL", "OV", "UN", "SQ", "UI", "AT"))
_TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM",
                   "UC", "UR", "UT"))  # fmt: skip
_CODE_VALUES = ("CodeValue", "LongCodeValue", "URNCodeValue")
#: Where the value of a content item stands (PS3.3 C.17.3.2.1).
_VALUES = MappingProxyType({
    "TEXT": "TextValue", "NUM": "MeasuredValueSequence", "CODE": "ConceptCodeSequence",
    "PNAME": "PersonName", "UIDREF": "UID", "DATE": "Date", "TIME": "Time",
    "DATETIME": "DateTime", "IMAGE": "ReferencedSOPSequence",
    "COMPOSITE": "ReferencedSOPSequence", "SCOORD": "GraphicData", "SCOORD3D": "GraphicData",
    "CONTAINER": "ContinuityOfContent",
})  # fmt: skip
_NAMELESS = frozenset(("IMAGE", "COMPOSITE", "SCOORD", "CONTAINER"))
#: How many faults a message names.
_NAMED = 6


def require_conformance(dataset: Dataset, name: str) -> None:
    """ExportError that names what an object lacks to be one; `name` is that of its file."""
    wrong = list(dict.fromkeys(faults(dataset)))
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise ExportError(
            f"{name} was not written, because it would be no valid object: "
            + "; ".join(wrong[:_NAMED])
            + more,
            "The other formats can be written without it.",
        )


def faults(dataset: Dataset) -> Iterator[str]:
    """What an object lacks or has wrong, in words."""
    modules = OBJECTS.get(str(dataset.get("SOPClassUID", "")))
    if modules is None:
        yield "its SOP class is none that is written here"
        return
    for module in modules.split():
        for row in MODULES[module].split():
            path, kind = row.split("=")
            yield from _lacking(dataset, path.split("."), int(kind))
    schemes = {str(one.get("CodingSchemeDesignator", ""))
               for one in dataset.get("CodingSchemeIdentificationSequence") or ()}  # fmt: skip
    yield from _values(dataset, schemes)
    if "ContentSequence" in dataset:
        yield from _content(dataset)
        yield from _evidence(dataset)
    if "SharedFunctionalGroupsSequence" in dataset and "FrameOfReferenceUID" in dataset:
        yield from _places(dataset)


def _named(keyword: str) -> str:
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{dictionary_description(tag)} ({tag.group:04X},{tag.element:04X})"


def _lacking(dataset: Dataset, path: list[str], kind: int) -> Iterator[str]:
    """A missing attribute; where its sequence is absent or empty nothing is asked of the items."""
    first, *rest = path
    if rest:
        for item in dataset.get(first) or ():
            yield from _lacking(item, rest, kind)
    elif first not in dataset:
        yield f"{_named(first)} is missing"
    elif kind == 1 and _is_empty(dataset[first].value):
        yield f"{_named(first)} is empty"


def _is_empty(value: object) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _values(dataset: Dataset, schemes: set[str]) -> Iterator[str]:
    """Values that break the format of their attribute, and codes that are none."""
    for element in dataset:
        if element.VR == "SQ":
            items = list(element.value)
            # Frames are all alike: the first speaks for the others.
            for item in items[:1] if element.keyword.startswith("PerFrame") else items:
                if element.keyword.endswith("CodeSequence"):
                    yield from _code(item, element.keyword, schemes)
                yield from _values(item, schemes)
        elif element.VR in _TEXT and element.value not in (None, ""):
            many = element.value if element.VM > 1 else [element.value]
            if not all(_fits(element.VR, one) for one in many):
                yield f"{_named(element.keyword)} has a value that breaks its format"


def _fits(vr: str, value: object) -> bool:
    original = getattr(value, "original_string", None)
    try:
        validate_value(vr, str(value) if original is None else original, config.RAISE)
    except (ValueError, TypeError):
        return False
    return True


def _code(item: Dataset, keyword: str, schemes: set[str]) -> Iterator[str]:
    scheme = str(item.get("CodingSchemeDesignator", ""))
    coded = any(item.get(name) for name in _CODE_VALUES)
    if not (coded and item.get("CodeMeaning")) or (not scheme and "URNCodeValue" not in item):
        yield f"a code in {_named(keyword)} lacks its value, scheme or meaning"
    elif scheme == "SRT":
        yield f"a code in {_named(keyword)} is of the retired scheme SRT"
    elif scheme.startswith("99") and scheme not in schemes:
        yield f"the private coding scheme {scheme} is not declared"


def _content(parent: Dataset) -> Iterator[str]:
    """Content items without a value, a name or a relationship (PS3.3 C.17.3)."""
    for item in parent.ContentSequence:
        kind = str(item.get("ValueType", ""))
        meaning = _meaning(item) or kind.lower() or "of unknown type"
        keyword = _VALUES.get(kind)
        if keyword is None or _is_empty(item.get(keyword)):
            yield f"the content item {meaning} has no value"
        if not item.get("RelationshipType"):
            yield f"the content item {meaning} does not say how it relates to the others"
        if kind not in _NAMELESS and not _meaning(item):
            yield f"a content item of type {kind} has no name"
        if "ContentSequence" in item:
            yield from _content(item)


def _meaning(item: Dataset) -> str:
    return str((item.get("ConceptNameCodeSequence") or [{}])[0].get("CodeMeaning", ""))


def _evidence(dataset: Dataset) -> Iterator[str]:
    """Objects that the content refers to and the evidence does not list (PS3.3 C.17.2.3)."""
    listed = {
        str(one.ReferencedSOPInstanceUID)
        for keyword in ("CurrentRequestedProcedureEvidenceSequence",
                        "PertinentOtherEvidenceSequence")
        for study in dataset.get(keyword) or ()
        for series in study.get("ReferencedSeriesSequence") or ()
        for one in series.get("ReferencedSOPSequence") or ()
    }  # fmt: skip
    if any(uid not in listed for uid in _referenced(dataset)):
        yield "its content refers to an object that its evidence does not list"


def _referenced(parent: Dataset) -> Iterator[str]:
    for item in parent.get("ContentSequence") or ():
        for one in item.get("ReferencedSOPSequence") or ():
            yield str(one.get("ReferencedSOPInstanceUID", ""))
        yield from _referenced(item)


def _places(dataset: Dataset) -> Iterator[str]:
    """Frames that do not say where they lie (PS3.3 C.7.6.16.2)."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    groups: Iterable[Dataset] = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"):
        if keyword not in shared and any(keyword not in group for group in groups):
            yield f"{_named(keyword)} is missing for a frame"
