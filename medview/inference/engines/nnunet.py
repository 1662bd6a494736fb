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

from medview.core.errors import ModelError
from medview.core.geometry import Geometry
from medview.core.jobs import InferenceResult
from medview.core.models import ModelCard
from medview.core.segmentation import as_labels
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.resample import resample_labels
from medview.inference.adapter import Context, loaded, refuse_colour, refuse_placeless
from medview.inference.engines.grids import ModelGrid, resampled
from medview.inference.engines.labelled import labelled_result
from medview.inference.formats.nnunet import folds_of, results_folder


class Engine:
    """The networks of all folds of a folder, their logits averaged."""

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._predictor: Any = None

    def load(self, device: str) -> None:
        """Build the networks; ModelError where nnunetv2 is missing or the folder is damaged."""
        # nnunetv2 warns of folders for training that nobody needs here.
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ.setdefault(name, str(self._folder))
        # Where this is not said, nnunetv2 starts a program to ask on which machine it is.
        os.environ.setdefault("nnUNet_n_proc_DA", "1")
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
        stage = "Preparing the image"
        context.progress(stage)
        grid = self._grid(volume.geometry)
        image = resampled(volume, grid, lambda done: context.progress(stage, done))
        found = predictor.labels(image, grid.spacing_mm, context)
        labels = as_labels(grid.to_volume(found))
        if grid.stored_shape != volume.geometry.shape:
            labels = resample_labels(labels, grid.geometry, volume.geometry)
        result = labelled_result(self.card, volume, labels, context)
        return replace(result, device=context.device, seconds=time.perf_counter() - started)

    def _grid(self, geometry: Geometry) -> ModelGrid:
        """The grid that the image is brought to before nnU-Net sees it: its own as a rule.

        TotalSegmentator resamples first, as its networks tell so many classes apart that their
        scores on the grid of an ordinary CT would fill any memory; its labels are then brought
        back, each voxel taking the nearest.
        """
        inputs = self.card.inputs
        first = bool(inputs.intensity.get("resampled_first"))
        return ModelGrid.of(geometry, inputs.orientation, inputs.spacing_mm if first else None)
