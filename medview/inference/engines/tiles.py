"""A volume segmented window by window, to labels on its own grid; for networks of every engine.

The image comes to the network's orientation and spacing; what is empty is left out; windows
overlap and count most in their middle; labels are worked out at the image's resolution from scores
at the network's (`engines.slab`). Where memory does not suffice the run goes on with less
(`engines.patches`), and says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from medview.core.errors import ModelError
from medview.core.geometry import Geometry
from medview.core.segmentation import LabelArray
from medview.core.volume import Volume
from medview.imaging.arg_max import Span
from medview.inference.adapter import Context, not_finite, refuse_colour
from medview.inference.engines import devices
from medview.inference.engines.grids import BLOCK, ModelGrid, occupied, resampled
from medview.inference.engines.patches import (
    Asked,
    Network,
    Plan,
    bytes_needed,
    fits,
    is_out_of_memory,
)
from medview.inference.engines.slab import FloatMap, Outcome, Slab, Wishes, slab_sides
from medview.inference.networks.windows import continued, corners, importance

Normalise = Callable[[FloatMap], FloatMap]

#: A frozen network pays from so many windows on.
_WORTH_FREEZING = 6
#: Windows at once on a GPU, at most.
_MOST_AT_ONCE = 8
#: What is kept around what there is in an image, in voxels.
_MARGIN = 8
#: What preparing and finishing are of the whole, as a share.
_PREPARING = 0.05
#: Answers of a GPU that are waited for while it works on the next.
_IN_FLIGHT = 2


@dataclass(frozen=True)
class TileRecipe:
    """How a volume comes to a network that is asked window by window.

    `orientation` gives the patient directions of the network's axes, as `RAS`; empty for the
    volume's own (k, j, i). `spacing_mm` and `patch` follow these axes. A patch with one side of 1
    is for a network of slices, asked across that axis: (N, C, a, b). `neighbours` on each side of a
    slice are then channels too, the edge repeated. `normalise` takes real-world values of the
    whole image, on the network's grid, to what the network was trained on. Windows overlap by
    `overlap` of their sides at least. `skip_empty` leaves out windows that hold nothing: air in a
    CT, darkness elsewhere. `crop` also draws them closely around what there is, as some networks
    were trained; fewer they are then, and others than over the whole image. `fixed_patch`: the
    network takes no smaller ones; `exact`: not half precision.
    """

    patch: tuple[int, int, int]
    orientation: str = ""
    spacing_mm: tuple[float, float, float] | None = None
    normalise: Normalise = lambda values: values
    overlap: float = 0.5
    neighbours: int = 0
    skip_empty: bool = True
    crop: bool = False
    fixed_patch: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        if min(self.patch) < 1 or not 0 <= self.overlap < 1:
            raise ValueError(f"No windows of {self.patch} that overlap by {self.overlap}")
        if self.neighbours and self.flat_axis is None:
            raise ValueError("Only slices have neighbours")

    @property
    def flat_axis(self) -> int | None:
        """The axis across which a network of slices is asked; None for a network of volumes."""
        return self.patch.index(1) if 1 in self.patch else None

    @property
    def channels(self) -> int:
        """How many channels the network sees."""
        return 1 + 2 * self.neighbours

    def asked_sides(self, patch: Sequence[int]) -> list[int]:
        """The sides of a patch that the network itself sees."""
        return [side for axis, side in enumerate(patch) if axis != self.flat_axis]


@dataclass(frozen=True, eq=False)
class ValueMap:
    """Values (slices, rows, columns) on a grid of their own, in the volume's order of axes."""

    values: FloatMap
    geometry: Geometry


@dataclass(frozen=True, eq=False)
class Segmented:
    """What a network found in a volume.

    `labels` on the volume's grid; `probability` is the mean over each class that was found, at the
    network's resolution; `maps` as wished for, by `probability`, `uncertainty` or class number.
    `fallbacks` say what was done with less memory than asked; `device` is where it ended;
    `windows` were asked, `skipped` held nothing.
    """

    labels: LabelArray
    probability: dict[int, float]
    maps: dict[str | int, ValueMap]
    fallbacks: tuple[str, ...]
    device: str
    windows: int
    skipped: int


def segment(
    network: Network | Asked,
    volume: Volume,
    recipe: TileRecipe,
    context: Context,
    wishes: Wishes | None = None,
) -> Segmented:
    """Ask a network about a volume, window by window.

    `network` takes (N, C, a, b, c) or, for slices, (N, C, a, b) to scores of classes that exclude
    each other, background first, on the same grid; one channel is a logit. `Asked` keeps what was
    learnt of it between runs. ModelError for coloured images, images without a place in the
    patient where an orientation is wanted, scores that are not finite, too little memory.
    """
    refuse_colour(volume)
    asked = network if isinstance(network, Asked) else Asked(network, context.device)
    asked.move(context.device)
    grid = ModelGrid.of(volume.geometry, recipe.orientation, recipe.spacing_mm)
    values = resampled(
        volume, grid, lambda share: context.progress("Preparing the image", _PREPARING * share)
    )
    blocks = occupied(values, volume.unit) if recipe.skip_empty or recipe.crop else None
    image = _normalised(values, recipe)
    del values
    work = _Work(asked, image, blocks, grid, recipe, wishes or Wishes(), context)
    with devices.memory_kept():
        outcome = work.run()
    labels = grid.to_volume(outcome.labels)
    maps = {
        name: ValueMap(_floats(grid.to_volume(found)), grid.geometry)
        for name, found in outcome.maps.items()
    }
    return Segmented(
        labels=_labels(labels),
        probability=outcome.mean_probability(),
        maps=maps,
        fallbacks=tuple(work.fallbacks),
        device=work.plan.device,
        windows=len(work.starts),
        skipped=work.skipped,
    )


def _labels(values: npt.NDArray[np.generic]) -> LabelArray:
    result: LabelArray = values  # type: ignore[assignment]  # uint8 or uint16 as they were made
    return result


def _floats(values: npt.NDArray[np.generic]) -> FloatMap:
    return values.astype(np.float32, copy=False)


def _normalised(values: FloatMap, recipe: TileRecipe) -> torch.Tensor:
    """The image (a, b, c) as the network was trained on it, at least as large as a patch."""
    image = torch.from_numpy(np.require(recipe.normalise(values), np.float32, ["C", "W"]))
    return continued(image[None, None], recipe.patch)[0, 0]


class _TooCoarse(Exception):
    """Half precision gave numbers that are not finite."""


class _Work:
    """One run over the windows of one image, which may go on with less memory than it began."""

    def __init__(
        self,
        asked: Asked,
        image: torch.Tensor,
        blocks: npt.NDArray[np.bool_] | None,
        grid: ModelGrid,
        recipe: TileRecipe,
        wishes: Wishes,
        context: Context,
    ) -> None:
        self._asked, self._image, self._grid = asked, image, grid
        self._occupied, self._recipe = blocks, recipe
        self._wishes, self._context = wishes, context
        on_gpu = context.device != "cpu"
        self.plan = Plan(
            patch=recipe.patch,
            device=context.device,
            batch=_MOST_AT_ONCE if on_gpu else 1,
            half=on_gpu and not recipe.exact,
            exact=recipe.exact,
            fixed_patch=recipe.fixed_patch,
            divisor=asked.divisor,
        )
        self.fallbacks: list[str] = []
        self.starts: list[tuple[int, ...]] = []
        self.skipped = 0
        self._slab: Slab | None = None
        self._planned = False
        self._done = 0

    def run(self) -> Outcome:
        """Ask about all windows; with less memory where there is not enough. ModelError at last."""
        while True:
            try:
                return self._attempt()
            except _TooCoarse:
                self.plan = replace(self.plan, half=False, exact=True)
                self.fallbacks.append("Half precision did not suffice: full precision")
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            self._lower()
            if self.plan.on_gpu:
                torch.cuda.empty_cache()

    def _attempt(self) -> Outcome:
        """Go on where the last attempt ended; from the start if the windows are other ones."""
        channels, sides = self._recipe.channels, self._recipe.asked_sides(self.plan.patch)
        self._asked.move(self.plan.device)
        self._asked.learn(channels, sides)
        covered = self._covered()
        if covered is None:
            return self._outcome()
        if not self._planned:
            self._predict(covered)
        slab = self._slab or self._begin(covered)
        if len(self.starts) >= _WORTH_FREEZING:
            self._asked.freeze(self._patch(self.starts[len(self.starts) // 2])[None])
        slab.move("cpu" if self.plan.on_host else self.plan.device)
        self._ask(slab)
        slab.finish(covered[slab.axis][1])
        return slab.outcome

    def _lower(self) -> None:
        """Give up what comes next; ModelError where there is nothing left."""
        lower = self.plan.lower()
        if lower is None:
            raise ModelError(
                "There is not enough memory for this model and image.",
                hint="Close other programs, or choose a smaller series.",
            )
        before, (self.plan, words) = self.plan, lower
        self.fallbacks.append(words)
        if before.patch != self.plan.patch:
            self._slab = None

    def _predict(self, covered: Span) -> None:
        """Give up beforehand what will not fit; how many windows at once is free to choose."""
        while self.plan.batch > 1 and not self._fits(covered):
            self.plan = replace(self.plan, batch=self.plan.batch // 2)
        while not self._fits(covered):
            self._lower()
            self._asked.move(self.plan.device)
        self._planned = True

    def _fits(self, covered: Span) -> bool:
        slab = slab_sides(covered, self.plan.patch, self._axis(covered))
        return fits(bytes_needed(self.plan, self._asked, slab), devices.free_bytes)

    def _axis(self, covered: Span) -> int:
        """The axis along which the least has to be held at once."""
        return min(
            range(3),
            key=lambda axis: (
                slab_sides(covered, self.plan.patch, axis)[axis]
                / (covered[axis][1] - covered[axis][0])
            ),
        )

    def _covered(self) -> Span | None:
        """The box to look at, all of the image or what is occupied and some more; None if empty."""
        spans = []
        for axis, (size, patch) in enumerate(
            zip(self._image.shape, self._recipe.patch, strict=True)
        ):
            start, stop = 0, size
            if self._occupied is not None and not self._occupied.any():
                return None
            if self._occupied is not None and self._recipe.crop:
                others = tuple(other for other in range(3) if other != axis)
                hit = np.flatnonzero(self._occupied.any(axis=others))
                start = max(0, int(hit[0]) * BLOCK - _MARGIN)
                stop = min(size, (int(hit[-1]) + 1) * BLOCK + _MARGIN)
            extent = max(stop - start, patch)
            start = min(max(0, start - (extent - (stop - start)) // 2), size - extent)
            spans.append((start, start + extent))
        return spans[0], spans[1], spans[2]

    def _outcome(self) -> Outcome:
        shape = [self._grid.volume.shape[axis] for axis in self._grid.axes]
        return Outcome.empty(shape, self._grid.shape, self._asked.classes, self._wishes)

    def _begin(self, covered: Span) -> Slab:
        """Place the windows, those with nothing in them left out, in the order of the slab."""
        axis = self._axis(covered)
        sizes = [stop - start for start, stop in covered]
        every = [
            tuple(start + step for (start, _), step in zip(covered, corner, strict=True))
            for corner in corners(sizes, self.plan.patch, self._recipe.overlap)
        ]
        every.sort(key=lambda start: start[axis])
        self.starts = [start for start in every if self._is_occupied(start)]
        self.skipped = len(every) - len(self.starts)
        self._done = 0
        self._slab = Slab(
            classes=self._asked.classes,
            mix=self._asked.mix,
            covered=covered,
            patch=self.plan.patch,
            axis=axis,
            lines=self._grid.lines,
            wishes=self._wishes,
            outcome=self._outcome(),
            device="cpu" if self.plan.on_host else self.plan.device,
            pause=self._context.check_cancelled,
        )
        return self._slab

    def _is_occupied(self, start: Sequence[int]) -> bool:
        if self._occupied is None:
            return True
        place = tuple(
            slice(at // BLOCK, -(-(at + side) // BLOCK))
            for at, side in zip(start, self.plan.patch, strict=True)
        )
        return bool(self._occupied[place].any())

    def _ask(self, slab: Slab) -> None:
        """Ask about the windows that are left; on a GPU one answer travels while it works on."""
        weight = importance(self.plan.patch).to(slab.device)
        waiting: deque[_Answer] = deque()
        sent = self._done
        while sent < len(self.starts) or waiting:
            self._say_how_far()
            if sent < len(self.starts):
                starts = self._batch(sent, slab.axis)
                waiting.append(self._answer(starts))
                sent += len(starts)
                if self.plan.on_gpu and len(waiting) < _IN_FLIGHT and sent < len(self.starts):
                    continue
            self._add(slab, waiting.popleft(), weight)
        self._say_how_far()

    def _say_how_far(self) -> None:
        share = self._done / max(1, len(self.starts))
        self._context.progress("Segmenting", _PREPARING + (1 - 2 * _PREPARING) * share)

    def _batch(self, first: int, axis: int) -> list[tuple[int, ...]]:
        """Windows to be asked at once: only such as begin alike along the slab's axis."""
        begun = self.starts[first][axis]
        some = self.starts[first : first + self.plan.batch]
        return [start for start in some if start[axis] == begun]

    def _answer(self, starts: list[tuple[int, ...]]) -> _Answer:
        patches = torch.stack([self._patch(start) for start in starts])
        if self.plan.on_gpu:
            patches = patches.pin_memory().to(self.plan.device, non_blocking=True)
        scores = self._asked(patches, half=self.plan.half)
        if self._recipe.flat_axis is not None:
            scores = scores.unsqueeze(self._recipe.flat_axis + 2)
        return _Answer.leaving(starts, scores, on_gpu=self.plan.on_gpu, to_host=self.plan.on_host)

    def _patch(self, start: Sequence[int]) -> torch.Tensor:
        """What the network sees of one window: (C, a, b, c), or (C, a, b) of a slice."""
        place = [slice(at, at + side) for at, side in zip(start, self.plan.patch, strict=True)]
        flat = self._recipe.flat_axis
        if flat is None:
            return self._image[tuple(place)][None]
        around = self._recipe.neighbours
        numbers = torch.arange(start[flat] - around, start[flat] + around + 1)
        place[flat] = slice(None)
        slices = self._image[tuple(place)].movedim(flat, 0)
        return slices[numbers.clamp(0, len(slices) - 1)]

    def _add(self, slab: Slab, answer: _Answer, weight: torch.Tensor) -> None:
        scores = answer.arrived()
        if not torch.isfinite(scores.sum()):
            if self.plan.half:
                raise _TooCoarse
            raise not_finite()
        slab.finish(answer.starts[0][slab.axis])
        for start, one in zip(answer.starts, scores, strict=True):
            slab.add(start, one, weight)
            self._done += 1


@dataclass(frozen=True, eq=False)
class _Answer:
    """Scores of some windows, perhaps still on their way from a GPU."""

    starts: list[tuple[int, ...]]
    scores: torch.Tensor
    arrival: torch.cuda.Event | None = None

    @classmethod
    def leaving(
        cls, starts: list[tuple[int, ...]], scores: torch.Tensor, *, on_gpu: bool, to_host: bool
    ) -> _Answer:
        """Scores that were asked for just now, sent to main memory where they are wanted there."""
        if not on_gpu:
            return cls(starts, scores)
        if to_host:
            landing = torch.empty(scores.shape, pin_memory=True)
            scores = landing.copy_(scores, non_blocking=True)
        arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrival.record()
        return cls(starts, scores, arrival)

    def arrived(self) -> torch.Tensor:
        """The scores, waited for."""
        if self.arrival is not None:
            self.arrival.synchronize()
        return self.scores
