"""What files lay over their images: bitmaps, shutters, drawings; and presentation states.

Places are (row, column) in pixels of the image, 0 being the middle of the first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from medview.core.volume import Window

Place = tuple[float, float]


@dataclass(frozen=True)
class Bitmap:
    """An overlay plane (PS3.3 C.9.2): bits of `shape`, the first at `origin` (row, column)."""

    origin: tuple[int, int]
    shape: tuple[int, int]
    packed: bytes = field(repr=False)
    label: str = ""
    is_region: bool = False

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(rows, columns), True where it is set."""
        count = self.shape[0] * self.shape[1]
        bits = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=count, bitorder="little")
        return bits.reshape(self.shape).astype(np.bool_)

    @staticmethod
    def of(
        mask: npt.NDArray[np.bool_],
        origin: tuple[int, int] = (0, 0),
        label: str = "",
        *,
        is_region: bool = False,
    ) -> Bitmap:
        """The overlay plane of a mask."""
        packed = np.packbits(mask.reshape(-1), bitorder="little").tobytes()
        return Bitmap(origin, (mask.shape[0], mask.shape[1]), packed, label, is_region)


@dataclass(frozen=True)
class Shutter:
    """What of an image is shown (PS3.3 C.7.6.11): what lies inside all the shapes that are given.

    `box` is (top, left, bottom, right), closed; `circle` (row, column, radius); `bitmap` is set
    where nothing is shown. `grey` 0-1 stands in the place of the rest.
    """

    box: tuple[int, int, int, int] | None = None
    circle: tuple[float, float, float] | None = None
    polygon: tuple[Place, ...] = ()
    bitmap: Bitmap | None = None
    grey: float = 0.0


class MarkKind(StrEnum):
    """Forms of drawings (PS3.3 C.10.5)."""

    POINT = "point"
    LINES = "lines"
    CIRCLE = "circle"
    ELLIPSE = "ellipse"
    TEXT = "text"


@dataclass(frozen=True)
class Mark:
    """A drawing over an image.

    `points` are places of the image; with `on_view` (down, right) in fractions of what is shown.
    CIRCLE: the middle and a point of the rim. ELLIPSE: ends of the long and of the short axis.
    TEXT: its anchor, or the corners of its box.
    """

    kind: MarkKind
    points: tuple[Place, ...]
    text: str = ""
    is_filled: bool = False
    on_view: bool = False

    def __post_init__(self) -> None:
        if not self.points or not np.isfinite(self.points).all():
            raise ValueError("A drawing needs places that are numbers")


@dataclass(frozen=True)
class Graphics:
    """All that lies over one image."""

    bitmaps: tuple[Bitmap, ...] = ()
    shutter: Shutter | None = None
    marks: tuple[Mark, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not (self.bitmaps or self.marks) and self.shutter is None

    def over(self, other: Graphics) -> Graphics:
        """Both; the shutter is this one's where it has one."""
        return Graphics(
            other.bitmaps + self.bitmaps, self.shutter or other.shutter, other.marks + self.marks
        )


@dataclass(frozen=True)
class ImageLook:
    """How a presentation state shows one image.

    `area` is (top, left, bottom, right) of what is to be seen, closed; None for all of it.
    """

    window: Window | None = None
    area: tuple[int, int, int, int] | None = None
    graphics: Graphics = field(default_factory=Graphics)


@dataclass(frozen=True)
class Presentation:
    """A Grayscale Softcopy Presentation State (PS3.3 A.33.1): offered, never applied by itself.

    `looks` has one for each image by SOP Instance UID and frame (counted from 0; -1 for all).
    `inverted` says which end is bright, whatever the image says; None leaves it. `quarter_turns`
    go clockwise, then the image may be flipped left to right.
    """

    uid: str
    label: str
    description: str = ""
    creator: str = ""
    made_at: str = ""
    looks: Mapping[tuple[str, int], ImageLook] = field(default_factory=dict)
    inverted: bool | None = None
    quarter_turns: int = 0
    flipped: bool = False
    notes: tuple[str, ...] = ()

    def look_at(self, sop_instance_uid: str, frame: int = 0) -> ImageLook | None:
        """How it shows an image; None if it says nothing of it."""
        own = self.looks.get((sop_instance_uid, frame))
        return own if own is not None else self.looks.get((sop_instance_uid, -1))
