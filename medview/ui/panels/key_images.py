"""The strip of key images in the report panel."""

from __future__ import annotations

from PyQt6.QtCore import QPoint, QSize, Qt
from PyQt6.QtGui import QIcon, QKeyEvent, QMouseEvent, QPixmap
from PyQt6.QtWidgets import QApplication, QListView, QListWidget, QListWidgetItem, QWidget

from medview.core.report import KeyImage
from medview.ui.bridge import Bridge
from medview.ui.carry import Cargo, Carrier
from medview.ui.text import shown, tip

_THUMB_PX = 84
_UID = Qt.ItemDataRole.UserRole


class KeyImages(QListWidget):
    """Pictures of the report; Delete takes one out, a double click goes there, F2 captions it.

    A picture is dragged to another place among them, or onto a section of the report.
    """

    def __init__(self, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bridge = bridge
        self._may_change = True
        self._pressed: QPoint | None = None
        self._carrier: Carrier | None = None
        self.setAccessibleName("Key images")
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setMovement(QListView.Movement.Static)
        self.setDragEnabled(False)
        self.setIconSize(QSize(_THUMB_PX, _THUMB_PX))
        self.setGridSize(QSize(_THUMB_PX + 26, _THUMB_PX + 30))
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setFixedHeight(_THUMB_PX + 50)
        self.itemDoubleClicked.connect(
            lambda item: bridge.run("report.show_key_image", uid=item.data(_UID))
        )

    def show_images(self, images: tuple[KeyImage, ...], *, may_change: bool) -> None:
        """Show these pictures with their captions."""
        self._may_change = may_change
        chosen = self.currentItem()
        uid = chosen.data(_UID) if chosen is not None else ""
        self.clear()
        for image in images:
            picture = QPixmap()
            picture.loadFromData(image.png)
            item = QListWidgetItem(QIcon(picture), shown(image.caption))
            item.setData(_UID, image.uid)
            where = f"\nUnder {shown(image.section)}" if image.section else ""
            item.setToolTip(tip(f"{shown(image.caption)}{where}"))
            self.addItem(item)
            if image.uid == uid:
                self.setCurrentItem(item)

    def place_at(self, at: QPoint) -> int:
        """The place among the pictures at a point of the screen."""
        viewport = self.viewport()
        x = viewport.mapFromGlobal(at).x() if viewport is not None else 0
        middles = [
            self.visualItemRect(item).center().x()
            for n in range(self.count())
            if (item := self.item(n)) is not None
        ]
        return sum(middle < x for middle in middles)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Delete takes the chosen picture out of the report; F2 asks for its caption."""
        item = self.currentItem()
        key = event.key() if event is not None else None
        if self._may_change and item is not None:
            if key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
                self._bridge.run("report.remove_key_image", uid=item.data(_UID))
                return
            if key == Qt.Key.Key_F2:
                self._bridge.start("report.caption_key_image", uid=item.data(_UID))
                return
        super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Choose a picture; it may be carried from here."""
        super().mousePressEvent(event)
        if event is not None and event.button() is Qt.MouseButton.LeftButton:
            self._pressed = event.position().toPoint()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Take the picture along."""
        if event is None or self._pressed is None or not self._may_change:
            return
        far = (event.position().toPoint() - self._pressed).manhattanLength()
        item = self.itemAt(self._pressed)
        if self._carrier is None and item is not None and far >= QApplication.startDragDistance():
            picture = item.icon().pixmap(self.iconSize())
            self._carrier = Carrier(self, Cargo(item.data(_UID)), picture)
        if self._carrier is not None:
            self._carrier.move(event.globalPosition().toPoint())

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Leave it where it is dropped."""
        carrier, self._carrier, self._pressed = self._carrier, None, None
        if carrier is not None and event is not None:
            carrier.land(event.globalPosition().toPoint())
            return
        super().mouseReleaseEvent(event)
