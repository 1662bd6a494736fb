"""Report templates: which sections a report has and how their text is made, as data."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.core.codes import Code
from medview.core.errors import ReportError
from medview.core.findings import Finding
from medview.core.report import Answer
from medview.core.study import Series, Study


@dataclass(frozen=True)
class Phrase:
    """Words that are written often, and the few letters that stand for them after a dot."""

    key: str
    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.key) or not self.text.strip():
            raise ValueError(f"a phrase needs letters to call it by and words, not {self.key!r}")


@dataclass(frozen=True)
class Choice:
    """One value a field may have, what it means, and its code where it has one."""

    value: str
    meaning: str = ""
    code: Code | None = None


@dataclass(frozen=True)
class ChoiceField:
    """A field to be filled by choosing: a RADS category, a diagnosis.

    `many` lets several be chosen. The answer is `$id` in the sections, and stands as a row of its
    own in the report.
    """

    id: str
    title: str
    choices: tuple[Choice, ...]
    many: bool = False

    def answer(self, value: str) -> Answer:
        """The choice with that value as an answer; ReportError for one that is not offered."""
        for choice in self.choices:
            if choice.value == value:
                return Answer(self.id, self.title, value, choice.meaning, choice.code)
        raise ReportError(f"{self.title} has no value {value!r}", "Choose one that is listed.")


@dataclass(frozen=True)
class TemplateSection:
    """A heading and the text below it, with `$names` to fill in (see `draft` for how).

    `phrases` are those that are offered here beside those of the whole template.
    """

    heading: str
    text: str
    phrases: tuple[Phrase, ...] = ()


@dataclass(frozen=True)
class Template:
    """One kind of report.

    It fits where every list that is not empty holds for the study: `modality` the modality of
    the series, `body_part` a word found in body part, protocol or description, `structures` a
    word found in the label of a finding.
    """

    id: str
    title: str
    sections: tuple[TemplateSection, ...]
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    fields: tuple[ChoiceField, ...] = ()

    def phrases_for(self, heading: str) -> tuple[Phrase, ...]:
        """The phrases for a section, its own first; of two with one key the first."""
        own = [p for part in self.sections if part.heading == heading for p in part.phrases]
        found = {phrase.key: phrase for phrase in reversed((*own, *self.phrases))}
        return tuple(sorted(found.values(), key=lambda phrase: phrase.key))

    def field(self, field_id: str) -> ChoiceField:
        """The field with that id; ReportError if there is none."""
        for one in self.fields:
            if one.id == field_id:
                return one
        raise ReportError(f"This kind of report has no field {field_id}")

    def fit(self, study: Study, series: Series | None, findings: Sequence[Finding]) -> int | None:
        """How closely the template fits: the count of conditions that hold; None if one fails."""
        about = " ".join((study.description, *_words_about(series))).casefold()
        labels = " ".join(finding.label for finding in findings).casefold()
        modality = series.modality if series is not None else ""
        conditions = (
            (self.modality, modality in self.modality),
            (self.body_part, any(word.casefold() in about for word in self.body_part)),
            (self.structures, any(word.casefold() in labels for word in self.structures)),
        )
        asked = [holds for wanted, holds in conditions if wanted]
        return len(asked) if all(asked) else None


def _words_about(series: Series | None) -> tuple[str, ...]:
    if series is None:
        return ()
    return (series.description, series.body_part, series.headers.get("ProtocolName", ""))


def load_templates(folder: Path) -> tuple[Template, ...]:
    """All templates (`*.toml`) of a folder, by name. ReportError names the file that is wrong."""
    found = []
    for file in sorted(folder.glob("*.toml")):
        try:
            found.append(_parse(file.stem, tomllib.loads(file.read_text(encoding="utf-8"))))
        except (KeyError, TypeError, ValueError) as error:
            raise ReportError(
                f"The report template {file.name} cannot be used",
                "Correct the file or remove it from the template folder.",
                f"{type(error).__name__}: {error}",
            ) from error
    return tuple(found)


def _parse(name: str, table: dict[str, Any]) -> Template:
    match = table.get("match", {})
    sections = tuple(
        TemplateSection(part["heading"], part["text"], _phrases(part)) for part in table["section"]
    )
    if not sections:
        raise ValueError("a template needs sections")
    return Template(
        id=name,
        title=table["title"],
        sections=sections,
        modality=tuple(match.get("modality", ())),
        body_part=tuple(match.get("body_part", ())),
        structures=tuple(match.get("structures", ())),
        phrases=_phrases(table),
        fields=tuple(_field(part) for part in table.get("field", ())),
    )


def _phrases(table: Mapping[str, Any]) -> tuple[Phrase, ...]:
    return tuple(Phrase(key, text) for key, text in table.get("phrases", {}).items())


def _field(table: Mapping[str, Any]) -> ChoiceField:
    """`choices` are pairs of value and meaning; with a `scheme` the values are its codes."""
    scheme = table.get("scheme", "")
    choices = tuple(
        Choice(value, meaning, Code(value, scheme, meaning) if scheme else None)
        for value, meaning in table["choices"]
    )
    if len({choice.value for choice in choices}) < len(choices) or not choices:
        raise ValueError(f"the field {table['id']} needs choices, each once")
    return ChoiceField(table["id"], table["title"], choices, bool(table.get("many", False)))


def choose(
    templates: Sequence[Template],
    study: Study,
    series: Series | None,
    findings: Sequence[Finding],
    chosen: str = "",
) -> Template:
    """The one with the id `chosen`, else the one that fits most closely, the first of equals.

    ReportError if none fits.
    """
    named = next((one for one in templates if one.id == chosen), None)
    if named is not None:
        return named
    best: tuple[int, Template] | None = None
    for template in templates:
        points = template.fit(study, series, findings)
        if points is not None and (best is None or points > best[0]):
            best = (points, template)
    if best is None:
        raise ReportError("No report template fits this study", "Add a template without conditions")
    return best[1]
