"""Cases: images with what is true of them, as they are learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medview.core.findings import Finding
from medview.core.models import ModelCard
from medview.core.segmentation import LabelArray, Segmentation
from medview.core.volume import Volume

#: A box on a picture by the name of its class: top, left, bottom, right in pixels.
NamedBox = tuple[str, tuple[float, float, float, float]]


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """One image with the truth about it, for the task `task`; `name` and `patient` are pseudonyms.

    `labels` (slices, rows, columns) number the classes of `classes` from 1; `boxes` and `answer`
    name one. `origin` tells who said it, as plain values.
    """

    name: str
    patient: str
    task: str
    image: Volume
    classes: tuple[str, ...]
    labels: LabelArray | None = None
    boxes: tuple[NamedBox, ...] = ()
    answer: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DecidedImage:
    """One image with all that was found on it and decided, at one moment.

    `card` is that of the model that found it, None without one; `name` and `patient` are the
    pseudonyms that cases made of it bear.
    """

    volume: Volume
    segmentations: tuple[Segmentation, ...]
    findings: tuple[Finding, ...]
    card: ModelCard | None
    name: str
    patient: str


@dataclass(frozen=True)
class Start:
    """A model to go on from: id, name for people, and its folder."""

    id: str
    title: str
    folder: Path
