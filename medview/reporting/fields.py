"""What a template may say: named pieces of text made from a study and its findings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from medview.core.codes import COUNT, UNIT_TEXT, VOLUME
from medview.core.findings import Finding, Laterality, Measurement
from medview.core.report import Answer
from medview.core.structures import ANY_STRUCTURE
from medview.core.structures import structure_of as body_structure
from medview.core.study import Series, Study

_SIDE_WORDS = re.compile(r"\b(left|right)\b\s*", re.IGNORECASE)
_SCANNER_WORDS = {"CT": "Computed tomography", "MR": "Magnetic resonance imaging"}
_MODALITY_WORDS = {
    **_SCANNER_WORDS,
    "CR": "Radiograph",
    "DX": "Radiograph",
    "MG": "Mammography",
    "US": "Ultrasound",
    "PT": "Positron emission tomography",
    "NM": "Nuclear medicine study",
    "XA": "Angiography",
    "ES": "Endoscopy",
    "SM": "Microscopy",
}
_SEX_WORDS = {"M": "male", "F": "female"}
_AGE_UNITS = {"D": "days", "W": "weeks", "M": "months", "Y": "years"}
#: So many findings of one class are told one by one; of more the number is told.
_FEW = 5
_OWN_NUMBER = re.compile(r"\s+\d+$")


def decimals(value: float, unit: str) -> int:
    """How many places after the point a value in that UCUM unit is told with: about 3 figures."""
    if unit == "mL":
        return 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return {"mm": 1, "mm2": 1, "deg": 1, "[hnsf'U]": 0, "{pixels}": 0}.get(unit, 2)


def value_text(value: float, unit: str) -> str:
    """A number with its unit as people write it: `3.42 mL`, `-98 HU`."""
    number = f"{value:.{decimals(value, unit)}f}"
    shown = UNIT_TEXT.get(unit, unit)
    if not shown:
        return number
    return number + ("" if shown == "°" else " ") + shown


def structure_of(label: str) -> str:
    """The label of a finding without its side: `Left anterior hippocampus` -> `anterior ...`."""
    return _SIDE_WORDS.sub("", label).strip()


def volume_of(finding: Finding) -> Measurement | None:
    """Its volume, if it was measured."""
    return next((m for m in finding.measurements if m.kind == VOLUME and m.unit == "mL"), None)


@dataclass(frozen=True)
class SidePair:
    """One structure on both sides, volumes in mL (sums of its parts); None where not found.

    Sides of which not the same parts were found are not `alike`: they are not compared.
    """

    name: str
    left_ml: float | None
    right_ml: float | None
    alike: bool = True

    @property
    def difference_ml(self) -> float | None:
        """Larger minus smaller."""
        if self.left_ml is None or self.right_ml is None or not self.alike:
            return None
        return abs(self.left_ml - self.right_ml)

    @property
    def asymmetry_percent(self) -> float | None:
        """Difference over the mean of both sides, in percent."""
        difference_ml = self.difference_ml
        mean_ml = ((self.left_ml or 0.0) + (self.right_ml or 0.0)) / 2
        if difference_ml is None or mean_ml <= 0:
            return None
        return 100 * difference_ml / mean_ml

    @property
    def smaller(self) -> Laterality | None:
        """The side with less, None where they are equal or one is missing."""
        if self.left_ml is None or self.right_ml is None or not self.difference_ml:
            return None
        return Laterality.LEFT if self.left_ml < self.right_ml else Laterality.RIGHT


def side_pair(findings: Sequence[Finding], name: str) -> SidePair:
    """The pair of all findings whose structure holds the words of `name`."""
    sums: dict[Laterality, float] = {}
    parts: dict[Laterality, set[str]] = {}
    for finding in findings:
        volume = volume_of(finding)
        side = finding.laterality
        if volume is None or side is None or name.casefold() not in finding.label.casefold():
            continue
        sums[side] = sums.get(side, 0.0) + volume.value
        parts.setdefault(side, set()).add(structure_of(finding.label))
    alike = parts.get(Laterality.LEFT) == parts.get(Laterality.RIGHT)
    return SidePair(name, sums.get(Laterality.LEFT), sums.get(Laterality.RIGHT), alike)


def side_pairs(findings: Sequence[Finding]) -> tuple[SidePair, ...]:
    """Every structure that was found on both sides, and their sums where they share a last word.

    `Left anterior hippocampus` and its like give pairs for the anterior part, the posterior
    part, and for `hippocampus` as their sum.
    """
    structures = list(dict.fromkeys(structure_of(f.label) for f in findings if f.laterality))
    pairs = [_exact_pair(findings, name) for name in structures]
    pairs = [pair for pair in pairs if pair.asymmetry_percent is not None]
    wholes = [name.split()[-1] for name in (pair.name for pair in pairs) if " " in name]
    for whole in dict.fromkeys(wholes):
        if wholes.count(whole) > 1:
            pairs.append(side_pair(findings, whole))
    return tuple(pairs)


def _exact_pair(findings: Sequence[Finding], name: str) -> SidePair:
    same = [finding for finding in findings if structure_of(finding.label) == name]
    return side_pair(same, name)


def study_fields(study: Study, series: Series | None) -> dict[str, str]:
    """Fields about the examination; what is unknown is left out."""
    fields = {"study_description": study.description, "patient_sex": _sex(study)}
    if series is None:
        return _present(fields)
    head = series.headers
    fields |= {
        "modality": _MODALITY_WORDS.get(series.modality, series.modality),
        "series_description": series.description,
        "series_number": "" if series.number is None else str(series.number),
        "body_part": series.body_part.replace("_", " ").lower(),
        "images": _count(sum(max(1, one.frames) for one in series.instances), "image"),
        "patient_age": age_text(head.get("PatientAge", "")),
        "reason": head.get("ReasonForStudy", "") or head.get("RequestedProcedureDescription", ""),
        "view_position": head.get("ViewPosition", ""),
        "contrast": head.get("ContrastBolusAgent", ""),
        "field_strength": _number(head.get("MagneticFieldStrength", ""), "T"),
        "repetition_time": _number(head.get("RepetitionTime", ""), "ms"),
        "echo_time": _number(head.get("EchoTime", ""), "ms"),
        "inversion_time": _number(head.get("InversionTime", ""), "ms"),
        "tube_voltage": _number(head.get("KVP", ""), "kV"),
        "slice_thickness": _number(head.get("SliceThickness", ""), "mm"),
    }
    return _present(fields)


def examination(study: Study, series: Series | None) -> str:
    """What was examined in a few words: the study's own, else from the kind of image."""
    if study.description.strip():
        return study.description.strip()
    known = {} if series is None else study_fields(study, series)
    told = " of the ".join(known[name] for name in ("modality", "body_part") if name in known)
    return told or "Examination"


def answer_fields(answers: Sequence[Answer]) -> dict[str, str]:
    """The answers to a template's fields: `$id` their values, `$id_meaning` their words."""
    told: dict[str, str] = {}
    for answer in answers:
        for name, text in (
            (answer.field, answer.value),
            (f"{answer.field}_meaning", answer.meaning),
        ):
            told[name] = "; ".join(part for part in (told.get(name, ""), text) if part)
    return _present(told)


def pair_fields(pair: SidePair, parts: Mapping[Laterality, str]) -> dict[str, str]:
    """Fields of one pair, each name led by the pair's: `hippocampus_left`, ..._difference, ..."""
    left, right = pair.left_ml, pair.right_ml
    fields = {
        "left": "" if left is None else value_text(left, "mL"),
        "right": "" if right is None else value_text(right, "mL"),
        "left_parts": parts.get(Laterality.LEFT, ""),
        "right_parts": parts.get(Laterality.RIGHT, ""),
    }
    difference = pair.difference_ml
    if left is not None and right is not None and difference is not None:
        percent = pair.asymmetry_percent or 0.0
        fields["total"] = value_text(left + right, "mL")
        fields["percent"] = f"{percent:.1f} %"
        if pair.smaller is None or f"{difference:.2f}" == "0.00":
            fields["equal"] = fields["left"]
        else:
            fields["smaller"] = pair.smaller.value
            fields["difference"] = value_text(difference, "mL")
    prefix = pair.name.replace(" ", "_").lower()
    return {f"{prefix}_{name}": text for name, text in _present(fields).items()}


def parts_text(findings: Sequence[Finding], name: str) -> dict[Laterality, str]:
    """For each side the parts of a structure with their volumes: `anterior 1.80 mL, ...`."""
    parts: dict[Laterality, list[str]] = {}
    for finding in findings:
        volume, side = volume_of(finding), finding.laterality
        part = re.sub(re.escape(name), "", structure_of(finding.label), flags=re.IGNORECASE)
        if volume is None or side is None or part == structure_of(finding.label):
            continue
        if part.strip():
            text = f"{part.strip()} {value_text(volume.value, volume.unit)}"
            parts.setdefault(side, []).append(text)
    return {side: ", ".join(texts) for side, texts in parts.items()}


def sentences(findings: Sequence[Finding]) -> str:
    """Findings in words, one a line; the numbers of those that are `counted` in the last one."""
    many = counted(findings)
    single = [sentence(f) for f in findings if f.text.strip() or class_of(f) not in many]
    numbers = "; ".join(f"{name}: {count} findings" for name, count in many.items())
    return "\n".join([*single, f"{numbers}."] if numbers else single)


def labels_of(findings: Sequence[Finding], between: str = "; ") -> str:
    """The labels of findings with their sides, and the number of those that are `counted`."""
    many = counted(findings)
    named = [labelled(f) for f in findings if f.text.strip() or class_of(f) not in many]
    return between.join([*named, *(f"{name} ({count})" for name, count in many.items())])


def is_structure(finding: Finding) -> bool:
    """Whether a finding is a part of the body that was measured, nothing that was found in it."""
    named = body_structure(finding.label)[0] is not ANY_STRUCTURE
    return named and not finding.text.strip() and finding.probability is None


def counted(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings there are of each class that has more than a few.

    Those that the reader wrote words for do not count: they are told for themselves.
    """
    classes = Counter(class_of(finding) for finding in findings if not finding.text.strip())
    return {name: count for name, count in classes.items() if count > _FEW}


def class_of(finding: Finding) -> str:
    """What a finding is one of, with its side: `Cell 17` is a `Cell`."""
    return labelled(replace(finding, label=_OWN_NUMBER.sub("", finding.label)))


def sentence(finding: Finding) -> str:
    """A finding in words: the reader's own where there are any, else label and measurements."""
    if finding.text.strip():
        text = finding.text.strip()
        return text if text.endswith((".", "!", "?")) else text + "."
    told = ", ".join(measurement_text(m) for m in finding.measurements)
    return f"{labelled(finding)}: {told}." if told else f"{labelled(finding)}."


def labelled(finding: Finding) -> str:
    """The label with its side, named once."""
    if finding.laterality is None or finding.laterality is Laterality.BOTH:
        return finding.label
    if _SIDE_WORDS.search(finding.label):
        return finding.label
    return f"{finding.label}, {finding.laterality.value}"


def measurement_text(measurement: Measurement) -> str:
    """A measurement in words: `volume 3.42 mL`."""
    return f"{name_in_text(measurement)} {measured_text(measurement)}"


def name_in_text(measurement: Measurement) -> str:
    """What a measurement is called within a sentence: a name of one word loses its capital."""
    name = measurement.name or measurement.kind.meaning
    first = name.split(maxsplit=1)[0]
    return name if first[1:] != first[1:].lower() else name[:1].lower() + name[1:]


def measured_text(measurement: Measurement) -> str:
    """The value of a measurement with its unit; a count is a whole number."""
    if measurement.kind == COUNT:
        return f"{measurement.value:.0f}"
    return value_text(measurement.value, measurement.unit)


def age_text(age: str) -> str:
    """An Age String (PS3.5 6.2 AS) in words: `045Y` -> `45 years`; "" for anything else."""
    if not re.fullmatch(r"\d{3}[DWMY]", age):
        return ""
    count, unit = int(age[:3]), _AGE_UNITS[age[3]]
    return f"{count} {unit if count != 1 else unit[:-1]}"


def _sex(study: Study) -> str:
    return _SEX_WORDS.get(study.patient.sex, "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(text: str, unit: str) -> str:
    try:
        return f"{float(text):.4g} {unit}" if text else ""
    except ValueError:
        return ""


def _present(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: text.strip() for name, text in fields.items() if text and text.strip()}
