"""Shelf: models the reader adds, trusts, exports and removes. Shipped ones stay as they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from medview.core.errors import ExportError, ModelError
from medview.core.models import ModelCard
from medview.core.paths import Paths
from medview.core.succession import Succession
from medview.inference.catalog import ANSWERERS, Catalog, load_card, verify_model
from medview.inference.receipts import (
    Receipt,
    make_receipt,
    receipt_file,
    regular_files,
    write_receipt,
)
from medview.inference.trust import TrustFile
from medview.reporting.succession import verdict_text
from medview.services.audit import Audit
from medview.services.offers import Offer, offers_in
from medview.services.successors import comparison_in, may_replace, put_in_place
from medview.services.unpacking import gather

#: Told how many bytes are there and how many there will be (0 while unknown).
Progress = Callable[[int, int], object]
Stop = Callable[[], bool]

_INCOMING = ".incoming-"
_STALE_S = 24 * 3600.0


@dataclass(frozen=True)
class Prepared:
    """A model put together beside the others; `download` is the file it came in, to be deleted.

    `succession` is how it did against the model it came from, where its folder says so.
    """

    folder: Path
    card: ModelCard
    receipt: Receipt
    download: Path | None
    succession: Succession | None = None


class Shelf:
    """The reader's own models in the profile. Every change is in the audit trail.

    A model appears whole or not at all: it is put together beside the others, checked, and moved
    to its place. `prepare` may run on any thread, everything else on the owner's. `on_change` is
    called when the catalogue is another.
    """

    def __init__(self, paths: Paths, catalog: Catalog, audit: Audit, trust: TrustFile) -> None:
        self._paths = paths
        self._catalog = catalog
        self._audit = audit
        self._trust = trust
        self.on_change: Callable[[], object] = lambda: None

    def add(
        self,
        source: str,
        *,
        sha256: str = "",
        card: Path | None = None,
        by: str = "",
        replace: bool = False,
        progress: Progress = lambda _now, _all: None,
        cancelled: Stop = lambda: False,
    ) -> ModelCard:
        """Add a model from a folder, ZIP, network's file, URL or by the id of an offer; its card.

        `sha256` is that of the file, or of the folder as `medview.inference.receipts` computes
        it; a URL needs one. `card` is a metadata.json for a network that comes without one.
        With `replace` it takes the place of the model it was compared with. ModelError for what
        cannot be run here, is not what the hash says, or has the id of another model that it does
        not replace.
        """
        ready = self.prepare(
            source, sha256=sha256, card=card, progress=progress, cancelled=cancelled
        )
        return self.take(ready, by, replace=replace)

    def prepare(
        self,
        source: str,
        *,
        sha256: str = "",
        card: Path | None = None,
        progress: Progress = lambda _now, _all: None,
        cancelled: Stop = lambda: False,
    ) -> Prepared:
        """Fetch, unpack, look through and hash what `add` adds, beside the models."""
        source, sha256 = self._resolved(source, sha256)
        staging = self._incoming()
        try:
            path, name = self._fetched(source, sha256, progress, cancelled)
            if sha256 and not path.is_dir():
                _refuse_other_hash(_hash_of(path), sha256, name)
            folder = gather(path, name, staging, cancelled)
            receipt = make_receipt(folder, source)
            if sha256 and path.is_dir():
                _refuse_other_hash(receipt.folder_sha256, sha256, name)
            if self._describe(folder, card):
                receipt = make_receipt(folder, source)
            found = load_card(folder, {**self._catalog.engines, **ANSWERERS})
            verify_model(found, folder)
            succession = comparison_in(folder, found)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        download = path if path.is_relative_to(self._downloads) else None
        return Prepared(folder, found, receipt, download, succession)

    def take(self, ready: Prepared, by: str = "", *, replace: bool = False) -> ModelCard:
        """Move a prepared model to its place, or to that of the model it came from; its card.

        Replacing needs figures of both models on the same cases, the installed one as it was then.
        """
        action = "model.replace" if replace else "model.add"
        try:
            if replace:
                ready = self._successor(ready)
            elif self._is_taken(ready.card.id):
                raise ModelError(f"There is a model {ready.card.id} already.", self._way_on(ready))
            target = self._place_of(ready.card)
            self._clear(target)
            write_receipt(target, ready.receipt)
            ready.folder.rename(target)
        finally:
            shutil.rmtree(ready.folder.parent, ignore_errors=True)
        if ready.download is not None:
            ready.download.unlink(missing_ok=True)
        card = ready.card
        self._audit.record(
            by or "medview",
            action,
            ready.receipt.folder_sha256,
            model=f"{card.id} {card.version}",
            note=verdict_text(ready.succession)
            if replace and ready.succession
            else ready.receipt.source,
        )
        self._changed()
        return self.card(card.id)

    @property
    def added(self) -> tuple[ModelCard, ...]:
        """The reader's own models, those that answer marks among them."""
        cards = self._catalog.every_card()
        return tuple(one for one in cards if self._is_own(self._among(one.id).folder(one.id)))

    def card(self, model_id: str) -> ModelCard:
        """The card of a model of any kind; ModelError if there is no such model."""
        return self._among(model_id).card(model_id)

    def _is_own(self, folder: Path) -> bool:
        return folder.parent in {self._paths.own_models, self._paths.own_prompt_models}

    def _place_of(self, card: ModelCard) -> Path:
        """Where an own model goes: those that answer marks lie apart."""
        answers = card.engine in ANSWERERS.values()
        folder = self._paths.own_prompt_models if answers else self._paths.own_models
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder / card.id

    def _among(self, model_id: str) -> Catalog:
        """The catalogue that a model is in: that of the models that answer marks, or the other."""
        marks = self._catalog.beside
        answers = marks is not None and model_id in {one.id for one in marks.cards()}
        return marks if marks is not None and answers else self._catalog

    def _is_taken(self, model_id: str) -> bool:
        known = {one.id for one in self._catalog.every_card()}
        return model_id in known or (self._paths.own_models / model_id).exists()

    def can_replace(self, ready: Prepared) -> bool:
        """Whether a prepared model was held against one that is installed as it was then."""
        return may_replace(ready.succession, self._catalog)

    def _way_on(self, ready: Prepared) -> str:
        if self.can_replace(ready) and ready.succession is not None:
            return f"It can be replaced (`--replace`). {verdict_text(ready.succession)}"
        return (
            "Remove it first, if it is your own; or compare the two on held-out cases (`medview "
            f"evaluate NEW DATA --against {ready.card.id} --card`), then replace it."
        )

    def _successor(self, ready: Prepared) -> Prepared:
        """A prepared model under the id of the one it replaces; ModelError where it may not."""
        succession = ready.succession
        if succession is None or not self.can_replace(ready):
            known = succession.old.id if succession else ready.card.id
            raise ModelError(
                "Nothing is replaced without a comparison with the model that is here.",
                f"`medview evaluate NEW DATA --against {known} --out FILE.json --card` makes one.",
            )
        put_in_place(ready.folder, succession)
        receipt = make_receipt(ready.folder, ready.receipt.source)
        receipt = dataclasses.replace(receipt, replaces=succession.old.weights_sha256)
        card = load_card(ready.folder, self._catalog.engines)
        return dataclasses.replace(ready, card=card, receipt=receipt)

    def _clear(self, folder: Path) -> None:
        """Delete an own model's folder, if it is there, with its receipt.

        Renamed first: a removal that is cut off leaves nothing that looks like a model.
        """
        if not folder.exists():
            return
        doomed = folder.with_name(f"{_INCOMING}{folder.name}-{time.time_ns()}")
        folder.rename(doomed)
        receipt_file(folder).unlink(missing_ok=True)
        shutil.rmtree(doomed, ignore_errors=True)

    def remove(self, model_id: str, by: str = "") -> None:
        """Delete one of the reader's own models; ModelError for shipped and unknown ones."""
        models = self._among(model_id)
        card, folder = models.card(model_id), models.folder(model_id)
        if not self._is_own(folder):
            raise ModelError(f"{card.title} comes with medview and cannot be removed.")
        self._clear(folder)
        if card.folder_sha256:
            self._trust.withdraw(card.folder_sha256)
        self._changed()
        self._audit.record(
            by or "medview", "model.remove", card.folder_sha256, model=f"{card.id} {card.version}"
        )

    def trust(self, model_id: str, by: str) -> ModelCard:
        """Allow the programs in a model's folder to run in the worker, as its files are now.

        ModelError where nothing in it is a program, or its files are not those that were added.
        """
        card, folder = self._catalog.card(model_id), self._catalog.folder(model_id)
        if not card.code:
            raise ModelError(f"{card.title} brings no program; there is nothing to trust.")
        verify_model(card, folder)
        self._trust.trust(card.folder_sha256, card.id, by)
        self._record_trust("model.trust", card, by)
        self._changed()
        return self._catalog.card(model_id)

    def distrust(self, model_id: str, by: str) -> ModelCard:
        """Allow them no more."""
        card = self._catalog.card(model_id)
        if self._trust.withdraw(card.folder_sha256):
            self._record_trust("model.distrust", card, by)
        self._changed()
        return self._catalog.card(model_id)

    def export(self, model_id: str, out: Path) -> tuple[str, ...]:
        """Write a checked copy of a model folder to `out`; the names of its files.

        Ours are MONAI bundles: `python -m monai.bundle run` runs them. ExportError where `out`
        holds something already or cannot be written.
        """
        models = self._among(model_id)
        card, folder = models.card(model_id), models.folder(model_id)
        verify_model(card, folder)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ExportError(f"{out} is there already and not empty.")
        fresh = out.with_name(f".{out.name}.{time.time_ns()}")
        names = tuple(path.relative_to(folder).as_posix() for path in regular_files(folder))
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, fresh)
            verify_model(card, fresh)
            if out.is_dir():
                out.rmdir()
            fresh.rename(out)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise ExportError(f"{out} cannot be written.", detail=repr(error)) from error
        return names

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Published models that are fetched by their id."""
        return offers_in(self._paths.known_models)

    def _resolved(self, source: str, sha256: str) -> tuple[str, str]:
        """The address and the hash of an offer; anything else as it is."""
        offer = next((one for one in self.offers if one.id == source), None)
        if offer is None or Path(source).exists():
            return source, sha256
        return offer.url, sha256 or offer.sha256

    @property
    def _downloads(self) -> Path:
        return self._paths.cache / "downloads"

    def _fetched(
        self, source: str, sha256: str, progress: Progress, cancelled: Stop
    ) -> tuple[Path, str]:
        """Where the source lies on this machine, and what it is called."""
        # Only who downloads pays for the import.
        from medview.services.download import fetch, is_url  # noqa: PLC0415

        if not is_url(source):
            path = Path(source).absolute()
            return path, path.name
        name = PurePosixPath(unquote(urlsplit(source).path)).name or "model"
        path = fetch(
            source, sha256.lower(), self._downloads, progress=progress, cancelled=cancelled
        )
        return path, name

    def _incoming(self) -> Path:
        """A folder beside the models in which one is put together; stale ones are cleared."""
        models = self._paths.own_models
        models.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in models.glob(f"{_INCOMING}*"):
            with suppress(OSError):
                if time.time() - stale.stat().st_mtime > _STALE_S:
                    shutil.rmtree(stale, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=_INCOMING, dir=models))

    def _changed(self) -> None:
        self._catalog.refresh()
        self.on_change()

    def _describe(self, folder: Path, card: Path | None) -> bool:
        """Put the card that was given, or that is known for these weights, into the folder."""
        target = folder / "configs" / "metadata.json"
        if card is not None:
            text = card.read_text(encoding="utf-8")
        elif not target.is_file():
            text = _known_card(folder, self._paths.known_models)
        else:
            return False
        if text:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text, encoding="utf-8")
        return bool(text)

    def _record_trust(self, action: str, card: ModelCard, by: str) -> None:
        self._audit.record(
            by, action, card.folder_sha256, model=f"{card.id} {card.version}", note=card.code
        )


def _known_card(folder: Path, cards: Path) -> str:
    """The shipped description of a published network, found by the hash of its weights."""
    known = {}
    for path in sorted(cards.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        if (own := json.loads(text).get("medview")) is not None:
            known[own["weights"]["sha256"]] = text
    for path in folder.iterdir():
        if path.is_file() and path.stat().st_size < 1 << 30:
            text = known.get(_hash_of(path), "")
            if text:
                metadata = json.loads(text)
                metadata["medview"]["weights"]["file"] = path.name
                return json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"
    return ""


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_other_hash(found: str, expected: str, name: str) -> None:
    if found != expected.lower():
        raise ModelError(
            f"{name} is not what it should be: its SHA-256 is another.",
            detail=f"expected {expected}, found {found}",
        )
