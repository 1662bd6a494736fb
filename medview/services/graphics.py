"""What files lay over their images: overlays, shutters, and presentation states to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medview.core.errors import Cancelled, CommandError, MedviewError
from medview.core.events import Level, StudyClosed, ViewChanged
from medview.core.graphics import Graphics, ImageLook, Presentation
from medview.core.study import Instance, Series, SeriesKind
from medview.core.volume import Volume
from medview.services.tasks import Tasks
from medview.services.workspace import Workspace

_NOTHING = Graphics()
_Key = tuple[str, str, int]


class ImageGraphics:
    """Fetched when an image is first looked at: `of` gives what is there, the rest follows.

    Overlays are drawn unless `overlays_shown` is False. A presentation state is offered and never
    applied by itself; `chosen` is the one the reader took for a series.
    """

    def __init__(self, workspace: Workspace, tasks: Tasks) -> None:
        self._workspace = workspace
        self._tasks = tasks
        self._own: dict[_Key, Graphics] = {}
        self._states: dict[str, tuple[Presentation, ...]] = {}
        self._chosen: dict[str, Presentation] = {}
        self.overlays_shown = True
        workspace.events.study_closed.connect(self._forget)

    def of(self, volume: Volume, slice_number: int) -> Graphics:
        """What lies over one acquired image of a volume."""
        own = self._own_graphics(volume, slice_number)
        look = self.look_of(volume, slice_number)
        return own if look is None else look.graphics.over(own)

    def toggle_overlays(self) -> None:
        """Hide overlays and drawings, or show them again; shutters stay."""
        self.overlays_shown = not self.overlays_shown
        self._workspace.emit(ViewChanged())

    # Presentation states

    def offered(self, volume: Volume) -> tuple[Presentation, ...]:
        """The presentation states of the study that refer to images of a volume, newest first."""
        uids = set(volume.instance_uids)
        study = self._workspace.study_of(volume.series_uid)
        found: list[Presentation] = []
        for series in study.series:
            if series.kind is SeriesKind.PRESENTATION:
                found += self._states_of(series)
        return tuple(one for one in found if any(uid in uids for uid, _ in one.looks))

    def chosen(self, volume: Volume) -> Presentation | None:
        """The presentation state in force for a volume."""
        return self._chosen.get(volume.uid)

    def choose(self, volume: Volume, label: str) -> Presentation | None:
        """Take a presentation state by label or UID, none for ""; CommandError if not offered."""
        self._chosen.pop(volume.uid, None)
        if label:
            states = self.offered(volume)
            found = [one for one in states if label in (one.uid, one.label)]
            if not found:
                names = ", ".join(one.label for one in states) or "none"
                raise CommandError(f"No presentation state “{label}”", f"There are: {names}.")
            self._chosen[volume.uid] = found[0]
        self._workspace.emit(ViewChanged())
        return self._chosen.get(volume.uid)

    def look_of(self, volume: Volume, slice_number: int) -> ImageLook | None:
        """How the presentation state in force shows one image."""
        state = self._chosen.get(volume.uid)
        if state is None or slice_number >= len(volume.instance_uids):
            return None
        return state.look_at(volume.instance_uids[slice_number], _frame(volume, slice_number))

    def _states_of(self, series: Series) -> tuple[Presentation, ...]:
        known = self._states.get(series.uid)
        if known is not None:
            return known
        self._states[series.uid] = ()
        keep = partial(self._states.__setitem__, series.uid)
        self._ask("medview.io.presentation:read_presentations", keep, series.uid, series)
        return ()

    # The images' own

    def _own_graphics(self, volume: Volume, slice_number: int) -> Graphics:
        if slice_number >= len(volume.instance_uids):
            return _NOTHING
        frame = _frame(volume, slice_number)
        key = (volume.series_uid, volume.instance_uids[slice_number], frame)
        known = self._own.get(key)
        if known is not None:
            return known
        try:
            instance = self._with_graphics(*key[:2])
        except KeyError:
            return _NOTHING  # the first look at what is still being opened
        self._own[key] = _NOTHING
        if instance is not None:
            keep = partial(self._own.__setitem__, key)
            self._ask("medview.io.overlays:graphics_of", keep, key[0], instance, frame)
        return _NOTHING

    def _with_graphics(self, series_uid: str, instance_uid: str) -> Instance | None:
        """The instance, if its header speaks of overlays or shutters."""
        series = self._workspace.series(series_uid)
        for instance in series.instances:
            if instance.sop_instance_uid == instance_uid:
                values: Mapping[str, str] = {**series.headers, **instance.headers}
                speaks = values.get("OverlayRows") or values.get("ShutterShape")
                return instance if speaks else None
        return None

    def _ask(
        self, target: str, keep: Callable[[Any], object], series_uid: str, *arguments: object
    ) -> None:
        """Fetch in a worker; what cannot be read stays as it is, and the reader is told."""
        study_uid = self._workspace.series(series_uid).study_uid
        password = self._workspace.password_of(study_uid)

        def done(found: object) -> None:
            keep(found)
            self._workspace.emit(ViewChanged())

        def failed(error: MedviewError) -> None:
            if not isinstance(error, Cancelled):
                self._workspace.notify(Level.WARNING, error.user_text, error.hint)

        self._tasks.call_import(
            target, *arguments, password, on_done=done, on_error=failed, timeout_s=60.0
        )

    def _forget(self, _event: StudyClosed) -> None:
        there = {one.uid for study in self._workspace.studies.values() for one in study.series}
        for key in [key for key in self._own if key[0] not in there]:
            del self._own[key]
        for uid in self._states.keys() - there:
            del self._states[uid]
        for uid in self._chosen.keys() - self._workspace.volumes.keys():
            del self._chosen[uid]


def _frame(volume: Volume, slice_number: int) -> int:
    """The frame of its instance that a slice is."""
    numbers = volume.frame_numbers
    return numbers[slice_number] if slice_number < len(numbers) else 0
