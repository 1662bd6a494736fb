"""VolumeView: the 3D view. Draws beside the window, so that turning never blocks anything."""

from __future__ import annotations

import numpy as np
from PyQt6.QtCore import Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QHideEvent, QKeyEvent, QShowEvent
from PyQt6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.errors import MedviewError
from medview.core.events import Event, Level
from medview.core.findings import SegmentRef
from medview.core.volume import Volume
from medview.services.bundle import Services
from medview.services.toolbox import ToolKind
from medview.ui.text import elided, label, patient_line, tip
from medview.ui.volume.camera import SIDES, Camera, side_name
from medview.ui.volume.canvas import Canvas
from medview.ui.volume.shot import Look, Shot
from medview.ui.volume.stage import Stage, Wish
from medview.ui.volume.transfer import Transfer, presets

#: How long the view rests before it draws its best picture.
_REST_MS = 180
#: Longest side of a picture without a graphics processor; the screen scales it up.
_SOFTWARE_SIDE_PX = 900
_OPACITY_ALONE, _OPACITY_WITH_SEGMENTS = 100, 20
_PROPOSED_OPACITY = 0.7


class VolumeView(QWidget):
    """Volume rendering and surfaces of the volume at hand.

    The scene (VTK) is made when the view is first seen, and works on the task pool.
    `maximise` asks for all the room.
    """

    maximise = pyqtSignal()

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._volume_uid = ""
        self._presets: tuple[Transfer, ...] = ()
        self._dimmed = False
        self._draft = False
        self._closed = False
        self._canvas = Canvas(self)
        self._patient = label(parent=self._canvas)
        self._bar = QWidget(self)
        self._preset = QComboBox(self._bar)
        self._opacity = QSlider(Qt.Orientation.Horizontal, self._bar)
        self._build()
        self._turn = QTimer(self)
        self._turn.setSingleShot(True)
        self._turn.timeout.connect(self._step)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._rested)
        self._stage = Stage(services.tasks, self._again)
        events = services.workspace.events
        for signal in (events.view_changed, events.volume_loaded, events.segmentation_changed):
            signal.connect(self._note)
        for signal in (events.finding_changed, events.study_closed):
            signal.connect(self._note)

    @property
    def is_settled(self) -> bool:
        """Whether the picture is as good as it gets and shows what is open."""
        if not self.isVisible() or self._words():
            return True
        return not (self._stage.busy or self._turn.isActive() or self._rest.isActive())

    def look_from(self, side: str) -> None:
        """Look at the patient from a side (A, P, L, R, H or F), the whole volume in view."""
        volume = self._volume()
        if volume is None:
            return
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.geometry.shape])).T
        places = volume.geometry.to_lps_mm(corners.reshape(-1, 3))
        extent = float((places.max(axis=0) - places.min(axis=0)).max())
        narrow = min(1.0, self._canvas.width() / max(1, self._canvas.height()))
        self._canvas.camera = Camera.at_side(side, places.mean(axis=0), 1.02 * extent / narrow)
        self._moved()

    def close_scene(self) -> None:
        """Stop drawing for good; before the program ends."""
        self._closed = True
        self._stage.abort()
        self._turn.stop()
        self._rest.stop()

    # Building

    def _build(self) -> None:
        self._canvas.moved.connect(self._moved)
        self._canvas.resized.connect(self._moved)
        self._canvas.outlined.connect(self._cut)
        self._canvas.maximise.connect(self.maximise)
        self._patient.setObjectName("viewport-patient")
        self._patient.setStyleSheet("color: #d8dde2; background: rgba(9, 10, 12, 150);")
        self._patient.move(8, 6)
        self._patient.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        row = QHBoxLayout(self._bar)
        row.setContentsMargins(4, 2, 4, 2)
        row.setSpacing(2)
        for side in SIDES:
            row.addWidget(self._side_button(side))
        row.addStretch(1)
        self._preset.setAccessibleName("3D preset")
        self._preset.setToolTip("What the volume shows")
        self._preset.setMinimumContentsLength(3)
        self._preset.setMaximumWidth(170)
        self._preset.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._preset.currentIndexChanged.connect(self._moved)
        row.addWidget(self._preset)
        self._opacity.setRange(0, 100)
        self._opacity.setValue(_OPACITY_ALONE)
        self._opacity.setMinimumWidth(30)
        self._opacity.setMaximumWidth(70)
        self._opacity.setAccessibleName("Opacity of the image in 3D")
        self._opacity.setToolTip("Opacity of the image: to the left the segments stand free")
        self._opacity.valueChanged.connect(self._moved)
        self._opacity.sliderPressed.connect(self._keep_opacity)
        row.addWidget(self._opacity)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self._canvas, 1)
        column.addWidget(self._bar)

    def _side_button(self, side: str) -> QToolButton:
        button = QToolButton(self._bar)
        button.setText(side)
        button.setToolTip(f"Look from the {side_name(side)} ({side})")
        button.setAccessibleName(f"Look from the {side_name(side)}")
        button.setFixedSize(22, 22)
        button.clicked.connect(lambda: self.look_from(side))
        return button

    def _keep_opacity(self) -> None:
        """The reader chose an opacity: it stays when segments come."""
        self._dimmed = True

    def _cut(self, outline: list[tuple[float, float]]) -> None:
        """Scissors through everything behind an outline, in pixels of the picture."""
        camera = self._canvas.camera
        if camera is None:
            return
        to_view = camera.to_view(self._canvas.width(), self._canvas.height())
        arguments = {"outline": outline, "to_view": to_view.tolist()}
        try:
            self._services.commands.run("segment.cut_3d", what="", **arguments)
        except MedviewError as error:
            self._services.workspace.notify(Level.WARNING, error.user_text, error.hint)

    # Qt events

    def showEvent(self, event: QShowEvent | None) -> None:
        """Catch up with what happened unseen."""
        super().showEvent(event)
        self._again()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Draw nothing that nobody sees."""
        super().hideEvent(event)
        self._stage.abort()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """A, P, L, R, H and F look from that side."""
        letter = event.text().upper() if event is not None else ""
        if event is not None and letter and letter in SIDES:
            self.look_from(letter)
            event.accept()
        else:
            super().keyPressEvent(event)

    # What is stale

    def _note(self, event: Event) -> None:
        del event
        self._again()

    def _again(self) -> None:
        if not self._closed and not self._turn.isActive():
            self._turn.start(0)

    def _moved(self, *_what: object) -> None:
        """Camera, preset, opacity or size changed: a quick picture now, a good one at rest."""
        self._draft = True
        self._stage.abort()
        self._rest.start()
        self._again()

    def _rested(self) -> None:
        self._draft = False
        self._again()

    def _step(self) -> None:
        self._label_patient()
        words = self._words()
        volume = self._volume()
        toolbox = self._services.viewing.toolbox
        self._canvas.set_cutting(cuts=not words and toolbox.tool() is ToolKind.SCISSORS)
        self._bar.setEnabled(not words)
        if words or volume is None:
            self._canvas.show_words(words)
            self._volume_uid = ""
            self._stage.forget()
            return
        if volume.uid != self._volume_uid:
            self._greet(volume)
        if self._stage.picture is not None:
            self._canvas.show_picture(self._stage.picture)
        else:
            self._canvas.show_words("Preparing the 3D view …")
        if self.isVisible():
            self._stage.advance(self._wish(volume))

    def _greet(self, volume: Volume) -> None:
        """Set the view up for another volume."""
        self._volume_uid = volume.uid
        self._dimmed = False
        series = self._services.workspace.series(volume.series_uid)
        window = self._services.viewing.window
        self._presets = presets(series.modality, (window.center, window.width))
        for control in (self._preset, self._opacity):
            control.blockSignals(True)
        self._preset.clear()
        self._preset.addItems([preset.name for preset in self._presets])
        self._opacity.setValue(_OPACITY_ALONE)
        for control in (self._preset, self._opacity):
            control.blockSignals(False)
        self._stage.picture = None
        self.look_from("A")

    # What is wished for

    def _words(self) -> str:
        """Why there is nothing to draw; "" if there is."""
        volume = self._volume()
        if self._stage.failed:
            return self._stage.failed
        if volume is None:
            return "Open a series to see it in 3D"
        if not volume.geometry.in_patient_space:
            return "This image has no position in the patient, so there is no 3D view of it."
        if min(volume.geometry.shape) < 2:
            return "One slice has no third dimension."
        return ""

    def _volume(self) -> Volume | None:
        return self._services.viewing.volume

    def _wish(self, volume: Volume) -> Wish:
        looks = self._looks(volume)
        if looks and not self._dimmed:
            # The first segments are to be seen inside the body.
            self._dimmed = True
            self._opacity.setValue(_OPACITY_WITH_SEGMENTS)
        camera = self._canvas.camera
        if camera is None:
            raise RuntimeError("A view with a volume has a camera")
        width, height = self._picture_size()
        transfer = self._presets[max(0, self._preset.currentIndex())]
        opacity = (self._opacity.value() / 100) ** 2
        shot = Shot(camera, width, height, transfer, opacity, self._draft, looks)
        return Wish(volume, self._services.workspace.segmentations_of(volume.uid), shot)

    def _looks(self, volume: Volume) -> dict[SegmentRef, Look]:
        """The visible segments: accepted ones solid, all others translucent."""
        result: dict[SegmentRef, Look] = {}
        overlay = self._services.viewing.overlay
        for segmentation in self._services.workspace.segmentations_of(volume.uid):
            displays = overlay.displays(segmentation)
            for segment in segmentation.segments:
                if not displays[segment.number].visible:
                    continue
                ref = SegmentRef(segmentation.uid, segment.number)
                opacity = 1.0 if segment.review.state.counts else _PROPOSED_OPACITY
                result[ref] = Look(segment.color_rgb, opacity)
        return result

    def _picture_size(self) -> tuple[int, int]:
        ratio = self.devicePixelRatioF()
        width, height = self._canvas.width() * ratio, self._canvas.height() * ratio
        if self._stage.software:
            shrink = min(1.0, _SOFTWARE_SIDE_PX / max(width, height))
            width, height = width * shrink, height * shrink
        return max(16, round(width)), max(16, round(height))

    def _label_patient(self) -> None:
        volume = self._volume()
        self._patient.setVisible(volume is not None)
        if volume is None:
            return
        text = patient_line(self._services.workspace.study_of(volume.uid).patient)
        self._patient.setText(elided(text, self._patient.font(), self._canvas.width() - 20))
        self._patient.setToolTip(tip(text))
        self._patient.adjustSize()
