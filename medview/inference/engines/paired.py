"""Paired structures of the head: networks of ours that look at crops around a region of it.

The head is placed on a template, each side of the region is cropped upright in true millimetres,
the network is asked, and its probabilities are brought back to the image's own grid.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.findings import Laterality
from medview.core.geometry import Box, Geometry
from medview.core.jobs import InferenceResult
from medview.core.maps import MapKind, ScalarMap
from medview.core.models import ModelCard
from medview.core.study import Series, Study
from medview.core.volume import Volume
from medview.imaging.crops import (
    MARGIN_MM,
    crop_grid,
    largest_piece,
    sample_cubic,
    share_covered,
)
from medview.imaging.intensity import normalise
from medview.imaging.localise import HeadPlacement, HeadTemplate, place_head
from medview.inference.adapter import (
    Context,
    loaded,
    refuse_not_finite,
    refuse_other_than_volume,
    wanted_maps,
)
from medview.inference.engines.network import load_network, predict, read_flips, read_metadata
from medview.inference.engines.proposals import Proposal, SideAnswer
from medview.inference.head_template import PairedRegion, load_region, load_template
from medview.inference.networks.averaging import unsureness

FloatImage = npt.NDArray[np.float32]

#: How often a crop is drawn again.
_PASSES = 2
_LEAST_COVERED = 0.98
_COARSEST = 2.0


class Engine:
    """Paired structures of the head by a network that looks at one side at a time.

    The card's `inputs.localise` names a template of the resources, its first output's code the
    region there. Segments are numbered left before right, each side in the order of the card's
    outputs. Refused with ModelError: what is no single grey volume of a whole head in T1, and a
    head whose region is not wholly in the image.
    """

    def __init__(self, card: ModelCard, folder: Path) -> None:
        self.card = card
        self._folder = folder
        self._network: nn.Module | None = None
        self._flips: tuple[int, ...] = ()
        self._template: HeadTemplate | None = None

    def load(self, device: str) -> None:
        """Read the weights, their checksum checked, onto a device."""
        self._flips = read_flips(read_metadata(self._folder))
        self._network = load_network(self._folder, device)

    def unload(self) -> None:
        """Let go of the network and the template."""
        self._network = self._template = None

    def run(
        self, volume: Volume, series: Series | None, study: Study | None, context: Context
    ) -> InferenceResult:
        """Find the head, then both sides; labels on the volume's grid, volumes in mL."""
        del series, study  # what the headers say was weighed before; here only pixels speak
        started = time.perf_counter()
        refuse_other_than_volume(volume)
        self._refuse_coarse(volume.geometry)
        name, region = self._region(context)
        template = self._template or load_template(context.resources, name)
        self._template = template
        values = volume.values()
        placement = place_head(
            values,
            volume.geometry,
            template,
            lambda fraction: context.progress("Placing the head", 0.7 * fraction),
        )
        if doubts := placement.doubts():
            raise ModelError(
                f"{self.card.title} was not run: {' '.join(doubts)}",
                hint="The model needs a T1-weighted volume of the whole head.",
            )
        sides = tuple(
            self._side(values, volume.geometry, placement, region, side, context)
            for side in (Laterality.LEFT, Laterality.RIGHT)
        )
        context.progress("Measuring", 0.97)
        result = Proposal(self.card, volume, context.provenance, sides).result(context.job_uid)
        maps = tuple(_maps(self.card, volume, sides, wanted_maps(context)))
        note = f"Head placed on the template, likeness {placement.similarity:.2f}."
        seconds = time.perf_counter() - started
        return replace(
            result,
            notes=(note, *result.notes),
            maps=maps,
            device=context.device,
            seconds=seconds,
        )

    def _refuse_coarse(self, geometry: Geometry) -> None:
        """Thick slices show a head well enough to be placed, and too little of what is in it."""
        limits = self.card.scope.spacing_mm
        if limits and max(geometry.spacing_mm) > _COARSEST * limits[1]:
            raise ModelError(
                f"{self.card.title} was not run: voxels are {max(geometry.spacing_mm):.1f} mm long,"
                f" too coarse for a model made for up to {limits[1]:g} mm.",
                hint="Choose a series with thin slices.",
            )

    def _region(self, context: Context) -> tuple[str, PairedRegion]:
        name = self.card.inputs.localise
        if not name or self.card.outputs.kind != "labels":
            raise ModelError(f"{self.card.title} does not say where in the head it should look.")
        return name, load_region(context.resources, name, self.card.outputs.channels[0].code)

    def _side(
        self,
        values: FloatImage,
        geometry: Geometry,
        placement: HeadPlacement,
        region: PairedRegion,
        laterality: Laterality,
        context: Context,
    ) -> SideAnswer:
        """Crop one side, ask, and ask again about a crop drawn around the first answer."""
        left = laterality is Laterality.LEFT
        stage, begun = f"Segmenting the {laterality} side", 0.7 if left else 0.83
        context.progress(stage, begun)
        orientation = self.card.inputs.orientation or "RAS"
        axes = placement.crop_axes(region.pitch_deg, orientation, mirrored=not left)
        center = placement.to_patient_mm(region.left_center_mm if left else region.right_center_mm)
        spacing = self.card.inputs.spacing_mm or (1.0, 1.0, 1.0)
        grid = crop_grid(center, axes, region.size_mm, spacing, geometry)
        for number in range(_PASSES):
            if share_covered(grid, geometry) < _LEAST_COVERED:
                raise ModelError(
                    f"{self.card.title} was not run: the {laterality} side lies partly outside the"
                    " image.",
                    hint="The model needs the whole head.",
                )
            # Mirrored views sharpen the answer; for the first, which only says where, one will do.
            flips = self._flips if number == _PASSES - 1 else ()
            probabilities = self._ask(sample_cubic(values, geometry, grid), flips)
            context.progress(stage, begun + 0.06 * (number + 1))
            answer = SideAnswer(laterality, grid, _without_islands(probabilities))
            grid = _grid_around(answer, spacing)
        return answer

    def _ask(self, crop: FloatImage, flips: tuple[int, ...]) -> FloatImage:
        """Class probabilities (C, x, y, z) of a crop, its brightness made the network's."""
        network = loaded(self._network, self.card)
        probabilities = predict(network, normalise(crop, self.card.inputs.intensity), flips)
        refuse_not_finite(probabilities, self.card)
        return probabilities


def _maps(
    card: ModelCard, volume: Volume, sides: Sequence[SideAnswer], wanted: frozenset[MapKind]
) -> Iterator[ScalarMap]:
    """Maps on the crops of both sides: probability of each structure, and how unsure that is.

    Both are of the mean over the mirrored views and the members that the model has.
    """
    for side in sides:
        subject = f"{side.laterality.capitalize()} side"
        if MapKind.UNCERTAINTY in wanted:
            doubt = unsureness(torch.from_numpy(side.probabilities)).numpy()
            method = "Entropy of the class probabilities"
            yield ScalarMap(
                volume.uid, MapKind.UNCERTAINTY, side.grid, doubt, (0, 1), subject, method=method
            )
        if MapKind.PROBABILITY in wanted:
            for channel in card.outputs.channels:
                values = side.probabilities[channel.index]
                name = f"{side.laterality.capitalize()} {channel.label.lower()}"
                yield ScalarMap(volume.uid, MapKind.PROBABILITY, side.grid, values, (0, 1), name)


def _without_islands(probabilities: FloatImage) -> FloatImage:
    """All but the largest piece of what is not background turned into background."""
    found = probabilities.argmax(axis=0) > 0
    islands = found & ~largest_piece(found)
    cleaned = probabilities.copy()
    cleaned[:, islands] = 0.0
    cleaned[0, islands] = 1.0
    return cleaned


def _grid_around(side: SideAnswer, spacing_mm: tuple[float, float, float]) -> Geometry:
    """The grid of a crop drawn around an answer as closely as the training crops were.

    Its axes stay; it starts on a voxel of the first. Nothing found: the same grid again.
    """
    box = Box.of(side.probabilities.argmax(axis=0) > 0)
    if box is None:
        return side.grid
    margin = np.ceil(MARGIN_MM / np.array(spacing_mm)).astype(int)
    affine = side.grid.affine.copy()
    affine[:3, 3] = side.grid.to_lps_mm(np.array(box.start) - margin)
    x, y, z = (int(n) for n in np.array(box.shape) + 2 * margin)
    return replace(side.grid, shape=(x, y, z), affine=affine)
