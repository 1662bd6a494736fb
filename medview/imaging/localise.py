"""Finding the head in an image: where the MNI152 template lies in the patient.

A T1 head is placed in three steps. Every shift of the template, for a fan of rotations, is
tried at once by correlation through Fourier space, inside the template's brain only, so that
scalp, neck and the edge of the picture do not matter (Padfield, IEEE TIP 21, 2012).
The best few are improved rigidly and with scale, and the best of them as an affine transform.
What came out is judged by numbers, so that anything but a T1 head can be refused with reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import fft, linalg, ndimage

from medview.core.errors import ModelError
from medview.core.geometry import FloatArray, Geometry
from medview.imaging.affine_fit import (
    FloatImage,
    Picture,
    Pose,
    Target,
    fit_affine,
    measured,
    turn_about_axes,
)
from medview.imaging.crops import axes_of

#: Numbers in the template's tissue map; 4 is brain that is none of the three for certain.
CSF, GREY, WHITE = 1, 2, 3

# How far inside the brain's surface points begin. Deep points see no scalp even while the scale is
# 15 % off, so fits use them; the search needs more of the brain to know a place from another.
_DEEP_MM = 8.0
_SEARCHED_MM = 4.0
_HEAD_SPACING_MM = 2.0
_COARSE_FACTOR = 4
_FLATTEN_MM = 50.0
_TYPICAL_SCALE = 0.9
_PITCHES_DEG = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
_TILTS_DEG = (-30.0, -15.0, 0.0, 15.0, 30.0)
_LEAST_OVERLAP = 0.7
_DULLEST = 0.6
_STARTS = 5

# Limits of what is believed.
_SMALLEST_HEAD_MM = 90.0
_LARGEST_IMAGE_MM = 500.0
_LEAST_SIMILARITY = 0.57
_LEAST_COVERAGE = 0.6
_SCALES = (0.7, 1.2)
_LARGEST_STRETCH = 1.35
_LEAST_CONTRAST = 0.05


@dataclass(frozen=True, eq=False)
class HeadTemplate:
    """A T1 brain without skull: intensities, and a tissue map (0 outside, else 1-4) on its grid."""

    t1: Picture
    tissues: npt.NDArray[np.uint8]

    @cached_property
    def depth_mm(self) -> FloatImage:
        """Distance of each voxel from the surface of the brain, 0 outside."""
        brain = ndimage.binary_opening(self.tissues > 0)
        depth: FloatImage = ndimage.distance_transform_edt(brain) * self.t1.spacing_mm
        return depth

    @cached_property
    def center_mm(self) -> FloatArray:
        """Middle of the deep brain, about which poses turn."""
        center: FloatArray = self._points(self.depth_mm > _DEEP_MM).mean(axis=0)
        return center

    def target(self, sigma_mm: float, step: int, depth_mm: float = _DEEP_MM) -> Target:
        """Smoothed intensities at every `step`-th voxel deeper than `depth_mm`, spread of 1."""
        few = np.zeros(self.tissues.shape, dtype=np.bool_)
        few[::step, ::step, ::step] = True
        chosen = (self.depth_mm > depth_mm) & few
        values = self.t1.smoothed(sigma_mm).values[chosen].astype(np.float64)
        return Target(self._points(chosen), (values - values.mean()) / values.std())

    def tissue_points(self, tissue: int) -> FloatArray:
        """Places (n, 3) that are surely of one tissue, off the surface where heads differ most."""
        return self._points((self.tissues == tissue) & (self.depth_mm > 4.0))

    def brain_points(self) -> FloatArray:
        """Places (n, 3) all over the brain, 6 mm apart."""
        few = np.zeros(self.tissues.shape, dtype=np.bool_)
        few[::3, ::3, ::3] = True
        return self._points((self.tissues > 0) & few)

    def _points(self, chosen: npt.NDArray[np.bool_]) -> FloatArray:
        index = np.argwhere(chosen)[:, ::-1]
        points: FloatArray = index * self.t1.spacing_mm + self.t1.origin_mm
        return points


@dataclass(frozen=True)
class TissueLevels:
    """Median brightness of the three tissues, white matter counted as 1."""

    csf: float
    grey: float
    white: float

    @property
    def like_t1(self) -> bool:
        """White matter clearly brighter than grey, and grey than fluid."""
        return self.white - self.grey > _LEAST_CONTRAST and self.grey - self.csf > _LEAST_CONTRAST


@dataclass(frozen=True, eq=False)
class HeadPlacement:
    """Where the template lies in the patient, and how good that is.

    `affine` (4x4) takes template millimetres to patient millimetres, both LPS. `similarity` is
    the correlation with the template in the deep brain; `coverage` is the share of the brain
    inside the image; `scales` are the three stretches, smallest first.
    """

    affine: FloatArray
    similarity: float
    coverage: float
    scales: tuple[float, float, float]
    tissues: TissueLevels

    def to_patient_mm(self, points_mm: npt.ArrayLike) -> FloatArray:
        """Template points (..., 3) in the patient."""
        points = np.asarray(points_mm, dtype=np.float64)
        result: FloatArray = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return result

    @property
    def rotation(self) -> FloatArray:
        """How the head is turned (3x3): the rotation nearest to the affine, scale left out."""
        rotation, _ = linalg.polar(self.affine[:3, :3])
        return np.asarray(rotation, dtype=np.float64)

    def crop_axes(self, pitch_deg: float, orientation: str, *, mirrored: bool) -> FloatArray:
        """Axes of a crop (3x3, columns in LPS): the head's own, its front turned down.

        Networks of paired structures learned from left sides, or right ones mirrored; so a right
        side is mirrored too.
        """
        tilt = turn_about_axes((pitch_deg, 0.0, 0.0))
        axes: FloatArray = self.rotation @ tilt @ axes_of(orientation)
        if mirrored:
            axes = axes * [-1.0 if letter in "LR" else 1.0 for letter in orientation]
        return axes

    def doubts(self) -> tuple[str, ...]:
        """Why this is not to be believed, in the reader's words; empty if it is."""
        reasons = []
        alike = self.similarity >= _LEAST_SIMILARITY
        plausible = (
            _SCALES[0] <= self.scales[0]
            and self.scales[2] <= _SCALES[1]
            and self.scales[2] <= _LARGEST_STRETCH * self.scales[0]
        )
        if not (alike and plausible):
            reasons.append(
                "No T1-weighted head was found in it (likeness to the brain template"
                f" {max(self.similarity, 0.0):.2f}, needed {_LEAST_SIMILARITY:.2f})."
                if not alike
                else "What looks like a brain in it has no brain's size or shape."
            )
        elif not self.tissues.like_t1:
            reasons.append(
                "It is not T1-weighted: white matter should be brightest, then grey matter, then"
                f" fluid; here they are {self.tissues.white:.2f}, {self.tissues.grey:.2f} and"
                f" {self.tissues.csf:.2f}."
            )
        if alike and self.coverage < _LEAST_COVERAGE:
            reasons.append(f"Only {self.coverage:.0%} of the brain is in the image.")
        return tuple(reasons)


def place_head(
    values: npt.NDArray[np.float32],
    geometry: Geometry,
    template: HeadTemplate,
    on_step: Callable[[float], None] = lambda _fraction: None,
) -> HeadPlacement:
    """Place the template in an image (slices, rows, columns) of a head; seconds on one core.

    Heads turned by up to 30 degrees, anywhere in the image, in any storage order, with or without
    skull and neck. `on_step` hears how far it is, 0-1, and may raise to stop. The answer may be
    nonsense for what is no T1 head: ask `doubts()`. ModelError for an image that is too small
    to hold a head, or far too large.
    """
    picture = _flattened(_upright(values, geometry))
    on_step(0.15)
    center = template.center_mm
    starts = _distinct(_search(picture, template, on_step))
    middle, target = picture.smoothed(3.0), template.target(3.0, 3)
    tried = []
    for number, start in enumerate(starts):
        pose = Pose(start.matrix, start.position_mm, center)
        tried.append(fit_affine(middle, target, fit_affine(middle, target, pose, 6), 7))
        on_step(0.6 + 0.2 * (number + 1) / len(starts))
    best = max(tried, key=lambda pose: pose.similarity)
    best = fit_affine(middle, target, best, 12)
    on_step(0.85)
    best = fit_affine(picture.smoothed(1.5), template.target(1.5, 2), best, 12, iterations=30)
    on_step(1.0)
    return _judged(picture, template, best)


def _judged(picture: Picture, template: HeadTemplate, pose: Pose) -> HeadPlacement:
    smooth = picture.smoothed(1.5)
    pose = measured(smooth, template.target(1.5, 2), pose)
    levels = []
    for tissue in (CSF, GREY, WHITE):
        points = pose.place(template.tissue_points(tissue))
        points = points[picture.covers(points)]
        levels.append(float(np.median(picture.sample(points))) if len(points) else 0.0)
    csf, grey, white = (level / max(levels[2], 1e-6) for level in levels)
    low, middle, high = sorted(float(scale) for scale in linalg.svdvals(pose.matrix))
    return HeadPlacement(
        affine=pose.affine,
        similarity=pose.similarity,
        coverage=float(picture.covers(pose.place(template.brain_points())).mean()),
        scales=(low, middle, high),
        tissues=TissueLevels(csf, grey, white),
    )


def _upright(values: npt.NDArray[np.float32], geometry: Geometry) -> Picture:
    """The image on cubes of 2 mm along the patient axes, averaged where its voxels are finer."""
    corners = geometry.to_lps_mm(list(product(*((0, size - 1) for size in geometry.shape))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    thickness = np.array(geometry.shape) * geometry.spacing_mm
    if min(thickness) < _SMALLEST_HEAD_MM:
        raise ModelError(
            f"The image covers {thickness[2]:.0f} × {thickness[1]:.0f} × {thickness[0]:.0f} mm:"
            " too little to hold a head.",
            hint="The model needs the whole brain in one volume.",
        )
    if max(high - low) > _LARGEST_IMAGE_MM:
        raise ModelError(
            f"The image covers {max(high - low):.0f} mm: more than a head.",
            hint="Choose a series of the head alone.",
        )
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    values, to_index = _shrunk(values, geometry)
    count = np.ceil((high - low) / _HEAD_SPACING_MM).astype(int) + 1
    grid = np.eye(4)
    grid[:3, :3] = np.fliplr(np.eye(3)) * _HEAD_SPACING_MM
    grid[:3, 3] = low
    step = to_index @ grid
    shape = tuple(int(n) for n in count[::-1])
    upright = ndimage.affine_transform(
        values, step[:3, :3], step[:3, 3], output_shape=shape, order=1, cval=np.nan
    )
    covered = np.isfinite(upright)
    return Picture(np.where(covered, upright, 0.0), covered, low, _HEAD_SPACING_MM)


def _shrunk(
    values: npt.NDArray[np.float32], geometry: Geometry
) -> tuple[npt.NDArray[np.float32], FloatArray]:
    """Means of blocks up to 2 mm wide, and the matrix from LPS millimetres to their indexes."""
    factors = [max(1, int(_HEAD_SPACING_MM / spacing + 0.3)) for spacing in geometry.spacing_mm]
    shape = [size // factor for size, factor in zip(values.shape, factors, strict=True)]
    kept = tuple(slice(0, n * factor) for n, factor in zip(shape, factors, strict=True))
    blocks = [part for pair in zip(shape, factors, strict=True) for part in pair]
    shrunk = values[kept].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    finer = np.diag([*factors, 1.0])
    finer[:3, 3] = (np.array(factors) - 1) / 2
    to_index = np.asarray(np.linalg.inv(geometry.affine @ finer), dtype=np.float64)
    return np.asarray(shrunk, dtype=np.float32), to_index


def _flattened(picture: Picture) -> Picture:
    """Brightness relative to the tissue around, within 5 cm: coils that shine are evened out."""
    values, covered = picture.values, picture.covered
    seen = values[covered]
    bright = float(np.percentile(seen, 99))
    tissue = covered & (values > 0.5 * _otsu(np.minimum(seen, bright)))
    around = _blurred(np.where(tissue, np.minimum(values, bright), 0.0).astype(np.float32))
    share = _blurred(tissue.astype(np.float32))
    mean = around / np.maximum(share, 1e-2)
    floor = 0.2 * float(np.median(values[tissue])) if tissue.any() else 0.0
    flat = values / np.maximum(mean, max(floor, 1e-6))
    return Picture(np.clip(flat, 0.0, 2.0), covered, picture.origin_mm, picture.spacing_mm)


def _blurred(image: FloatImage) -> FloatImage:
    width = round(_FLATTEN_MM / _HEAD_SPACING_MM)
    twice = ndimage.uniform_filter(ndimage.uniform_filter(image, width), width)
    return np.asarray(twice, dtype=np.float32)


def _otsu(values: npt.NDArray[np.float32]) -> float:
    """The threshold that splits values into two classes of greatest distance (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    middles = (edges[1:] + edges[:-1]) / 2
    below, mass = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    between = (mass[-1] * below - mass * below[-1]) ** 2 / np.maximum(below * above, 1)
    return float(middles[np.argmax(between)])


def _search(
    picture: Picture, template: HeadTemplate, on_step: Callable[[float], None]
) -> list[Pose]:
    """The best shift for every rotation of the fan, by masked normalised cross-correlation."""
    coarse = picture.smoothed(4.0).thinned(_COARSE_FACTOR)
    target = template.target(4.0, 3, _SEARCHED_MM)
    offsets = (target.points_mm - template.center_mm) * _TYPICAL_SCALE
    reach = int(np.ceil(np.linalg.norm(offsets, axis=1).max() / coarse.spacing_mm))
    head = _HeadSpectrum(coarse, reach)
    poses = []
    turns = list(product(_PITCHES_DEG, _TILTS_DEG, _TILTS_DEG))
    for number, angles in enumerate(turns):
        turn = turn_about_axes(angles)
        similarity, place = head.best_shift(offsets @ turn.T, target.intensities)
        position = coarse.origin_mm + np.array(place[::-1]) * coarse.spacing_mm
        poses.append(Pose(turn * _TYPICAL_SCALE, position, template.center_mm, similarity))
        if number % 10 == 0:
            on_step(0.15 + 0.45 * number / len(turns))
    return poses


class _HeadSpectrum:
    """A coarse head in Fourier space, asked where a cloud of brain points fits best."""

    def __init__(self, coarse: Picture, reach: int) -> None:
        self._spacing_mm = coarse.spacing_mm
        self._shape = coarse.values.shape
        # One margin serves both ends, since the transform is periodic.
        self._padded = [fft.next_fast_len(size + reach, real=True) for size in self._shape]
        covered = coarse.covered.astype(np.float32)
        values = np.where(coarse.covered, coarse.values, 0.0).astype(np.float32)
        self._covered, self._values, self._squares = (
            fft.rfftn(image, self._padded) for image in (covered, values, values * values)
        )

    def best_shift(
        self, offsets_mm: FloatArray, intensities: FloatArray
    ) -> tuple[float, tuple[int, ...]]:
        """Correlation, and index of the voxel that the middle of the cloud falls on best."""
        # Each point is paired with the voxel nearest to it. A voxel under several counts as many
        # times: the sums over pairs that a correlation needs are then convolutions.
        cells = np.rint(offsets_mm[:, ::-1] / self._spacing_mm).astype(np.intp) % self._padded
        of_count, of_brain, of_square = (
            self._spectrum(cells, weights)
            for weights in (np.ones_like(intensities), intensities, intensities**2)
        )
        count = np.maximum(self._correlate(self._covered, of_count), 1.0)
        head, brain = (
            self._correlate(self._values, of_count),
            self._correlate(self._covered, of_brain),
        )
        both = self._correlate(self._values, of_brain) - head * brain / count
        head_spread = self._correlate(self._squares, of_count) - head**2 / count
        brain_spread = self._correlate(self._covered, of_square) - brain**2 / count
        scale = np.sqrt(np.maximum(head_spread, 0) * np.maximum(brain_spread, 0))
        similarity = both / np.maximum(scale, 1e-3 * scale.max() + 1e-6)
        # Deep brain is tissue throughout: half a head and half air is no place for it.
        similarity[(count < _LEAST_OVERLAP * len(intensities)) | (head < _DULLEST * count)] = -1.0
        place = np.unravel_index(int(np.argmax(similarity)), similarity.shape)
        return float(similarity[place]), tuple(int(n) for n in place)

    def _spectrum(
        self, cells: npt.NDArray[np.intp], weights: FloatArray
    ) -> npt.NDArray[np.complex64]:
        """Of the sums of weights in each cell, ready for correlation."""
        flat = np.ravel_multi_index(tuple(cells.T), self._padded)
        sums = np.bincount(flat, weights, minlength=int(np.prod(self._padded)))
        room = sums.reshape(self._padded).astype(np.float32)
        return np.asarray(np.conj(fft.rfftn(room)), dtype=np.complex64)

    def _correlate(
        self, head: npt.NDArray[np.complex64], cloud: npt.NDArray[np.complex64]
    ) -> FloatImage:
        whole = fft.irfftn(head * cloud, self._padded)
        inside: FloatImage = whole[tuple(slice(0, n) for n in self._shape)]
        return inside


def _distinct(poses: list[Pose]) -> list[Pose]:
    """The few best that are not near another better one."""
    chosen: list[Pose] = []
    for pose in sorted(poses, key=lambda pose: -pose.similarity):
        if len(chosen) == _STARTS:
            break
        if not any(_near(pose, other) for other in chosen):
            chosen.append(pose)
    return chosen


def _near(one: Pose, other: Pose) -> bool:
    apart_mm = float(np.linalg.norm(one.position_mm - other.position_mm))
    turn = one.matrix.T @ other.matrix / _TYPICAL_SCALE**2
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return apart_mm < 20.0 and bool(angle < 20.0)
