"""A view of slices: picture, words, pointer tools. The only user of pyqtgraph."""

from __future__ import annotations

from collections.abc import Callable

import pyqtgraph as pg
from PyQt6.QtCore import QEvent, QPointF, QRectF, Qt, QTimer
from PyQt6.QtGui import (
    QEnterEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PyQt6.QtWidgets import QStyleOptionGraphicsItem, QVBoxLayout, QWidget

from medview.core.errors import MedviewError
from medview.core.events import Level, SegmentationChanged
from medview.core.views import Plane
from medview.imaging.rendering import Pens, compiled_pens
from medview.services.bundle import Services
from medview.services.toolbox import PROMPT_TOOLS, MouseButton, Toolbox, ToolKind
from medview.ui.carry import Cargo, Carrier
from medview.ui.outline_painting import paint_outline
from medview.ui.prompt_painting import paint_marks
from medview.ui.result_painting import ResultPainter
from medview.ui.slice_dressing import dressing_of
from medview.ui.slice_overlay import Dresser, paint_message
from medview.ui.slice_picture import SlicePicture
from medview.ui.slice_text import loading_words, reading_words
from medview.ui.tools.box_tool import BoxTool, Run
from medview.ui.tools.brush_tool import BrushTool
from medview.ui.tools.crosshair_tool import CrosshairTool
from medview.ui.tools.outline_tool import OutlineTool
from medview.ui.tools.pan_tool import PanTool
from medview.ui.tools.prompt_tool import PromptTool
from medview.ui.tools.tool import Pointer, Tool
from medview.ui.tools.trace_tool import TraceTool
from medview.ui.tools.track_tool import TrackTool
from medview.ui.tools.window_tool import WindowTool
from medview.ui.tools.zoom_tool import ZoomTool
from medview.ui.track_painting import paint_tracks
from medview.ui.viewport import Viewport

_BUTTONS = {
    Qt.MouseButton.LeftButton: MouseButton.LEFT,
    Qt.MouseButton.MiddleButton: MouseButton.MIDDLE,
    Qt.MouseButton.RightButton: MouseButton.RIGHT,
}
_OUTLINES = (ToolKind.CONTOUR, ToolKind.WIRE, ToolKind.SCISSORS)
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_NOTCH = 120
_ZOOM_PER_NOTCH = 1.15
_DROP_WORDS = ("Drop a folder, file or zip here", "or press Ctrl+O")


class _SliceItem(pg.GraphicsObject):  # type: ignore[misc]
    """The picture as an item of the scene, in millimetres of the plane."""

    def __init__(self, view: SliceView) -> None:
        super().__init__()
        self._view = view
        self._extent = QRectF()

    def boundingRect(self) -> QRectF:  # noqa: N802  (Qt's name)
        """All of the slice."""
        return self._extent

    def set_extent(self, extent: QRectF) -> None:
        """Where the slice reaches."""
        if extent != self._extent:
            self.prepareGeometryChange()
            self._extent = extent

    def paint(
        self, painter: QPainter, _option: QStyleOptionGraphicsItem, _widget: QWidget | None = None
    ) -> None:
        """Drawn in pixels of the screen, where the picture was made for them."""
        painter.save()
        painter.resetTransform()
        self._view.paint_picture(painter)
        painter.restore()


class _Canvas(pg.GraphicsView):  # type: ignore[misc]
    """The scene, with the dressing in front; hands the mouse to its view."""

    def __init__(self, view: SliceView) -> None:
        super().__init__(view, background="k")
        self._view = view
        self._seen = QRectF()
        self.setAcceptDrops(False)  # what is dropped is for the window
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setViewportUpdateMode(self.ViewportUpdateMode.FullViewportUpdate)
        self.box = pg.ViewBox(enableMouse=False, enableMenu=False, invertY=True, defaultPadding=0)
        self.box.disableAutoRange()
        self.setCentralItem(self.box)
        self.item = _SliceItem(view)
        self.box.addItem(self.item, ignoreBounds=True)

    def lay_out(self, port: Viewport | None) -> None:
        """Let the scene's millimetres agree with the view's; what agrees is left alone."""
        if port is None:
            self.item.set_extent(QRectF())
            return
        left, top, right, bottom = port.frame.extent_mm
        self.item.set_extent(QRectF(left, top, right - left, bottom - top))
        left, top = port.to_mm(0, 0)
        right, bottom = port.to_mm(port.width_px, port.height_px)
        seen = QRectF(left, top, right - left, bottom - top)
        if seen != self._seen:
            self._seen = seen
            self.box.setRange(seen, padding=0)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Bring the scene up to date first."""
        self._view.refresh()
        super().paintEvent(event)
        self._view.painted()

    def drawForeground(self, painter: QPainter, _rect: QRectF) -> None:  # noqa: N802
        """Words and lines, in pixels of the view."""
        painter.save()
        painter.resetTransform()
        self._view.paint_dressing(painter, QRectF(self.viewport().rect()))
        painter.restore()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """To the view."""
        self._view.pressed(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """To the view."""
        self._view.moved(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """To the view."""
        self._view.released(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """To the view."""
        self._view.double_clicked(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """To the view."""
        self._view.wheeled(event)


class SliceView(QWidget):
    """One plane of the volume on show.

    It listens to the workspace, marks itself stale and repaints once per turn of Qt's loop,
    reading everything from `services`. `port` says where the slice lies in it.
    """

    def __init__(self, services: Services, plane: Plane, start: Run | None = None) -> None:
        super().__init__()
        self.plane = plane
        self.port: Viewport | None = None
        self._services = services
        self._viewing = services.viewing
        self._picture = SlicePicture(services.viewing, services.graphics)
        self._dresser = Dresser()
        self._results = ResultPainter(services)
        self._stamp = 0
        self._stale = True
        self._hover: QPointF | None = None
        self._carrier: Carrier | None = None
        self._held: tuple[Qt.MouseButton, Tool] | None = None
        self._wheel = 0
        self._pens_asked = False
        self._tools = self._make_tools(start or services.commands.run)
        self._canvas = _Canvas(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._canvas)
        self.setMinimumSize(120, 120)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._listen()

    def _make_tools(self, start: Run) -> dict[ToolKind, Tool]:
        viewing, commands = self._viewing, self._services.commands
        return {
            ToolKind.WINDOW: WindowTool(viewing),
            ToolKind.PAN: PanTool(viewing),
            ToolKind.ZOOM: ZoomTool(viewing),
            ToolKind.CROSSHAIR: CrosshairTool(viewing),
            ToolKind.BRUSH: BrushTool(viewing, commands, erases=False),
            ToolKind.ERASER: BrushTool(viewing, commands, erases=True),
            ToolKind.BOX: BoxTool(viewing, self._services.results, start),
            ToolKind.TRACK: TrackTool(viewing, self._services.tracking, commands),
            ToolKind.TRACE: TraceTool(viewing, commands),
            **{kind: OutlineTool(viewing, commands, kind) for kind in _OUTLINES},
            **{kind: PromptTool(viewing, commands, kind) for kind in PROMPT_TOOLS},
        }

    # Staying up to date

    def _listen(self) -> None:
        events = self._services.workspace.events
        events.view_changed.connect(self._on_change)
        events.volume_loaded.connect(self._on_change)
        events.clip_loaded.connect(self._on_change)
        events.frame_changed.connect(self._on_change)
        events.track_changed.connect(self._on_change)
        events.loading_changed.connect(self._on_change)
        events.study_closed.connect(self._on_change)
        events.setting_changed.connect(self._on_change)
        events.finding_changed.connect(self._on_change)
        events.segmentation_changed.connect(self._on_labels)

    def _on_change(self, _event: object) -> None:
        self.mark_stale()

    def _on_labels(self, event: SegmentationChanged) -> None:
        """A change of labels matters if it meets the slice on show."""
        port = self.port
        if event.box is None or port is None or port.frame.meets(event.box, port.number):
            self._stamp += 1
            self.mark_stale()

    def mark_stale(self) -> None:
        """Repaint in the next turn of the loop, however often this is called before."""
        self._stale = True
        self._canvas.viewport().update()

    def refresh(self) -> None:
        """Read anew where the slice lies, if anything changed."""
        if not self._stale:
            return
        self._stale = False
        before, self.port = self.port, self._make_port()
        if before is not None and not _same_grid(before, self.port):
            self._forget_tool()
        self._canvas.lay_out(self.port)
        self._show_cursor()

    def _make_port(self) -> Viewport | None:
        viewing = self._viewing
        size = self._canvas.viewport().size()
        if (
            viewing.picture is None
            or viewing.study is None
            or size.width() < 2
            or size.height() < 2
        ):
            return None
        if not viewing.is_there(self.plane):
            return None
        return Viewport(
            viewing.frame(self.plane),
            viewing.view(self.plane),
            viewing.slice_number(self.plane),
            size.width(),
            size.height(),
        )

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """The slice is laid out anew."""
        self.mark_stale()
        super().resizeEvent(event)

    def painted(self) -> None:
        """After the first picture at the latest the compiled drawing is fetched."""
        if not self._pens_asked:
            QTimer.singleShot(0, self.fetch_pens)

    def fetch_pens(self) -> None:
        """Have the compiled drawing loaded, once, on a thread of its own."""
        if not self._pens_asked:
            self._pens_asked = True
            self._services.tasks.run(compiled_pens, on_done=self._take_pens)

    def _take_pens(self, pens: Pens) -> None:
        self._picture.pens = pens

    # Painting

    def paint_picture(self, painter: QPainter) -> None:
        """Draw the slice."""
        if self.port is None:
            return
        ratio = self._canvas.devicePixelRatioF()
        smooth = self._services.settings.text("view.interpolation") == "linear"
        preview = (self._held and self._held[1].preview) or self._services.effects.preview
        placed = self._picture.draw(self.port, ratio, self._stamp, preview, smooth=smooth)
        if placed is not None:
            painter.drawImage(QPointF(placed.left_px, placed.top_px), placed.image)

    def paint_dressing(self, painter: QPainter, area: QRectF) -> None:
        """Draw what stands over the slice, or what to do where there is none."""
        hover = None if self._hover is None else (self._hover.x(), self._hover.y())
        if self.port is None:
            paint_message(painter, area, self.font(), _message(self._services))
            return
        tool = self._held[1] if self._held else None
        _paint_drawn(painter, self._services, self.port, self._results, tool)
        dressing = dressing_of(self._services, self.plane, self.port, hover)
        self._dresser.paint(painter, area, self.font(), dressing)

    # The mouse

    def _pointer(self, place: QPointF) -> Pointer | None:
        self.refresh()
        if self.port is None:
            return None
        return Pointer(self.plane, place.x(), place.y(), self.port)

    def pressed(self, event: QMouseEvent) -> None:
        """A button went down: its tool is in hand until it goes up."""
        self.setFocus()
        pointer = self._pointer(event.position())
        if pointer is None or self._held is not None or event.button() not in _BUTTONS:
            return
        self._viewing.set_active_plane(self.plane)
        if event.modifiers() & Qt.KeyboardModifier.AltModifier:
            self._carrier = Carrier(self, Cargo(), self.grab())
            return
        kind = _kind_of(self._viewing.toolbox, event)
        self._held = event.button(), self._tools[kind]
        tool = self._tools[kind]
        self._act(lambda: tool.press(pointer))
        self.mark_stale()

    def moved(self, event: QMouseEvent) -> None:
        """The tool in hand follows; with Shift alone the crosshair does."""
        if self._carrier is not None:
            self._carrier.move(event.globalPosition().toPoint())
            return
        self._hover = event.position()
        pointer = self._pointer(event.position())
        if pointer is not None and self._held is not None:
            tool = self._held[1]
            self._act(lambda: tool.drag(pointer))
        elif pointer is not None and event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._viewing.set_crosshair(pointer.point_lps_mm)
        self.mark_stale()

    def released(self, event: QMouseEvent) -> None:
        """The tool makes its change; a picture that was carried lands."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.land(event.globalPosition().toPoint())
            return
        if self._held is None or event.button() is not self._held[0]:
            return
        tool = self._held[1]
        pointer = self._pointer(event.position())
        self._held = None
        if pointer is None:
            tool.forget()
        else:
            self._act(lambda: tool.release(pointer))
        self.mark_stale()

    def double_clicked(self, event: QMouseEvent) -> None:
        """The view fills the window, or goes back into the layout."""
        if event.button() is Qt.MouseButton.LeftButton and self.port is not None:
            self._drop_tool()
            self._viewing.toggle_maximised(self.plane)

    def wheeled(self, event: QWheelEvent) -> None:
        """Scroll, or zoom about the pointer with Ctrl; parts of a notch add up."""
        event.accept()
        pointer = self._pointer(event.position())
        if pointer is None or (self._held is not None and self._held[1].preview is not None):
            return
        self._viewing.set_active_plane(self.plane)
        self._wheel += event.angleDelta().y()
        notches = int(self._wheel / _NOTCH)
        if notches == 0:
            return
        self._wheel -= notches * _NOTCH
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            factor = _ZOOM_PER_NOTCH**notches
            center = pointer.port.zoomed_about(pointer.x_px, pointer.y_px, factor)
            zoom = pointer.port.state.zoom * factor
            self._viewing.set_view(self.plane, center_lps_mm=center, zoom=zoom)
        else:
            self._viewing.scroll(self.plane, -notches)

    def leaveEvent(self, event: QEvent | None) -> None:
        """No value under the pointer any more."""
        self._hover = None
        self.mark_stale()
        super().leaveEvent(event)

    def enterEvent(self, event: QEnterEvent | None) -> None:
        """The pointer takes the shape of the tool."""
        self._show_cursor()
        super().enterEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Escape lets go of the tool in hand, else of a preview; Enter accepts a preview."""
        key = event.key() if event is not None else None
        if key == Qt.Key.Key_Escape and self._held is not None:
            self._drop_tool()
        elif key == Qt.Key.Key_Escape and self._services.prompting.marks:
            self._act(self._services.prompting.drop)
        elif key == Qt.Key.Key_Escape and self._services.effects.preview is not None:
            self._act(self._services.effects.drop)
        elif key in _ENTER and self._services.effects.preview is not None:
            self._act(self._services.effects.accept)
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """The space bar plays and pauses a clip, as it does everywhere; elsewhere it is a key."""
        if isinstance(event, QKeyEvent) and self._is_play_key(event):
            if event.type() == QEvent.Type.KeyPress and not event.isAutoRepeat():
                self._act(self._viewing.cine.toggle)
            event.accept()
            return True
        return super().event(event)

    def _is_play_key(self, event: QKeyEvent) -> bool:
        clip = self._viewing.clip
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        space = plain and event.key() == Qt.Key.Key_Space
        return space and clip is not None and len(clip.frames) > 1

    def _drop_tool(self) -> None:
        if self._held is not None:
            tool = self._held[1]
            self._held = None
            self._act(tool.cancel)
            self.mark_stale()

    def _forget_tool(self) -> None:
        if self._held is not None:
            self._held[1].forget()
            self._held = None

    def _act(self, step: Callable[[], None]) -> None:
        """Do what a tool does; what is refused is told in words and ends the gesture."""
        try:
            step()
        except MedviewError as error:
            self._forget_tool()
            self._services.workspace.notify(Level.WARNING, error.user_text, error.hint)

    def _show_cursor(self) -> None:
        tool = self._tools[self._viewing.toolbox.tool()]
        if self.port is not None:
            self._canvas.viewport().setCursor(tool.cursor)
        else:
            self._canvas.viewport().unsetCursor()


def _kind_of(toolbox: Toolbox, event: QMouseEvent) -> ToolKind:
    """The tool of a button, as the keys held down change it."""
    kind, keys = toolbox.tool(_BUTTONS[event.button()]), event.modifiers()
    left = event.button() is Qt.MouseButton.LeftButton
    if left and keys & Qt.KeyboardModifier.ShiftModifier:
        return ToolKind.PAN
    if kind is ToolKind.INCLUDE and keys & Qt.KeyboardModifier.ControlModifier:
        return ToolKind.EXCLUDE
    return kind


def _message(services: Services) -> tuple[str, ...]:
    """What is said where there is no picture."""
    uid = services.viewing.series_uid
    fraction = services.loading.fraction(uid) if uid else None
    if fraction is not None:
        return (loading_words(fraction),)
    scanned = services.loading.scanned
    if scanned is not None and not uid:
        return (reading_words(scanned),)
    if uid:
        return ("This series has no pictures to show",)
    return _DROP_WORDS


def _paint_drawn(
    painter: QPainter,
    services: Services,
    port: Viewport,
    results: ResultPainter,
    tool: Tool | None,
) -> None:
    """Results, tracks, and what the tool in hand is drawing."""
    results.paint(painter, port, painter.font(), tool if isinstance(tool, BoxTool) else None)
    drawn = tool.drawn if isinstance(tool, TrackTool) else ("", ())
    paint_tracks(painter, services, port, drawn)
    if isinstance(tool, OutlineTool):
        paint_outline(painter, port, tool.outline)
    mark = tool.drawn if isinstance(tool, PromptTool) else None
    paint_marks(painter, port, (*services.prompting.marks, *([mark] if mark else ())))


def _same_grid(one: Viewport, other: Viewport | None) -> bool:
    """Whether both show one image: a gesture must not go on in another."""
    return other is not None and one.frame.geometry is other.frame.geometry
