"""Segments panel: what is drawn over the picture, and the brush that corrects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PyQt6.QtCore import QModelIndex, QPoint, QRect, QSize, Qt, QTimer, pyqtSignal
from PyQt6.QtGui import QAction, QColor, QKeyEvent, QKeySequence, QMouseEvent, QPainter, QPen
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QInputDialog,
    QListWidget,
    QListWidgetItem,
    QSlider,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.codes import UNIT_TEXT
from medview.core.events import (
    ClipLoaded,
    SegmentationChanged,
    StudyClosed,
    ViewChanged,
    VolumeLoaded,
)
from medview.core.findings import ReviewState, SegmentRef
from medview.core.geometry import Geometry
from medview.core.segmentation import Segmentation, SegmentState
from medview.reporting.fields import value_text
from medview.services.bundle import Services
from medview.ui import icons, theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.dialogs.terms import TermsDialog
from medview.ui.panels.effects import EffectsPanel
from medview.ui.text import elided, label, millilitres, shown, tip

_ROLE = Qt.ItemDataRole.UserRole
_EYE_PX = 26
#: Painting goes on for a moment before volumes are counted anew.
_COUNT_AFTER_MS = 250
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


@dataclass(frozen=True)
class _Row:
    """What one row of the list shows."""

    ref: SegmentRef
    title: str
    size: str
    values: str
    kind: str
    progress: SegmentState
    locked: bool
    state: ReviewState
    color_rgb: tuple[int, int, int]
    visible: bool
    active: bool

    @property
    def words(self) -> str:
        """All of it, for the tool tip and those who listen."""
        known = (
            self.title, self.kind, self.size, self.values, self.state.value,
            self.progress.value, "locked" if self.locked else "",
        )  # fmt: skip
        return ", ".join(word for word in known if word)


class SegmentsPanel(QWidget):
    """The segments of the volume on show, and the tools that change them.

    A click on the eye hides one, a click on the row chooses it for painting.
    """

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._count_timer = QTimer(self)
        self._count_timer.setSingleShot(True)
        self._count_timer.setInterval(_COUNT_AFTER_MS)
        self._count_timer.timeout.connect(self._count)
        self._filling = False
        self._list = _List(self)
        self._list.setItemDelegate(_Delegate(services, self._list))
        self._list.eye_clicked.connect(self._toggle)
        self._list.currentItemChanged.connect(self._choose)
        self._list.itemDoubleClicked.connect(lambda _item: self.rename())
        self._empty = label(
            "No segments yet. Run a model, or add one and paint.", "muted", wrap=True
        )
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._tools: dict[str, QToolButton] = {}
        self._opacity = QSlider(Qt.Orientation.Horizontal, self)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(6)
        column.addLayout(self._edit_row())
        column.addWidget(self._empty, 1)
        column.addWidget(self._list, 1)
        self._effects = EffectsPanel(services, bridge, self)
        column.addWidget(self._effects)
        self._add_keys()
        self.setFocusProxy(self._list)
        self.setTabOrder(self._tools["trash"], self._opacity)
        self.setTabOrder(self._opacity, self._list)
        bridge.asks["segment.classify"] = self.classify
        bridge.changed.connect(self._on_changed)
        self._refresh()

    @property
    def view(self) -> QListWidget:
        """The list, for the keyboard focus."""
        return self._list

    @property
    def selected(self) -> SegmentRef | None:
        """The segment at hand."""
        row = self._row_of(self._list.currentItem())
        return row.ref if row is not None else None

    def rename(self) -> None:
        """Ask for another name."""
        row = self._row_of(self._list.currentItem())
        if row is None:
            return
        dialog = QInputDialog(self)
        dialog.setWindowTitle("Rename segment")
        dialog.setLabelText("Name")
        dialog.setTextValue(row.title)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.textValueSelected.connect(partial(self._run, "segment.rename", row.ref, "label"))
        dialog.open()

    def recolor(self) -> None:
        """Ask for another colour."""
        row = self._row_of(self._list.currentItem())
        if row is None:
            return
        dialog = QColorDialog(theme.rgb(row.color_rgb), self)
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def chosen(color: QColor) -> None:
            rgb = [color.red(), color.green(), color.blue()]
            self._run("segment.recolor", row.ref, "color_rgb", rgb)

        dialog.colorSelected.connect(chosen)
        dialog.open()

    def classify(self) -> None:
        """Ask what the segment is."""
        ref = self.selected
        if ref is None:
            return
        segment = self._services.viewing.overlay.find(ref)
        dialog = TermsDialog(self._services.terminology, segment, self)

        def chosen() -> None:
            if dialog.term is not None:
                self._bridge.run(
                    "segment.classify",
                    type=dialog.term.type.value,
                    category=dialog.term.category.value,
                    colour=dialog.takes_color,
                    segment=ref.number,
                    segmentation_uid=ref.segmentation_uid,
                )

        dialog.accepted.connect(chosen)
        dialog.open()

    def lock(self) -> None:
        """Lock the segment at hand, or unlock it."""
        self._turn("segment.lock")

    def advance(self) -> None:
        """The segment at hand is in its next state."""
        self._turn("segment.state")

    def report(self) -> None:
        """The segment at hand becomes a finding."""
        self._turn("segment.report")

    def _turn(self, command_id: str) -> None:
        ref = self.selected
        if ref is not None:
            self._bridge.start(
                command_id, segment=ref.number, segmentation_uid=ref.segmentation_uid
            )

    def _run(self, command_id: str, ref: SegmentRef, name: str, value: object) -> None:
        arguments = {name: value}
        self._bridge.run(
            command_id, segment=ref.number, segmentation_uid=ref.segmentation_uid, **arguments
        )

    def delete(self) -> None:
        """Delete the segment at hand; can be undone."""
        self._turn("segment.delete")

    # Building

    def _edit_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        for name, text, slot in (
            ("plus", "New segment", lambda: self._bridge.run("segment.add")),
            ("edit", "Rename segment (F2)", self.rename),
            ("search", "What it is: category and type", self.classify),
            ("palette", "Colour of the segment", self.recolor),
            ("lock", "Lock or unlock: a locked segment is not changed", self.lock),
            ("check", "Next state of work: not started, in progress, done, flagged", self.advance),
            ("report", "Add the segment with its size to the report", self.report),
            ("trash", "Delete segment with its voxels", self.delete),
        ):
            button = self._button(name, text)
            button.clicked.connect(lambda _on, act=slot: act())
            row.addWidget(button)
            self._tools[name] = button
        row.addStretch(1)
        row.addWidget(label("Opacity", "muted"))
        self._opacity.setRange(0, 100)
        self._opacity.setFixedWidth(90)
        self._opacity.setAccessibleName("Opacity of the segment")
        self._opacity.setToolTip("How strongly the segment covers the picture")
        self._opacity.valueChanged.connect(self._set_opacity)
        row.addWidget(self._opacity)
        return row

    def _button(self, icon_name: str, text: str) -> QToolButton:
        button = QToolButton(self)
        button.setIcon(icons.icon(self._services.paths.resources, icon_name))
        button.setToolTip(text)
        button.setAccessibleName(text)
        return button

    def _add_keys(self) -> None:
        registry = self._services.commands
        keys: list[tuple[str, Callable[[], object]]] = [
            (registry.shortcut_of(one.id), partial(self._bridge.run, one.id))
            for one in registry.for_context("segments")
            if one.id != "segment.delete"
        ]
        keys += [("F2", self.rename), (registry.shortcut_of("segment.delete"), self.delete)]
        for key, slot in keys:
            action = QAction(self._list)
            action.setShortcuts([QKeySequence(part) for part in key.split(", ") if part])
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            action.triggered.connect(lambda _on, act=slot: act())
            self._list.addAction(action)

    # Keeping up

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(SegmentationChanged, ViewChanged, VolumeLoaded, ClipLoaded, StudyClosed):
            self._refresh()

    def _refresh(self) -> None:
        overlay = self._services.viewing.overlay
        rows = [row for one in overlay.segmentations for row in self._rows(one)]
        self._filling = True
        if [row.ref for row in rows] != [row.ref for row in self._shown_rows()]:
            self._list.clear()
            for row in rows:
                self._list.addItem(QListWidgetItem(row.title))
        for number, row in enumerate(rows):
            item = self._list.item(number)
            if item is not None and item.data(_ROLE) != row:
                words = row.words
                item.setData(_ROLE, row)
                item.setData(Qt.ItemDataRole.AccessibleTextRole, words)
                item.setToolTip(tip(words))
            if row.active:
                self._list.setCurrentRow(number)
        self._show_controls()
        self._filling = False
        self._list.setVisible(bool(rows))
        self._empty.setVisible(not rows)
        if any(self._is_stale(one) for one in overlay.segmentations):
            self._count_timer.start()

    def _show_controls(self) -> None:
        overlay = self._services.viewing.overlay
        ref = self.selected
        for name in ("edit", "search", "palette", "lock", "check", "trash"):
            self._tools[name].setEnabled(ref is not None)
        self._tools["plus"].setEnabled(self._services.commands.get("segment.add").enabled())
        self._opacity.setEnabled(ref is not None)
        if ref is not None:
            self._opacity.setValue(round(100 * overlay.display(ref).opacity))

    def _rows(self, segmentation: Segmentation) -> list[_Row]:
        overlay = self._services.viewing.overlay
        displays = overlay.displays(segmentation)
        known = self._services.statistics.of(segmentation.uid)
        unit = self._unit(segmentation)
        rows = []
        for segment in segmentation.segments:
            ref = SegmentRef(segmentation.uid, segment.number)
            figures = known.get(segment.number)
            size = _size(segmentation.geometry, figures.voxels if figures else 0) if known else ""
            stats = figures.values if figures else None
            values = f"{stats.mean:.4g} ± {stats.standard_deviation:.3g}{unit}" if stats else ""
            rows.append(
                _Row(
                    ref,
                    shown(segment.label),
                    size,
                    values,
                    shown(segment.type.meaning),
                    segment.state,
                    segment.locked,
                    segment.review.state,
                    segment.color_rgb,
                    displays[segment.number].visible,
                    ref == overlay.active,
                )
            )
        return rows

    def _unit(self, segmentation: Segmentation) -> str:
        """The unit of the image's values as people write it, after a space."""
        unit = self._services.workspace.volumes[segmentation.volume_uid].unit
        text = UNIT_TEXT.get(unit, unit)
        return f" {text}" if text else ""

    def _shown_rows(self) -> list[_Row]:
        rows = [self._row_of(self._list.item(n)) for n in range(self._list.count())]
        return [row for row in rows if row is not None]

    @staticmethod
    def _row_of(item: QListWidgetItem | None) -> _Row | None:
        data = item.data(_ROLE) if item is not None else None
        return data if isinstance(data, _Row) else None

    # Volumes, counted beside the window

    def _is_stale(self, segmentation: Segmentation) -> bool:
        return self._services.statistics.is_stale(segmentation.uid)

    def _count(self) -> None:
        stale = [s for s in self._services.viewing.overlay.segmentations if self._is_stale(s)]
        if stale:
            self._services.statistics.refresh(stale[0].uid, self._refresh)

    # What the reader does

    def _choose(self, item: QListWidgetItem | None) -> None:
        row = self._row_of(item)
        if row is not None and not self._filling and not row.active:
            self._bridge.run(
                "segment.select",
                segment=row.ref.number,
                segmentation_uid=row.ref.segmentation_uid,
            )

    def _toggle(self, item: QListWidgetItem) -> None:
        row = self._row_of(item)
        if row is not None:
            self._services.viewing.overlay.set_display(row.ref, visible=not row.visible)

    def _set_opacity(self, percent: int) -> None:
        ref = self.selected
        if ref is not None and not self._filling:
            self._services.viewing.overlay.set_display(ref, opacity=percent / 100)


def _size(geometry: Geometry, voxels: int) -> str:
    """How large a segment is: in millilitres only where the image has them."""
    if geometry.in_patient_space:
        return millilitres(voxels * geometry.voxel_volume_ml)
    return value_text(voxels, "{pixels}")


class _List(QListWidget):
    """A list with an eye at the left of each row; Space works it."""

    eye_clicked = pyqtSignal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Segments")
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """A press on the eye hides or shows; elsewhere it chooses."""
        place = event.position().toPoint() if event is not None else QPoint()
        item = self.itemAt(place)
        if event is not None and item is not None and place.x() < _EYE_PX:
            self.eye_clicked.emit(item)
            return
        super().mousePressEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Space works the eye."""
        item = self.currentItem()
        if event is not None and item is not None and event.key() == Qt.Key.Key_Space:
            self.eye_clicked.emit(item)
            return
        super().keyPressEvent(event)


class _Delegate(QStyledItemDelegate):
    """Draws a segment: eye, colour, name, size, state."""

    def __init__(self, services: Services, parent: QWidget) -> None:
        super().__init__(parent)
        self._resources = services.paths.resources

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """One line and some air."""
        del index
        return QSize(120, option.fontMetrics.height() + 12)

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """One row."""
        row = index.data(_ROLE)
        if painter is None or not isinstance(row, _Row):
            return
        painter.save()
        scheme = theme.colors()
        box = option.rect.adjusted(2, 1, -2, -1)
        hover = bool(option.state & QStyle.StateFlag.State_MouseOver)
        ground = scheme.selected if row.active else scheme.hover if hover else scheme.raised
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(scheme.accent)) if row.active else Qt.PenStyle.NoPen)
        painter.setBrush(QColor(ground))
        painter.drawRoundedRect(box, 4, 4)
        eye = icons.pixmap(
            self._resources,
            "eye" if row.visible else "eye-off",
            16,
            scheme.text if row.visible else scheme.faint,
        )
        painter.drawPixmap(box.left() + 5, box.center().y() - 7, eye)
        painter.fillRect(
            QRect(box.left() + _EYE_PX + 2, box.center().y() - 5, 11, 11),
            theme.rgb(row.color_rgb),
        )
        text = box.adjusted(_EYE_PX + 20, 0, -8, 0)
        left = _paint_state(painter, option, text, row)
        painter.setPen(QColor(scheme.text))
        painter.drawText(text.adjusted(0, 0, left - text.right(), 0), _RIGHT, row.size)
        painter.setPen(QColor(scheme.bright if row.visible else scheme.faint))
        room = left - text.left() - option.fontMetrics.horizontalAdvance(row.size) - 8
        painter.drawText(text, _LEFT, elided(row.title, option.font, room))
        painter.restore()


def _paint_state(painter: QPainter, option: QStyleOptionViewItem, text: QRect, row: _Row) -> int:
    """The review state in a word, or as a dot where the name needs the room; gives its left."""
    color = QColor(theme.colors().of_state(row.state.value))
    metrics = option.fontMetrics
    needed = metrics.horizontalAdvance(f"{row.title} {row.size}") + 16
    width = metrics.horizontalAdvance(row.state.value) + 10
    if needed + width <= text.width():
        painter.setPen(color)
        painter.drawText(text, _RIGHT, row.state.value)
        return text.right() - width
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(color)
    painter.drawEllipse(QRect(text.right() - 8, text.center().y() - 4, 9, 9))
    return text.right() - 16
