"""Effects under the list of segments: tools, the rules of edits, and one effect at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from PyQt6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.events import SegmentationChanged, ViewChanged, VolumeLoaded
from medview.core.findings import SegmentRef
from medview.core.geometry import Calibration
from medview.services.bundle import Services
from medview.services.changing import rules_on
from medview.services.rules import Overlap, Where
from medview.services.toolbox import Cut, ToolKind
from medview.ui import icons
from medview.ui.bridge import Bridge, Changes
from medview.ui.panels.segment_choice import SegmentChoice
from medview.ui.text import ElidedLabel, label, shown

_TOOLS = (
    ToolKind.BRUSH,
    ToolKind.ERASER,
    ToolKind.CONTOUR,
    ToolKind.WIRE,
    ToolKind.SCISSORS,
    ToolKind.TRACE,
    ToolKind.INCLUDE,
    ToolKind.EXCLUDE,
    ToolKind.FRAME,
)
#: What can be switched on and off beside the tools, and its icon.
_SWITCHES = {"brush.sphere": "sphere", "brush.edges": "edges", "segment.prompt_solid": "solid"}
_WHERE = {
    Where.EVERYWHERE: "Everywhere",
    Where.INSIDE: "Inside",
    Where.OUTSIDE: "Outside",
}
_OVERLAP = {
    Overlap.GROUP: "Others of the group give way",
    Overlap.ALL: "All others give way",
    Overlap.SPARE: "No other gives way",
    Overlap.SHARE: "Both have the voxels",
}
_CUTS = {Cut.ERASE: "cut out", Cut.KEEP: "keep inside", Cut.FILL: "fill"}


@dataclass(frozen=True)
class _Number:
    """A parameter that is a number: what it is called, its bounds and unit."""

    name: str
    title: str
    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class _Effect:
    """One entry of the list: the command, what is fixed, what can be set."""

    title: str
    command: str
    fixed: tuple[tuple[str, Any], ...] = ()
    numbers: tuple[_Number, ...] = ()
    other: bool = False


def _mm(name: str, title: str, value: float, low: float = 0.1) -> _Number:
    return _Number(name, title, value, low, 200.0, " mm")


_RANGE = (
    _Number("low", "From", 0.0, -1e6, 1e6, ""),
    _Number("high", "To", 0.0, -1e6, 1e6, ""),
)
_EFFECTS = (
    _Effect("Threshold", "segment.threshold", numbers=_RANGE),
    _Effect("Grow from seeds", "segment.grow"),
    _Effect("Fill between slices", "segment.between"),
    _Effect("Fill holes in this slice", "segment.fill"),
    _Effect("Fill holes in all slices", "segment.fill", (("everywhere", True),)),
    _Effect("Fill holes all round", "segment.fill", (("solid", True),)),
    _Effect("Keep largest island", "segment.keep_largest"),
    _Effect("Keep island at the crosshair", "segment.keep_here"),
    _Effect(
        "Remove small islands",
        "segment.remove_small",
        numbers=(_Number("least_ml", "Below", 0.1, 0.001, 1000.0, " mL"),),
    ),
    _Effect("Split islands", "segment.split"),
    _Effect("Divide at this slice", "segment.divide"),
    *(
        _Effect(f"Smooth: {method}", "segment.smooth", (("method", method),),
                (_mm("radius_mm", "Radius", 2.0),))
        for method in ("median", "closing", "opening", "joint")
    ),
    _Effect("Margin", "segment.margin", numbers=(_mm("distance_mm", "By", 2.0, -200.0),)),
    *(
        _Effect(f"Hollow: shell {words}", "segment.hollow", (("side", side),),
                (_mm("thickness_mm", "Thick", 2.0),))
        for side, words in (("inside", "inside"), ("outside", "outside"), ("both", "on both sides"))
    ),
    *(
        _Effect(f"{words} another segment", "segment.combine", (("operation", name),), other=True)
        for name, words in (
            ("union", "Add"), ("subtract", "Subtract"), ("intersect", "Intersect with"),
            ("copy", "Copy"),
        )
    ),
    _Effect("Mirror left and right", "segment.mirror"),
    _Effect("Invert", "segment.complement"),
)  # fmt: skip


class EffectsPanel(QWidget):
    """What changes the chosen segment. A threshold and seeds are seen before they are done."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._filling = False
        self._volume_uid = ""
        self._tools: dict[str, QToolButton] = {}
        self._radius = self._spin(_mm("radius_mm", "Radius of the brush", 5.0), 200.0)
        self._cut = self._combo(_CUTS, lambda cut: bridge.run("brush.scissors", what=cut.value))
        self._where = self._combo(_WHERE, lambda _kind: self._set_mask())
        self._among = SegmentChoice(self)
        self._among.chosen.connect(self._set_mask)
        self._overlap = self._combo(
            _OVERLAP, lambda rule: bridge.run("segment.overlap", rule=rule.value)
        )
        self._limits = QCheckBox("Values", self)
        self._low = self._spin(_RANGE[0], 0.0)
        self._high = self._spin(_RANGE[1], 0.0)
        self._effect = QComboBox(self)
        self._fields: dict[str, QDoubleSpinBox] = {}
        self._other = QComboBox(self)
        self._apply = QPushButton("Apply", self)
        self._drop = QPushButton("Drop", self)
        # Cut to what room there is: the name of a long one would push the views aside.
        self._state = ElidedLabel("", "muted")
        self._parameters = QHBoxLayout()
        self._build()
        bridge.changed.connect(self._on_changed)
        self._choose_effect(0)
        self._refresh()

    # Building

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(self._tool_row())
        column.addLayout(self._brush_row())
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.setColumnStretch(1, 1)
        grid.addWidget(label("Edits", "muted"), 0, 0)
        where = QHBoxLayout()
        where.addWidget(self._where, 1)
        where.addWidget(self._among, 2)
        grid.addLayout(where, 0, 1)
        grid.addWidget(label("Others", "muted"), 1, 0)
        grid.addWidget(self._overlap, 1, 1)
        grid.addWidget(self._limits, 2, 0)
        limits = QHBoxLayout()
        limits.addWidget(self._low, 1)
        limits.addWidget(label("to", "muted"))
        limits.addWidget(self._high, 1)
        grid.addLayout(limits, 2, 1)
        grid.addWidget(label("Effect", "muted"), 3, 0)
        grid.addWidget(self._effect, 3, 1)
        column.addLayout(grid)
        column.addLayout(self._parameters)
        column.addLayout(self._buttons())
        self._where.setAccessibleName("Where edits reach")
        self._where.setToolTip("Where every edit of segments reaches")
        self._overlap.setAccessibleName("What other segments do")
        self._overlap.setToolTip("Who gives way where the segment grows over others")
        self._limits.setToolTip("Edit only voxels whose values lie in this range")
        self._limits.toggled.connect(lambda _on: self._set_mask())
        for spin in (self._low, self._high):
            spin.valueChanged.connect(lambda _value: self._set_mask())
        self._effect.addItems([effect.title for effect in _EFFECTS])
        self._effect.setAccessibleName("Effect")
        self._effect.setMaxVisibleItems(len(_EFFECTS))
        self._effect.currentIndexChanged.connect(self._choose_effect)
        self._other.setAccessibleName("The other segment")
        for combo in (self._effect, self._other, self._where, self._overlap):
            combo.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def _order_keys(self) -> None:
        """Tab goes from top to bottom: tools, rules, the effect with its values, its buttons."""
        rules = (self._where, self._among, self._overlap, self._limits, self._low, self._high)
        chosen = (self._effect, *self._fields.values(), self._other, self._drop, self._apply)
        order = (*self._tools.values(), self._radius, self._cut, *rules, *chosen)
        for before, after in pairwise(order):
            self.setTabOrder(before, after)

    def _tool_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        commands = self._services.commands
        for name in (*(f"tool.{kind.value}" for kind in _TOOLS), *_SWITCHES):
            command = commands.get(name)
            button = QToolButton(self)
            icon = _SWITCHES.get(name, name[5:])
            button.setIcon(icons.icon(self._services.paths.resources, icon))
            key = commands.shortcut_of(name)
            button.setToolTip(
                f"{command.title}: {command.help} {f'({key})' if key else ''}".strip()
            )
            button.setAccessibleName(command.title)
            button.setCheckable(True)
            button.clicked.connect(lambda _on, name=name: self._bridge.run(name))
            self._tools[name] = button
            row.addWidget(button)
        row.addStretch(1)
        return row

    def _brush_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        commands = self._services.commands
        keys = f"{commands.shortcut_of('brush.smaller')} and {commands.shortcut_of('brush.larger')}"
        self._radius.setToolTip(f"Radius of brush and eraser; keys {keys}")
        self._radius.valueChanged.connect(
            lambda value: (
                None if self._filling else self._bridge.run("brush.size", radius_mm=float(value))
            )
        )
        self._cut.setAccessibleName("What scissors do")
        row.addWidget(label("Radius", "muted"))
        row.addWidget(self._radius, 1)
        row.addWidget(label("Scissors", "muted"))
        row.addWidget(self._cut, 1)
        return row

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.addWidget(self._state, 1)
        row.addWidget(self._drop)
        row.addWidget(self._apply)
        self._apply.clicked.connect(self._run_effect)
        self._drop.clicked.connect(self._let_go)
        return row

    def _combo(self, words: dict[Any, str], chosen: Callable[[Any], object]) -> QComboBox:
        combo = QComboBox(self)
        for kind, text in words.items():
            combo.addItem(text, kind)
        combo.currentIndexChanged.connect(
            lambda index: None if self._filling else chosen(combo.itemData(index))
        )
        return combo

    def _spin(self, number: _Number, value: float) -> QDoubleSpinBox:
        spin = QDoubleSpinBox(self)
        spin.setRange(number.low, number.high)
        spin.setDecimals(3 if "mL" in number.unit else 1)
        spin.setSingleStep(0.1 if "mL" in number.unit else 0.5 if number.unit else 10)
        spin.setSuffix(number.unit)
        spin.setKeyboardTracking(False)
        spin.setAccessibleName(number.title)
        spin.setMinimumWidth(60)
        spin.setValue(value)
        return spin

    # The effect chosen

    def _choose_effect(self, index: int) -> None:
        """Show what the effect can be told."""
        while self._parameters.count():
            item = self._parameters.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None and widget is not self._other:
                widget.deleteLater()
        self._fields.clear()
        self._other.setVisible(False)
        effect = _EFFECTS[index]
        for number in effect.numbers:
            spin = self._spin(number, number.value)
            self._parameters.addWidget(label(number.title, "muted"))
            self._parameters.addWidget(spin, 1)
            self._fields[number.name] = spin
        if effect.other:
            self._parameters.addWidget(self._other, 1)
            self._other.setVisible(True)
        self._suggest_range()
        for spin in self._fields.values():
            spin.valueChanged.connect(partial(self._preview, effect))
        self._order_keys()
        self._refresh()

    def _suggest_range(self) -> None:
        """Thresholds begin with the upper half of the window in force."""
        viewing = self._services.viewing
        if viewing.volume is None or "high" not in self._fields:
            return
        window = viewing.window
        self._fields["low"].setValue(window.center)
        self._fields["high"].setValue(window.center + window.width * 5)

    def _arguments(self, effect: _Effect) -> dict[str, Any]:
        arguments = dict(effect.fixed)
        arguments |= {name: spin.value() for name, spin in self._fields.items()}
        if effect.other:
            ref = self._other.currentData()
            if ref is not None:
                arguments |= {"other": ref.number, "other_uid": ref.segmentation_uid}
        return arguments

    def _preview(self, effect: _Effect, _value: float) -> None:
        """A threshold is followed while it is being set."""
        if effect.command == "segment.threshold" and not self._filling and self._can_run(effect):
            self._bridge.run(effect.command, **self._arguments(effect))

    def _can_run(self, effect: _Effect) -> bool:
        return self._services.commands.get(effect.command).enabled()

    def _run_effect(self) -> None:
        """Apply: a preview that waits is accepted, else the effect is begun."""
        effect = _EFFECTS[self._effect.currentIndex()]
        if self._services.effects.preview is not None:
            self._bridge.run("segment.accept")
        else:
            self._bridge.run(effect.command, **self._arguments(effect))

    def _let_go(self) -> None:
        """Cancel what is at work, or forget the preview."""
        busy = bool(self._services.effects.busy)
        self._bridge.run("segment.cancel" if busy else "segment.drop")

    def _set_mask(self) -> None:
        if self._filling:
            return
        arguments: dict[str, Any] = {
            "where": self._where.currentData().value,
            "segments": [ref.number for ref in self._among.refs],
            "segmentation_uids": [ref.segmentation_uid for ref in self._among.refs],
        }
        if self._limits.isChecked():
            low, high = sorted((self._low.value(), self._high.value()))
            arguments |= {"low": low, "high": high}
        self._bridge.run("segment.mask", **arguments)

    # Keeping up

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(ViewChanged, VolumeLoaded, SegmentationChanged):
            self._refresh()

    def _refresh(self) -> None:
        viewing, effects = self._services.viewing, self._services.effects
        toolbox, rules = viewing.toolbox, viewing.toolbox.rules
        self._filling = True
        volume = viewing.volume
        if volume is not None and volume.uid != self._volume_uid:
            self._volume_uid = volume.uid
            self._suggest_range()
        self._radius.setValue(toolbox.brush.radius_mm)
        scaled = volume is None or volume.geometry.calibration is not Calibration.NONE
        for spin in (self._radius, *self._fields.values()):
            # A picture without a scale has no millimetres: its pixels stand in for them.
            words = spin.suffix()
            spin.setSuffix(words.replace("px", "mm") if scaled else words.replace("mm", "px"))
        for tool in _TOOLS:
            self._tools[f"tool.{tool.value}"].setChecked(toolbox.tool() is tool)
        self._tools["brush.sphere"].setChecked(toolbox.brush.sphere)
        self._tools["brush.edges"].setChecked(toolbox.brush.follows_edges)
        self._tools["segment.prompt_solid"].setChecked(toolbox.prompts_solid)
        self._where.setCurrentIndex(self._where.findData(rules.where))
        segmentations = viewing.overlay.segmentations
        self._among.show_segments(segmentations, rules_on(rules, segmentations).segments)
        self._among.setVisible(rules.where is not Where.EVERYWHERE)
        self._overlap.setCurrentIndex(self._overlap.findData(rules.overlap))
        self._cut.setCurrentIndex(self._cut.findData(toolbox.cut))
        self._limits.setChecked(rules.within is not None)
        if rules.within is not None:
            self._low.setValue(rules.within[0])
            self._high.setValue(rules.within[1])
        self._fill_others()
        self._filling = False
        waits, busy = effects.preview is not None, effects.busy
        effect = _EFFECTS[self._effect.currentIndex()]
        self._apply.setText("Accept" if waits else "Apply")
        self._apply.setEnabled(waits or (not busy and self._can_run(effect)))
        self._drop.setText("Cancel" if busy else "Drop")
        self._drop.setVisible(waits or bool(busy))
        self._state.show_text(f"{busy} …" if busy else "Preview: Enter, Esc" if waits else "")

    def _fill_others(self) -> None:
        """The segments that the chosen one can be combined with."""
        overlay = self._services.viewing.overlay
        known = [
            (ref, one.label)
            for segmentation in overlay.segmentations
            for one in segmentation.segments
            if (ref := SegmentRef(segmentation.uid, one.number)) != overlay.active
        ]
        kept = self._other.currentData()
        if [self._other.itemData(n) for n in range(self._other.count())] != [r for r, _ in known]:
            self._other.clear()
            for ref, text in known:
                self._other.addItem(shown(text), ref)
            self._other.setCurrentIndex(max(0, self._other.findData(kept)))
