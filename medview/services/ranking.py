"""Ranking: images of a folder opened one by one, those first that a model is least sure of.

`medview rank` puts them in order, in a process of its own.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from medview.core.errors import CommandError
from medview.core.events import Level
from medview.core.models import ModelCard, Task
from medview.core.study import Study
from medview.inference.catalog import Catalog
from medview.services.child_program import Child, begin, end, last_line, own_command
from medview.services.loading import Loading
from medview.services.workspace import Workspace

#: Seconds between two looks at the process.
_LOOK_S = 0.5

#: What a model must do to be asked how sure it is of an image.
RANKED_TASKS = (Task.SEGMENTATION, Task.CLASSIFICATION, Task.DETECTION, Task.INSTANCES)


@dataclass(frozen=True)
class Place:
    """One image of the order, with the doubt that put it there and what that is in words."""

    file: Path
    rank: int
    uncertainty: float
    measure: str


class Ranking:
    """At most one order at a time. All methods belong to the owner's thread; `pump` looks at it."""

    def __init__(
        self, workspace: Workspace, catalog: Catalog, loading: Loading, cache: Path
    ) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self._loading = loading
        self._cache = cache
        self._process: Child | None = None
        self._out = Path()
        self._folder = Path()
        self._due = 0.0
        self._waiting: list[Place] = []
        self._on_show: frozenset[str] = frozenset()

    @property
    def is_running(self) -> bool:
        """Whether images are being put in order."""
        return self._process is not None

    @property
    def left(self) -> int:
        """How many images are still to be opened."""
        return len(self._waiting)

    def models(self) -> tuple[ModelCard, ...]:
        """The models that say how sure they are of an image."""
        cards = self._catalog.cards()
        return tuple(c for c in cards if c.format == "medview" and c.task in RANKED_TASKS)

    def begin(self, model_id: str, folder: Path) -> None:
        """Put the images of a folder in order; the first one opens when that is done."""
        if self.is_running:
            raise CommandError("Images are being put in order.", "Wait for the end of it.")
        if not folder.is_dir():
            raise CommandError(f"There is no folder {folder}.")
        model = self._catalog.folder(model_id)
        self._waiting, self._folder = [], folder
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            self._out = Path(tempfile.mkdtemp(prefix="rank-", dir=self._cache))
            words = [*own_command(), "rank", str(model), str(folder), "--out", str(self._order)]
            self._process = begin(words, self._log)
        except OSError as error:
            raise CommandError(f"Nothing could be put in order: {error}") from error
        title = self._catalog.card(model_id).title
        self._workspace.notify(
            Level.INFO,
            f"The images of {folder.name} are put in order.",
            f"The one that {title} is least sure of opens when that is done.",
        )

    def open_next(self) -> None:
        """Open the image that comes next; CommandError where there is none.

        The one before is put away, whose work is kept: a folder of hundreds is not held open, and
        the views never stand between two patients.
        """
        if self.is_running:
            raise CommandError("Images are being put in order.", "The first opens by itself.")
        if not self._waiting:
            raise CommandError("No image is waiting.", "Choose a folder of images first.")
        place = self._waiting.pop(0)
        for uid in self._on_show & self._workspace.studies.keys():
            self._workspace.close_study(uid)
        open_before = frozenset(self._workspace.studies)
        self._on_show = frozenset()

        def opened(studies: tuple[Study, ...]) -> None:
            self._on_show = frozenset(study.uid for study in studies) - open_before

        self._loading.open_paths([place.file], on_done=opened)
        self._workspace.notify(
            Level.INFO,
            f"{place.file.name}: number {place.rank} of {place.rank + len(self._waiting)}.",
            f"Uncertainty {place.uncertainty:.2f} ({place.measure}).",
        )

    def pump(self) -> None:
        """Look at the process, twice a second at most; costs nothing while there is none."""
        if self._process is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _LOOK_S
        code = self._process.poll()
        if code is not None:
            self._process = None
            self._take(code)

    def close(self) -> None:
        """End the process with the program."""
        if self._process is not None:
            end(self._process)
            self._process = None
            shutil.rmtree(self._out, ignore_errors=True)

    @property
    def _order(self) -> Path:
        return self._out / "order.csv"

    @property
    def _log(self) -> Path:
        return self._out / "rank.log"

    def _take(self, code: int) -> None:
        said = last_line(self._log)
        try:
            rows = _rows(self._order)
            places = [_place(self._folder, row) for row in rows if row["rank"]]
        except (OSError, ValueError, KeyError, csv.Error):
            self._workspace.notify(
                Level.ERROR, f"The images of {self._folder.name} were not put in order: {said}"
            )
            return
        finally:
            shutil.rmtree(self._out, ignore_errors=True)
        for row in rows:
            if not row["rank"]:
                self._workspace.notify(
                    Level.WARNING, f"{row['file']} has no place in the order: {row['problem']}"
                )
        self._waiting = places
        if code == 0 and places:
            self.open_next()


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _place(folder: Path, row: dict[str, str]) -> Place:
    return Place(folder / row["file"], int(row["rank"]), float(row["uncertainty"]), row["measure"])
