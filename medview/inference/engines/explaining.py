"""Saliency maps of single findings, on the grid of the image: asked for seldom, made on wish."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medview.core.errors import ModelError
from medview.core.findings import Finding
from medview.core.geometry import Geometry
from medview.core.maps import MapKind, ScalarMap
from medview.inference.adapter import Context

FloatImage = npt.NDArray[np.float32]

#: So many findings of a run are explained at most: each costs many looks.
MOST_EXPLAINED = 4

_SALIENCY = "medview.inference.engines.saliency"
_METHODS = {"grad_cam": "Grad-CAM", "integrated_gradients": "Integrated gradients"}
#: The colour bar ends where so many of a hundred places lie within.
_PERCENT = 99.5


@dataclass(frozen=True)
class Subject:
    """What is to be explained: class `number`, on its own (`alone`) or against the others.

    Of a detector, the highest logit in `cells` of its answer.
    """

    number: int
    alone: bool = False
    cells: Sequence[slice] | None = None


def attribution(
    network: nn.Module, image: torch.Tensor, subject: Subject, context: Context
) -> FloatImage:
    """How much every place of a network's input (C, x, y...) moved its answer, (x, y...).

    `parameters["saliency"]` chooses the method; ModelError for an unknown one.
    """
    saliency = _saliency()
    if subject.cells is None:
        score = partial(saliency.ClassScore, number=subject.number, alone=subject.alone)
    else:
        score = partial(saliency.BoxScore, number=subject.number, cells=subject.cells)
    context.check_cancelled()
    found: torch.Tensor = saliency.explain(network, score, image, _method(context))
    values: FloatImage = found.numpy()
    return values


def saliency_map(
    values: FloatImage, geometry: Geometry, volume_uid: str, finding: Finding, context: Context
) -> ScalarMap:
    """The map of one finding, its colour bar the same to both sides of 0."""
    end = float(np.percentile(np.abs(values), _PERCENT)) or float(np.abs(values).max()) or 1.0
    # Scaled, so that all values keep their digits in half precision.
    return ScalarMap(
        volume_uid=volume_uid,
        kind=MapKind.SALIENCY,
        geometry=geometry,
        values=values / end,
        value_range=(-1.0, 1.0),
        subject=finding.label,
        finding_uid=finding.uid,
        method=_METHODS[_method(context)],
    )


def _method(context: Context) -> str:
    method = str(context.parameters.get("saliency", "grad_cam"))
    if method not in _METHODS:
        raise ModelError(
            f"There is no saliency by {method}.", hint=f"Known are {', '.join(_METHODS)}."
        )
    return method


def _saliency() -> ModuleType:
    """What knows captum, imported when it is first needed: that takes seconds."""
    try:
        return importlib.import_module(_SALIENCY)
    except ImportError as error:
        raise ModelError(
            "The library that explains networks (captum) is missing.",
            hint="Install medview again.",
            detail=str(error),
        ) from error
