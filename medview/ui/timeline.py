"""The timeline under a clip: what tracks and models measure, frame by frame."""

from __future__ import annotations

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QIcon, QPixmap
from PyQt6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.clip import Clip
from medview.core.events import (
    ClipLoaded,
    FrameChanged,
    JobChanged,
    StudyClosed,
    TrackChanged,
    ViewChanged,
)
from medview.core.timeline import Track
from medview.services.bundle import Services
from medview.services.toolbox import ToolKind
from medview.ui import icons, theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.text import label, shown, tip
from medview.ui.timeline_chart import Chart, Line, TimelineChart, palette, value_at

_UID = Qt.ItemDataRole.UserRole
_WHOLE = "whole clip"
_HEIGHT_PX, _LIST_PX = 164, 210
_BUTTONS = (
    ("tool.track", "track"),
    ("track.follow", "reset"),
    ("track.uncorrect", "cross"),
    ("track.report", "report"),
    ("track.delete", "trash"),
)


class Timeline(QWidget):
    """The tracks of the clip on show, and the curve of one of them.

    Hidden where there is nothing to show and nobody is about to place something. A click in the
    curve goes to the frame.
    """

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("timeline")
        self._services = services
        self._bridge = bridge
        self._measure: dict[str, str] = {}
        self._shows_whole = False
        self.chart = TimelineChart(self)
        self.chart.wanted.connect(services.viewing.cine.go_to)
        self.list = QListWidget(self)
        self.list.setAccessibleName("Tracks")
        self.list.setFixedWidth(_LIST_PX)
        self.list.setIconSize(QSize(12, 12))
        self.list.currentItemChanged.connect(self._choose_row)
        self.measures = QComboBox(self)
        self.measures.setAccessibleName("Measurement")
        self.measures.activated.connect(self._choose_measure)
        self.value = label(parent=self)
        head = QHBoxLayout()
        head.setSpacing(4)
        for command_id, icon in _BUTTONS:
            head.addWidget(self._button(command_id, icon))
        head.addSpacing(8)
        head.addWidget(self.measures)
        head.addWidget(self.value, 1)
        right = QVBoxLayout()
        right.setSpacing(2)
        right.addLayout(head)
        right.addWidget(self.chart, 1)
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 2, 8, 4)
        row.addWidget(self.list)
        row.addLayout(right, 1)
        self.setFixedHeight(_HEIGHT_PX)
        bridge.changed.connect(self._on_changed)
        self.refresh()

    def _button(self, command_id: str, icon: str) -> QToolButton:
        command = self._services.commands.get(command_id)
        button = QToolButton(self)
        button.setIcon(icons.icon(self._services.paths.resources, icon))
        button.setAutoRaise(True)
        button.setAccessibleName(command.title)
        button.setToolTip(tip(f"{command.title}: {command.help}"))
        button.clicked.connect(lambda: self._bridge.run(command_id))
        return button

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(ViewChanged, ClipLoaded, StudyClosed, TrackChanged, JobChanged):
            self.refresh()
        elif changes.any(FrameChanged) and self.isVisible():
            self._show_chart()

    def refresh(self) -> None:
        """All of it: another clip, other tracks."""
        clip = self._services.viewing.clip
        tracking = self._services.tracking
        moves = clip is not None and len(clip.frames) > 1
        is_placing = self._services.viewing.toolbox.tool() is ToolKind.TRACK
        has_some = bool(tracking.tracks or tracking.timelines)
        self.setVisible(moves and (has_some or is_placing))
        if self.isHidden():
            return
        self._fill_list()
        self._fill_measures()
        self._show_chart()

    # What is listed

    @property
    def _track(self) -> Track | None:
        """The track whose curve is shown; None for what was said of the whole clip."""
        tracking = self._services.tracking
        if self._shows_whole and tracking.timelines:
            return None
        return tracking.selected

    def _fill_list(self) -> None:
        tracking = self._services.tracking
        rows = [(track.uid, track.name, track.color_rgb) for track in tracking.tracks]
        if tracking.timelines:
            rows.append((_WHOLE, "Whole clip", (150, 158, 166)))
        chosen = self._track
        self.list.blockSignals(True)
        self.list.clear()
        for uid, name, color in rows:
            item = QListWidgetItem(_swatch(color), shown(name))
            item.setData(_UID, uid)
            if tracking.is_following(uid):
                item.setText(f"{shown(name)}  …")
                item.setToolTip("A model is following it")
            self.list.addItem(item)
            if uid == (_WHOLE if chosen is None else chosen.uid):
                self.list.setCurrentItem(item)
        self.list.blockSignals(False)

    def _choose_row(self, item: QListWidgetItem | None) -> None:
        if item is None:
            return
        uid = str(item.data(_UID))
        self._shows_whole = uid == _WHOLE
        if self._shows_whole:
            self._fill_measures()
            self._show_chart()
        else:
            self._bridge.run("track.select", track=uid)

    def _lines(self) -> tuple[Line, ...]:
        """All that can be shown of what is chosen: each a measurement, classes together."""
        track, tracking = self._track, self._services.tracking
        if track is not None:
            return tuple(
                Line(curve.name, curve.unit, curve.values, track.color_rgb, curve.method)
                for curve in tracking.curves(track)
            )
        lines: list[Line] = []
        for said in tracking.timelines[-1:]:
            lines += [
                Line(curve.name, curve.unit, curve.values, palette(number), curve.method)
                for number, curve in enumerate(said.curves)
            ]
            lines += [
                Line(one.label, "1", one.probabilities, palette(number), "Probability")
                for number, one in enumerate(said.classes)
            ]
        return tuple(lines)

    def _fill_measures(self) -> None:
        names = list(
            dict.fromkeys("Probabilities" if one.unit == "1" else one.name for one in self._lines())
        )
        wanted = self._measure.get(self._kind, "")
        self.measures.blockSignals(True)
        self.measures.clear()
        self.measures.addItems(names)
        if wanted in names:
            self.measures.setCurrentText(wanted)
        self.measures.blockSignals(False)
        self.measures.setVisible(bool(names))

    @property
    def _kind(self) -> str:
        track = self._track
        return _WHOLE if track is None else track.shape.value

    def _choose_measure(self, _index: int) -> None:
        self._measure[self._kind] = self.measures.currentText()
        self._show_chart()

    # What is drawn

    def _show_chart(self) -> None:
        clip = self._services.viewing.clip
        if clip is None:
            return
        chart = self._make_chart(clip)
        self.chart.show_chart(chart)
        words = [
            f"{shown(line.name)} {value_at(line, chart.frame)}"
            if len(chart.lines) > 1
            else value_at(line, chart.frame)
            for line in chart.lines
        ]
        state = self._state()
        self.value.setText("   ".join([*words, state] if state else words))
        self.value.setToolTip(tip("\n".join(line.method for line in chart.lines if line.method)))

    def _make_chart(self, clip: Clip) -> Chart:
        tracking, track = self._services.tracking, self._track
        chosen = self.measures.currentText()
        lines = tuple(
            line
            for line in self._lines()
            if ("Probabilities" if line.unit == "1" else line.name) == chosen
        )
        events: list[tuple[int, str]] = [
            (event.frame, event.label) for said in tracking.timelines[-1:] for event in said.events
        ]
        if track is not None:
            own = f"{track.name}: "
            events += [
                (event.frame, event.label.removeprefix(own)) for event in tracking.events(track)
            ]
        return Chart(
            times_s=clip.frame_times_s,
            lines=lines,
            events=tuple(events),
            key_frames=track.key_frames if track is not None else (),
            frame=self._services.viewing.cine.state.frame,
            note="Click a point in the picture, or draw round what is to be followed",
        )

    def _state(self) -> str:
        """How far a model is with the track, or that nothing follows it."""
        track = self._track
        if track is None:
            return ""
        if self._services.tracking.is_following(track.uid):
            return "being followed …"
        missing = sum(not places for places in track.places)
        return f"not seen on {missing} of {len(track.places)} frames" if missing else ""


def _swatch(color_rgb: tuple[int, int, int]) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(theme.rgb(color_rgb))
    return QIcon(pixmap)
