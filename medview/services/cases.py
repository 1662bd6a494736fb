"""Cases: what readers accepted and corrected becomes a data set to learn from."""

from __future__ import annotations

import hashlib
import hmac
import importlib
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medview.core.cases import DecidedImage, LabelledCase, Start
from medview.core.errors import CommandError, MedviewError
from medview.core.events import Level
from medview.core.findings import Finding, ModelAuthor, ReviewState
from medview.core.geometry import FloatArray
from medview.core.models import ModelCard
from medview.core.paths import Paths
from medview.inference.catalog import Catalog
from medview.services.audit import Audit
from medview.services.comparison import is_about
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

_TIME_LIMIT_S = 600.0


class Cases:
    """Writes cases into data set folders. All methods belong to the owner's thread."""

    def __init__(
        self, workspace: Workspace, catalog: Catalog, tasks: Tasks, audit: Audit, paths: Paths
    ) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self._tasks = tasks
        self._audit = audit
        self._key_file = paths.pseudonym_key
        self._resources = paths.resources

    def collect(self, volume_uid: str, folder: Path) -> None:
        """Add an image with what was accepted of it to a data set; the reader is told the outcome.

        CommandError while something found on it waits for a decision, and where nothing was
        accepted.
        """
        image = self._image(volume_uid)
        waiting = sum(one.review.state is ReviewState.PROPOSED for one in image.findings)
        if waiting:
            raise CommandError(
                f"{waiting} findings of this image wait for a decision.",
                "Accept, correct or reject each: what is learned from has to be right.",
            )
        if not any(one.review.state.counts for one in image.findings):
            raise CommandError("Nothing that was found on this image was accepted.")
        self._tasks.run(
            _cases_of,
            image,
            self._resources,
            on_done=partial(self._write, image, folder),
            on_error=self._failed,
        )

    def _image(self, volume_uid: str) -> DecidedImage:
        workspace = self._workspace
        volume, study = workspace.volumes[volume_uid], workspace.study_of(volume_uid)
        findings = tuple(
            one for one in workspace.findings_of(study.uid) if is_about(one, volume, workspace)
        )
        key, patient = self._key(), study.patient
        person = "\n".join((patient.id, patient.name, patient.birth_date)) if patient.id else ""
        return DecidedImage(
            volume,
            workspace.segmentations_of(volume_uid),
            findings,
            self._card(findings),
            _pseudonym(key, volume_uid),
            _pseudonym(key, person or study.uid),
        )

    def _card(self, findings: Sequence[Finding]) -> ModelCard | None:
        """The model whose findings these are; None where there is none, or several."""
        models = {
            author.model_id
            for one in findings
            if isinstance(author := one.provenance.author, ModelAuthor)
        }
        known = {card.id: card for card in self._catalog.cards()}
        return known.get(models.pop()) if len(models) == 1 else None

    def _key(self) -> bytes:
        """What makes pseudonyms of this profile: the same person has the same one everywhere."""
        try:
            if not self._key_file.is_file():
                self._key_file.touch(mode=0o600)
                self._key_file.write_bytes(secrets.token_bytes(32))
            return self._key_file.read_bytes()
        except OSError as error:
            raise CommandError(f"{self._key_file} cannot be used ({error.strerror})") from error

    def _write(self, image: DecidedImage, folder: Path, cases: tuple[LabelledCase, ...]) -> None:
        now = {one.uid: one.revision for one in self._workspace.segmentations.values()}
        if any(now.get(one.uid) != one.revision for one in image.segmentations):
            self.collect(image.volume.uid, folder)  # the reader painted meanwhile
            return
        card = image.card
        self._tasks.call_import(
            "medview.io.case_write:write_cases",
            folder,
            cases,
            card and Start(card.id, card.title, self._catalog.folder(card.id)),
            on_done=partial(self._written, image, folder, cases),
            on_error=self._failed,
            timeout_s=_TIME_LIMIT_S,
        )

    def _written(
        self, image: DecidedImage, folder: Path, cases: Sequence[LabelledCase], recipe: str
    ) -> None:
        self._audit.record(
            self._workspace.reader or "medview",
            "case.collect",
            image.volume.uid,
            study_uid=self._workspace.study_of(image.volume.uid).uid,
            note=" ".join(case.name for case in cases),
        )
        many = f"{len(cases)} cases stand" if len(cases) > 1 else "One case stands"
        hint = f"{recipe} there trains from it." if recipe else ""
        self._workspace.notify(Level.INFO, f"{many} in {folder}", hint, "train.watch")

    def _failed(self, error: MedviewError) -> None:
        text = f"The case was not written: {error.user_text}"
        self._workspace.notify(Level.ERROR, text, error.hint)


def _cases_of(image: DecidedImage, resources: Path) -> tuple[LabelledCase, ...]:
    # Named, not imported: what samples volumes is slow to load and not needed before this.
    make = importlib.import_module("medview.io.case_make")
    made: tuple[LabelledCase, ...] = make.cases_of(image, _crop_axes(image, resources))
    return made


def _crop_axes(image: DecidedImage, resources: Path) -> FloatArray | None:
    """How a model that finds its place in the head crops there; None for others."""
    card = image.card
    if card is None or not card.inputs.localise:
        return None
    heads = importlib.import_module("medview.inference.head_template")
    template = heads.load_template(resources, card.inputs.localise)
    region = heads.load_region(resources, card.inputs.localise, card.outputs.channels[0].code)
    place_head = importlib.import_module("medview.imaging.localise").place_head
    placement = place_head(image.volume.values(), image.volume.geometry, template)
    if placement.doubts():
        return None
    axes: FloatArray = placement.crop_axes(
        region.pitch_deg, card.inputs.orientation or "RAS", mirrored=False
    )
    return axes


def _pseudonym(key: bytes, text: str) -> str:
    """Twelve letters that lead back to nothing without the key (HMAC, RFC 2104)."""
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).hexdigest()[:12]
