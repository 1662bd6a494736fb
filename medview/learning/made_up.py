"""Pictures that nobody took: areas, tubes and blobs of every look, one of which is meant."""

from __future__ import annotations

import functools

import numpy as np
from scipy import ndimage

from medview.imaging.edit import Mask
from medview.imaging.prompts import SIDE, Floats

#: What is meant is so many cells large at least, and this share of the picture at most.
_LEAST_CELLS, _MOST = 40, 0.8
#: The next picture is tried where none was good; so often at most.
_TRIES = 50


def smooth_noise(rng: np.random.Generator, knots: int, shape: tuple[int, int]) -> Floats:
    """Normal numbers at so many knots along each side, and what lies smoothly between them."""
    coarse = rng.standard_normal((knots, knots)).astype(np.float32)
    field = _between(knots, shape[0]) @ coarse @ _between(knots, shape[1]).T
    return np.asarray(field, dtype=np.float32)


@functools.cache
def _between(knots: int, count: int) -> Floats:
    """How much each of `count` places on a line has of each knot, (count, knots)."""
    at = np.linspace(0, knots - 1, count)
    left = np.minimum(at.astype(int), knots - 2)
    share = at - left
    share = share * share * (3 - 2 * share)  # level at the knots: no creases
    weights = np.zeros((count, knots), dtype=np.float32)
    rows = np.arange(count)
    weights[rows, left] = 1 - share
    weights[rows, left + 1] = share
    return weights


def made_up(rng: np.random.Generator) -> tuple[Floats, Mask]:
    """A picture (SIDE, SIDE) of areas over and through each other, and the one that is meant."""
    for _ in range(_TRIES):
        picture, areas = _painted(rng)
        truth = areas[int(rng.integers(len(areas)))]
        parts, count = ndimage.label(truth)
        if not count:
            continue
        truth = np.asarray(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
        if _LEAST_CELLS <= truth.sum() <= _MOST * truth.size:
            return picture, truth
    raise RuntimeError(f"{_TRIES} pictures without an area that could be meant")


def _painted(rng: np.random.Generator) -> tuple[Floats, list[Mask]]:
    """Areas painted one after the other, each covering those before or shining through them."""
    shape = (SIDE, SIDE)
    picture = _texture(rng)
    through = rng.random() < 0.35
    areas: list[Mask] = []
    for _ in range(int(rng.integers(2, 14))):
        area = _area(rng)
        if not area.any():
            continue
        value = float(rng.normal()) * 1.6
        inside = value + (_texture(rng) if rng.random() < 0.6 else 0.1 * _texture(rng))
        if through:
            picture = picture + area * inside
        else:
            picture = np.where(area, inside, picture)
            areas = [other & ~area for other in areas]
        areas.append(area)
    areas = areas or [np.ones(shape, dtype=np.bool_)]
    picture = ndimage.gaussian_filter(picture, rng.uniform(0.2, 2.0))
    if rng.random() < 0.5:
        picture = picture + rng.uniform(0, 1.2) * smooth_noise(rng, 3, shape)
    return np.asarray(picture, dtype=np.float32), areas


def _texture(rng: np.random.Generator) -> Floats:
    """A ground with grain of some size."""
    knots = int(rng.choice([3, 6, 12, 24, 48, 96]))
    grain = smooth_noise(rng, knots, (SIDE, SIDE)) * rng.uniform(0, 0.5)
    return np.asarray(grain + rng.normal() * 0.5, dtype=np.float32)


def _area(rng: np.random.Generator) -> Mask:
    """A blob, a tube, or a piece of a map with wavy borders."""
    kind = rng.random()
    if kind < 0.6:
        return _blob(rng)
    if kind < 0.8:
        return _tube(rng)
    field = smooth_noise(rng, int(rng.integers(3, 9)), (SIDE, SIDE))
    return np.asarray(field > rng.uniform(0.3, 1.3))


def _blob(rng: np.random.Generator) -> Mask:
    """A shape around a middle: an ellipse whose radius swings with the angle."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    middle = rng.uniform(0, SIDE, 2)
    down, across = rows - middle[0], columns - middle[1]
    turn = rng.uniform(0, np.pi)
    along = np.cos(turn) * down + np.sin(turn) * across
    beside = -np.sin(turn) * down + np.cos(turn) * across
    radius = np.exp(rng.uniform(np.log(4), np.log(70)))
    stretch = np.exp(rng.uniform(0, np.log(3)))
    angle = np.arctan2(beside * stretch, along)
    swing = np.ones_like(angle)
    for wave in range(2, int(rng.integers(3, 8))):
        swing += rng.normal() * 0.35 / wave * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    return np.asarray(np.hypot(along, beside * stretch) < radius * np.maximum(swing, 0.2))


def _tube(rng: np.random.Generator) -> Mask:
    """A band along a bent line."""
    at = np.linspace(0, 1, 160)[:, None]
    start, stop, bend = (rng.uniform(-0.1, 1.1, (3, 2)) * SIDE)[:, None]
    line = (1 - at) ** 2 * start + 2 * at * (1 - at) * bend + at**2 * stop
    off = np.ones((SIDE, SIDE), dtype=np.bool_)
    places = np.round(line).astype(int)
    places = places[((places >= 0) & (places < SIDE)).all(axis=1)]
    if not len(places):
        return ~off
    off[tuple(places.T)] = False
    return np.asarray(ndimage.distance_transform_edt(off) < np.exp(rng.uniform(0.7, np.log(14))))
