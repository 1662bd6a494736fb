"""Documents: reports, key objects and files of results, brought in once their images are loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Level
from medview.core.study import Series
from medview.io.brought import Brought
from medview.services.bringing_in import BringingIn
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace

TOGETHER = "Open the images together with what was drawn on them."
#: Series that a document may load because its findings lie on them.
_MOST_SERIES = 8


def stranger(name: str) -> tuple[str, str]:
    """What is said of results of another patient, and what to do."""
    text = f"{name} was not shown: it names another patient than the images it refers to"
    return text, "Ask the sender which patient it belongs to."


def _nothing(_series_uid: str) -> None:
    """Nobody describes."""


def _at_once(_series_uid: str, then: Callable[[], object]) -> None:
    """Nobody opens other series."""
    then()


class Documents:
    """Reads documents of results in import workers and puts them onto open images.

    `describe(series_uid)` tells a document in words that nothing can be made of;
    `open_series(series_uid, then)` opens segments that findings refer to.
    """

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        loading: Loading,
        viewing: Viewing,
        bringing_in: BringingIn,
    ) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._loading = loading
        self._viewing = viewing
        self._bringing_in = bringing_in
        self.describe: Callable[[str], object] = _nothing
        self.open_series: Callable[[str, Callable[[], object]], object] = _at_once

    def _fail(self, then: Callable[[], object], error: MedviewError) -> None:
        if not isinstance(error, Cancelled):
            self._workspace.notify(Level.ERROR, error.user_text, error.hint)
        then()

    def open(self, series: Series, reader: str, then: Callable[[], object]) -> None:
        """Read the documents of a series and bring them in; `then` is called at the end."""

        def read(documents: tuple[Brought, ...]) -> None:
            self._each(iter(documents), series, then)

        self._tasks.call_import(
            reader,
            series,
            self._workspace.password_of(series.study_uid),
            on_done=read,
            on_error=partial(self._fail, then),
            timeout_s=120.0,
        )

    def _each(
        self, documents: Iterator[Brought], series: Series, then: Callable[[], object]
    ) -> None:
        """One document after the other: each may have images and segments to wait for."""
        brought = next(documents, None)
        if brought is None:
            then()
            return
        go_on = partial(self._each, documents, series, then)
        if brought.is_empty:
            self.describe(series.uid)
            go_on()
            return
        sources = self._shown_by(brought)
        study = self._workspace.study_of(sources[0].uid if sources else series.uid)
        if not brought.patient.may_be(study.patient):
            self._workspace.notify(Level.ERROR, *stranger(brought.name))
            go_on()
        elif not sources and brought.images:
            self._workspace.notify(
                Level.WARNING, f"{brought.name}: the images it refers to are not open", TOGETHER
            )
            self.describe(series.uid)
            go_on()
        else:
            segments = self._holding({ref.segmentation_uid for ref in brought.segments.values()})
            opened = [partial(self.open_series, one.uid) for one in segments]
            loaded = [partial(self._load, one.uid) for one in sources]
            in_turn([*loaded, *opened], partial(self._take, study.uid, brought, sources, go_on))

    def _take(
        self,
        study_uid: str,
        brought: Brought,
        sources: Sequence[Series],
        then: Callable[[], object],
    ) -> None:
        if study_uid in self._workspace.studies:
            self._bringing_in.put(study_uid, brought)
            volumes = self._workspace.volumes_of(sources[0].uid) if sources else ()
            if volumes:
                self._viewing.show_volume(volumes[0].uid)
        then()

    def _load(self, series_uid: str, then: Callable[[], object]) -> None:
        self._loading.load_series(
            series_uid, on_done=lambda _volumes: then(), on_error=partial(self._fail, then)
        )

    def _shown_by(self, brought: Brought) -> list[Series]:
        """The open series that findings lie on; else one that the document refers to."""
        boxes = {one.picture_box.sop_instance_uid for one in brought.findings if one.picture_box}
        chosen = boxes | {one.sop_instance_uid for one in brought.pictures}
        found = self._holding(chosen)[:_MOST_SERIES] or self._holding(brought.images)[:1]
        if found:
            return found
        every = (one for study in self._workspace.studies.values() for one in study.series)
        near = (one for one in every if one.frame_of_reference_uid in brought.frames)
        return [one for one in near if one.kind.is_shown][:1]

    def _holding(self, uids: Collection[str]) -> list[Series]:
        """The open series that hold any of the objects."""
        return [
            one
            for study in self._workspace.studies.values()
            for one in study.series
            if any(instance.sop_instance_uid in uids for instance in one.instances)
        ]


def in_turn(
    steps: Sequence[Callable[[Callable[[], object]], object]], then: Callable[[], object]
) -> None:
    """Do steps one after the other; each is given what to call when it is done."""
    if not steps:
        then()
        return
    steps[0](partial(in_turn, steps[1:], then))
