"""What a segment is: a term looked for by words."""

from __future__ import annotations

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QIcon, QPixmap
from PyQt6.QtWidgets import QCheckBox, QLineEdit, QListWidget, QListWidgetItem, QWidget

from medview.core.segmentation import Segment
from medview.services.terminology import Term, Terminology
from medview.ui import theme
from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label, shown

_ROLE = Qt.ItemDataRole.UserRole


class TermsDialog(Dialog):
    """After `accept`, `term` is what was chosen and `takes_color` whether its colour is wanted."""

    def __init__(self, terminology: Terminology, segment: Segment, parent: QWidget | None) -> None:
        buttons = (StandardButton.Ok, StandardButton.Cancel)
        super().__init__("What is this segment?", parent, buttons=buttons, size=(520, 560))
        self._terminology = terminology
        now = f"{segment.label}: {segment.type.meaning} ({segment.category.meaning})"
        self.body.addWidget(label(shown(now), "muted", wrap=True))
        self._search = QLineEdit(self)
        self._search.setPlaceholderText("Search by name, category or SNOMED CT code")
        self._search.setAccessibleName("Search")
        self._search.setClearButtonEnabled(True)
        self._list = QListWidget(self)
        self._list.setAccessibleName("Types")
        self._list.setIconSize(QSize(14, 14))
        self._color = QCheckBox("Take the recommended colour", self)
        self._color.setChecked(True)
        self.body.addWidget(self._search)
        self.body.addWidget(self._list, 1)
        self.body.addWidget(self._color)
        self._search.textChanged.connect(self._fill)
        self._list.itemDoubleClicked.connect(lambda _item: self.accept())
        self._fill("")
        self._search.setFocus()

    @property
    def term(self) -> Term | None:
        """What was chosen."""
        item = self._list.currentItem()
        data = item.data(_ROLE) if item is not None else None
        return data if isinstance(data, Term) else None

    @property
    def takes_color(self) -> bool:
        """Whether the segment is to have the colour of the term."""
        return self._color.isChecked()

    def _fill(self, text: str) -> None:
        self._list.clear()
        for term in self._terminology.search(text):
            item = QListWidgetItem(f"{term.type.meaning}  ·  {term.category.meaning}")
            patch = QPixmap(14, 14)
            patch.fill(theme.rgb(term.color_rgb))
            item.setIcon(QIcon(patch))
            item.setToolTip(f"SNOMED CT {term.type.value}")
            item.setData(_ROLE, term)
            self._list.addItem(item)
        if self._list.count():
            self._list.setCurrentRow(0)
