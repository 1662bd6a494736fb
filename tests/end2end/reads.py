"""Four studies read from drop to signed report, by the mouse and by the keyboard alone.

Each reading runs inside the window (`medview --script`) with nothing but the gestures of
`hands`: files are dropped or opened, a model proposes, findings are walked, decided and one is
corrected in the editor, a sentence that contradicts what was measured is written and named,
mended, and the report is signed and exported. `main` keeps the pictures of one reading in a
folder. Words are typed by either way of reading; a mouse does everything else that it can.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PyQt6.QtCore import QPoint
from PyQt6.QtGui import QTextCursor
from PyQt6.QtWidgets import QAbstractButton, QApplication, QLineEdit, QPlainTextEdit, QWidget

from tests.end2end.command_line import ROOT, environment
from tests.end2end.hands import Hands

READER = "Dr Ada Reader"
MENDED = "Looked at slice by slice."
PANELS = {"segments": "Ctrl+Shift+3", "findings": "Ctrl+Shift+4", "report": "Ctrl+Shift+5"}
#: What says that contradictions were seen, where some are left that the reader stands by.
SEEN = "I have seen this and sign all the same"
NAME = "Name to sign with"


@dataclass(frozen=True)
class Plan:
    """One study: its file, what is wrong in its first report, and what is corrected how."""

    path: str
    #: What is written into the findings, and cannot stand.
    claim: str
    #: The words of the claim that the contradiction has to name.
    named: str
    #: The model that proposes, as its card is headed; none for a clip.
    model: str = ""
    #: What the reader marks in a clip, where no model proposes anything.
    marked: str = ""
    #: The effect that mends a segment, as it is called in the panel; none for a clip.
    effect: str = ""
    #: Which of the findings is left out of the report, counted from 0; -1 for none.
    rejected: int = -1

    @property
    def is_clip(self) -> bool:
        """Whether the reader follows and marks places, instead of a model that proposes."""
        return not self.model


PLANS = {
    "ct": Plan(
        "ct/chest_covid_P002", "The left lung holds 987 mL.", "987 mL",
        model="Chest CT: lungs and airways (rules, no network)",
        effect="Fill holes in all slices", rejected=3,
    ),
    "mr": Plan(
        "mr/sag_mprage_192.tar.xz", "The right hippocampus holds 987 mL.", "987 mL",
        model="Hippocampus in T1 MRI, anterior and posterior", effect="Smooth: median", rejected=1,
    ),
    "cxr": Plan(
        "projection/CR-MONO1-10-chest", "The heart is 987 mm wide.", "987 mm",
        model="Lungs in frontal chest X-rays", effect="Smooth: opening", rejected=2,
    ),
    "us": Plan(
        "multiframe/US-PAL-8-10x-echo", "The jet is 987 mm wide.", "987 mm",
        marked="Regurgitant jet",
    ),
}  # fmt: skip


def read(
    study: str, way: str, data: Path, out: Path, window: Any, commands: Any
) -> dict[str, object]:
    """Read one study one way; what was counted and seen. Runs inside the window."""
    plan = PLANS[study]
    hands = Hands(window, out, lambda: commands.wait_idle(900), f"{study}_{way}_")
    reading: _Reading = WAYS[way](hands, window)
    try:
        return _read(plan, reading, hands, data, out)
    except BaseException:
        hands.shot("failed")
        raise


def _read(plan: Plan, reading: _Reading, hands: Hands, data: Path, out: Path) -> dict[str, object]:
    reading.open(data / plan.path)
    hands.shot("opened")
    reading.begin(plan)
    hands.shot("proposed")
    rows = reading.findings()
    for number in range(rows):
        reading.walk(number)
        if number == 0:
            hands.shot("walked")
        reading.decide(rejects=number == plan.rejected)
    hands.shot("decided")
    if plan.effect:
        reading.correct(plan.effect)
        hands.shot("corrected")
    reading.write("Findings", plan.claim)
    hands.shot("written")
    reading.sign()
    hands.shot("contradiction")
    named = reading.is_named(plan.named)
    reading.back_out()
    reading.rewrite("Findings", plan.claim, MENDED)
    reading.sign()
    hands.shot("before_signing")
    reading.confirm_signing()
    hands.shot("signed")
    signed = hands.sees("signed by")
    reading.export(out / "export")
    hands.wait(lambda: hands.sees("files written and read back"), "the end of the export", 300)
    hands.shot("exported")
    return {"findings": rows, "named": named, "signed": signed, "gestures": hands.gestures}


class _Reading(Protocol):
    """What a reader does with a study, one step after the other."""

    def open(self, path: Path) -> None:
        """Bring the study into the window."""

    def begin(self, plan: Plan) -> None:
        """Have a model propose; in a clip have a place followed, and mark what is seen."""

    def findings(self) -> int:
        """How many findings there are to decide."""

    def walk(self, number: int) -> None:
        """Go to a finding, counted from 0."""

    def decide(self, *, rejects: bool) -> None:
        """Accept or reject the finding at hand."""

    def correct(self, effect: str) -> None:
        """Go to the first finding and change its segment by an effect."""

    def write(self, heading: str, words: str) -> None:
        """Add words to a section of the report."""

    def sign(self) -> None:
        """Ask for the signature."""

    def is_named(self, words: str) -> bool:
        """Whether the last look before signing names them as a contradiction."""

    def back_out(self) -> None:
        """Do not sign yet."""

    def rewrite(self, heading: str, old: str, new: str) -> None:
        """Put other words for the last ones of a section."""

    def confirm_signing(self) -> None:
        """Sign, with what is left to stand by ticked as seen."""

    def export(self, folder: Path) -> None:
        """Write everything to a folder."""


class _Reader:
    """What both ways share: where things are on the screen."""

    def __init__(self, hands: Hands, window: Any) -> None:
        self.hands = hands
        self.window = window

    def findings(self) -> int:
        return int(self.window.findings.view.count())

    def is_named(self, words: str) -> bool:
        return self.hands.sees("The report contradicts itself:") and self.hands.sees(words)

    def asks_for_reader(self) -> bool:
        """Whether the first decision has to know who reads."""
        return QApplication.activeModalWidget() is not None and self.hands.sees("Who reads?")

    def has_reader(self) -> bool:
        """Whether a name to sign with stands in the dialog."""
        field, _ = self.hands.find(NAME)
        return isinstance(field, QLineEdit) and bool(field.text())

    def has_to_tick(self) -> bool:
        """Whether contradictions are left that have to be ticked as seen."""
        if not self.hands.sees(SEEN):
            return False
        box, _ = self.hands.find(SEEN)
        return isinstance(box, QAbstractButton) and not box.isChecked()

    def section(self, heading: str) -> QPlainTextEdit:
        """The field of a section of the report."""
        for widget in self.window.report.findChildren(QPlainTextEdit):
            if widget.accessibleName() == heading:
                return widget
        raise AssertionError(f"the report has no section {heading}")

    def picture(self) -> QWidget:
        """The first view that shows slices."""
        return next(view for view in self.window.grid.views.values() if view.isVisible())


class _Keys(_Reader):
    """By the keyboard alone."""

    def open(self, path: Path) -> None:
        self.hands.press("Ctrl+O" if path.is_dir() else "Ctrl+Shift+O")
        self.hands.rest()
        self.hands.write(str(path))
        self.hands.press("Return")
        self.hands.rest(1.0)

    def begin(self, plan: Plan) -> None:
        if not plan.is_clip:
            self.hands.press("Ctrl+R")
            return
        self.hands.press("C")
        self.hands.press("Home")
        self.hands.press("T")
        self.hands.press("Ctrl+Down", times=6)
        self._command("Place a point at the crosshair")
        self.hands.rest(1.0)
        self._command("Who reads")
        self.hands.rest()
        self.name_reader()
        self._command("Add a finding by its box")
        self.hands.rest()
        self._command("Add key image")
        self.hands.rest()
        self.hands.press("N")
        self.hands.press("F2")
        self.hands.rest()
        self.hands.press("Ctrl+A")
        self.hands.write(plan.marked)
        self.hands.press("Return")
        self.hands.rest()

    def _command(self, title: str) -> None:
        """Any command by its name."""
        self.hands.press("Ctrl+Shift+P")
        self.hands.write(title)
        self.hands.press("Return")

    def walk(self, number: int) -> None:
        del number
        self.hands.press("N")
        self.hands.rest()

    def decide(self, *, rejects: bool) -> None:
        self.hands.press("Delete" if rejects else "Return")
        self.hands.rest()
        self.name_reader()

    def name_reader(self) -> None:
        """Say who reads, where it is asked."""
        if self.asks_for_reader():
            self.hands.write(READER)
            self.hands.press("Return")
            self.hands.rest()

    def correct(self, effect: str) -> None:
        self.hands.press("Home")
        self.hands.rest()
        self.hands.press(PANELS["segments"])
        self.hands.tab_to("Effect")
        self.hands.press("Alt+Down")
        self.hands.write(effect)
        self.hands.press("Return")
        self.hands.tab_to("Apply")
        self.hands.press("Space")
        self.hands.rest(0.5)

    def write(self, heading: str, words: str) -> None:
        self.hands.press(PANELS["report"])
        if not self.window.report.isVisible():
            self.hands.press(PANELS["report"])
        if self.hands.sees("Begin report"):
            self.hands.tab_to("Begin report")
            self.hands.press("Space")
            self.hands.rest()
            self.hands.press(PANELS["findings"])
            self.hands.press(PANELS["report"])
        self.hands.tab_to(heading)
        self.hands.press("Ctrl+End")
        self.hands.write(f" {words}")
        self.hands.rest(1.2)

    def sign(self) -> None:
        self.hands.press("Ctrl+Return")
        self.hands.rest()

    def back_out(self) -> None:
        self.hands.press("Esc")
        self.hands.rest()

    def rewrite(self, heading: str, old: str, new: str) -> None:
        del heading  # the section still has the keyboard
        self.hands.press("Ctrl+End")
        self.hands.press("Shift+Left", times=len(old))
        self.hands.write(new)
        self.hands.rest(1.2)

    def confirm_signing(self) -> None:
        if not self.has_reader():
            self.hands.tab_to(NAME)
            self.hands.write(READER)
        if self.has_to_tick():
            self.hands.tab_to(SEEN)
            self.hands.press("Space")
        self.hands.tab_to("Sign")
        self.hands.press("Space")
        self.hands.rest()

    def export(self, folder: Path) -> None:
        self.hands.press("Ctrl+E")
        self.hands.rest()
        self.hands.tab_to("Folder")
        self.hands.press("Ctrl+A")
        self.hands.write(str(folder))
        self.hands.tab_to("Export")
        self.hands.press("Space")


class _Mouse(_Reader):
    """By the mouse; the keyboard only writes words."""

    def open(self, path: Path) -> None:
        self.hands.drop(path)
        self.hands.rest(1.0)

    def begin(self, plan: Plan) -> None:
        if not plan.is_clip:
            self.hands.click(f"Run: {plan.model}")
            return
        self.hands.click("Track")
        picture = self.picture()
        middle = picture.rect().center()
        self.hands.click_at(picture, QPoint(middle.x(), middle.y() + 6))
        self.hands.rest(1.0)
        self.hands.click("Who reads: decisions and signatures carry this name")
        self.hands.rest()
        self.name_reader()
        self.hands.click("Boxes")
        self.hands.drag(picture, [middle - QPoint(60, 70), middle, middle + QPoint(60, 70)])
        self.hands.rest()
        self.hands.menu("Report", "Add key image")
        self.hands.rest()
        self.hands.click_row(self.window.findings.view, 0)
        self.hands.click("Edit")
        self.hands.rest()
        self._replace("Name of the finding", plan.marked)
        self.hands.click("OK")
        self.hands.rest()

    def _replace(self, name: str, words: str) -> None:
        """Put other words into a field of one line: drag over all it has, and write."""
        field, _ = self.hands.find(name)
        row = field.rect().center().y()
        self.hands.drag(field, [QPoint(field.width() - 4, row), QPoint(3, row)])
        self.hands.write(words)

    def walk(self, number: int) -> None:
        self.hands.click_row(self.window.findings.view, number)
        self.hands.rest()

    def decide(self, *, rejects: bool) -> None:
        self.hands.click("Reject, with or without a reason" if rejects else "Accept")
        self.hands.rest()
        self.name_reader()

    def name_reader(self) -> None:
        """Say who reads, where it is asked."""
        if self.asks_for_reader():
            self.hands.click("Name")
            self.hands.write(READER)
            self.hands.click("OK")
            self.hands.rest()

    def correct(self, effect: str) -> None:
        self.hands.click_row(self.window.findings.view, 0)
        self.hands.rest()
        self.hands.click("Segments")
        self.hands.rest()
        self.hands.click("Effect")
        self.hands.rest(0.5)
        self.hands.click(effect)
        self.hands.rest()
        self.hands.click("Apply")
        self.hands.rest(0.5)

    def write(self, heading: str, words: str) -> None:
        self.hands.click("Report")
        self.hands.rest()
        if self.hands.sees("Begin report"):
            self.hands.click("Begin report")
            self.hands.rest()
        edit = self.section(heading)
        self.hands.scroll_to(edit)
        self.hands.click_at(edit, edit.rect().bottomRight() - QPoint(12, 6))
        self.hands.write(f" {words}")
        self.hands.rest(1.2)

    def sign(self) -> None:
        self.hands.click("Sign")
        self.hands.rest()

    def back_out(self) -> None:
        self.hands.click("Cancel")
        self.hands.rest()

    def rewrite(self, heading: str, old: str, new: str) -> None:
        edit = self.section(heading)
        self.hands.scroll_to(edit)
        end = len(edit.toPlainText())
        places = [self._letter(edit, place) for place in (end - len(old), end)]
        self.hands.drag(edit, places)
        self.hands.write(new)
        self.hands.rest(1.2)

    @staticmethod
    def _letter(edit: QPlainTextEdit, place: int) -> QPoint:
        """Where the pointer stands before a letter, counted from the first."""
        cursor = QTextCursor(edit.document())
        cursor.setPosition(place)
        viewport = edit.viewport()
        assert viewport is not None
        return viewport.mapTo(edit, edit.cursorRect(cursor).center())

    def confirm_signing(self) -> None:
        if not self.has_reader():
            self.hands.click(NAME)
            self.hands.write(READER)
        if self.has_to_tick():
            self.hands.click(SEEN)
        self.hands.click("Sign")
        self.hands.rest()

    def export(self, folder: Path) -> None:
        self.hands.click("Export")
        self.hands.rest()
        self._replace("Folder", str(folder))
        self.hands.click("Export")


WAYS: dict[str, type[_Keys | _Mouse]] = {"keys": _Keys, "mouse": _Mouse}


SCRIPT = """
from tests.end2end.reads import read
say(**read({study!r}, {way!r}, Path({data!r}), Path({out!r}), window, commands))
commands.run("app.quit")
"""


def main(arguments: list[str]) -> int:
    """`python -m tests.end2end.reads STUDY WAY DATA OUT`: pictures of one reading in a folder."""
    study, way, data, out = arguments
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "script.py"
    told = "import sys\nfrom pathlib import Path\ndef say(**what): print(what, file=sys.stderr)\n"
    script.write_text(told + SCRIPT.format(study=study, way=way, data=data, out=out))
    words = [sys.executable, "-m", "medview", "--profile", str(folder / "profile")]
    run: Callable[..., Any] = subprocess.run
    done = run([*words, "--script", str(script)], cwd=ROOT, env=environment(), check=False)
    return int(done.returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
