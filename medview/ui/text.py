"""Words and numbers as the window shows them. Data is never taken for rich text."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QFont, QFontMetrics
from PyQt6.QtWidgets import QLabel, QWidget

from medview.core.findings import Finding, Laterality, Measurement
from medview.core.study import Patient, Series
from medview.core.volume import Volume
from medview.reporting.fields import value_text
from medview.services.corrections import Correction
from medview.ui import theme

#: A change that is not to be told from none at one place after the point.
_LEAST_CHANGE = 0.0005
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def shown(text: str) -> str:
    """Text of files as it may stand on a screen: one line, nothing that controls or reverses.

    Control and bidirectional formatting characters become the replacement sign. Those that
    join or part letters stay: Persian and Indic names are written with them.
    """
    cleaned = (
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") and c not in _JOINERS
        else c
        for c in text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    )
    return "".join(cleaned)[:1000].strip()


def tip(text: str) -> str:
    """Text for a tool tip, which would take tags for formatting: it shows them instead."""
    return "<qt>" + html.escape(text).replace("\n", "<br>") + "</qt>" if "<" in text else text


def menu_text(text: str) -> str:
    """Text for a button or menu, where a single & would underline a letter."""
    return text.replace("&", "&&")


def elided(text: str, font: QFont, width_px: int) -> str:
    """Text cut with an ellipsis where it would not fit."""
    return QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, max(10, width_px))


def date(text: str) -> str:
    """A DICOM date (YYYYMMDD) as YYYY-MM-DD; anything else as it is.

    Files from before DICOM part the numbers by dots (PS3.5 6.2, DA).
    """
    parts = text.split(".")
    if [len(part) for part in parts] == [4, 2, 2]:
        text = "".join(parts)
    if len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return shown(text)


def person_name(name: str) -> str:
    """A DICOM name (family^given^middle^prefix^suffix) as it is read, in its first two writings.

    The writings (alphabetic, ideographic, phonetic) are parted by = (PS3.5 6.2.1.1).
    """
    writings = [group for group in shown(name).split("=") if group.strip("^ ")]
    told = []
    for group in writings[:2]:
        family, *others = (part.strip() for part in group.split("^"))
        given = " ".join(part for part in others[:2] if part)
        told.append(", ".join(part for part in (family, given) if part))
    return " / ".join(told) or "Name unknown"


def patient_line(patient: Patient) -> str:
    """Name, ID and birth date: what tells two patients apart."""
    born = date(patient.birth_date) or "unknown"
    return f"{person_name(patient.name)}  ·  ID {shown(patient.id) or 'none'}  ·  born {born}"


def reading_notes(series: Series, volumes: Iterable[Volume]) -> tuple[str, ...]:
    """What reading had to tolerate in a series.

    That a single slice is one needs no saying, nor what tells volumes at one place apart.
    """
    notes = list(series.notes)
    for volume in volumes:
        ordinary = (volume.label, *(n for n in volume.notes if volume.label and "told apart" in n))
        notes += [note for note in volume.notes if note not in ordinary]
    return tuple(dict.fromkeys(shown(one) for one in notes if not one.startswith("A single slice")))


def measurement(value: Measurement) -> str:
    """A measured number with its unit, in as many figures as the report gives it."""
    return value_text(value.value, value.unit)


def millilitres(volume_ml: float) -> str:
    """A volume as measurements are shown."""
    return value_text(volume_ml, "mL")


def side(laterality: Laterality | None) -> str:
    """`left`, `right`, `both sides` or nothing."""
    if laterality is None:
        return ""
    return "both sides" if laterality is Laterality.BOTH else laterality.value


def confidence(finding: Finding) -> str:
    """How sure the author is, and whether that number means anything; "" if none is given."""
    if finding.probability is None:
        return ""
    percent = f"{100 * finding.probability:.0f} %"
    return f"{percent} confidence" if finding.calibrated else f"{percent} (uncalibrated score)"


def correction_words(correction: Correction | None) -> str:
    """What the reader changed of a model's proposal, in figures; "" for nothing."""
    if correction is None:
        return ""
    words = f"changed by the reader: Dice {correction.dice:.2f}"
    if correction.change is None:
        return f"{words}, not there before"
    change = f"{100 * correction.change:+.1f} %".replace("-", "\N{MINUS SIGN}")
    if abs(correction.change) < _LEAST_CHANGE:
        change = "under 0.1 %"
    return f"{words}, {correction.what} {change}"


def duration(seconds: float) -> str:
    """Seconds, or minutes from two minutes on, in whole numbers."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def score(finding: Finding) -> str:
    """The same in few letters, for a box: percent where calibrated, else a bare score."""
    if finding.probability is None:
        return ""
    if finding.calibrated:
        return f"{100 * finding.probability:.0f} %"
    return f"score {finding.probability:.2f}"


def label(
    text: str = "", role: str = "", *, wrap: bool = False, parent: QWidget | None = None
) -> QLabel:
    """A label for plain text, in a part of the style sheet (title, heading, muted, ...)."""
    result = QLabel(parent)
    result.setTextFormat(Qt.TextFormat.PlainText)
    result.setText(text)
    result.setWordWrap(wrap)
    if role:
        theme.set_role(result, role)
    return result


class ElidedLabel(QLabel):
    """One line of plain text that shortens itself; the tool tip has all of it."""

    def __init__(self, text: str = "", role: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setMinimumWidth(20)
        self._full = ""
        if role:
            theme.set_role(self, role)
        self.show_text(text)

    @property
    def full_text(self) -> str:
        """The text before shortening."""
        return self._full

    def show_text(self, text: str) -> None:
        """Show another text."""
        self._full = shown(text)
        self.setToolTip(tip(self._full))
        self._fit()

    def resizeEvent(self, event: object) -> None:
        """Shorten to the new width."""
        super().resizeEvent(event)  # type: ignore[arg-type]
        self._fit()

    def _fit(self) -> None:
        super().setText(elided(self._full, self.font(), self.width() - 2))


def sentences(*parts: str) -> str:
    """Pieces of a notice in one line, each ended as a sentence before the next one begins."""
    known = [part.strip() for part in parts if part.strip()]
    ended = [part if part.endswith((".", "!", "?", "…", ":")) else f"{part}." for part in known]
    return " ".join([*ended[:-1], *known[-1:]])
