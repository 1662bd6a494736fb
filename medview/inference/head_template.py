"""The shipped head template and the regions in it, read from the resources."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from medview.core.codes import Code
from medview.core.errors import ModelError
from medview.core.geometry import FloatArray
from medview.imaging.affine_fit import Picture
from medview.imaging.localise import HeadTemplate

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class PairedRegion:
    """A structure with a left and a right half: where to crop for them, LPS millimetres.

    The crop's frame is the template's with its front turned down by `pitch_deg`.
    """

    left_center_mm: FloatArray
    right_center_mm: FloatArray
    size_mm: FloatArray
    pitch_deg: float


def load_template(resources: Path, name: str) -> HeadTemplate:
    """Read `templates/NAME` of the resources; ModelError where it is missing or damaged."""
    try:
        path = resources / "templates" / name / "head.npz"
        with path.open("rb") as file, np.load(file) as arrays:
            t1, tissues = arrays["t1"], arrays["tissues"]
            first_mm, spacing_mm = arrays["first_lps_mm"], arrays["spacing_mm"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise _damaged(name, error) from error
    if t1.shape != tissues.shape or t1.ndim != 3:
        raise _damaged(name, ValueError("the two images do not agree"))
    picture = Picture(t1.astype(np.float32), tissues > 0, first_mm, float(spacing_mm[0]))
    return HeadTemplate(picture, tissues)


def load_region(resources: Path, name: str, code: Code) -> PairedRegion:
    """The region of `templates/NAME/regions.toml` that has a code; ModelError if there is none."""
    path = resources / "templates" / name / "regions.toml"
    try:
        for block in tomllib.loads(path.read_text(encoding="utf-8")).values():
            if block["code"] == code.value:
                return PairedRegion(
                    left_center_mm=np.array(block["left_center_mm"], np.float64) * _RAS_TO_LPS,
                    right_center_mm=np.array(block["right_center_mm"], np.float64) * _RAS_TO_LPS,
                    size_mm=np.array(block["size_mm"], np.float64),
                    pitch_deg=float(block["pitch_deg"]),
                )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(name, error) from error
    raise ModelError(f"The head template {name} does not say where to find: {code.meaning}.")


def _damaged(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"The head template {name} is missing or damaged.",
        hint="Install medview again.",
        detail=repr(error),
    )
