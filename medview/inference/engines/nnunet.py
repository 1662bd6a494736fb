"""Result folders of nnU-Net v2, run by the nnunetv2 package (an extra).

The package plans, resamples and asks as in training; medview gives the image and takes the
labels. Checkpoints are read as plain tensors, not as nnunetv2 does it, which would run what is
in them.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.errors import ModelError
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import as_labels
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.turned import AS_STORED, Turn
from medview.inference.adapter import Context, loaded, refuse_colour, refuse_placeless
from medview.inference.engines.labelled import labelled_result
from medview.inference.formats.described import read_json
from medview.inference.formats.nnunet import folds_of, reorients, results_folder

#: The order of axes in nnU-Net's arrays of images turned to RAS: slices, rows, columns.
_TURNED = "SAR"


class Engine:
    """The networks of all folds of a folder, their logits averaged."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._predictor: Any = None
        self._reorients = False

    def load(self, device: str) -> None:
        """Build the networks; ModelError where nnunetv2 is missing or the folder is damaged."""
        # nnunetv2 warns of folders for training that nobody needs here.
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ.setdefault(name, str(self._folder))
        try:
            # An extra, and slow to import: only who has such a model pays for it.
            from medview.inference.engines.nnunet_predictor import make_predictor  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(
                f"{self.card.title} needs nnunetv2, which is not installed.",
                hint="pip install medview[nnunet]",
                detail=str(error),
            ) from error
        results = results_folder(self._folder)
        if results is None:
            raise ModelError(f"The folder of {self.card.title} holds no nnU-Net results any more.")
        self._reorients = reorients(read_json(results / "plans.json"))
        checkpoints = [results / name for name in folds_of(results)]
        self._predictor = make_predictor(results, checkpoints, device, self.card)

    def unload(self) -> None:
        """Let go of the networks."""
        self._predictor = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Labels as the folder's networks give them, on the image's own grid."""
        del series, study
        predictor = loaded(self._predictor, self.card)
        if self.card.inputs.channels != 1:
            raise ModelError(
                f"{self.card.title} looks at {self.card.inputs.channels} images of a patient at"
                " once; medview gives it one."
            )
        refuse_colour(volume)
        refuse_placeless(volume.geometry)
        started = time.perf_counter()
        context.progress("Preparing the image")
        turn = Turn.to(volume.geometry, _TURNED) if self._reorients else AS_STORED
        image = np.ascontiguousarray(turn.turned(_finite(volume.values())))
        found = predictor.labels(image, turn.spacing_of(volume.geometry), context)
        labels = as_labels(turn.undone(found))
        result = labelled_result(self.card, volume, labels, context)
        return replace(result, device=context.device, seconds=time.perf_counter() - started)


def _finite(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Values with the least of them where there is none."""
    lacking = ~np.isfinite(values)
    if lacking.all():
        raise ModelError("The image holds nothing that could be looked at.")
    return np.where(lacking, values[~lacking].min(), values) if lacking.any() else values
