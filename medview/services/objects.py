"""Series that are no pictures: segments go onto their images, everything else is told in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Level
from medview.core.outline import Outline
from medview.core.segmentation import Segmentation
from medview.core.study import Patient, Series, SeriesKind
from medview.core.volume import Volume
from medview.io.drawn import Drawn
from medview.services.edits import AddSegmentation, Compound
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace

_TOGETHER = "Open the images together with what was drawn on them."
#: Functions of the import workers that say what a series was drawn on, and that read it.
_DRAWN: Mapping[SeriesKind, tuple[str, str]] = MappingProxyType({
    SeriesKind.SEGMENTATION: ("medview.io.seg_read:drawn_on",
                              "medview.io.reading:load_segmentations"),
    SeriesKind.STRUCTURE_SET: ("medview.io.rtss_read:drawn_on",
                               "medview.io.rtss_read:read_structures"),
})  # fmt: skip
_NAMES: Mapping[SeriesKind, str] = MappingProxyType({
    SeriesKind.SEGMENTATION: "The segmentation", SeriesKind.STRUCTURE_SET: "The structure set",
})  # fmt: skip


class Objects:
    """Opens what a series holds that cannot be shown as pictures.

    `on_outline(series, outline)` shows an outline; without a window its title is a notice.
    """

    def __init__(
        self, workspace: Workspace, tasks: Tasks, loading: Loading, viewing: Viewing
    ) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._loading = loading
        self._viewing = viewing
        self.on_outline: Callable[[Series, Outline], object] = self._tell

    def open(self, series_uid: str) -> None:
        """Show segments on the images they were drawn on, or tell what the series says."""
        series = self._workspace.series(series_uid)
        if series.kind not in _DRAWN:
            self.describe(series_uid)
            return
        placed = self._placed(series)
        if placed is not None:
            self._viewing.show_volume(placed)
            return
        self._tasks.call_import(
            _DRAWN[series.kind][0],
            series,
            self._password_of(series),
            on_done=partial(self._find_source, series),
            on_error=self._fail,
            timeout_s=120.0,
        )

    def describe(self, series_uid: str) -> None:
        """Tell what a series says of itself."""
        series = self._workspace.series(series_uid)
        self._tasks.call_import(
            "medview.io.outline:outline",
            series,
            self._password_of(series),
            on_done=partial(self._told, series),
            on_error=self._fail,
            timeout_s=120.0,
        )

    def _told(self, series: Series, outline: Outline) -> None:
        self.on_outline(series, outline)

    def _tell(self, series: Series, outline: Outline) -> None:
        name = series.description or series.modality
        self._workspace.notify(Level.INFO, f"{name} is not an image: {outline.summary}")

    def _fail(self, error: MedviewError) -> None:
        if not isinstance(error, Cancelled):
            self._workspace.notify(Level.ERROR, error.user_text, error.hint)

    def _password_of(self, series: Series) -> str:
        return self._workspace.password_of(series.study_uid)

    # Segments onto their images

    def _placed(self, series: Series) -> str | None:
        """The volume that segments of this series lie on already."""
        own = {instance.sop_instance_uid for instance in series.instances}
        for segmentation in self._workspace.segmentations.values():
            known = segmentation.uid.split("#")[0] in own
            if known and segmentation.volume_uid in self._workspace.volumes:
                return segmentation.volume_uid
        return None

    def _find_source(self, series: Series, drawn: Drawn) -> None:
        sources = self._sources(series, drawn)
        patient = self._workspace.study_of(series.uid).patient
        same = [one for one in sources if _is_one_person(patient, self._patient_of(one))]
        name = series.description or _NAMES[series.kind]
        if not sources:
            self._workspace.notify(
                Level.WARNING, f"{name}: the images it was drawn on are not open", _TOGETHER
            )
            self.describe(series.uid)
        elif not same:
            self._workspace.notify(
                Level.ERROR,
                f"{name} was not shown: it names another patient than the images it refers to",
                "Ask the sender which patient it belongs to.",
            )
        else:
            self._loading.load_series(
                same[0].uid, on_done=partial(self._place, series, drawn), on_error=self._fail
            )

    def _patient_of(self, series: Series) -> Patient:
        return self._workspace.study_of(series.uid).patient

    def _sources(self, series: Series, drawn: Drawn) -> list[Series]:
        """Open series that it names; where it names none, those in its frame of reference."""
        frame = drawn.frame_of_reference_uid
        found = []
        for study in self._workspace.studies.values():
            for one in study.series:
                if one.uid == series.uid or not one.kind.is_shown:
                    continue
                here = {instance.sop_instance_uid for instance in one.instances}
                lacking = drawn.instance_uids and not drawn.instance_uids & here
                named = one.headers.get("SeriesInstanceUID", one.uid) in drawn.series_uids
                nearby = not drawn.series_uids and frame and one.frame_of_reference_uid == frame
                if (named and not lacking) or nearby:
                    found.append(one)
        return found

    def _place(self, series: Series, drawn: Drawn, volumes: Sequence[Volume]) -> None:
        """Try the volumes of the source in turn, those with the named images first."""
        ordered = sorted(volumes, key=lambda one: not drawn.instance_uids & set(one.instance_uids))
        self._try(series, ordered)

    def _try(self, series: Series, volumes: Sequence[Volume]) -> None:
        if not volumes:
            return
        volume, *rest = volumes

        def refused(error: MedviewError) -> None:
            if rest:
                self._try(series, rest)
            else:
                self._fail(error)

        self._tasks.call_import(
            _DRAWN[series.kind][1],
            series,
            volume.geometry,
            volume.uid,
            self._password_of(series),
            on_done=partial(self._put, series.description or _NAMES[series.kind], volume.uid),
            on_error=refused,
            timeout_s=300.0,
        )

    def open_labels(self, path: Path, volume: Volume, names: Path | None = None) -> None:
        """Show a label map of another program on an open volume; `names` is a JSON file."""
        self._tasks.call_import(
            "medview.io.label_map:read_label_map",
            path,
            volume.geometry,
            volume.uid,
            names,
            on_done=lambda one: self._put(path.name, volume.uid, (one,)),
            on_error=self._fail,
            timeout_s=300.0,
        )

    def _put(self, name: str, volume_uid: str, segmentations: tuple[Segmentation, ...]) -> None:
        workspace = self._workspace
        if volume_uid not in workspace.volumes:
            return
        study_uid = workspace.study_of(volume_uid).uid
        new = [one for one in segmentations if one.uid not in workspace.segmentations]
        count = sum(len(one.segments) for one in new)
        if not count:
            workspace.notify(Level.WARNING, f"{name} marks nothing in these images")
            return
        title = f"Show {name}"
        edits = tuple(AddSegmentation(study_uid, one, title) for one in new)
        workspace.apply(Compound(study_uid, title, edits))
        self._viewing.show_volume(volume_uid)
        told = "1 segment is" if count == 1 else f"{count} segments are"
        workspace.notify(Level.INFO, f"{name}: {told} drawn on the images, as the file has them")


def _is_one_person(one: Patient, other: Patient) -> bool:
    """Whether what two studies state of their patients agrees."""
    pairs = ((one.id, other.id), (one.issuer, other.issuer), (one.birth_date, other.birth_date))
    return all(not a or not b or a == b for a, b in pairs)
