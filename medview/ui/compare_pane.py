"""One slice of the image on show with the labels and boxes of one reading alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PyQt6.QtCore import QPointF, QRectF, QSize
from PyQt6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PyQt6.QtWidgets import QSizePolicy, QWidget

from medview.core.findings import Finding, ReviewState
from medview.core.segmentation import Segmentation
from medview.core.views import SegmentDisplay
from medview.services.bundle import Services
from medview.ui.box_painting import paint_boxes
from medview.ui.slice_picture import SlicePicture
from medview.ui.viewport import Viewport

_NOTCH = 120


class FixedLabels:
    """Segmentations that are drawn as they are told to be, whatever the views show."""

    def __init__(self) -> None:
        self.segmentations: tuple[Segmentation, ...] = ()
        self.shown: Mapping[int, SegmentDisplay] | None = None

    def displays(self, segmentation: Segmentation) -> Mapping[int, SegmentDisplay]:
        """As told; else all that was not rejected, filled a little and outlined."""
        if self.shown is not None:
            return self.shown
        return {
            one.number: SegmentDisplay(one.review.state is not ReviewState.REJECTED, 0.35)
            for one in segmentation.segments
        }


class ComparePane(QWidget):
    """Follows the plane, place and zoom of the view last touched; the wheel turns all panes."""

    def __init__(self, services: Services, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._labels = FixedLabels()
        self._findings: tuple[Finding, ...] = ()
        self._picture = SlicePicture(services.viewing, services.graphics, self._labels)
        self._stamp = 0
        self._wheel = 0
        self.setMinimumSize(160, 160)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def sizeHint(self) -> QSize:
        """Three beside each other fill a dialog."""
        return QSize(340, 340)

    def show_labels(
        self,
        segmentations: Sequence[Segmentation],
        findings: Sequence[Finding] = (),
        shown: Mapping[int, SegmentDisplay] | None = None,
    ) -> None:
        """Draw these labels and boxes from now on."""
        self._labels.segmentations = tuple(segmentations)
        self._labels.shown = shown
        self._findings = tuple(one for one in findings if one.segment_ref is None)
        self._stamp += 1
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """The slice, its labels, its boxes."""
        del event
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(0, 0, 0))
        port = self._port()
        if port is not None:
            ratio = self.devicePixelRatioF()
            placed = self._picture.draw(port, ratio, self._stamp, None, smooth=True)
            if placed is not None:
                painter.drawImage(QPointF(placed.left_px, placed.top_px), placed.image)
            paint_boxes(painter, self._findings, port, self.font())
        painter.setPen(QColor(70, 76, 84))
        painter.drawRect(QRectF(self.rect()).adjusted(0, 0, -1, -1))
        painter.end()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Scroll the view that is followed."""
        viewing = self._services.viewing
        if event is None or viewing.picture is None:
            return
        event.accept()
        self._wheel += event.angleDelta().y()
        notches = int(self._wheel / _NOTCH)
        self._wheel -= notches * _NOTCH
        if notches:
            viewing.scroll(viewing.active_plane, -notches)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """The crosshair goes where the mouse is, in all views."""
        port = self._port()
        if event is not None and port is not None:
            place = event.position()
            self._services.viewing.set_crosshair(port.to_lps_mm(place.x(), place.y()))

    def _port(self) -> Viewport | None:
        viewing = self._services.viewing
        if viewing.volume is None or self.width() < 2 or self.height() < 2:
            return None
        plane = viewing.active_plane
        return Viewport(
            viewing.frame(plane),
            viewing.view(plane),
            viewing.slice_number(plane),
            self.width(),
            self.height(),
        )
