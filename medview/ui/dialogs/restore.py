"""After an unclean end: whose work to bring back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QTreeWidget, QTreeWidgetItem, QWidget

from medview.services.kept import Unfinished
from medview.ui.dialogs.frame import Dialog, StandardButton
from medview.ui.text import label, shown


class RestoreDialog(Dialog):
    """Restore your work? After `accept`, `chosen` are the studies that were ticked.

    What is not brought back now stays kept, and comes back when the study is opened.
    """

    def __init__(self, offers: Sequence[Unfinished], parent: QWidget | None = None) -> None:
        super().__init__(
            "Restore your work?", parent, buttons=(StandardButton.Cancel,), size=(640, 360)
        )
        text = "medview did not end properly the last time. Your work was saved up to that moment."
        self.body.addWidget(label(text, wrap=True))
        self._tree = QTreeWidget(self)
        self._tree.setHeaderLabels(["Study", "Saved", "From"])
        self._tree.setRootIsDecorated(False)
        self._tree.setAccessibleName("Studies with saved work")
        for offer in offers:
            source = str(offer.sources[0]) if offer.sources else "not known"
            title = shown(offer.title) or "Study without a name"
            row = [title, _local_time(offer.saved_at), shown(source)]
            item = QTreeWidgetItem(row)
            item.setData(0, Qt.ItemDataRole.UserRole, offer.study_uid)
            item.setCheckState(0, Qt.CheckState.Checked)
            self._tree.addTopLevelItem(item)
        self._tree.setColumnWidth(0, 300)
        self._tree.setColumnWidth(1, 140)
        self.body.addWidget(self._tree, 1)
        self.buttons.addButton("Restore", self.buttons.ButtonRole.AcceptRole)
        not_now = self.buttons.button(StandardButton.Cancel)
        if not_now is not None:
            not_now.setText("Not now")

    @property
    def chosen(self) -> tuple[str, ...]:
        """The UIDs of the ticked studies."""
        items = [self._tree.topLevelItem(n) for n in range(self._tree.topLevelItemCount())]
        return tuple(
            str(item.data(0, Qt.ItemDataRole.UserRole))
            for item in items
            if item is not None and item.checkState(0) is Qt.CheckState.Checked
        )


def _local_time(text: str) -> str:
    """An ISO time as the clock on the wall shows it; anything else as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return shown(text)
