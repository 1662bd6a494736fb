"""Answering prompts by random walks with priors over a window, alone or led by a network.

A walker that starts in a cell steps to alike neighbours rather than across borders, and now and
then ends by chance. The probability that it ends at what belongs to the object is the answer:
Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005. The priors are
what the values under the marks say, how near marks are, and what was answered before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.linalg import LinearOperator, cg

from medview.imaging.edit import Mask
from medview.imaging.prompts import Floats, View

#: How readily a walk ends by its prior, beside the four steps it can take.
_ENDS = 0.01
#: How surely it ends at a mark: so much that marks are held, so little that the system stays tame.
_HELD = 50.0
#: Steps across a difference of so many usual differences are rare.
_SAME = 1.5
#: Values are compared in so many classes, and blurred by at least so many standard deviations.
_BINS = 96
_LEAST_SPREAD = 0.35
#: How much of the window may look like the object before its looks say nothing.
_COMMON = 0.7
#: What looks, nearness of marks and an earlier answer say counts by these weights.
_LOOKS, _NEARNESS, _BEFORE = 0.7, 0.8, 0.6
#: What a network says counts by the first of these, looks and nearness beside it by the others;
#: so readily do such walks end.
_LED, _LED_LOOKS, _LED_NEARNESS, _LED_ENDS = 4.0, 0.35, 0.4, 0.02
#: A mark against an earlier answer makes it doubtful so far around, in cells.
_DOUBT_CELLS = 20.0


def walked(view: View) -> Floats:
    """How likely each cell belongs to what is marked, (SIDE, SIDE)."""
    adds, takes, _ = _marks(view)
    weight = _LOOKS * _logit(_looks(view, adds, takes)) + _NEARNESS * _nearness(adds, takes)
    if view.before.any():
        against = np.where(view.before >= 0.5, takes, adds)
        doubt = 0.0
        if against.any():
            away = ndimage.distance_transform_edt(~against)
            doubt = np.exp(-((away / _DOUBT_CELLS) ** 2))
        weight += _BEFORE * (1 - doubt) * _logit(view.before)
    return _ended(view, weight, _ENDS)


def led(view: View, learned: Floats) -> Floats:
    """The same, of walks that are led by how likely a network finds each cell, (SIDE, SIDE).

    It has seen the marks and what was answered before; walks hold the marks and keep to borders.
    """
    adds, takes, _ = _marks(view)
    weight = _LED * _logit(learned)
    weight += _LED_LOOKS * _logit(_looks(view, adds, takes))
    weight += _LED_NEARNESS * _nearness(adds, takes)
    return _ended(view, weight, _LED_ENDS)


def _marks(view: View) -> tuple[Mask, Mask, Mask]:
    """What is marked as belonging and as not, and what lies outside the box."""
    outside = ~view.box if view.box.any() else np.zeros_like(view.box)
    return view.adds & ~view.takes & ~outside, view.takes, outside


def _nearness(adds: Mask, takes: Mask) -> npt.NDArray[np.float64]:
    """The odds by which marks are nearer; even ones without marks of both kinds."""
    if not (takes.any() and adds.any()):
        return np.zeros(adds.shape)
    far, near = (ndimage.distance_transform_edt(~one) for one in (takes, adds))
    return _logit(far / np.maximum(far + near, 1e-6))


def _ended(view: View, weight: npt.NDArray[np.float64], ends: float) -> Floats:
    """Where walks end whose prior has these odds; marks are certain."""
    adds, takes, outside = _marks(view)
    prior = 1 / (1 + np.exp(-weight))
    known = adds | takes | outside
    prior[known] = adds[known]
    return _walk(ndimage.gaussian_filter(view.image, 0.7), prior, known, ends)


def _logit(likely: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """The logarithm of odds; nothing is certain."""
    bounded = np.clip(likely, 0.05, 0.95)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _looks(view: View, adds: Mask, takes: Mask) -> npt.NDArray[np.float64]:
    """How likely each cell belongs to the object by its value alone."""
    inside = adds if adds.any() else (view.before >= 0.5) & ~takes
    if not inside.any():
        inside = _middle(view.box)
    values = view.image
    edges = np.linspace(float(values.min()) - 1e-3, float(values.max()) + 1e-3, _BINS + 1)
    place = np.clip(np.searchsorted(edges, values) - 1, 0, _BINS - 1)
    spread = max(float(values[inside].std()), _LEAST_SPREAD) / (edges[1] - edges[0])
    here = _shares(place[inside], spread)
    rival = _shares(place.ravel(), spread) * _COMMON
    if takes.any():
        rival = np.maximum(rival, _shares(place[takes], spread))
    return np.asarray((here / np.maximum(here + rival, 1e-9))[place])


def _middle(box: Mask) -> Mask:
    """The middle of a box, half as long and wide; everywhere without one."""
    if not box.any():
        return ~box
    middle = np.zeros_like(box)
    down, across = np.flatnonzero(box.any(axis=1)), np.flatnonzero(box.any(axis=0))
    rows, columns = (line[len(line) // 4 : len(line) - len(line) // 4] for line in (down, across))
    middle[np.ix_(rows, columns)] = True
    return middle


def _shares(places: npt.NDArray[np.intp], spread: float) -> npt.NDArray[np.float64]:
    """How often values fall into each class, blurred."""
    counts = np.bincount(places, minlength=_BINS).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter1d(counts, spread, mode="constant") / len(places))


def _walk(image: Floats, prior: npt.NDArray[np.float64], known: Mask, chance: float) -> Floats:
    """Where walks end: (L + ends) x = ends * prior, with what is known held."""
    down, across = np.abs(np.diff(image, axis=0)), np.abs(np.diff(image, axis=1))
    usual = _SAME * max(float(np.concatenate([down.ravel(), across.ravel()]).mean()), 1e-6)
    weights = [np.exp(-((step / usual) ** 2)) + 1e-4 for step in (down, across)]
    rows, columns = image.shape
    below, right = np.zeros(image.shape), np.zeros(image.shape)
    below[:-1], right[:, :-1] = weights[0], weights[1]
    total = below + right
    total[1:] += weights[0]
    total[:, 1:] += weights[1]
    ends = np.where(known, _HELD, chance)
    flat = [-below.ravel()[: -columns or None], -right.ravel()[:-1]]
    system = sparse.diags_array(
        [flat[0], flat[1], (total + ends).ravel(), flat[1], flat[0]],
        offsets=[-columns, -1, 0, 1, columns],
        format="csr",
    )
    scale = 1 / (total + ends).ravel()
    precondition = LinearOperator(system.shape, matvec=lambda x: scale * x)
    start = prior.ravel()
    found, _ = cg(system, ends.ravel() * start, x0=start, rtol=1e-5, maxiter=300, M=precondition)
    likely: Floats = np.clip(found, 0, 1).reshape(rows, columns).astype(np.float32)
    return likely
