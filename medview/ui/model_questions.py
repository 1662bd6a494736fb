"""Questions about models: which to add or remove, and whether to trust the program one brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from PyQt6.QtCore import Qt
from PyQt6.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from medview.core.errors import CommandError
from medview.core.models import ModelCard
from medview.core.succession import Succession
from medview.reporting.succession import verdict_text
from medview.services.offers import Offer
from medview.services.successors import may_replace, successor_in
from medview.ui.dialogs.frame import confirm, message_box
from medview.ui.questions import Asking
from medview.ui.text import shown

T = TypeVar("T")


class ModelQuestions(Asking):
    """Fills `bridge.asks` for the commands of models.

    `with_reader` runs something once a reader is named.
    """

    def _asks(self) -> dict[str, Callable[..., object]]:
        return {
            "ai.add_model": self.add,
            "ai.trust": self.trust,
            "ai.remove_model": self.remove,
            "case.next": self.next_case,
        }

    def add(self, source: str = "", sha256: str = "", card: str = "") -> None:
        """Choose a folder, a ZIP or network, or a published model, unless one is given.

        A folder that says how it did against a model that is here is asked about in these words.
        """
        if source:
            succession = successor_in(Path(source), self._services.catalog)
            if succession is not None:
                self._ask_use(source, succession)
            else:
                self._bridge.run("ai.add_model", source=source, sha256=sha256, card=card)
            return
        more = "It is copied into your profile."
        box = message_box(self._window, "Add a model", "Where is the model?", more)
        for words, mode in (
            ("Folder …", QFileDialog.FileMode.Directory),
            ("ZIP or file …", QFileDialog.FileMode.ExistingFile),
        ):
            button = box.addButton(words, QMessageBox.ButtonRole.ActionRole)
            if button is not None:
                button.clicked.connect(lambda _checked=False, mode=mode: self._choose_file(mode))
        offers = self._services.shelf.offers
        fetch = box.addButton("Fetch one …", QMessageBox.ButtonRole.ActionRole) if offers else None
        if fetch is not None:
            fetch.clicked.connect(
                lambda: self._choose_among(
                    "Fetch a model", {one.title: one for one in offers}, self._ask_fetch
                )
            )
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.open()

    def trust(self, model: str = "") -> None:
        """Say what the program is and what trust means; ask."""
        waiting = [card for card in self._services.catalog.cards() if not card.may_run]
        if model:
            self._ask_trust(self._services.catalog.card(model))
        elif not waiting:
            raise CommandError("No model brings a program that you have not trusted.")
        else:
            self._choose_model("Trust a model's program", waiting, self._ask_trust)

    def remove(self, model: str = "") -> None:
        """Choose among the models that were added, and ask."""
        shelf = self._services.shelf
        added = list(shelf.added)
        if model:
            self._ask_remove(shelf.card(model))
        elif not added:
            raise CommandError("No model was added; those that come with medview stay.")
        else:
            self._choose_model("Remove a model", added, self._ask_remove)

    def next_case(self, folder: str = "", model: str = "") -> None:
        """Open what comes next; where nothing waits, choose a folder and the model that judges."""
        ranking = self._services.ranking
        if folder or ranking.is_running or ranking.left:
            self._bridge.run("case.next", folder=folder, model=model)
            return
        cards = list(ranking.models())
        if not cards:
            raise CommandError("No model here says how sure it is of an image.")
        dialog = QFileDialog(self._window, "Images to annotate")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(
            lambda paths: self._choose_model(
                "Which model is asked how sure it is",
                cards,
                lambda card: self._bridge.run("case.next", folder=paths[0], model=card.id),
            )
        )
        dialog.open()

    def _ask_use(self, source: str, succession: Succession) -> None:
        """Say whether the new model is better; ask whether it takes the old one's place."""
        new, old = succession.new.id, succession.old.id
        catalog = self._services.catalog
        known = {card.id for card in catalog.cards()}
        notes = [f"Note: {note}." for note in succession.notes]
        parts = ["The folder of the new model says so; its README has all figures.", *notes]
        box = message_box(self._window, "Use the new model", shown(verdict_text(succession)))
        if new not in known:
            beside = box.addButton("Use both", QMessageBox.ButtonRole.ActionRole)
            if beside is not None:
                beside.clicked.connect(lambda: self._bridge.run("ai.add_model", source=source))
        if not may_replace(succession, catalog):
            parts.append(f"It cannot replace {old}: the one that is here is not the one compared.")
        else:
            own = catalog.folder(old).is_relative_to(self._services.paths.own_models)
            goes = "is deleted" if own else "comes back when the new one is removed"
            parts.append(f"Replaced, {old} {goes}; findings keep the version that made them.")
            instead = box.addButton(f"Replace {old}", QMessageBox.ButtonRole.ActionRole)
            if instead is not None:
                instead.clicked.connect(
                    lambda: self._bridge.run("ai.add_model", source=source, replace=True)
                )
        box.setInformativeText("\n\n".join(map(shown, parts)))
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.open()

    def _ask_trust(self, card: ModelCard) -> None:
        text = f"{shown(card.title)} brings a program of its own. Let it run?"
        more = (
            f"What runs: {shown(card.code)}.\nIt runs in the AI process only, as long as no byte of"
            f" its folder changes. Trust it if you know who made it.\n\nFolder SHA-256"
            f" {card.folder_sha256}"
        )
        confirm(
            message_box(self._window, "Trust a model's program", text, more),
            "Trust it",
            lambda: self._with_reader(lambda: self._bridge.run("ai.trust", model=card.id)),
        )

    def _ask_remove(self, card: ModelCard) -> None:
        text = f"Remove {shown(card.title)}?"
        more = "Its folder is deleted from your profile. What it found stays."
        confirm(
            message_box(self._window, "Remove a model", text, more),
            "Remove",
            lambda: self._bridge.run("ai.remove_model", model=card.id),
        )

    def _ask_fetch(self, offer: Offer) -> None:
        text = f"Fetch {offer.title} ({offer.size})?"
        more = (
            f"From {offer.url}\n\nLicence: {offer.licence}\nNeeds {offer.needs}.\n\n{offer.note}"
            f"\n\nSHA-256 {offer.sha256}"
        )
        confirm(
            message_box(self._window, "Fetch a model", text, more),
            "Fetch it",
            lambda: self._bridge.run("ai.add_model", source=offer.id),
        )

    def _choose_file(self, mode: QFileDialog.FileMode) -> None:
        dialog = QFileDialog(self._window, "Add a model")
        dialog.setFileMode(mode)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.filesSelected.connect(
            lambda paths: self._bridge.start("ai.add_model", source=paths[0])
        )
        dialog.open()

    def _choose_model(
        self, title: str, cards: list[ModelCard], then: Callable[[ModelCard], None]
    ) -> None:
        self._choose_among(
            title, {shown(f"{card.title} ({card.id})"): card for card in cards}, then
        )

    def _choose_among(
        self, title: str, choices: Mapping[str, T], then: Callable[[T], None]
    ) -> None:
        """Ask which one by its words, unless there is only one."""
        if len(choices) == 1:
            then(next(iter(choices.values())))
            return
        dialog = QInputDialog(self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(title)
        dialog.setLabelText(title)
        dialog.setComboBoxItems(list(choices))
        dialog.textValueSelected.connect(lambda name: then(choices[name]))
        dialog.open()
