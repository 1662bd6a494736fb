"""What a segmentation was drawn on, in plain values that cross from the import workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drawn:
    """The frame of reference of a segmentation, and the series and images that it names."""

    frame_of_reference_uid: str
    series_uids: tuple[str, ...]
    instance_uids: frozenset[str]
