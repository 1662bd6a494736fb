"""Studies panel: who and what is open, series by series, with a small picture of each."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PyQt6.QtCore import QMimeData, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PyQt6.QtGui import QColor, QDrag, QFont, QImage, QKeyEvent, QPainter, QPen, QPixmap
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medview.core.events import (
    ClipLoaded,
    FindingChanged,
    LoadingChanged,
    SegmentationChanged,
    StudyClosed,
    StudyOpened,
    ViewChanged,
    VolumeLoaded,
)
from medview.core.findings import ModelAuthor, ReviewState
from medview.core.study import Patient, Series, SeriesKind, Study
from medview.services.bundle import Services
from medview.services.guide import made_on
from medview.ui import theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.text import date, elided, person_name, reading_notes, shown, tip

#: What is dragged from here onto a view.
SERIES_MIME = "application/x-medview-series"

_ROLE = Qt.ItemDataRole.UserRole
_THUMBNAIL_PX = 52
_WORDS = {
    SeriesKind.VOLUME: "images",
    SeriesKind.IMAGES: "images",
    SeriesKind.CLIP: "frames",
    SeriesKind.DOSE: "planes",
}


@dataclass(frozen=True)
class _Row:
    """What one series row shows; `mark` stands in the place of the picture where none belongs."""

    uid: str
    title: str
    details: str
    badges: tuple[tuple[str, str], ...] = ()
    fraction: float | None = None
    current: bool = False
    picture: QPixmap | None = None
    mark: str = ""


class StudiesPanel(QWidget):
    """Patients, studies and series. A click shows a series; it can be dragged onto a view."""

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._items: dict[str, QTreeWidgetItem] = {}
        self._patients: dict[tuple[str, str, str, str], QTreeWidgetItem] = {}
        self._studies: set[str] = set()
        self._study_of: dict[str, str] = {}
        self._details: dict[str, str] = {}
        self._pictures: dict[str, QPixmap | None] = {}
        self._tree = _Tree(self)
        self._tree.setItemDelegate(_Delegate(self._tree))
        self._tree.itemClicked.connect(self._show)
        self._tree.itemActivated.connect(self._show)
        self._problems = QPushButton(self)
        theme.set_role(self._problems, "link")
        self._problems.setVisible(False)
        self._problems.clicked.connect(lambda: bridge.start("study.problems"))
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 0, 0, 4)
        column.setSpacing(4)
        column.addWidget(self._tree, 1)
        column.addWidget(self._problems)
        self.setMinimumWidth(190)
        bridge.changed.connect(self._on_changed)
        self._rebuild()

    def sizeHint(self) -> QSize:
        """Wide enough for a description."""
        return QSize(250, 500)

    @property
    def tree(self) -> QTreeWidget:
        """The tree, for the keyboard focus."""
        return self._tree

    def _on_changed(self, changes: Changes) -> None:
        opened = dict.fromkeys(event.uid for event in changes.of(StudyOpened))
        if changes.any(StudyClosed) or not self._studies.isdisjoint(opened):
            self._rebuild()
            return
        self._add(opened)
        if changes.any(VolumeLoaded, ClipLoaded, SegmentationChanged, FindingChanged, ViewChanged):
            self._refresh(self._studies)
            return
        loading = {self._study_of.get(event.series_uid) for event in changes.of(LoadingChanged)}
        self._refresh(loading.union(opened))

    def _show(self, item: QTreeWidgetItem, _column: int = 0) -> None:
        row = item.data(0, _ROLE)
        if isinstance(row, _Row) and not row.current:
            self._bridge.run("series.show", series_uid=row.uid)

    def _rebuild(self) -> None:
        self._tree.clear()
        for known in (self._items, self._details, self._patients, self._study_of):
            known.clear()
        self._studies.clear()
        self._add(self._services.workspace.studies)
        self._refresh(self._studies)

    def _add(self, study_uids: Iterable[str]) -> None:
        """New studies below their patients; what stands there already stays."""
        for uid in study_uids:
            study = self._services.workspace.studies[uid]
            person = study.patient
            key = (person.id, person.issuer, person.name, person.birth_date)
            if key not in self._patients:
                self._patients[key] = self._patient_item(person)
            self._add_study(self._patients[key], study)
            self._studies.add(uid)

    def _patient_item(self, patient: Patient) -> QTreeWidgetItem:
        born = date(patient.birth_date)
        nobody = bool(patient.id) and patient.id == patient.name
        details = ["no patient data in the file" if nobody else f"ID {shown(patient.id) or 'none'}"]
        details += [f"born {born}"] if born else []
        details += [shown(patient.sex)] if patient.sex else []
        item = QTreeWidgetItem([person_name(patient.name)])
        item.setData(0, _ROLE, " · ".join(details))
        item.setData(
            0, Qt.ItemDataRole.AccessibleTextRole, f"{item.text(0)}, {item.data(0, _ROLE)}"
        )
        item.setToolTip(0, tip(f"{item.text(0)}\n{item.data(0, _ROLE)}"))
        item.setFlags(Qt.ItemFlag.ItemIsEnabled)
        item.setSizeHint(0, QSize(120, 2 * self._line_px + 10))
        self._tree.addTopLevelItem(item)
        return item

    def _add_study(self, patient: QTreeWidgetItem, study: Study) -> None:
        item = QTreeWidgetItem([shown(study.description) or "Study"])
        item.setData(0, _ROLE, date(study.date) or "no date")
        item.setToolTip(0, tip(item.text(0)))
        item.setFlags(Qt.ItemFlag.ItemIsEnabled)
        item.setSizeHint(0, QSize(120, self._line_px + 8))
        patient.addChild(item)
        rows = []
        for series in sorted(study.series, key=_series_order):
            row = QTreeWidgetItem([shown(series.description) or series.modality])
            self._details[series.uid] = details = _details(series)
            row.setData(0, _ROLE, _Row(series.uid, row.text(0), details))
            row.setToolTip(0, tip(f"{row.text(0)}\n{details}"))
            flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
            drag = Qt.ItemFlag.ItemIsDragEnabled if series.kind.is_shown else Qt.ItemFlag(0)
            row.setFlags(flags | drag)
            row.setSizeHint(0, QSize(120, max(_THUMBNAIL_PX + 10, 3 * self._line_px + 8)))
            rows.append(row)
            self._items[series.uid] = row
            self._study_of[series.uid] = study.uid
            if series.kind.is_shown:
                self._fetch_picture(series.uid)
        item.addChildren(rows)
        item.setExpanded(True)
        patient.setExpanded(True)

    def _fetch_picture(self, series_uid: str) -> None:
        if series_uid in self._pictures:
            return
        self._pictures[series_uid] = None

        def came(picture: npt.NDArray[np.uint8] | None) -> None:
            self._pictures[series_uid] = None if picture is None else _pixmap(picture)
            item = self._items.get(series_uid)
            row = None if item is None else item.data(0, _ROLE)
            if item is not None and isinstance(row, _Row):
                item.setData(0, _ROLE, replace(row, picture=self._pictures[series_uid]))

        self._services.loading.thumbnail(series_uid, came)

    @property
    def _line_px(self) -> int:
        return self._tree.fontMetrics().height()

    def _refresh(self, study_uids: Collection[str | None]) -> None:
        workspace = self._services.workspace
        shown_uid = self._services.viewing.series_uid
        for study in workspace.studies.values():
            if study.uid not in study_uids:
                continue
            proposals = self._count_proposals(study)
            for series in study.series:
                item = self._items.get(series.uid)
                if item is not None:
                    self._refresh_row(item, series, proposals, current=series.uid == shown_uid)
        count = len(workspace.problems)
        self._problems.setVisible(count > 0)
        self._problems.setText(
            "1 reading problem …" if count == 1 else f"{count} reading problems …"
        )

    def _refresh_row(
        self, item: QTreeWidgetItem, series: Series, proposals: dict[str, int], *, current: bool
    ) -> None:
        """What one series shows; a row that says the same as before is left alone."""
        row = _Row(
            series.uid,
            item.text(0),
            self._details[series.uid],
            self._badges(series, proposals),
            self._services.loading.fraction(series.uid),
            current=current,
            picture=self._pictures.get(series.uid),
            mark="" if series.kind.is_shown else shown(series.modality)[:6],
        )
        if row == item.data(0, _ROLE):
            return
        notes = reading_notes(series, self._services.workspace.pictures_of(series.uid))
        item.setToolTip(0, tip("\n".join((row.title, row.details, *notes))))
        words = ", ".join((row.title, row.details, *(text for text, _ in row.badges)))
        item.setData(0, Qt.ItemDataRole.AccessibleTextRole, words)
        item.setData(0, _ROLE, row)

    def _count_proposals(self, study: Study) -> dict[str, int]:
        """Open proposals by the series they lie on."""
        workspace = self._services.workspace
        counts: dict[str, int] = {}
        series_of: dict[str, str] = {}
        for series in study.series:
            volumes, clips = workspace.volumes_of(series.uid), workspace.clips_of(series.uid)
            uids = [*(one.uid for one in volumes), *(one.uid for one in clips)]
            series_of |= dict.fromkeys(uids, series.uid)
        findings = workspace.findings_of(study.uid)
        for finding in self._services.first_read.visible(study.uid, findings):
            if finding.review.state is not ReviewState.PROPOSED:
                continue
            pictures = [series_of[uid] for uid in made_on(workspace, finding) if uid in series_of]
            if pictures:
                counts[pictures[0]] = counts.get(pictures[0], 0) + 1
        return counts

    def _badges(self, series: Series, proposals: dict[str, int]) -> tuple[tuple[str, str], ...]:
        workspace = self._services.workspace
        badges: list[tuple[str, str]] = []
        by_model = any(
            isinstance(segment.provenance.author, ModelAuthor)
            for volume in workspace.volumes_of(series.uid)
            for segmentation in workspace.segmentations_of(volume.uid)
            for segment in segmentation.segments
        )
        if by_model:
            badges.append(("AI", "proposed"))
        if proposals.get(series.uid):
            badges.append((f"{proposals[series.uid]} to review", "caution"))
        notes = reading_notes(series, workspace.pictures_of(series.uid))
        if notes:
            badges.append(("1 note" if len(notes) == 1 else f"{len(notes)} notes", "caution"))
        return tuple(badges)


class _Tree(QTreeWidget):
    """A tree whose series can be dragged away, and opened by Enter or Space."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderHidden(True)
        self.setIndentation(8)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(False)
        self.setDragEnabled(True)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setExpandsOnDoubleClick(False)
        self.setAccessibleName("Studies and series")

    def startDrag(self, supportedActions: Qt.DropAction) -> None:  # noqa: N802, N803  (Qt's names)
        """Take the series along."""
        del supportedActions
        item = self.currentItem()
        row = item.data(0, _ROLE) if item is not None else None
        if not isinstance(row, _Row):
            return
        mime = QMimeData()
        mime.setData(SERIES_MIME, row.uid.encode())
        drag = QDrag(self)
        drag.setMimeData(mime)
        if row.picture is not None:
            drag.setPixmap(row.picture)
        drag.exec(Qt.DropAction.CopyAction)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Enter and Space show the series."""
        item = self.currentItem()
        keys = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space)
        if event is not None and item is not None and event.key() in keys:
            self.itemActivated.emit(item, 0)
            return
        super().keyPressEvent(event)


class _Delegate(QStyledItemDelegate):
    """Draws patients, studies and series cards; how high they are stands in the items."""

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """One row."""
        data = index.data(_ROLE)
        if painter is None:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(data, _Row):
            _paint_series(painter, option, data)
        else:
            _paint_heading(painter, option, index, str(data or ""))
        painter.restore()


def _paint_heading(
    painter: QPainter,
    option: QStyleOptionViewItem,
    index: QModelIndex | QPersistentModelIndex,
    details: str,
) -> None:
    scheme = theme.colors()
    box = option.rect.adjusted(6, 3, -4, 0)
    title = str(index.data(Qt.ItemDataRole.DisplayRole))
    line = option.fontMetrics.height()
    top = not index.parent().isValid()
    font = QFont(option.font)
    font.setBold(top)
    painter.setFont(font)
    painter.setPen(QColor(scheme.bright if top else scheme.text))
    left = QRect(box.left(), box.top() + (2 if top else 0), box.width(), line + 2)
    painter.drawText(left, _LEFT, elided(title, font, box.width() - (0 if top else 84)))
    font.setBold(False)
    painter.setFont(font)
    painter.setPen(QColor(scheme.muted))
    if top:
        below = QRect(box.left(), left.bottom(), box.width(), line + 2)
        painter.drawText(below, _LEFT, elided(details, font, box.width()))
    else:
        painter.drawText(left, _RIGHT, details)


_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_CENTER = int(Qt.AlignmentFlag.AlignCenter)


def _paint_series(painter: QPainter, option: QStyleOptionViewItem, row: _Row) -> None:
    scheme = theme.colors()
    card = option.rect.adjusted(2, 2, -3, -2)
    hover = bool(option.state & QStyle.StateFlag.State_MouseOver)
    focus = bool(option.state & QStyle.StateFlag.State_HasFocus)
    ground = scheme.selected if row.current else scheme.hover if hover else scheme.raised
    painter.setPen(QPen(QColor(scheme.accent)) if row.current or focus else Qt.PenStyle.NoPen)
    painter.setBrush(QColor(ground))
    painter.drawRoundedRect(card, 4, 4)
    picture = QRect(card.left() + 4, card.top() + 4, _THUMBNAIL_PX, card.height() - 8)
    painter.fillRect(picture, QColor("#000000"))
    if row.mark:
        painter.setPen(QColor(scheme.muted))
        painter.drawText(picture, _CENTER, row.mark)
    if row.picture is not None:
        size = row.picture.size().scaled(picture.size(), Qt.AspectRatioMode.KeepAspectRatio)
        place = QRect(0, 0, size.width(), size.height())
        place.moveCenter(picture.center())
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(place, row.picture)
    enabled = bool(option.state & QStyle.StateFlag.State_Enabled)
    text = card.adjusted(_THUMBNAIL_PX + 12, 3, -5, -3)
    line = option.fontMetrics.height()
    painter.setPen(
        QColor(scheme.bright if row.current else scheme.text if enabled else scheme.faint)
    )
    first = QRect(text.left(), text.top(), text.width(), line + 2)
    painter.drawText(first, _LEFT, elided(row.title, option.font, text.width()))
    painter.setPen(QColor(scheme.muted if enabled else scheme.faint))
    second = first.translated(0, line)
    painter.drawText(second, _LEFT, elided(row.details, option.font, text.width()))
    third = second.translated(0, line + 2)
    if row.fraction is not None:
        _paint_progress(painter, third, row.fraction)
    else:
        _paint_badges(painter, third, row.badges)


def _paint_progress(painter: QPainter, box: QRect, fraction: float) -> None:
    scheme = theme.colors()
    bar = QRect(box.left(), box.center().y() - 2, box.width(), 5)
    painter.fillRect(bar, QColor(scheme.line))
    bar.setWidth(max(2, round(box.width() * min(1.0, fraction))))
    painter.fillRect(bar, QColor(scheme.accent))


def _paint_badges(painter: QPainter, box: QRect, badges: tuple[tuple[str, str], ...]) -> None:
    scheme = theme.colors()
    font = painter.font()
    font.setPointSizeF(8)
    painter.setFont(font)
    left = box.left()
    for text, kind in badges:
        color = QColor(scheme.proposed if kind == "proposed" else scheme.caution)
        width = painter.fontMetrics().horizontalAdvance(text) + 10
        pill = QRect(left, box.top() + 1, width, box.height() - 2)
        painter.setPen(color)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(pill, 6, 6)
        painter.drawText(pill, _CENTER, text)
        left += width + 4


def _details(series: Series) -> str:
    count = sum(max(1, instance.frames) for instance in series.instances)
    word = _WORDS.get(series.kind)
    if word is None:
        return series.kind.value.replace("_", " ")
    if count == 1 and series.kind is SeriesKind.CLIP:
        return f"{series.modality} · video"  # its frames are counted when it is read
    if count == 1:
        word = word.removesuffix("s")
    number = f" · #{series.number}" if series.number is not None else ""
    return f"{series.modality} · {count} {word}{number}"


def _series_order(series: Series) -> tuple[bool, int, str]:
    return series.number is None, series.number or 0, series.uid


def _pixmap(picture: npt.NDArray[np.uint8]) -> QPixmap:
    rows, columns = picture.shape[:2]
    packed = np.ascontiguousarray(picture)
    color = packed.ndim == 3
    format_ = QImage.Format.Format_RGB888 if color else QImage.Format.Format_Grayscale8
    image = QImage(packed.tobytes(), columns, rows, packed.strides[0], format_)
    return QPixmap.fromImage(image.copy())
