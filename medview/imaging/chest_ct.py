"""Lungs, airways and bone in CT by thresholds and connected parts: rules, nothing learned.

All lengths are millimetres in the patient, so that slices of any thickness and a patient lying
any way give the same. The search runs on a coarse grid, borders are drawn on the voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

import cc3d
import numpy as np
import numpy.typing as npt
import SimpleITK
from scipy import ndimage

from medview.imaging.coarse import Coarse, Float, Mask, closed, filled, grown, opened, shrunk

Labels = npt.NDArray[np.uint8]

#: Lung and other air against tissue: midway between aerated lung (-850 HU) and water.
LUNG_BELOW_HU = -500.0
#: Air in hollow organs when noise and edges are averaged out; aerated lung lies above.
_GAS_BELOW_HU = -955.0
#: What tissue of the lung averages over some millimetres, emphysema included.
_LUNG_HU = (-965.0, -600.0)
BONE_ABOVE_HU = 200.0
_BONE_CORE_HU = 350.0
#: Enclosed by bone: marrow above, the spinal canal and the brain below.
_MARROW_ABOVE_HU = 80.0

#: Structures of the body are wider than this, table tops and blankets are thinner.
_THIN_MM = 5.0
#: Around gas: voxels of mixed content reach this far; as far again tells a wall from lung.
_WALL_MM = 4.0
#: Of the voxels behind the rim, the share that lung makes air at least.
_FREE = 0.3
#: Narrow gaps in a mask that count as enclosed by it; gas with more than 30 % of such gaps is
#: full of vessels: lung.
_HULL_MM = 6.0
_PURE = 0.7
#: A patient less wide than that is a child; the least that is believed; and how much wider than
#: the field of view a patient is taken to be who does not fit into it.
_SMALL_MM, _SMALLEST_MM, _WIDER = 260.0, 60.0, 1.4
#: An adult's chest across.
_ADULT_MM = 350.0


class Part(IntEnum):
    """What a coarse voxel is; the numbers of the labels."""

    RIGHT_LUNG = 1
    LEFT_LUNG = 2
    AIRWAYS = 3
    BONE = 4


@dataclass(frozen=True)
class Chest:
    """What was found on the coarse grid. `lungs` is (right, left) of the patient.

    `cut_off`: a lung reaches the edge of the image, so that part of it may lie outside.
    """

    body: Mask
    lungs: tuple[Mask, Mask]
    airways: Mask
    bone: Mask
    cut_off: bool


def find_chest(grid: Coarse, step: Callable[[str], None]) -> Chest:
    """The parts of a CT in HU. Masks are empty where there is no such part."""
    step("Finding the body")
    grid = _as_adult(grid)
    body = _body(grid)
    step("Finding air")
    smooth = _smoothed(grid)
    air = body & (grid.values < LUNG_BELOW_HU)
    hollow = _hollow_gas(air, smooth, grid)
    step("Finding the lungs")
    lung = _lungs(air & ~hollow, body, grid)
    step("Finding the airways")
    airways = _airways(air, lung, body, grid)
    lung &= ~airways
    step("Telling right from left")
    right, left = _sides(lung, body, grid)
    right, left = _smooth_borders(right, left, airways, body, grid)
    step("Finding bone")
    bone = _bone(grid, body)
    return Chest(body, (right, left), airways, bone, _on_the_edge(right | left))


def _on_the_edge(mask: Mask) -> bool:
    faces = (mask[0], mask[-1], mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1])
    return any(bool(face.any()) for face in faces)


def _body(grid: Coarse) -> Mask:
    """The trunk with what it encloses, without table, blankets and arms held away from it."""
    solid = grid.values > LUNG_BELOW_HU
    thick = _largest(opened(solid, grid.spacing_mm, _THIN_MM))
    inside = filled(closed(thick, grid.spacing_mm, _THIN_MM))
    return inside | _lung_cut_by_the_field(inside, grid)


def _lung_cut_by_the_field(inside: Mask, grid: Coarse) -> Mask:
    """Lung that is open to the side because the field of view ends in it.

    What lies under or on a patient (foam averages as much as lung) has the patient on one and
    the same side everywhere, and no edge of the image where tissue and it are all there is.
    """
    values = grid.values
    like_lung = ~inside & (values > _LUNG_HU[0] + 15) & (values < _LUNG_HU[1])
    like_lung = opened(like_lung, grid.spacing_mm, _THIN_MM)
    before = np.logical_or.accumulate(inside, axis=1)
    after = np.logical_or.accumulate(inside[:, ::-1], axis=1)[:, ::-1]
    parts, counts = _parts(like_lung)
    result, within = np.zeros_like(inside), _edges_within(inside, like_lung)
    border = np.ones_like(inside)
    border[:, 1:-1, 1:-1] = False
    for number, box in _boxes(parts):
        if counts[number] * grid.voxel_ml < 50:
            continue
        here = parts[box] == number
        in_front, behind = before[box][here], after[box][here]
        one_sided = max((in_front & ~behind).mean(), (behind & ~in_front).mean())
        on_edge = int((parts[border] == number).sum())
        enclosed = one_sided < 0.6 or (parts[within] == number).sum() > 0.7 * max(1, on_edge)
        if enclosed and _touches(here, inside[box]):
            result[box] |= here
    if not result.any():
        return result
    near = (
        grown(result, grid.spacing_mm, _THIN_MM) & (values < LUNG_BELOW_HU) & (values > _LUNG_HU[0])
    )
    return filled(closed(inside | result | near, grid.spacing_mm, _THIN_MM))


def _edges_within(inside: Mask, like_lung: Mask) -> Mask:
    """Voxels of those edges of the image that lie within the patient: tissue or lung nearly all."""
    result = np.zeros_like(inside)
    for edge in (np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        tissue, lung = inside[edge], like_lung[edge]
        rows = (tissue | lung).mean(axis=1) > 0.8
        rows &= tissue.any(axis=1)
        result[edge] = rows[:, None]
    return result


def _touches(one: Mask, other: Mask) -> bool:
    """Whether two masks are neighbours over a good part of the first one's surface."""
    surface = grown(one, (1.0, 1.0, 1.0), 4.0) & ~one
    return bool((surface & other).sum() > 0.2 * surface.sum())


def _as_adult(grid: Coarse) -> Coarse:
    """The grid with lengths as if the patient were as wide as an adult.

    A small patient's organs are smaller all over, so one set of lengths serves children too.
    """
    solid = opened(grid.values > LUNG_BELOW_HU, grid.spacing_mm, _THIN_MM / 2)
    across = np.flatnonzero(_largest(solid).any(axis=(0, 1)))
    width = float(across[-1] - across[0] + 1) * grid.spacing_mm[2] if len(across) else _ADULT_MM
    if solid[:, :, 0].any() and solid[:, :, -1].any():
        width *= _WIDER  # cut off on both sides, so wider than the field of view
    if not _SMALLEST_MM < width < _SMALL_MM:
        return grid
    k, j, i = (one * _ADULT_MM / width for one in grid.spacing_mm)
    return replace(grid, spacing_mm=(k, j, i))


def _smoothed(grid: Coarse) -> Float:
    """Means over about 5 mm, an odd number of voxels each way."""
    sizes = [2 * round(2.5 / size) + 1 for size in grid.spacing_mm]
    result: Float = ndimage.uniform_filter(grid.values, sizes, mode="nearest")
    return result


def _hollow_gas(air: Mask, smooth: Float, grid: Coarse) -> Mask:
    """Air of hollow organs (bowel, stomach, trachea, folds of skin): gas with a wall around it.

    Gas in the lung (bullae) goes over into lung on most sides: from there the way is free for
    some millimetres, while from a hollow organ only the rim of mixed voxels is left.
    """
    gas = air & (smooth < _GAS_BELOW_HU)
    parts, counts = _parts(gas)
    result = np.zeros_like(air)
    for number, box in _boxes(parts):
        if counts[number] * grid.voxel_ml < 0.3:
            continue
        near = _wider(box, air.shape, grid, 2 * _WALL_MM)
        here = parts[near] == number
        by_it = grown(here, grid.spacing_mm, _WALL_MM)
        around = grown(by_it, grid.spacing_mm, _WALL_MM) & ~by_it
        free = _touching(around & air[near], by_it & air[near])
        hull = closed(here, grid.spacing_mm, _HULL_MM)
        pure = (hull & gas[near]).sum() > _PURE * hull.sum()
        if pure and free.sum() < _FREE * around.sum():
            result[near] |= by_it & air[near]
    return result


def _touching(mask: Mask, seed: Mask) -> Mask:
    """What of a mask hangs together with a seed beside it."""
    parts, _ = _parts(mask | seed)
    numbers = np.unique(parts[seed])
    result: Mask = np.isin(parts, numbers[numbers > 0]) & mask
    return result


def _lungs(air: Mask, body: Mask, grid: Coarse) -> Mask:
    """Air that looks like lung: large parts, parts the field of view cuts, and islands by them."""
    core = opened(air, grid.spacing_mm, 2.0)
    parts, counts = _parts(core)
    looks = _share(
        parts, len(counts), core & (grid.values > _LUNG_HU[0]) & (grid.values < _LUNG_HU[1])
    )
    volumes = counts * grid.voxel_ml
    alike = (looks >= 0.5) & (volumes >= 5)
    large = alike & (volumes >= 150)
    for edge in (0, -1):
        area = np.bincount(parts[edge].ravel(), minlength=len(counts))
        large |= alike & (area >= 0.03 * max(1, int(body[edge].sum()))) & (volumes >= 20)
    large[0] = False
    if not large.any():
        return np.zeros_like(air)
    main = large[parts]
    box = ndimage.find_objects(main.astype(np.uint8))[0]
    dense = _share(parts, len(counts), core & (grid.values > _LUNG_HU[0]))
    island = alike & ~large & (dense > 0.9)
    island[0] = False
    beside = np.zeros_like(air)
    beside[box] = island[parts[box]]
    lung = grown(main | beside, grid.spacing_mm, 4.0) & air
    return _touching(lung, main | beside) | main | beside


def _share(parts: npt.NDArray[np.uint32], count: int, mask: Mask) -> npt.NDArray[np.float64]:
    """For each part the share of it that lies in a mask."""
    sizes = np.bincount(parts.ravel(), minlength=count)
    inside = np.bincount(parts[mask], minlength=count)
    return inside / np.maximum(sizes, 1)


def _airways(air: Mask, lung: Mask, body: Mask, grid: Coarse) -> Mask:
    """Trachea and large bronchi: grown from the trachea until the air would leak into the lung.

    The threshold rises as long as the volume grows slowly (Mori et al., IEEE TMI 19:103, 2000).
    """
    seed = _trachea(air, lung, body, grid)
    best = np.zeros_like(air)
    if not seed.any():
        return best
    near = _wider(ndimage.find_objects((lung | seed).astype(np.uint8))[0], air.shape, grid, 5)
    values, start, before = grid.values[near], seed[near], 0.0
    for below in range(-980, -700, 20):
        tree = _touching(air[near] & (values < below), start) | start
        volume = float(tree.sum()) * grid.voxel_ml
        if volume > 160 or (before and volume > 1.35 * before + 3):
            break
        best[near], before = tree, volume
    # Walls of large bronchi are thinner than a coarse voxel; the rim is theirs, not the lung's.
    return (
        grown(best, grid.spacing_mm, max(grid.spacing_mm[1:]) * 1.01) & air if best.any() else best
    )


def _trachea(air: Mask, lung: Mask, body: Mask, grid: Coarse) -> Mask:
    """A round tube of air near the middle that runs for some centimetres, lung on both sides."""
    nothing = np.zeros_like(air)
    if not lung.any():
        return nothing
    gas = air & (grid.values < -880)
    round_ones = np.zeros_like(air)
    for k, plane in enumerate(gas):
        round_ones[k] = _round_sections(plane, grid)
    parts, _ = _parts(round_ones)
    middle = float(np.nonzero(body)[2].mean())
    width = _ADULT_MM / grid.spacing_mm[2]
    best, longest = 0, 25 / grid.spacing_mm[0]
    for number, box in _boxes(parts):
        length = box[0].stop - box[0].start
        center = float(np.nonzero(parts[box] == number)[2].mean()) + box[2].start
        lower = slice(box[0].start, box[0].start + (length + 1) // 2)
        flanked = lung[lower, :, : int(center)].any() and lung[lower, :, int(center) + 1 :].any()
        if length > longest and flanked and abs(center - middle) < 0.15 * width:
            best, longest = number, length
    return parts == best if best else nothing


def _round_sections(plane: Mask, grid: Coarse) -> Mask:
    """Pieces of a plane as large and as round as a section of the trachea."""
    parts, counts = _parts(plane)
    result = np.zeros_like(plane)
    areas = counts * grid.spacing_mm[1] * grid.spacing_mm[2]
    for number, box in _boxes(parts):
        if not 40 <= areas[number] <= 700:
            continue
        tall, wide = (
            (side.stop - side.start) * size
            for side, size in zip(box, grid.spacing_mm[1:], strict=True)
        )
        if max(tall, wide) <= 2.5 * min(tall, wide) and areas[number] >= 0.5 * tall * wide:
            result[box] |= parts[box] == number
    return result


def _sides(lung: Mask, body: Mask, grid: Coarse) -> tuple[Mask, Mask]:
    """The lungs as (right, left): each connected part where most of it lies, joined ones cut."""
    right, left = np.zeros_like(lung), np.zeros_like(lung)
    if not lung.any():
        return right, left
    middle = np.nonzero(body)[2].mean()
    parts, counts = _parts(lung)
    for number, box in _boxes(parts):
        here = parts[box] == number
        columns = np.arange(box[2].start, box[2].stop) < middle
        on_right = here[:, :, columns].sum() / counts[number]
        if 0.1 < on_right < 0.9 and counts[number] * grid.voxel_ml > 100:
            cut = _cut_apart(here, int(middle) - box[2].start, grid)
            right[box] |= cut[0]
            left[box] |= cut[1]
        else:
            (right if on_right >= 0.5 else left)[box] |= here
    return right, left


def _cut_apart(joined: Mask, middle: int, grid: Coarse) -> tuple[Mask, Mask]:
    """Two lungs that touch, as (right, left): cut where the bridge between them is thinnest.

    The mask shrinks until it falls into two large pieces; these grow back and meet at the bridge.
    One piece that does not fall apart is one lung.
    """
    depth = joined.astype(np.uint8)
    core = joined
    while core.any():
        core = shrunk(core, grid.spacing_mm, max(grid.spacing_mm[1:]))
        depth += core
        parts, counts = _parts(core)
        order = np.argsort(counts[1:])[::-1][:2] + 1
        if len(order) < 2 or counts[order[1]] < 0.15 * counts[order[0]]:
            continue
        columns = [float(np.nonzero(parts == number)[2].mean()) for number in order]
        if (columns[0] < middle) == (columns[1] < middle):
            continue
        first, second = (order[0], order[1]) if columns[0] < columns[1] else (order[1], order[0])
        seeds = (parts == first).astype(np.uint8) + 2 * (parts == second).astype(np.uint8)
        grown_back = SimpleITK.GetArrayFromImage(
            SimpleITK.MorphologicalWatershedFromMarkers(
                SimpleITK.GetImageFromArray(255 - depth),
                SimpleITK.GetImageFromArray(seeds),
                markWatershedLine=False,
            )
        )
        return joined & (grown_back == 1), joined & (grown_back == 2)
    nothing = np.zeros_like(joined)
    mostly_right = np.nonzero(joined)[2].mean() < middle
    return (joined, nothing) if mostly_right else (nothing, joined)


def _smooth_borders(
    right: Mask, left: Mask, airways: Mask, body: Mask, grid: Coarse
) -> tuple[Mask, Mask]:
    """Each lung with its vessels: what is narrow and enclosed belongs to it."""
    free = body & ~airways
    result = []
    for lung, other in ((right, left), (left, right)):
        whole = filled(closed(lung, grid.spacing_mm, _HULL_MM)) if lung.any() else lung
        result.append(lung | (whole & free & ~other & (grid.values < 300)))
    result[1] &= ~result[0]
    return result[0], result[1]


def _bone(grid: Coarse, body: Mask) -> Mask:
    """Dense parts with a dense core. Contrast medium as dense as that counts as well."""
    dense = grown(body, grid.spacing_mm, 3.0) & (grid.values > BONE_ABOVE_HU)
    parts, counts = _parts(dense)
    core = np.bincount(parts[dense & (grid.values > _BONE_CORE_HU)], minlength=len(counts))
    keep = (core > 0) & (counts * grid.voxel_ml >= 0.2)
    keep[0] = False
    hard = keep[parts]
    marrow = filled(closed(hard, grid.spacing_mm, 3.0)) & (grid.values > _MARROW_ABOVE_HU)
    return hard | marrow


def _parts(mask: Mask) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Parts that hang together by faces, numbered from 1, and the size of each (0: the rest)."""
    parts = cc3d.connected_components(mask, connectivity=6 if mask.ndim == 3 else 4)
    numbered: npt.NDArray[np.uint32] = np.asarray(parts, np.uint32)
    return numbered, np.bincount(numbered.ravel())


def _largest(mask: Mask) -> Mask:
    parts, counts = _parts(mask)
    if len(counts) < 2:
        return mask
    result: Mask = parts == 1 + int(counts[1:].argmax())
    return result


def _boxes(parts: npt.NDArray[np.uint32]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """The number and the bounding box of each part."""
    for number, box in enumerate(ndimage.find_objects(parts.astype(np.int32)), start=1):
        if box is not None:
            yield number, box


def _wider(
    box: tuple[slice, ...], shape: tuple[int, ...], grid: Coarse, by_mm: float
) -> tuple[slice, ...]:
    """A box with a margin, within the grid."""
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size, margin in zip(
            box, shape, (int(np.ceil(by_mm / one)) for one in grid.spacing_mm), strict=True
        )
    )
