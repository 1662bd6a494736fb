"""Twins: files opened later under the identifier of an image that is open already."""

from __future__ import annotations

from collections.abc import Mapping

from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Level
from medview.core.study import Instance, Problem, ProblemKind, Series, Study
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

_REASON = "Other pixels under the identifier of an image that is open; it was left out"
_HINT = "Ask the sender which of them is right. To see this one, close the study and open it alone."
_NOTE = "A file with other pixels under the same identifier was left out"

_UNTOLD = "Files with identifiers of images that are open could not be compared; they were left out"

Image = tuple[Instance, Mapping[str, str]]

#: An image that is open and one that came later, each with its series.
Pair = tuple[tuple[Series, Image], tuple[Series, Image]]


class Twins:
    """Looks at what a study brings that is open already; neither image replaces the other."""

    def __init__(self, workspace: Workspace, tasks: Tasks) -> None:
        self._workspace = workspace
        self._tasks = tasks

    def look(self, study: Study, password: str = "") -> None:
        """Compare images of a study about to be opened with those that are open, in a worker."""
        known = self._images(study.uid)
        pairs = [
            (known[instance.sop_instance_uid], (series, _image(series, instance)))
            for series in study.series
            for instance in series.instances
            if series.is_dicom and self._is_twin(known, instance)
        ]
        if not pairs:
            return

        def compared(numbers: list[int]) -> None:
            if numbers:
                self._tell([pairs[n] for n in numbers])

        images = [(one[1], other[1]) for one, other in pairs]
        self._tasks.call_import(
            "medview.io.twins:differing",
            images,
            password,
            on_done=compared,
            on_error=lambda error: self._untold(pairs[0], error),
            timeout_s=600.0,
        )

    def _untold(self, pair: Pair, error: MedviewError) -> None:
        """Nothing is known of the twins: what is open stays, and the reader hears of it."""
        if isinstance(error, Cancelled):
            return
        shown = pair[1][1][0].shown
        self._workspace.problems.append(Problem(shown, f"{_UNTOLD}: {error.user_text}", hint=_HINT))
        self._workspace.notify(Level.WARNING, _UNTOLD, _HINT, "study.problems")

    def _images(self, study_uid: str) -> dict[str, tuple[Series, Image]]:
        study = self._workspace.studies.get(study_uid)
        return {
            instance.sop_instance_uid: (series, _image(series, instance))
            for series in (study.series if study is not None else ())
            for instance in series.instances
        }

    @staticmethod
    def _is_twin(known: Mapping[str, tuple[Series, Image]], instance: Instance) -> bool:
        there = known.get(instance.sop_instance_uid)
        if there is None:
            return False
        open_already = there[1][0]
        return (open_already.file, open_already.member) != (instance.file, instance.member)

    def _tell(self, pairs: list[Pair]) -> None:
        for (series, _), (_, (instance, _)) in pairs:
            problem = Problem(instance.shown, _REASON, hint=_HINT, kind=ProblemKind.CONFLICT)
            self._workspace.problems.append(problem)
            if any(
                series.uid == one.uid for s in self._workspace.studies.values() for one in s.series
            ):
                self._workspace.note_series(series.uid, _NOTE)
        first = pairs[0][1][1][0].path.name
        count = "One file was" if len(pairs) == 1 else f"{len(pairs)} files were"
        text = f"{count} left out, first {first}: other pixels under identifiers that are open"
        self._workspace.notify(Level.WARNING, text, _HINT, "study.problems")


def _image(series: Series, instance: Instance) -> Image:
    return instance, {**series.headers, **instance.headers}
