"""What the mouse does in a picture: a tool for each button, the brush, and the rules of edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from medview.services.rules import EditRules
from medview.services.settings import Settings


class MouseButton(StrEnum):
    """The buttons that carry a tool each."""

    LEFT = "left"
    MIDDLE = "middle"
    RIGHT = "right"


class ToolKind(StrEnum):
    """What dragging with a button does."""

    WINDOW = "window"
    PAN = "pan"
    ZOOM = "zoom"
    CROSSHAIR = "crosshair"
    BRUSH = "brush"
    ERASER = "eraser"
    TRACK = "track"
    BOX = "box"
    CONTOUR = "contour"
    WIRE = "wire"
    SCISSORS = "scissors"
    TRACE = "trace"
    INCLUDE = "include"
    EXCLUDE = "exclude"
    FRAME = "frame"


#: Tools whose marks are answered by an outline.
PROMPT_TOOLS = (ToolKind.INCLUDE, ToolKind.EXCLUDE, ToolKind.FRAME)


class Cut(StrEnum):
    """What scissors do with what lies within their outline."""

    ERASE = "erase"
    KEEP = "keep"
    FILL = "fill"


@dataclass(frozen=True)
class BrushOptions:
    """How the brush paints.

    `sphere` paints a ball through the slices, else a disc in the slice. `follows_edges` keeps a
    dab to what looks like the voxels under its centre and is joined to them. `erase_all` lets the
    eraser clear every segment, not the active one alone.
    """

    radius_mm: float = 5.0
    sphere: bool = False
    follows_edges: bool = False
    erase_all: bool = False

    def __post_init__(self) -> None:
        if not 0.1 <= self.radius_mm <= 200:
            raise ValueError(f"A brush radius lies between 0.1 and 200 mm, not {self.radius_mm}")


class Toolbox:
    """The tool on each mouse button, the brush, and the rules that every edit of segments obeys.

    `changed` is called after every change.
    """

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._brush = BrushOptions(settings.number("segment.brush_radius_mm"))
        self._rules = EditRules()
        self._cut = Cut.ERASE
        self._prompts_solid = False
        self._tools = {
            MouseButton.LEFT: ToolKind.WINDOW,
            MouseButton.MIDDLE: ToolKind.PAN,
            MouseButton.RIGHT: ToolKind.ZOOM,
        }

    def tool(self, button: MouseButton = MouseButton.LEFT) -> ToolKind:
        """What dragging with a button does."""
        return self._tools[button]

    def choose(self, tool: ToolKind, button: MouseButton = MouseButton.LEFT) -> None:
        """Put a tool on a button."""
        if self._tools[button] is not tool:
            self._tools[button] = tool
            self._changed()

    @property
    def brush(self) -> BrushOptions:
        """How the brush paints."""
        return self._brush

    def set_brush(self, **changes: Any) -> None:
        """Change fields of the brush; ValueError for a radius that makes no sense."""
        brush = replace(self._brush, **changes)
        if brush != self._brush:
            self._brush = brush
            self._changed()

    @property
    def cut(self) -> Cut:
        """What scissors do."""
        return self._cut

    def set_cut(self, cut: Cut) -> None:
        """Choose what scissors do."""
        if cut is not self._cut:
            self._cut = cut
            self._changed()

    @property
    def prompts_solid(self) -> bool:
        """Whether what marks mean is carried on through the slices beside theirs."""
        return self._prompts_solid

    def set_prompts_solid(self, *, solid: bool) -> None:
        """Answer marks in all slices, or in their own alone."""
        if solid is not self._prompts_solid:
            self._prompts_solid = solid
            self._changed()

    @property
    def rules(self) -> EditRules:
        """What edits of segments may touch."""
        return self._rules

    def set_rules(self, **changes: Any) -> None:
        """Change the mask rule or the overlap rule; ValueError for a range that holds nothing."""
        rules = replace(self._rules, **changes)
        if rules != self._rules:
            self._rules = rules
            self._changed()
