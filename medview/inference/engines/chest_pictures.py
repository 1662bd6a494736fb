"""Both lungs in frontal chest pictures: right and left, areas and ratio."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from medview.core.codes import NO_UNIT, RATIO, Code
from medview.core.errors import ModelError
from medview.core.findings import Finding, Laterality, Measurement
from medview.core.jobs import InferenceResult
from medview.core.segmentation import LabelArray
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.lung_sides import split_lungs, why_not_frontal
from medview.imaging.measure import count_voxels
from medview.inference.adapter import Context, loaded
from medview.inference.engines.labelled import labelled_result
from medview.inference.engines.planes import FlatEngine
from medview.inference.networks.readings import class_map

_LUNGS = Code("39607008", "SCT", "Lung")
_SIDE_UNKNOWN = "The file does not say which side is which: right is taken to be first."


class Engine(FlatEngine):
    """A network that draws both lungs as one; what is no frontal chest picture is refused.

    The patient's right is taken to be at the first column, as frontal pictures are shown, unless
    Patient Orientation (0020,0020) says that the columns go towards it.
    """

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Right and left lung of every picture; ModelError where none shows two lungs."""
        del study  # what the headers say was weighed before
        model = loaded(self._model, self.card)
        started = time.perf_counter()
        rows = "" if series is None else series.headers.get("PatientOrientation", "")
        right_is_first = not rows.upper().startswith("R")
        labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
        refused: list[str] = []
        first, second = (channel.index for channel in self.card.outputs.channels)
        for k, picture in model.pictures(volume, context):
            lungs = class_map(model.network, picture, model.recipe) > 0
            right, left = split_lungs(lungs, right_is_first=right_is_first)
            if reason := why_not_frontal(right, left):
                refused.append(reason)
                continue
            labels[k][right], labels[k][left] = first, second
        if not labels.any():
            raise ModelError(
                f"{self.card.title} is for frontal chest pictures. Here it finds"
                f" {refused[0] if refused else 'no picture'}.",
                hint="Lateral views and other parts of the body are not for this model.",
            )
        context.progress("Measuring")
        notes = [f"{len(refused)} pictures show no frontal chest."] if refused else []
        # A side that is taken for granted is told wherever the findings go.
        limits = () if rows else (_SIDE_UNKNOWN,)
        result = labelled_result(self.card, volume, labels, context, notes)
        return replace(
            result,
            findings=(*result.findings, self._both(labels, context)),
            out_of_scope=limits,
            device=context.device,
            seconds=time.perf_counter() - started,
        )

    def _both(self, labels: LabelArray, context: Context) -> Finding:
        """Both lungs together, with the ratio of their areas."""
        counts = count_voxels(labels)
        right, left = (counts[channel.index] for channel in self.card.outputs.channels)
        ratio = Measurement(
            kind=RATIO,
            value=left / right,
            unit=NO_UNIT.value,
            method="Area of the left lung by that of the right",
            provenance=context.provenance,
            name="Area, left to right",
        )
        return Finding(
            label="Lungs",
            code=_LUNGS,
            provenance=context.provenance,
            site=_LUNGS,
            laterality=Laterality.BOTH,
            measurements=(ratio,),
        )
