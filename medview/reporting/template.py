"""Report templates: which sections a report has and how their text is made, as data."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medview.core.errors import ReportError
from medview.core.findings import Finding
from medview.core.study import Series, Study


@dataclass(frozen=True)
class TemplateSection:
    """A heading and the text below it, with `$names` to fill in (see `draft` for how)."""

    heading: str
    text: str


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
    sections = tuple(TemplateSection(part["heading"], part["text"]) for part in table["section"])
    if not sections:
        raise ValueError("a template needs sections")
    return Template(
        id=name,
        title=table["title"],
        sections=sections,
        modality=tuple(match.get("modality", ())),
        body_part=tuple(match.get("body_part", ())),
        structures=tuple(match.get("structures", ())),
    )


def choose(
    templates: Sequence[Template],
    study: Study,
    series: Series | None,
    findings: Sequence[Finding],
) -> Template:
    """The template that fits most closely, the first of equals; ReportError if none fits."""
    best: tuple[int, Template] | None = None
    for template in templates:
        points = template.fit(study, series, findings)
        if points is not None and (best is None or points > best[0]):
            best = (points, template)
    if best is None:
        raise ReportError("No report template fits this study", "Add a template without conditions")
    return best[1]
