"""What a 3D picture is to show; plain values that cross from the window to the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medview.core.findings import SegmentRef
from medview.ui.volume.camera import Camera
from medview.ui.volume.transfer import Transfer


@dataclass(frozen=True)
class Look:
    """How one segment is drawn in 3D: colour, and opacity from 0 to 1."""

    color_rgb: tuple[int, int, int]
    opacity: float


@dataclass(frozen=True)
class Shot:
    """One picture: from where, how large, how well (`draft` while moving), and what of it."""

    camera: Camera
    width_px: int
    height_px: int
    transfer: Transfer
    volume_opacity: float = 1.0
    draft: bool = False
    looks: Mapping[SegmentRef, Look] = field(default_factory=dict)
