"""Findings panel: what was proposed and what the reader decided, one by one."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

from PyQt6.QtCore import QModelIndex, QRect, QSize, Qt
from PyQt6.QtGui import QAction, QColor, QFont, QKeySequence, QPainter, QPen
from PyQt6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from medview.core.codes import VOLUME
from medview.core.events import (
    FindingChanged,
    SegmentationChanged,
    SettingChanged,
    StudyClosed,
    StudyOpened,
    ViewChanged,
)
from medview.core.findings import Author, Finding, ModelAuthor, ReviewState
from medview.core.models import ModelCard
from medview.services.bundle import Services
from medview.services.commands_edit import REJECT_REASONS
from medview.services.corrections import Correction
from medview.services.limits import Limit, nearest_limit
from medview.services.staleness import stale_reason
from medview.ui import theme
from medview.ui.bridge import Bridge, Changes
from medview.ui.text import (
    confidence,
    correction_words,
    elided,
    label,
    measurement,
    shown,
    side,
    tip,
)

_EMPTY = "No findings yet. Run a model in the AI panel, or paint a segment."
_EMPTY_HIDDEN = "Read first: what models propose in this study is shown after your first read."
_ROLE = Qt.ItemDataRole.UserRole
_DECISIONS = ("finding.accept", "finding.reject")
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_CENTER = int(Qt.AlignmentFlag.AlignCenter)


@dataclass(frozen=True)
class _Row:
    """What one row of the list shows."""

    uid: str
    title: str
    value: str
    details: str
    state: ReviewState
    color_rgb: tuple[int, int, int] | None
    limit: Limit | None = None
    is_stale: bool = False
    correction: str = ""


#: What a row is made of: finding, installed cards, why it is stale, its correction, its colour.
_Made = tuple[Finding, tuple[ModelCard, ...], str, Correction | None, tuple[int, int, int] | None]


class FindingsPanel(QWidget):
    """The findings of the study on show. Nothing is ticked beforehand: each is decided on its own.

    Keys in the list: Enter accepts, Delete rejects, F2 edits, N and Shift+N go on and back; they
    are the keys of the commands of the context `findings`.
    """

    def __init__(self, services: Services, bridge: Bridge, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._services = services
        self._bridge = bridge
        self._filling = False
        self._known: dict[str, tuple[_Made, _Row]] = {}
        self._summary = label("", "muted")
        self._cautions = label("", "caution", wrap=True)
        self._reveal = QPushButton("Commit first read and reveal …", self)
        theme.set_role(self._reveal, "primary")
        self._reveal.clicked.connect(lambda: bridge.start("ai.reveal"))
        self._list = QListWidget(self)
        self._list.setAccessibleName("Findings")
        self._list.setItemDelegate(_Delegate(self._list))
        self._list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._list.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.currentItemChanged.connect(self._chosen)
        self._list.itemDoubleClicked.connect(lambda _item: self.run("finding.edit"))
        self._empty = label(_EMPTY, "muted", wrap=True)
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._buttons: dict[str, QPushButton | QToolButton] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(6)
        column.addWidget(self._summary)
        column.addWidget(self._cautions)
        column.addWidget(self._reveal)
        column.addWidget(self._empty, 1)
        column.addWidget(self._list, 1)
        column.addLayout(self._button_row())
        self._add_keys()
        bridge.changed.connect(self._on_changed)
        self._refresh()

    @property
    def view(self) -> QListWidget:
        """The list, for the keyboard focus."""
        return self._list

    @property
    def selected_uid(self) -> str:
        """The finding at hand; "" for none."""
        item = self._list.currentItem()
        return item.data(_ROLE).uid if item is not None else ""

    def select(self, uid: str) -> None:
        """Take a finding at hand; one that is not listed is left alone."""
        for row in range(self._list.count()):
            item = self._list.item(row)
            if item is not None and item.data(_ROLE).uid == uid:
                self._list.setCurrentRow(row)

    def step(self, by: int) -> None:
        """Go on to the next finding, or back."""
        count = self._list.count()
        if count:
            self._list.setCurrentRow((self._list.currentRow() + by) % count)
            self._list.setFocus()

    @property
    def selected_uids(self) -> list[str]:
        """All findings that are chosen."""
        return [item.data(_ROLE).uid for item in self._list.selectedItems()]

    def run(self, command_id: str, **arguments: object) -> None:
        """Run a command on the finding at hand, or on all that are chosen."""
        command = self._services.commands.get(command_id)
        asked = inspect.signature(command.run).parameters
        if "uid" in asked and self.selected_uid:
            arguments["uid"] = self.selected_uid
        if "uids" in asked:
            arguments["uids"] = self.selected_uids
        self._bridge.start(command_id, **arguments)
        if command_id in _DECISIONS and self._services.settings.flag("finding.advance"):
            self._advance()

    def _advance(self) -> None:
        """Go on to the next undecided finding, once the one at hand is decided."""
        review, known = self._services.review, self._services.workspace.findings
        rows = [row.uid for n in range(self._list.count()) if (row := self._data(n)) is not None]
        at = self._list.currentRow()
        waiting = [
            uid
            for uid in rows[at:] + rows[:at]
            if uid in known and review.finding_of(uid).review.state is ReviewState.PROPOSED
        ]
        if waiting and self.selected_uid not in waiting:
            self.select(waiting[0])

    def _button_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(4)
        for command_id, text, role in (
            ("finding.accept", "Accept", "good"),
            ("finding.edit", "Edit", ""),
        ):
            button = QPushButton(text, self)
            theme.set_role(button, role)
            button.clicked.connect(lambda _on, name=command_id: self.run(name))
            row.addWidget(button)
            self._buttons[command_id] = button
        reject = QToolButton(self)
        reject.setText("Reject")
        reject.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
        reject.setAccessibleName("Reject, with or without a reason")
        reject.clicked.connect(lambda: self.run("finding.reject"))
        menu = QMenu(reject)
        for reason in REJECT_REASONS:
            action = menu.addAction(reason)
            if action is not None:
                action.triggered.connect(
                    lambda _on, why=reason: self.run("finding.reject", reason=why)
                )
        reject.setMenu(menu)
        row.addWidget(reject)
        self._buttons["finding.reject"] = reject
        row.addStretch(1)
        accept_all = QPushButton("Accept all …", self)
        theme.set_role(accept_all, "flat")
        accept_all.clicked.connect(lambda: self._bridge.start("finding.accept_all"))
        row.addWidget(accept_all)
        self._buttons["finding.accept_all"] = accept_all
        return row

    def _add_keys(self) -> None:
        registry = self._services.commands
        for command in registry.for_context("findings"):
            action = QAction(command.title, self._list)
            action.setShortcuts(
                [QKeySequence(key) for key in registry.shortcut_of(command.id).split(", ") if key]
            )
            action.setShortcutContext(Qt.ShortcutContext.WidgetShortcut)
            action.triggered.connect(lambda _on, name=command.id: self.run(name))
            self._list.addAction(action)

    def _on_changed(self, changes: Changes) -> None:
        if changes.any(
            FindingChanged,
            SegmentationChanged,
            ViewChanged,
            StudyOpened,
            StudyClosed,
            SettingChanged,
        ):
            self._refresh()

    def _refresh(self) -> None:
        study = self._services.viewing.study
        findings = () if study is None else self._services.workspace.findings_of(study.uid)
        hidden = study is not None and self._services.first_read.hides(study.uid)
        if study is not None:
            findings = self._services.first_read.visible(study.uid, findings)
        self._reveal.setVisible(hidden)
        self._empty.setText(_EMPTY_HIDDEN if hidden else _EMPTY)
        cards = self._services.catalog.cards()
        self._known = {finding.uid: self._row_of(finding, cards) for finding in findings}
        rows = [row for _, row in self._known.values()]
        before = [self._data(n) for n in range(self._list.count())]
        if len(rows) != len(before) or any(a is not b for a, b in zip(rows, before, strict=True)):
            self._fill(rows)
        waiting = sum(row.state is ReviewState.PROPOSED for row in rows)
        count = f"{len(rows)} finding{'' if len(rows) == 1 else 's'}"
        self._summary.setText(f"{count}  ·  {waiting} to review" if waiting else count)
        theme.set_role(self._summary, "caution" if waiting else "muted")
        self._summary.setVisible(bool(rows))
        cautions = dict.fromkeys(text for f in findings for text in f.provenance.cautions)
        self._cautions.setText(f"Outside the model's intended use: {' '.join(cautions)}")
        self._cautions.setVisible(bool(cautions))
        self._list.setVisible(bool(rows))
        self._empty.setVisible(not rows)
        self._enable_buttons()

    def _enable_buttons(self) -> None:
        for command_id, button in self._buttons.items():
            command = self._services.commands.get(command_id)
            possible = command.enabled()
            if command_id != "finding.accept_all":
                possible = possible and bool(self.selected_uid)
            button.setEnabled(possible)
            button.setToolTip(f"{command.help} ({self._services.commands.shortcut_of(command_id)})")

    def _data(self, row: int) -> _Row | None:
        item = self._list.item(row)
        return item.data(_ROLE) if item is not None else None

    def _fill(self, rows: list[_Row]) -> None:
        """Show other rows, with the same one at hand."""
        chosen, place = self.selected_uid, self._list.currentRow()
        same = [row.uid for row in rows] == [
            data.uid for n in range(self._list.count()) if (data := self._data(n)) is not None
        ]
        self._filling = True
        if not same:
            self._list.clear()
        for number, row in enumerate(rows):
            item = self._list.item(number) if same else QListWidgetItem(row.title, self._list)
            if item is not None:
                item.setData(_ROLE, row)
                limit = "" if row.limit is None else row.limit.text
                more = [part for part in (row.correction, shown(limit)) if part]
                words = ", ".join([row.title, row.value, row.details, row.state.value, *more])
                item.setData(Qt.ItemDataRole.AccessibleTextRole, words)
                item.setToolTip(tip("\n".join([row.title, row.details, *more])))
        uids = [row.uid for row in rows]
        if chosen in uids:
            self._list.setCurrentRow(uids.index(chosen))
        elif place >= 0 and rows:
            self._list.setCurrentRow(min(place, len(rows) - 1))
        self._filling = False

    def _row_of(self, finding: Finding, cards: Sequence[ModelCard]) -> tuple[_Made, _Row]:
        """The row of a finding; the one that was made before, while all it is made of stays."""
        stale = stale_reason(self._services.workspace, finding)
        correction = self._services.corrections.of(finding)
        correction = correction or self._services.detections.correction_of(finding)
        made = (finding, tuple(cards), stale, correction, self._color(finding))
        known = self._known.get(finding.uid)
        return known if known is not None and known[0] == made else (made, self._row(made))

    def _row(self, made: _Made) -> _Row:
        finding, cards, stale, correction, color = made
        values = [m for m in finding.measurements if m.kind == VOLUME] or finding.measurements
        author = finding.provenance.author
        by = (
            f"{author.model_id} {author.version}"
            if isinstance(author, ModelAuthor)
            else author.name
        )
        parts = [side(finding.laterality), confidence(finding), shown(by)]
        limit = nearest_limit(finding, _card(author, cards))
        if stale:
            limit = Limit(stale, is_crossed=True)
        if finding.review.reason:
            parts.insert(0, shown(finding.review.reason))
        return _Row(
            finding.uid,
            shown(finding.label),
            measurement(values[0]) if values else "",
            "  ·  ".join(part for part in parts if part),
            finding.review.state,
            color,
            limit,
            bool(stale),
            correction_words(correction),
        )

    def _color(self, finding: Finding) -> tuple[int, int, int] | None:
        ref = finding.segment_ref
        segmentation = self._services.workspace.segmentations.get(
            ref.segmentation_uid if ref else ""
        )
        if segmentation is None or ref is None:
            return None
        colors = {segment.number: segment.color_rgb for segment in segmentation.segments}
        return colors.get(ref.number)

    def _chosen(self) -> None:
        """Jump to the finding and choose its segment."""
        self._enable_buttons()
        if not self._filling and self.selected_uid:
            self._bridge.run("finding.show", uid=self.selected_uid)


def _card(author: Author, cards: Sequence[ModelCard]) -> ModelCard | None:
    """The card of the model that made a finding, if it is still installed in that version."""
    if not isinstance(author, ModelAuthor):
        return None
    same = (one for one in cards if one.id == author.model_id)
    return next((one for one in same if one.version == author.version), None)


class _Delegate(QStyledItemDelegate):
    """Draws a finding on two lines: name and value, details and state."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        """Two lines and some air; one more for a correction, and for a limit to be read."""
        row = index.data(_ROLE)
        lines = 2
        if isinstance(row, _Row):
            lines += (row.limit is not None) + bool(row.correction)
        return QSize(120, lines * option.fontMetrics.height() + 16)

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """One row."""
        row = index.data(_ROLE)
        if painter is None or not isinstance(row, _Row):
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        _paint(painter, option, row)
        painter.restore()


def _paint(painter: QPainter, option: QStyleOptionViewItem, row: _Row) -> None:
    scheme = theme.colors()
    card = option.rect.adjusted(2, 2, -2, -2)
    chosen = bool(option.state & QStyle.StateFlag.State_Selected)
    hover = bool(option.state & QStyle.StateFlag.State_MouseOver)
    ground = scheme.selected if chosen else scheme.hover if hover else scheme.raised
    painter.setPen(QPen(QColor(scheme.accent)) if chosen else Qt.PenStyle.NoPen)
    painter.setBrush(QColor(ground))
    painter.drawRoundedRect(card, 4, 4)
    state_color = QColor(scheme.faint if row.is_stale else scheme.of_state(row.state.value))
    painter.fillRect(QRect(card.left(), card.top() + 3, 3, card.height() - 6), state_color)
    text = card.adjusted(12, 4, -8, -4)
    line = option.fontMetrics.height()
    first = QRect(text.left(), text.top(), text.width(), line + 2)
    second = first.translated(0, line + 3)
    _paint_title(painter, option, first, row)
    font = QFont(option.font)
    font.setPointSizeF(8.5)
    painter.setFont(font)
    pill_width = painter.fontMetrics().horizontalAdvance(row.state.value) + 14
    pill = QRect(second.right() - pill_width, second.top(), pill_width, second.height())
    painter.setPen(state_color)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRoundedRect(pill, 7, 7)
    painter.drawText(pill, _CENTER, row.state.value)
    painter.setPen(QColor(scheme.muted))
    room = second.width() - pill_width - 8
    painter.drawText(second, _LEFT, elided(row.details, font, room))
    below = second
    if row.correction:
        below = below.translated(0, line + 1)
        painter.setPen(QColor(scheme.bright))
        painter.drawText(below, _LEFT, elided(row.correction, font, below.width()))
    if row.limit is not None:
        below = below.translated(0, line + 1)
        painter.setPen(QColor(scheme.caution if row.limit.is_crossed else scheme.muted))
        painter.drawText(below, _LEFT, elided(shown(row.limit.text), font, below.width()))


def _paint_title(painter: QPainter, option: QStyleOptionViewItem, first: QRect, row: _Row) -> None:
    """The first line: colour of the segment, name, measured value."""
    scheme, rejected = theme.colors(), row.state is ReviewState.REJECTED
    left = first.left()
    if row.color_rgb is not None:
        painter.fillRect(QRect(left, first.center().y() - 4, 9, 9), theme.rgb(row.color_rgb))
        left += 15
    font = QFont(option.font)
    value_width = option.fontMetrics.horizontalAdvance(row.value) + 8 if row.value else 0
    font.setStrikeOut(rejected)
    painter.setFont(font)
    painter.setPen(QColor(scheme.faint if rejected or row.is_stale else scheme.bright))
    title = QRect(left, first.top(), first.right() - left - value_width, first.height())
    painter.drawText(title, _LEFT, elided(row.title, font, title.width()))
    painter.drawText(first, _RIGHT, row.value)
