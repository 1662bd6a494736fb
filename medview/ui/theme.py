"""The look: a dark room in which the picture is the brightest thing, or a light one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from PyQt6.QtGui import QColor, QPalette
from PyQt6.QtWidgets import QApplication, QWidget


@dataclass(frozen=True)
class Colors:
    """The colours of one look, by what they are for; names stand as `@name` in theme.qss."""

    ground: str
    panel: str
    raised: str
    hover: str
    line: str
    faint: str
    muted: str
    text: str
    bright: str
    accent: str
    strong: str
    selected: str
    good: str
    caution: str
    bad: str
    proposed: str

    def of_state(self, state: str) -> str:
        """The colour of a review state, the same in lists, badges and legends."""
        return {"accepted": self.good, "edited": self.accent, "rejected": self.faint}.get(
            state, self.proposed
        )


DARK = Colors(
    ground="#14161a",
    panel="#1b1e23",
    raised="#24282e",
    hover="#2d323a",
    line="#363c45",
    faint="#66707c",
    muted="#9ba5b0",
    text="#d9dee4",
    bright="#f4f7fa",
    accent="#4fb3d9",
    strong="#23617f",
    selected="#1f4a60",
    good="#63c088",
    caution="#e3b04b",
    bad="#ef7d72",
    proposed="#c39bff",
)
LIGHT = Colors(
    ground="#e9ebee",
    panel="#fbfcfd",
    raised="#f2f4f6",
    hover="#dfe4e9",
    line="#bcc4cc",
    faint="#8b949e",
    muted="#5a646e",
    text="#1d2329",
    bright="#0a0d10",
    accent="#1c7fae",
    strong="#a9d5ea",
    selected="#c5e2f1",
    good="#1f7a45",
    caution="#8a5a00",
    bad="#b3261e",
    proposed="#6a3fc0",
)
SCHEMES = {"dark": DARK, "light": LIGHT}


def rgb(color_rgb: tuple[int, int, int]) -> QColor:
    """A colour of core types (0-255) as Qt's."""
    return QColor(*color_rgb)


def colors() -> Colors:
    """The colours in force, told by the application's palette."""
    return DARK if QApplication.palette().window().color().lightness() < 128 else LIGHT


def apply(application: QApplication, resources: Path, scheme: str = "dark") -> None:
    """Dress the whole program: Fusion, own palette, `resources/theme.qss`."""
    chosen = SCHEMES[scheme]
    application.setStyle("Fusion")
    application.setPalette(palette(chosen))
    font = application.font()
    font.setPointSizeF(9.5)
    application.setFont(font)
    sheet = style_sheet(resources, chosen)
    if application.styleSheet() != sheet:
        application.setStyleSheet(sheet)


def palette(scheme: Colors) -> QPalette:
    """Qt's palette of a look."""
    role = QPalette.ColorRole
    result = QPalette()
    for target, color in (
        (role.Window, scheme.ground),
        (role.WindowText, scheme.text),
        (role.Base, scheme.panel),
        (role.AlternateBase, scheme.raised),
        (role.ToolTipBase, scheme.raised),
        (role.ToolTipText, scheme.text),
        (role.Text, scheme.text),
        (role.PlaceholderText, scheme.muted),
        (role.Button, scheme.raised),
        (role.ButtonText, scheme.text),
        (role.BrightText, scheme.bright),
        (role.Link, scheme.accent),
        (role.Highlight, scheme.selected),
        (role.HighlightedText, scheme.bright),
        (role.Light, scheme.hover),
        (role.Mid, scheme.line),
        (role.Dark, scheme.ground),
    ):
        result.setColor(target, QColor(color))
    for target in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        result.setColor(QPalette.ColorGroup.Disabled, target, QColor(scheme.faint))
    return result


def style_sheet(resources: Path, scheme: Colors) -> str:
    """The style sheet with the colours filled in."""
    sheet = (resources / "theme.qss").read_text(encoding="utf-8")
    for field in fields(scheme):
        sheet = sheet.replace(f"@{field.name};", f"{getattr(scheme, field.name)};")
    return sheet.replace("@icons", (resources / "icons").as_posix())


def set_role(widget: QWidget, role: str, name: str = "role") -> None:
    """Give a widget its part in the style sheet: title, heading, muted, caution, primary, ..."""
    if widget.property(name) == role:
        return
    widget.setProperty(name, role)
    style = widget.style()
    if style is not None:
        style.unpolish(widget)
        style.polish(widget)
