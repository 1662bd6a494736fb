"""Coded concepts: what things are called in SNOMED CT, DICOM and UCUM."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A coded concept (PS3.3 8.8): equal when value and scheme are, whatever the meaning says."""

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        if not (self.value and self.scheme and self.meaning):
            raise ValueError("A code needs a value, a scheme and a meaning")

    def __eq__(self, other: object) -> bool:
        """Codes are the same concept when value and scheme agree."""
        if not isinstance(other, Code):
            return NotImplemented
        return (self.value, self.scheme) == (other.value, other.scheme)

    def __hash__(self) -> int:
        return hash((self.value, self.scheme))


#: What coding schemes are called in FHIR; others get a name of their own under FHIR_OTHERS.
FHIR_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org",
    "UMLS": "http://terminology.hl7.org/CodeSystem/umls",
    "FMA": "http://purl.org/sig/ont/fma",
}
FHIR_OTHERS = "urn:medview:coding-scheme:"

# Segmented Property Category (CID 7150)
ANATOMICAL_STRUCTURE = Code("123037004", "SCT", "Anatomical structure")
TISSUE = Code("85756007", "SCT", "Tissue")
MORPHOLOGICALLY_ALTERED = Code("49755003", "SCT", "Morphologically abnormal structure")

# Sides (CID 244)
LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
BOTH = Code("51440002", "SCT", "Right and left")

# Measurements
VOLUME = Code("118565006", "SCT", "Volume")
LENGTH = Code("410668003", "SCT", "Length")
AREA = Code("42798000", "SCT", "Area")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MINIMUM = Code("255605001", "SCT", "Minimum")
MAXIMUM = Code("56851009", "SCT", "Maximum")
LOW_ATTENUATION = Code("112", "99MEDVIEW", "Share of low attenuation")
RATIO = Code("118586006", "SCT", "Ratio")
COUNT = Code("410681005", "SCT", "Count of entities")
PROBABILITY = Code("122157", "DCM", "Probability")

# Quantities of voxels (CID 7180 and neighbours)
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
SUV_BW = Code("126401", "DCM", "SUVbw")
SUV = Code("126400", "DCM", "Standardized Uptake Value")
SUV_LBM = Code("126402", "DCM", "SUVlbm")
SUV_BSA = Code("126403", "DCM", "SUVbsa")
SUV_IBW = Code("126404", "DCM", "SUVibw")
SUV_LBM_JANMA = Code("126405", "DCM", "SUVlbm(Janma)")
SUV_LBM_JAMES = Code("126406", "DCM", "SUVlbm(James128)")
#: What uptake is called by its unit.
SUV_OF_UNIT = {
    "g/ml{SUVbw}": SUV_BW,
    "g/ml{SUVlbm}": SUV_LBM,
    "g/ml{SUVlbm(Janma)}": SUV_LBM_JANMA,
    "g/ml{SUVlbm(James128)}": SUV_LBM_JAMES,
    "g/ml{SUVibw}": SUV_IBW,
    "cm2/ml{SUVbsa}": SUV_BSA,
}
ACTIVITY = Code("110821", "DCM", "Nuclear Medicine Tomographic Activity")
SIGNAL = Code("110852", "DCM", "MR signal intensity")
ABSORBED_DOSE = Code("128513", "DCM", "Absorbed Dose")
UNSPECIFIED = Code("111", "99MEDVIEW", "Stored value")

# Units (UCUM), meaning as shown to readers
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "HU")
NO_UNIT = Code("1", "UCUM", "no units")
MILLIMETRE = Code("mm", "UCUM", "mm")
SQUARE_MILLIMETRE = Code("mm2", "UCUM", "mm²")
MILLILITRE = Code("mL", "UCUM", "mL")
PERCENT = Code("%", "UCUM", "%")
DEGREE = Code("deg", "UCUM", "°")

#: How a UCUM unit is written for people.
UNIT_TEXT = {
    "[hnsf'U]": "HU",
    "1": "",
    "mm": "mm",
    "mm2": "mm²",
    "mL": "mL",
    "%": "%",
    "deg": "°",
    "g/ml{SUVbw}": "SUVbw",
    "g/ml{SUVlbm}": "SUVlbm",
    "g/ml{SUVlbm(Janma)}": "SUVlbm",
    "g/ml{SUVlbm(James128)}": "SUVlbm (James)",
    "g/ml{SUVibw}": "SUVibw",
    "cm2/ml{SUVbsa}": "SUVbsa",
    "{counts}": "counts",
    "{pixels}": "pixels",
    "{px}": "px",
    "{px}2": "px²",
    "{px}/s": "px/s",
    "{propcounts}/s": "counts/s",
    "{OD}.10*-3": "OD/1000",
}
