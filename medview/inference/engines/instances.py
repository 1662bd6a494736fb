"""The engine for objects of one kind: each outlined by itself, all of them counted."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from medview.core.codes import COUNT, NO_UNIT
from medview.core.errors import ModelError
from medview.core.findings import Finding, Measurement, PictureBox, SegmentRef
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind, ScalarMap
from medview.core.models import OutputChannel
from medview.core.segmentation import Segment, Segmentation
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.structure import box_in_patient, measured_area
from medview.inference.adapter import Context, loaded, wanted_maps
from medview.inference.engines.planes import FlatEngine
from medview.inference.networks.averaging import unsureness
from medview.inference.networks.readings import object_maps, objects_of

Numbered = npt.NDArray[np.int32]

#: Labels are 16 bits wide.
_MOST = 65_535


@dataclass(frozen=True)
class _Object:
    """One object: its number, its box on the picture (rows, columns), size, and probability."""

    number: int
    slice_index: int
    place: tuple[slice, slice]
    pixels: int
    probability: float


class Engine(FlatEngine):
    """Every object a segment of its own, with a finding for each and one for their number.

    A stack is looked at slice by slice: an object is a cut through one on each.
    """

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        if len(self.card.inputs.patch_shape) != 2:
            raise ModelError(f"{self.card.title} does not look at flat pictures.")
        super().load(device)

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Numbered objects on the volume's grid, counted and measured."""
        del series, study  # what the headers say was weighed before
        model = loaded(self._model, self.card)
        labels = np.zeros(volume.geometry.shape, np.uint16)
        inside = np.zeros(volume.geometry.shape, np.float16)
        objects: list[_Object] = []
        for k, picture in model.pictures(volume, context):
            maps = object_maps(model.network, picture, model.recipe)
            inside[k] = maps[0].sigmoid().numpy()
            numbered = objects_of(maps, model.recipe)
            objects += _listed(numbered, inside[k], k, len(objects))
            if len(objects) > _MOST:
                raise ModelError(f"There are more than {_MOST:,} objects in the image.")
            labels[k] = np.where(numbered > 0, numbered + (len(objects) - numbered.max()), 0)
        context.progress("Measuring")
        return self._result(volume, labels, inside, objects, context)

    def _result(
        self,
        volume: Volume,
        labels: npt.NDArray[np.uint16],
        inside: npt.NDArray[np.float16],
        objects: Sequence[_Object],
        context: Context,
    ) -> InferenceResult:
        (channel,) = self.card.outputs.channels
        segments = tuple(_segment(one, channel, context) for one in objects)
        segmentation = Segmentation(
            volume.uid, volume.geometry, labels, segments, title=self.card.title
        )
        findings = tuple(_finding(one, channel, segmentation, context) for one in objects)
        return InferenceResult(
            context.job_uid,
            (segmentation,) if objects else (),
            (_count(objects, channel, volume.geometry, context), *findings),
            notes=() if objects else ("Nothing was found.",),
            maps=tuple(_maps(volume, inside, channel, context)),
            device=context.device,
        )


def _listed(
    numbered: Numbered, inside: npt.NDArray[np.float16], k: int, before: int
) -> list[_Object]:
    """The objects of one slice, numbered on from those before."""
    listed = []
    for number, place in enumerate(ndimage.find_objects(numbered), start=1):
        own = numbered[place] == number
        probability = float(inside[place][own].mean(dtype=np.float64))
        listed.append(_Object(before + number, k, place, int(own.sum()), probability))
    return listed


def _segment(one: _Object, channel: OutputChannel, context: Context) -> Segment:
    return Segment(
        number=one.number,
        label=f"{channel.label} {one.number}",
        category=channel.category,
        type=channel.code,
        color_rgb=_shade(channel.color_rgb, one.number),
        provenance=context.provenance,
        probability=min(1.0, one.probability),
    )


def _shade(color_rgb: tuple[int, int, int], number: int) -> tuple[int, int, int]:
    """The card's colour turned round the circle, so that neighbours in number differ well."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in color_rgb))
    turned = (hue + number * 0.618_034) % 1  # the golden ratio spreads evenly however many come
    red, green, blue = colorsys.hls_to_rgb(
        turned, min(max(light, 0.45), 0.65), max(saturation, 0.6)
    )
    return round(red * 255), round(green * 255), round(blue * 255)


def _finding(
    one: _Object, channel: OutputChannel, segmentation: Segmentation, context: Context
) -> Finding:
    rows, columns = one.place
    start = (one.slice_index, rows.start, columns.start)
    stop = (one.slice_index + 1, rows.stop, columns.stop)
    return Finding(
        label=f"{channel.label} {one.number}",
        code=channel.code,
        provenance=context.provenance,
        probability=min(1.0, one.probability),
        measurements=(
            measured_area(one.pixels, segmentation.geometry, "Area", context.provenance),
        ),
        segment_ref=SegmentRef(segmentation.uid, one.number),
        box_lps_mm=box_in_patient(segmentation.geometry, start, stop),
        picture_box=PictureBox(
            (rows.start, columns.start, rows.stop, columns.stop), one.slice_index
        ),
    )


def _count(
    objects: Sequence[_Object], channel: OutputChannel, geometry: Geometry, context: Context
) -> Finding:
    count = Measurement(
        kind=COUNT,
        value=float(len(objects)),
        unit=NO_UNIT.value,
        method="Objects outlined",
        provenance=context.provenance,
        name="Count",
    )
    sizes: tuple[Measurement, ...] = ()
    if objects:
        median = float(np.median([one.pixels for one in objects]))
        method = "Median over all objects"
        sizes = (measured_area(median, geometry, "Median area", context.provenance, method),)
    return Finding(
        label=f"{channel.label}: count",
        code=channel.code,
        provenance=context.provenance,
        measurements=(count, *sizes),
    )


def _maps(
    volume: Volume, inside: npt.NDArray[np.float16], channel: OutputChannel, context: Context
) -> list[ScalarMap]:
    """Probability of the foreground, and how unsure that is."""
    wanted, maps = wanted_maps(context), []
    if MapKind.PROBABILITY in wanted:
        maps.append(
            ScalarMap(
                volume.uid, MapKind.PROBABILITY, volume.geometry, inside, (0.0, 1.0), channel.label
            )
        )
    if MapKind.UNCERTAINTY in wanted:
        both = torch.stack([torch.from_numpy(inside), 1 - torch.from_numpy(inside)]).float()
        doubt = unsureness(both).numpy()
        maps.append(
            ScalarMap(
                volume.uid,
                MapKind.UNCERTAINTY,
                volume.geometry,
                doubt,
                (0.0, 1.0),
                channel.label,
                method="Entropy of the mean over mirrored views",
            )
        )
    return maps
