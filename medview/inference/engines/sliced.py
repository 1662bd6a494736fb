"""Networks of flat pictures, asked about every slice by itself."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from medview.core.jobs import InferenceResult
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.inference.adapter import Context, loaded
from medview.inference.engines.labelled import labelled_result
from medview.inference.engines.planes import FlatEngine
from medview.inference.networks.readings import class_map


class Engine(FlatEngine):
    """A network of flat pictures, asked about every slice as it was about pictures in training."""

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Look at one slice after the other; those that hold no image or one value stay empty."""
        del series, study  # what the headers say was weighed before; here only pixels speak
        model = loaded(self._model, self.card)
        started = time.perf_counter()
        labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
        for k, picture in model.pictures(volume, context):
            labels[k] = class_map(model.network, picture, model.recipe)
        context.progress("Measuring")
        result = labelled_result(self.card, volume, labels, context)
        seconds = time.perf_counter() - started
        return replace(result, device=context.device, seconds=seconds)
