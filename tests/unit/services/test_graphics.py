"""Overlays, presentation states and scales as the running program offers them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medview.core.errors import Cancelled, CommandError, ReadError
from medview.core.graphics import Graphics, ImageLook, Presentation, Shutter
from medview.core.volume import Volume
from medview.imaging.windowing import lookup_table
from medview.io import overlays, presentation
from medview.io.reading import load
from medview.io.scan import scan
from medview.services import commands_values
from medview.services.commands import Registry
from medview.services.graphics import ImageGraphics
from medview.services.scales import Scales
from medview.services.settings import Settings
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers.dicom_phantoms import CtOptions, ct_datasets, save
from tests.helpers.pet_phantoms import write_pet
from tests.helpers.phantoms import Phantom
from tests.helpers.presentations import add_overlay, graphic, presentation_state

PLATE = Phantom(shape=(3, 40, 50), radius_mm=8)


class Desk:
    """A workspace with what a folder holds, and workers that answer when told to."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(None)
        self.workspace = Workspace(self.settings)
        self.waiting: list[tuple[str, tuple[Any, ...], Any]] = []
        tasks: Any = SimpleNamespace(call_import=self.call)
        self.viewing = Viewing(self.workspace, self.settings)
        self.graphics = ImageGraphics(self.workspace, tasks)
        self.scales = Scales(self.workspace)
        self.commands = Registry(self.settings)
        services: Any = self
        commands_values.register(self.commands, services)
        found = scan([folder])
        self.workspace.open_studies(found.studies)
        for series in found.studies[0].series:
            for volume in load(series).volumes:
                self.workspace.add_volume(volume)
                self.viewing.show_series(series.uid)

    def call(
        self, target: str, *arguments: Any, on_done: Any, on_error: Any, timeout_s: float
    ) -> None:
        assert timeout_s > 0
        self.on_error = on_error
        self.waiting.append((target, arguments, on_done))

    def answer(self) -> None:
        """What the workers were asked, done."""
        rooms = {"overlays": overlays.graphics_of, "presentation": presentation.read_presentations}
        while self.waiting:
            target, arguments, on_done = self.waiting.pop(0)
            on_done(rooms[target.split(":")[0].rsplit(".", 1)[1]](*arguments))  # type: ignore[operator]

    @property
    def volume(self) -> Volume:
        return self.viewing.require_volume()


def desk_with_state(folder: Path, **attributes: Any) -> Desk:
    images = ct_datasets(PLATE, CtOptions(extra={"WindowCenter": "40", "WindowWidth": "400"}))
    mask = np.zeros((40, 50), dtype=bool)
    mask[5:9] = True
    for n, ds in enumerate(images):
        if n == 1:
            add_overlay(ds, mask)
        save(ds, folder / f"{n}")
    save(presentation_state(images[1:2], **attributes), folder / "state")
    return Desk(folder)


def test_overlays_come_when_they_were_read_and_can_be_hidden(tmp_path: Path) -> None:
    desk = desk_with_state(tmp_path)
    assert desk.graphics.of(desk.volume, 1).is_empty
    assert desk.graphics.of(desk.volume, 0).is_empty
    assert len(desk.waiting) == 1  # asked once, and only for the image that has one
    desk.graphics.of(desk.volume, 1)
    desk.answer()
    assert len(desk.graphics.of(desk.volume, 1).bitmaps) == 1
    assert desk.graphics.of(desk.volume, 0).is_empty
    desk.commands.run("view.overlays")
    assert not desk.graphics.overlays_shown
    desk.workspace.close_study(next(iter(desk.workspace.studies)))
    assert not desk.waiting


def test_overlays_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    desk = desk_with_state(tmp_path)
    desk.graphics.of(desk.volume, 1)
    desk.on_error(ReadError("The overlays of the image are damaged"))
    assert desk.workspace.notices[-1].text == "The overlays of the image are damaged"
    assert desk.graphics.of(desk.volume, 1).is_empty
    count = len(desk.workspace.notices)
    desk.on_error(Cancelled())
    assert len(desk.workspace.notices) == count


def test_a_presentation_state_is_offered_and_taken_only_when_asked(tmp_path: Path) -> None:
    desk = desk_with_state(
        tmp_path, window={"WindowCenter": "100", "WindowWidth": "50"}, ImageHorizontalFlip="Y",
        graphics=[graphic("POINT", [3, 4]), graphic("POINT", [300, 4])], area=(11, 11, 30, 30),
        PresentationLUTShape="INVERSE",
    )  # fmt: skip
    assert desk.graphics.offered(desk.volume) == ()
    desk.answer()
    (state,) = desk.graphics.offered(desk.volume)
    assert desk.viewing.window.center == 40
    assert desk.graphics.of(desk.volume, 1).marks == ()
    desk.commands.run("view.presentation")
    assert desk.graphics.chosen(desk.volume) is state
    assert (desk.viewing.window.center, desk.viewing.window.width) == (100, 50)
    assert desk.viewing.inverted
    plane = desk.viewing.active_plane
    assert desk.viewing.view(plane).flipped_horizontally
    assert desk.viewing.view(plane).zoom == pytest.approx(40 / 20)
    assert len(desk.graphics.of(desk.volume, 1).marks) == 2
    assert desk.graphics.of(desk.volume, 0).marks == ()
    assert any("beyond the image" in notice.text for notice in desk.workspace.notices)
    desk.commands.run("view.presentation")
    assert desk.graphics.chosen(desk.volume) is None
    assert desk.viewing.window.center == 40
    assert not desk.viewing.inverted
    with pytest.raises(CommandError, match="No presentation state"):
        desk.commands.run("view.presentation", label="NONE SUCH")


def test_a_state_of_other_images_is_not_offered(tmp_path: Path) -> None:
    desk = desk_with_state(tmp_path)
    desk.graphics.offered(desk.volume)
    stranger = Presentation("1.2", "X", looks={("9.9", -1): ImageLook()})
    _, _, on_done = desk.waiting.pop()
    on_done((stranger,))
    assert desk.graphics.offered(desk.volume) == ()
    assert not desk.commands.get("view.presentation").enabled()
    with pytest.raises(CommandError, match="not possible"):
        desk.commands.run("view.presentation")


def test_a_shutter_of_a_state_takes_the_place_of_the_image_s() -> None:
    own, other = Shutter(box=(0, 0, 3, 3)), Shutter(circle=(1, 1, 2))
    assert Graphics(shutter=other).over(Graphics(shutter=own)).shutter is other
    assert Graphics().over(Graphics(shutter=own)).shutter is own


def test_values_go_through_their_scales_and_back(tmp_path: Path) -> None:
    desk = Desk(write_pet(tmp_path / "pet"))
    uid = desk.volume.uid
    assert desk.scales.names(uid)[0] == "SUVbw"
    assert desk.commands.get("volume.values").enabled()
    first = desk.volume
    window = desk.viewing.window
    desk.commands.run("volume.values", name="Activity concentration")
    assert desk.volume.unit == "Bq/ml"
    assert desk.volume.uid == uid
    # The window is one of activity now, and the table is that of the new values.
    assert desk.viewing.window.width != window.width
    expected = lookup_table(desk.volume, desk.viewing.window, inverted=desk.viewing.inverted)
    np.testing.assert_array_equal(desk.viewing.table.colors, expected.colors)
    for _ in desk.scales.names(uid):
        desk.commands.run("volume.values")
    assert desk.volume.unit == "Bq/ml"
    desk.commands.run("volume.values", name="SUVbw")
    np.testing.assert_array_equal(desk.volume.values(), first.values())
    assert desk.viewing.window == window
    with pytest.raises(CommandError, match="SUVxy"):
        desk.commands.run("volume.values", name="SUVxy")


def test_values_of_one_meaning_have_no_other(tmp_path: Path) -> None:
    desk = desk_with_state(tmp_path)
    assert not desk.commands.get("volume.values").enabled()
    with pytest.raises(CommandError, match="not possible"):
        desk.commands.run("volume.values")
