"""Series that are no pictures: results go onto their images, all else is told in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from medview.core.errors import Cancelled, MedviewError
from medview.core.events import Level
from medview.core.maps import ScalarMap
from medview.core.outline import Outline
from medview.core.segmentation import Segmentation
from medview.core.study import Patient, Series, SeriesKind, Study
from medview.core.volume import Volume
from medview.io.drawn import Drawn
from medview.services.documents import TOGETHER, Documents, in_turn, stranger
from medview.services.edits import AddSegmentation, Compound
from medview.services.loading import Loading
from medview.services.tasks import Tasks
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace

#: Parametric maps are pictures as well: they are asked for as results, and lie over others then.
_MAP_CLASS = "1.2.840.10008.5.1.4.1.1.30"
_MAPS = ("medview.io.seg_read:drawn_on", "medview.io.map_read:read_maps")
#: Series that are opened in one go.
_MOST_RESULTS = 50
#: Functions of the import workers that say what a series was drawn on, and that read it.
_DRAWN: Mapping[SeriesKind, tuple[str, str]] = MappingProxyType({
    SeriesKind.SEGMENTATION: ("medview.io.seg_read:drawn_on",
                              "medview.io.reading:load_segmentations"),
    SeriesKind.STRUCTURE_SET: ("medview.io.rtss_read:drawn_on",
                               "medview.io.rtss_read:read_structures"),
})  # fmt: skip
#: Functions of the import workers that read documents of results, by kind and format.
_DOCUMENTS: Mapping[tuple[SeriesKind, str], str] = MappingProxyType({
    (SeriesKind.REPORT, ""): "medview.io.sr_read:read_reports",
    (SeriesKind.PRESENTATION, ""): "medview.io.presentation:read_annotations",
    (SeriesKind.REPORT, "results-json"): "medview.io.results_read:read_results",
    (SeriesKind.REPORT, "results-csv"): "medview.io.results_read:read_results",
    (SeriesKind.REPORT, "results-fhir"): "medview.io.results_read:read_results",
})  # fmt: skip
_NAMES: Mapping[SeriesKind, str] = MappingProxyType({
    SeriesKind.SEGMENTATION: "The segmentation", SeriesKind.STRUCTURE_SET: "The structure set",
})  # fmt: skip


def _nothing() -> None:
    """Nobody waits."""


def _forgotten(_maps: Sequence[ScalarMap]) -> None:
    """Where maps are not shown."""


def _drawn(series: Series) -> tuple[str, str] | None:
    """The functions that say what a series was drawn on, and that read it; None for no drawing."""
    if any(one.sop_class_uid == _MAP_CLASS for one in series.instances):
        return _MAPS
    return _DRAWN.get(series.kind)


def _name(series: Series) -> str:
    return series.description or _NAMES.get(series.kind, "The map")


def results_in(study: Study) -> list[Series]:
    """The series of a study that hold results of others which can be brought in."""
    return [
        one
        for one in study.series
        if _drawn(one) is not None or (one.kind, one.headers.get("_Format", "")) in _DOCUMENTS
    ]


class Objects:
    """Opens what a series holds that cannot be shown as pictures.

    `on_outline(series, outline)` shows an outline; without a window its title is a notice.
    """

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        loading: Loading,
        viewing: Viewing,
        documents: Documents,
    ) -> None:
        self._workspace = workspace
        self._documents = documents
        documents.describe, documents.open_series = self.describe, self.open
        self._tasks = tasks
        self._loading = loading
        self._viewing = viewing
        self.on_outline: Callable[[Series, Outline], object] = self._tell
        #: Takes maps that were brought in.
        self.on_maps: Callable[[Sequence[ScalarMap]], object] = _forgotten

    def open(self, series_uid: str, then: Callable[[], object] = _nothing) -> None:
        """Bring results onto the images they belong to, or tell what the series says.

        `then` is called when that is done, whatever came of it.
        """
        series = self._workspace.series(series_uid)
        reader = _DOCUMENTS.get((series.kind, series.headers.get("_Format", "")))
        if reader is not None:
            self._documents.open(series, reader, then)
            return
        drawn = _drawn(series)
        if drawn is None:
            self.describe(series_uid)
            then()
            return
        placed = self._placed(series)
        if placed is not None:
            self._viewing.show_volume(placed)
            then()
            return
        self._tasks.call_import(
            drawn[0],
            series,
            self._password_of(series),
            on_done=partial(self._find_source, series, then),
            on_error=partial(self._fail_then, then),
            timeout_s=120.0,
        )

    def offer(self, studies: Sequence[Study], has_pictures: bool) -> bool:
        """Bring in results that were opened by themselves; offer those that came with pictures.

        Results never lie over images before a reader asks for them. False where there are none.
        """
        found = [one for study in studies for one in results_in(study)]
        if found and has_pictures:
            words = (
                "1 series of results came"
                if len(found) == 1
                else (f"{len(found)} series of results came")
            )
            self._workspace.notify(Level.INFO, f"{words} with these images", "", "study.bring_in")
        elif found:
            self.bring_in(found)
        return bool(found)

    def bring_in(self, results: Sequence[Series]) -> None:
        """Open several series of results one after the other, segments before what names them."""
        ordered = sorted(results, key=lambda one: _drawn(one) is None)
        in_turn([partial(self.open, one.uid) for one in ordered[:_MOST_RESULTS]], _nothing)

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

    def _fail_then(self, then: Callable[[], object], error: MedviewError) -> None:
        self._fail(error)
        then()

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

    def _find_source(self, series: Series, then: Callable[[], object], drawn: Drawn) -> None:
        sources = self._sources(series, drawn)
        patient = self._workspace.study_of(series.uid).patient
        same = [one for one in sources if patient.may_be(self._patient_of(one))]
        name = _name(series)
        if same:
            self._loading.load_series(
                same[0].uid,
                on_done=partial(self._place, series, drawn, then),
                on_error=partial(self._fail_then, then),
            )
            return
        if sources:
            self._workspace.notify(Level.ERROR, *stranger(name))
        else:
            self._workspace.notify(
                Level.WARNING, f"{name}: the images it was drawn on are not open", TOGETHER
            )
            self.describe(series.uid)
        then()

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

    def _place(
        self,
        series: Series,
        drawn: Drawn,
        then: Callable[[], object],
        volumes: Sequence[Volume],
    ) -> None:
        """Try the volumes of the source in turn, those with the named images first."""
        ordered = sorted(volumes, key=lambda one: not drawn.instance_uids & set(one.instance_uids))
        self._try(series, ordered, then)

    def _try(self, series: Series, volumes: Sequence[Volume], then: Callable[[], object]) -> None:
        if not volumes:
            then()
            return
        volume, *rest = volumes
        name = _name(series)

        reader = (_drawn(series) or _MAPS)[1]

        def placed(found: tuple[Segmentation, ...] | tuple[ScalarMap, ...]) -> None:
            if reader != _MAPS[1]:
                segments = [one for one in found if isinstance(one, Segmentation)]
                self._put(name, volume.uid, segments)
            self._put_maps(name, [one for one in found if isinstance(one, ScalarMap)])
            if series.kind is SeriesKind.SEGMENTATION and reader != _MAPS[1]:
                self._probabilities(series, volume, then)
            else:
                then()

        def refused(error: MedviewError) -> None:
            if rest:
                self._try(series, rest, then)
            else:
                self._fail_then(then, error)

        self._tasks.call_import(
            reader,
            series,
            volume.geometry,
            volume.uid,
            self._password_of(series),
            on_done=placed,
            on_error=refused,
            timeout_s=300.0,
        )

    def _probabilities(self, series: Series, volume: Volume, then: Callable[[], object]) -> None:
        """The probabilities behind fractional segments, as maps."""

        def read(maps: tuple[ScalarMap, ...]) -> None:
            self._put_maps(_name(series), maps)
            then()

        self._tasks.call_import(
            _MAPS[1],
            series,
            volume.geometry,
            volume.uid,
            self._password_of(series),
            on_done=read,
            on_error=partial(self._fail_then, then),
            timeout_s=300.0,
        )

    def _put_maps(self, name: str, maps: Sequence[ScalarMap]) -> None:
        if not maps or maps[0].volume_uid not in self._workspace.volumes:
            return
        self.on_maps(maps)
        self._viewing.show_volume(maps[0].volume_uid)
        about = ", ".join(dict.fromkeys(one.subject or one.kind.value for one in maps[:4]))
        command = f"ai.{maps[0].kind.value}"
        self._workspace.notify(Level.INFO, f"{name}: map of {about}", maps[0].caption, command)

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

    def _put(self, name: str, volume_uid: str, segmentations: Sequence[Segmentation]) -> None:
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
