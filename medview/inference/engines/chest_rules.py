"""Rules for CT of the chest: lungs, airways and bone, lung volumes and the emphysema index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medview.core import codes
from medview.core.codes import Code
from medview.core.errors import ModelError
from medview.core.findings import Finding, Laterality, Measurement, SegmentRef
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard, OutputChannel
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.chest_borders import Painted, paint
from medview.imaging.chest_ct import LUNG_BELOW_HU, Chest, Part, find_chest
from medview.imaging.coarse import Coarse
from medview.imaging.measure import count_voxels
from medview.inference.adapter import Context

_LUNGS = Code("39607008", "SCT", "Lung")
_LUNG_SIDES = {Part.RIGHT_LUNG: Laterality.RIGHT, Part.LEFT_LUNG: Laterality.LEFT}
#: Voxels of the search, in mm, for an adult's field of view and for a small one.
_COARSEST_MM, _FINEST_MM, _ACROSS = 2.2, 1.0, 170
#: A stack thinner than this shows no lung that rules could tell from other air.
_LEAST_MM = 10.0
#: Slices further apart hide emphysema by averaging.
_THICK_MM = 3.0


class Engine:
    """Segments and findings of a chest by `imaging.chest_ct`."""

    def __init__(self, card: ModelCard, rules: Mapping[str, Any]) -> None:
        self.card = card
        value: Any = rules.get("emphysema_below_hu")
        if set(rules) != {"find", "emphysema_below_hu"} or type(value) not in (int, float):
            raise ModelError(f"The rules of {card.title} are not known.")
        self._emphysema_hu = float(value)

    def load(self, device: str) -> None:
        """Nothing is left to read, and rules need no device."""

    def unload(self) -> None:
        """Nothing is held."""

    def run(
        self,
        volume: Volume,
        series: Series | None,  # noqa: ARG002
        study: Study | None,  # noqa: ARG002
        context: Context,
    ) -> InferenceResult:
        """Lungs, airways, bone. ModelError where there is no lung, or for other values."""
        doubts = self._doubts(volume)
        context.progress("Reading the image", 0.0)
        grid = Coarse.of(
            volume, _search_mm(volume), lambda part: context.progress("Reading the image", part)
        )
        chest = find_chest(grid, context.progress)
        if not (chest.lungs[0].any() or chest.lungs[1].any()):
            raise ModelError(
                "No lung was found: there is none in the image, or not enough of it.",
                hint=f"{self.card.title} is for images that show the chest.",
            )
        painted = paint(chest, grid, volume, lambda part: context.progress("Drawing borders", part))
        report = _Report(self.card, volume, painted, self._emphysema_hu, context)
        notes = ("Rules without a network.", *_remarks(chest, grid))
        return InferenceResult(
            context.job_uid,
            (report.segmentation,),
            tuple(report.findings()),
            notes,
            out_of_scope=doubts,
        )

    def _doubts(self, volume: Volume) -> tuple[str, ...]:
        """What speaks against the values being Hounsfield units; ModelError if all does."""
        k, j, i = volume.geometry.shape
        extent = Coarse.extent_mm(volume.geometry)
        if min(k, j, i) < 2 or extent < _LEAST_MM:
            raise ModelError(
                f"{self.card.title} needs at least {_LEAST_MM:g} mm from feet to head;"
                f" the image has {extent:.0f} mm."
            )
        if volume.unit == codes.HOUNSFIELD.value:
            return ()
        stored = volume.voxels[k // 2], volume.voxels[0], volume.voxels[-1]
        lowest = min(float(volume.value_of(plane.min())) for plane in stored)
        highest = max(float(volume.value_of(plane.max())) for plane in stored)
        if volume.unit != codes.NO_UNIT.value or not (lowest < -800 and highest > 100):
            raise ModelError(f"{self.card.title} needs Hounsfield units; the image has none.")
        return ("The file does not state Hounsfield units; its values were taken as such.",)


class _Report:
    """Segments and findings of one run."""

    def __init__(
        self,
        card: ModelCard,
        volume: Volume,
        painted: Painted,
        emphysema_hu: float,
        context: Context,
    ) -> None:
        self._painted = painted
        self._below_hu = emphysema_hu
        self._made_by = context.provenance
        self._voxel_ml = volume.geometry.voxel_volume_ml
        counts = count_voxels(painted.labels)
        self._ml = {part: counts.get(part, 0) * self._voxel_ml for part in Part}
        self._channels = [one for one in card.outputs.channels if counts.get(one.index, 0)]
        segments = tuple(
            Segment(one.index, one.label, one.category, one.code, one.color_rgb, self._made_by)
            for one in self._channels
        )
        self.segmentation = Segmentation(
            volume.uid, volume.geometry, painted.labels, segments, title=card.title
        )

    def findings(self) -> Iterator[Finding]:
        """Each lung, both together, and the airways; bone is shown without a number."""
        for channel in self._channels:
            part = Part(channel.index)
            if part is not Part.BONE:
                yield self._finding(part, channel)
        if len(lungs := [part for part in _LUNG_SIDES if self._ml[part]]) == 2:
            yield Finding(
                label="Lungs",
                code=_LUNGS,
                provenance=self._made_by,
                site=_LUNGS,
                laterality=Laterality.BOTH,
                measurements=self._measurements(lungs),
            )

    def _finding(self, part: Part, channel: OutputChannel) -> Finding:
        lung = part in _LUNG_SIDES
        return Finding(
            label=channel.label,
            code=channel.code,
            provenance=self._made_by,
            site=channel.code,
            laterality=_LUNG_SIDES.get(part),
            measurements=self._measurements([part]) if lung else (self._volume([part]),),
            segment_ref=SegmentRef(self.segmentation.uid, channel.index),
        )

    def _volume(self, parts: list[Part]) -> Measurement:
        return Measurement(
            kind=codes.VOLUME,
            value=sum(self._ml[part] for part in parts),
            unit=codes.MILLILITRE.value,
            method=f"Voxels by rules, air below {LUNG_BELOW_HU:g} HU",
            provenance=self._made_by,
            name="Volume",
        )

    def _measurements(self, lungs: list[Part]) -> tuple[Measurement, ...]:
        return (
            self._volume(lungs),
            Measurement(
                kind=codes.LOW_ATTENUATION,
                value=100 * self._painted.share_below(lungs, self._below_hu),
                unit=codes.PERCENT.value,
                method=f"Voxels below {self._below_hu:g} HU, of the lung without large airways",
                provenance=self._made_by,
                name=f"Emphysema index ({self._below_hu:g} HU)",
            ),
            Measurement(
                kind=codes.MEAN,
                value=self._painted.mean_hu(lungs),
                unit=codes.HOUNSFIELD.value,
                method="All voxels of the lung without large airways",
                provenance=self._made_by,
                name="Mean density",
            ),
        )


def _search_mm(volume: Volume) -> float:
    """How coarse the search may be: finer for small fields of view, which show small patients."""
    spacing = sorted(volume.geometry.spacing_mm)[:2]
    across = max(volume.geometry.shape) * min(spacing)
    return min(_COARSEST_MM, max(_FINEST_MM, across / _ACROSS))


def _remarks(chest: Chest, grid: Coarse) -> Iterator[str]:
    """What a reader has to know beside the numbers."""
    if chest.cut_off:
        yield "A lung reaches the edge of the image: the numbers are of the part that is shown."
    if not all(lung.any() for lung in chest.lungs):
        side = "left" if chest.lungs[0].any() else "right"
        yield f"No {side} lung was found."
    if grid.spacing_mm[0] / grid.factors[0] > _THICK_MM:
        yield (
            f"Slices are {grid.spacing_mm[0]:.1f} mm apart: the emphysema index is lower than on"
            " thin slices."
        )
