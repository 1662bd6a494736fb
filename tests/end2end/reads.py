"""Four studies read from drop to signed report by the keyboard alone.

Each reading runs inside the window (`medview --script`) with nothing but the gestures of
`hands`: files are dropped or opened, a model proposes, findings are walked, decided and one is
corrected in the editor, a sentence that contradicts a number is written and named, mended,
and the report is signed and exported. `main` keeps the pictures of one reading in a folder.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PyQt6.QtWidgets import QApplication, QLineEdit, QPlainTextEdit, QWidget

from tests.end2end.command_line import ROOT, environment
from tests.end2end.hands import Hands

READER = "Dr Ada Reader"
#: What is written into the findings, and why it cannot stand.
CLAIM = "The largest diameter is 987 mm."
MENDED = "Looked at slice by slice."
PANELS = {"segments": "Ctrl+Shift+3", "findings": "Ctrl+Shift+4", "report": "Ctrl+Shift+5"}


@dataclass(frozen=True)
class Plan:
    """One study: its file, whether a model proposes findings, and what is corrected how."""

    path: str
    is_clip: bool = False
    #: The effect that mends a segment, as it is called in the panel.
    effect: str = ""
    #: Which of the findings is left out of the report, counted from 0; -1 for none.
    rejected: int = -1
    #: Whether something was measured that a claim can contradict.
    measures: bool = True


PLANS = {
    "ct": Plan("ct/chest_covid_P002", effect="Fill holes in all slices", rejected=2),
    "mr": Plan("mr/sag_mprage_192.tar.xz", effect="Keep largest island", rejected=1),
    "cxr": Plan("projection/CR-MONO1-10-chest", effect="Fill holes in this slice", rejected=1),
    "us": Plan("multiframe/US-PAL-8-10x-echo", is_clip=True, measures=False),
}
WAYS = ("keys",)


def read(
    study: str, way: str, data: Path, out: Path, window: Any, commands: Any
) -> dict[str, object]:
    """Read one study one way; what was counted and seen. Runs inside the window."""
    plan = PLANS[study]
    hands = Hands(window, out, lambda: commands.wait_idle(900), f"{study}_{way}_")
    reading = _Keys(hands, window)
    reading.open(data / plan.path)
    hands.shot("opened")
    reading.begin(plan)
    hands.shot("proposed")
    rows = window.findings.view.count()
    for number in range(rows):
        reading.walk(number)
        if number == 0:
            hands.shot("walked")
        reading.decide(rejects=number == plan.rejected)
    hands.shot("decided")
    if plan.effect:
        reading.correct(plan.effect)
        hands.shot("corrected")
    reading.write("Findings", CLAIM)
    hands.shot("written")
    reading.sign(expects_contradiction=True)
    hands.shot("contradiction")
    named = hands.sees("987") or not plan.measures
    reading.back_out()
    reading.rewrite("Findings", CLAIM, MENDED)
    reading.sign(expects_contradiction=False)
    hands.shot("before_signing")
    reading.confirm_signing()
    hands.shot("signed")
    signed = hands.sees("signed by")
    reading.export(out / "export")
    hands.wait(lambda: hands.sees("files written and read back"), "the end of the export", 300)
    hands.shot("exported")
    return {"findings": rows, "named": named, "signed": signed, "gestures": hands.gestures}


class _Reading:
    """What both ways share: where things are on the screen."""

    def __init__(self, hands: Hands, window: Any) -> None:
        self.hands = hands
        self.window = window

    def name_reader(self) -> None:
        """Say who reads, the first time a decision asks for it."""
        if self.hands.sees("Who reads?") and QApplication.activeModalWidget() is not None:
            self.hands.write(READER)
            self.hands.press("Return")
            self.hands.rest()

    def has_reader(self) -> bool:
        """Whether a name to sign with stands in the dialog."""
        field, _ = self.hands.find("Name to sign with")
        return isinstance(field, QLineEdit) and bool(field.text())

    def section(self, heading: str) -> QPlainTextEdit:
        """The field of a section of the report."""
        for widget in self.window.report.findChildren(QPlainTextEdit):
            if widget.accessibleName() == heading:
                return widget
        raise AssertionError(f"the report has no section {heading}")

    def picture(self) -> QWidget:
        """The first view that shows slices."""
        return next(view for view in self.window.grid.views.values() if view.isVisible())


class _Keys(_Reading):
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

    def correct(self, effect: str) -> None:
        self.hands.press(PANELS["segments"])
        self.hands.press("Home")
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

    def sign(self, *, expects_contradiction: bool) -> None:
        del expects_contradiction
        self.hands.press("Ctrl+Return")
        self.hands.rest()

    def back_out(self) -> None:
        self.hands.press("Esc")
        self.hands.rest()

    def rewrite(self, heading: str, old: str, new: str) -> None:
        del heading  # the section still has the keyboard
        self.hands.press("Ctrl+End")
        self.hands.press("Backspace", times=len(old))
        self.hands.write(new)
        self.hands.rest(1.2)

    def confirm_signing(self) -> None:
        if not self.has_reader():
            self.hands.tab_to("Name to sign with")
            self.hands.write(READER)
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
