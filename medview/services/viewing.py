"""Viewing: what is looked at and how, apart from what it is, and apart from any window."""

from __future__ import annotations

from dataclasses import replace

from medview.core.arriving import Arriving
from medview.core.clip import Clip
from medview.core.errors import CommandError
from medview.core.events import StudyClosed, ViewChanged
from medview.core.findings import Point
from medview.core.study import Series, Study
from medview.core.views import LAYOUTS, HangingProtocol, Layout, Plane, ViewState
from medview.core.volume import Volume, Window
from medview.imaging.reslice import PlaneFrame
from medview.services.cine import Cine
from medview.services.greys import Greys
from medview.services.looks import Look, fresh_look, is_flat, reading_plane
from medview.services.overlay import Overlay
from medview.services.settings import Settings
from medview.services.shown import Shown
from medview.services.toolbox import Toolbox
from medview.services.workspace import Workspace


class Viewing(Greys):
    """The series on show, the crosshair all planes share, window, zoom and layout.

    `cine` plays clips, `shown` says which volume or clip of a series is on show, `overlay` how its
    segments are drawn, `toolbox` what the mouse does. Every change sends one ViewChanged. What is
    remembered belongs to a volume and comes back with it; the crosshair belongs to a frame of
    reference. Methods that need an image raise CommandError where none is shown.
    """

    def __init__(self, workspace: Workspace, settings: Settings | None = None) -> None:
        self.workspace = workspace
        self._settings = Settings(None) if settings is None else settings
        self.shown = Shown(workspace)
        self._looks: dict[str, Look] = {}
        self._crosshairs: dict[str, Point] = {}
        self._layout: Layout | None = None
        self._maximised: Plane | None = None
        self._active_plane: Plane | None = None
        self.overlay = Overlay(self, self._settings, self._changed)
        self.toolbox = Toolbox(self._settings, self._changed)
        self.cine = Cine(workspace, self._settings, lambda: self.clip, self._changed)
        workspace.events.study_closed.connect(self._forget)

    # What is shown

    @property
    def series_uid(self) -> str:
        """The series on show, or "" for none; its volume may still be loading."""
        return self.shown.series_uid if self.study is not None else ""

    @property
    def volume(self) -> Volume | None:
        """The volume on show; None while there is none, and for clips."""
        return self.shown.volume

    @property
    def clip(self) -> Clip | None:
        """The clip on show; None while there is none."""
        return self.shown.clip

    @property
    def picture(self) -> Volume | None:
        """What is drawn: the volume on show, or the frames of the clip."""
        return self.shown.picture

    @property
    def study(self) -> Study | None:
        """The study of the series on show: whose name stands on the pictures."""
        return self.shown.study

    def show_series(self, series_uid: str) -> None:
        """Show a series, as it was left the last time; KeyError if it is not open."""
        self.workspace.study_of(series_uid)
        if series_uid != self.shown.series_uid:
            self.shown.series_uid = series_uid  # this ends a preview too
            self._maximised = None
            self._changed()

    def hang(self, series: Series, protocol: HangingProtocol | None) -> None:
        """Show a series that was just opened, in the layout of the protocol that picked it.

        A layout chosen in the settings is kept.
        """
        if protocol is not None and self._settings.text("view.layout") == "auto":
            self._layout = _layout(protocol.layout)
        self.show_series(series.uid)

    def preview(self, first: Arriving | None) -> None:
        """Show the first image of what is being opened, until a series of it is shown, or None."""
        if first is not self.shown.preview:
            self.shown.preview = first
            self._changed()

    def is_there(self, plane: Plane) -> bool:
        """Whether the slice of a plane can be drawn: not if a part of it is still to be read."""
        arriving = self.shown.arriving
        if arriving is None:
            return True
        frame = self.frame(plane)
        return frame.normal == 0 and bool(arriving.there[self.slice_number(plane)])

    def plane_on_show(self, volume_uid: str) -> int | None:
        """The plane, along the first axis, of a volume that is looked at; None if it is not."""
        picture = self.picture
        if picture is None or picture.uid != volume_uid:
            return None
        return int(picture.geometry.to_index(self.crosshair_lps_mm)[0] + 0.5)

    def show_volume(self, uid: str) -> None:
        """Show one volume or clip of a series; KeyError if it is not loaded."""
        if self.shown.choose(uid):
            self._changed()

    def step_volume(self, steps: int) -> None:
        """Go on in a series of several volumes (over time, by echo) or clips, held to its ends."""
        self.require_picture()
        neighbour = self.shown.neighbour(steps)
        if neighbour:
            self.show_volume(neighbour)

    # Planes

    def shown_plane(self, slot: Plane) -> Plane:
        """The plane that the view standing in the layout as `slot` shows.

        Images without patient space are shown as acquired; a single view shows the plane the
        images were taken in.
        """
        picture = self.picture
        if picture is None:
            return slot
        if not picture.geometry.in_patient_space:
            return Plane.ACQUIRED
        single = self._maximised is None and self.layout.name == "one"
        return reading_plane(picture) if single else slot

    def frame(self, plane: Plane) -> PlaneFrame:
        """Where the slices of a plane are and how they lie on the screen."""
        return self._look().frames[self.shown_plane(plane)]

    def view(self, plane: Plane) -> ViewState:
        """Centre, zoom, window and flips of a plane."""
        return self._look().view(self.shown_plane(plane))

    def slice_number(self, plane: Plane) -> int:
        """Grid index of the slice of a plane that the crosshair is in; of a clip, the frame."""
        if self.clip is not None:
            return self.cine.state.frame
        return self.frame(plane).slice_number(self.crosshair_lps_mm)

    @property
    def active_plane(self) -> Plane:
        """The view that keys act on: the last one touched."""
        slots = [name for row in self.layout.rows for name in row if name != "volume"]
        if self._active_plane is not None and self._active_plane.value in slots:
            return self._active_plane
        return Plane(slots[0]) if slots else Plane.AXIAL

    def set_active_plane(self, plane: Plane) -> None:
        """Let keys act on this view."""
        if plane is not self._active_plane:
            self._active_plane = plane
            self._changed()

    @property
    def layout(self) -> Layout:
        """Which views stand where: the reader's choice, or what suits the volume."""
        if self._maximised is not None:
            return Layout("maximised", "One view", ((self._maximised.value,),))
        setting = self._settings.text("view.layout")
        wanted = self._layout or _layout("mpr" if setting == "auto" else setting)
        picture = self.picture
        flat = picture is not None and is_flat(picture)
        keeps = wanted.name == "volume" and self.clip is None
        return _layout("one") if flat and not keeps else wanted

    def set_layout(self, name: str) -> None:
        """Choose a layout by name; CommandError for an unknown one."""
        self._layout, self._maximised = _layout(name), None
        self._changed()

    def toggle_maximised(self, plane: Plane) -> None:
        """Let one view fill the window, or go back to the layout."""
        self._maximised = plane if self._maximised is None else None
        self._changed()

    # Place

    @property
    def crosshair_lps_mm(self) -> Point:
        """The point where the planes cut each other."""
        look = self._look()
        return look.clamped(self._crosshairs.get(_space(look.volume)) or look.middle_lps_mm)

    def set_crosshair(self, point_lps_mm: Point) -> None:
        """Move the crosshair, held to the volume; all planes follow."""
        look = self._look()
        x, y, z = (float(value) for value in point_lps_mm)
        point = look.clamped((x, y, z))
        if point != self.crosshair_lps_mm:
            self._crosshairs[_space(look.volume)] = point
            self._changed()

    def scroll(self, plane: Plane, steps: int) -> None:
        """Go `steps` images on in a plane, back when negative, held to the first and last."""
        frame = self.frame(plane)
        self._go_to(plane, self.slice_number(plane) + steps * frame.next_sign)

    def scroll_to_end(self, plane: Plane, *, last: bool) -> None:
        """Go to the first or last image of a plane."""
        frame = self.frame(plane)
        self._go_to(plane, frame.count - 1 if last == (frame.next_sign > 0) else 0)

    def _go_to(self, plane: Plane, number: int) -> None:
        if self.clip is not None:
            self.cine.pause()
            self.cine.go_to(number)
            return
        shown = self.shown_plane(plane)
        self.set_crosshair(self._look().at_slice(shown, self.crosshair_lps_mm, number))

    def set_view(
        self, plane: Plane, *, center_lps_mm: Point | None = None, zoom: float | None = None
    ) -> None:
        """Pan and zoom a plane: the point in the middle of the view, and 1 where all fits."""
        state = self.view(plane)
        center = state.center_lps_mm if center_lps_mm is None else center_lps_mm
        self._put(replace(state, center_lps_mm=center, zoom=state.zoom if zoom is None else zoom))

    def fit(self, plane: Plane) -> None:
        """Show all of the image in a plane again."""
        x, y, z = self._look().volume.geometry.center_lps_mm
        self.set_view(plane, center_lps_mm=(float(x), float(y), float(z)), zoom=1.0)

    def flip(self, plane: Plane, *, vertically: bool = False) -> None:
        """Mirror a plane; the letters at its edges follow."""
        self._put(self.view(plane).flipped(vertically=vertically))

    def turn(self, plane: Plane, quarter_turns: int) -> None:
        """Turn a plane clockwise as it is seen; the letters at its edges follow."""
        self._put(self.view(plane).turned(quarter_turns))

    def _put(self, state: ViewState) -> None:
        look = self._look()
        if state != look.view(state.orientation):
            self._keep(look.with_view(state))

    def reset(self) -> None:
        """Window, zoom, place, flips and inversion as at first."""
        look = self._look()
        self._crosshairs.pop(_space(look.volume), None)
        self._keep(fresh_look(look.volume))

    def require_volume(self) -> Volume:
        """The volume on show; CommandError while there is none."""
        volume = self.volume
        if volume is None:
            raise CommandError("No image is shown", "Open a study and choose a series first.")
        return volume

    def require_picture(self) -> Volume:
        """What is drawn, be it all there or not; CommandError while there is nothing."""
        picture = self.picture
        return self.require_volume() if picture is None else picture

    def _look(self) -> Look:
        volume = self.require_picture()
        look = self._looks.get(volume.uid)
        if look is None or look.volume is not volume:
            series = [o for o in self._looks.values() if o.volume.series_uid == volume.series_uid]
            arriving = self.shown.arriving
            sample = None if arriving is None else arriving.sample()
            look = fresh_look(volume, series[-1] if series else None, sample)
            self._looks[volume.uid] = look
        return look

    def grey_of(self, volume_uid: str) -> tuple[Window, bool] | None:
        """The window a volume is seen in, and whether it is turned round; None if not yet seen."""
        look = self._looks.get(volume_uid)
        return None if look is None else (look.window, look.inverted)

    def _keep(self, look: Look) -> None:
        self._looks[look.volume.uid] = look
        self._changed()

    def _forget(self, _event: StudyClosed) -> None:
        """Keep nothing of volumes that are gone: it would keep their memory."""
        there = {*self.workspace.volumes, *self.workspace.clips, *self.workspace.arriving}
        for uid in self._looks.keys() - there:
            del self._looks[uid]

    def _changed(self) -> None:
        self.workspace.emit(ViewChanged())


def _space(volume: Volume) -> str:
    """What shares one crosshair: a frame of reference, or the volume alone where none is known."""
    known = volume.geometry.in_patient_space
    return (known and volume.geometry.frame_of_reference_uid) or volume.uid


def _layout(name: str) -> Layout:
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    names = ", ".join(layout.name for layout in LAYOUTS)
    raise CommandError(f"There is no layout {name}", f"There are: {names}.")


def plane_of(viewing: Viewing, name: str) -> Plane:
    """The plane called that, or the one last touched for ""; CommandError for an unknown one."""
    if not name:
        return viewing.active_plane
    try:
        return Plane(name)
    except ValueError:
        names = ", ".join(plane.value for plane in Plane)
        raise CommandError(f"There is no plane {name}", f"There are: {names}.") from None
