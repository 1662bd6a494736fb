"""The bar under a clip: play, step, speed, and where in the clip it is."""

from __future__ import annotations

import math
import time
from pathlib import Path

from PyQt6.QtCore import QSize, Qt, QTimer
from PyQt6.QtWidgets import QComboBox, QHBoxLayout, QSlider, QToolButton, QWidget

from medview.core.clip import Clip
from medview.core.events import ClipLoaded, FrameChanged, StudyClosed, ViewChanged
from medview.services.bundle import Services
from medview.services.commands_clip import SPEEDS
from medview.ui import icons
from medview.ui.bridge import Bridge, Changes
from medview.ui.text import label

_FASTEST_HZ = 60.0


class CineBar(QWidget):
    """Drives the clip on show and shows how it goes. Hidden where there is nothing to play.

    A timer asks for the frame that is due, as often as the display can show one; a window that is
    busy skips frames and is never held up.
    """

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("cine-bar")
        self._services = services
        self._bridge = bridge
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        resources = services.paths.resources
        self._play = self._button("clip.toggle", "play", resources)
        self._back = self._button("clip.step_back", "frame-back", resources)
        self._on = self._button("clip.step", "frame-on", resources)
        self._sweep = self._button("clip.sweep", "sweep", resources)
        self._sweep.setCheckable(True)
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        self._slider.setAccessibleName("Frame")
        self._slider.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._slider.valueChanged.connect(self._go_to)
        self._place = label(role="muted", parent=self)
        self._place.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self._speed = QComboBox(self)
        self._speed.setAccessibleName("Speed")
        self._speed.setToolTip("How fast it is played: ×1 as it was taken")
        for speed in SPEEDS:
            self._speed.addItem(f"×{speed:g}", speed)
        self._speed.activated.connect(self._choose_speed)
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 3, 8, 3)
        row.setSpacing(4)
        for button in (self._back, self._play, self._on):
            row.addWidget(button)
        row.addWidget(self._slider, 1)
        row.addWidget(self._place)
        row.addWidget(self._sweep)
        row.addWidget(self._speed)
        bridge.changed.connect(self._on_changed)
        self._icons = {
            playing: icons.icon(resources, "pause" if playing else "play")
            for playing in (True, False)
        }
        self._refresh()

    def _button(self, command_id: str, icon: str, resources: Path) -> QToolButton:
        command = self._services.commands.get(command_id)
        button = QToolButton(self)
        button.setIcon(icons.icon(resources, icon))
        button.setIconSize(QSize(18, 18))
        button.setAutoRaise(True)
        button.setAccessibleName(command.title)
        button.setToolTip(f"{command.title}: {command.help}")
        button.clicked.connect(lambda: self._bridge.run(command_id))
        return button

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(ViewChanged, ClipLoaded, StudyClosed):
            self._refresh()
        elif changes.any(FrameChanged):
            self._show_frame()

    def _refresh(self) -> None:
        """All of it: another clip, or another way of playing."""
        clip = self._services.viewing.clip
        self.setVisible(clip is not None and len(clip.frames) > 1)
        if clip is None:
            self._timer.stop()
            return
        state = self._services.viewing.cine.state
        self._play.setIcon(self._icons[state.is_playing])
        self._sweep.setChecked(state.sweeps)
        nearest = min(range(len(SPEEDS)), key=lambda n: abs(SPEEDS[n] - state.speed))
        self._speed.setCurrentIndex(nearest)
        self._place.setMinimumWidth(self._widest(clip))
        self._show_frame()
        if state.is_playing and not self._timer.isActive():
            self._timer.start(0)

    def _widest(self, clip: Clip) -> int:
        """Room for the longest words, so that nothing beside them moves."""
        metrics = self._place.fontMetrics()
        return metrics.horizontalAdvance(_place_text(clip, len(clip.frames) - 1)) + 8

    def _show_frame(self) -> None:
        clip = self._services.viewing.clip
        if clip is None:
            return
        frame = self._services.viewing.cine.state.frame
        self._slider.blockSignals(True)  # what is shown is no wish to go there
        self._slider.setRange(0, len(clip.frames) - 1)
        self._slider.setValue(frame)
        self._slider.blockSignals(False)
        self._place.setText(_place_text(clip, frame))

    def _tick(self) -> None:
        rest_s = self._services.viewing.cine.tick(time.monotonic())
        if rest_s is None:
            return
        screen = self.screen()
        display_hz = screen.refreshRate() if screen is not None else _FASTEST_HZ
        shortest_s = 1 / max(10.0, display_hz)
        self._timer.start(math.ceil(max(rest_s, shortest_s) * 1000))

    def _go_to(self, frame: int) -> None:
        self._services.viewing.cine.go_to(frame)

    def _choose_speed(self, index: int) -> None:
        self._bridge.run("clip.speed", factor=self._speed.itemData(index))


def _place_text(clip: Clip, frame: int) -> str:
    """Where in the clip a frame is: its number and its time."""
    times = clip.frame_times_s
    return f"{frame + 1} / {len(times)}    {times[frame]:.2f} / {times[-1]:.2f} s"
