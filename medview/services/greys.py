"""Greys: the window of what is on show, and what changes it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from medview.core.errors import CommandError
from medview.core.volume import Window
from medview.imaging.windowing import (
    LookupTable,
    dragged,
    full_window,
    initial_window,
    key_windows,
    shows_uptake,
)
from medview.services.looks import Look
from medview.services.settings import Settings

#: Steps into which a drag divides the dynamic range of an image, one for each pixel.
_DRAG_STEPS = 1024


class Greys(ABC):
    """The half of `Viewing` that knows values: window, table, inversion.

    Methods raise CommandError where no image is shown.
    """

    _settings: Settings

    @abstractmethod
    def _look(self) -> Look:
        """How what is on show is looked at."""

    @abstractmethod
    def _keep(self, look: Look) -> None:
        """Look at it so from now on, and tell."""

    @property
    def window(self) -> Window:
        """The grey-scale window of the volume on show."""
        return self._look().window

    @property
    def table(self) -> LookupTable:
        """Stored values to colours, through the window."""
        return self._look().table

    @property
    def inverted(self) -> bool:
        """Whether the reader turned the greys round."""
        return self._look().inverted

    def set_window(self, window: Window) -> None:
        """Show the volume in another window."""
        look = self._look()
        if window != look.window:
            self._keep(look.with_grey(window, inverted=look.inverted))

    def drag_window(self, right_px: float, up_px: float) -> None:
        """Widen and brighten the window by a drag.

        A pixel is 1/1024 of the dynamic range of the middle slice. Uptake in PET keeps its
        lower end. The setting `view.window_drag_up` says what dragging up does.
        """
        look = self._look()
        step = look.dynamic_range / _DRAG_STEPS
        sense = 1 if self._settings.text("view.window_drag_up") == "brighter" else -1
        uptake = shows_uptake(look.volume)
        window = dragged(look.window, right_px * step, sense * up_px * step, upper_only=uptake)
        self.set_window(window)

    def preset(self, number: int) -> None:
        """Window of a number key; 0 is the image's own. CommandError where there is none."""
        if number == 0:
            self.set_window(initial_window(self._look().volume))
            return
        windows = key_windows(self._look().volume)
        if not 1 <= number <= len(windows):
            raise CommandError(
                f"This image has no window {number}",
                "Window presets are for CT; other images bring their own or none.",
            )
        self.set_window(windows[number - 1])

    def full_range(self) -> None:
        """From the smallest to the largest value."""
        self.set_window(full_window(self._look().volume))

    def toggle_inverted(self) -> None:
        """Turn the greys round, or back."""
        look = self._look()
        self._keep(look.with_grey(look.window, inverted=not look.inverted))
