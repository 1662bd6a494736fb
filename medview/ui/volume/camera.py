"""A camera that turns around a point of the patient; plain numbers, no drawing library."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

#: Where the camera stands, and what is up in the picture, in LPS, by the letter of the side.
_SIDES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "A": ((0, -1, 0), (0, 0, 1)),
    "P": ((0, 1, 0), (0, 0, 1)),
    "L": ((1, 0, 0), (0, 0, 1)),
    "R": ((-1, 0, 0), (0, 0, 1)),
    "H": ((0, 0, 1), (0, -1, 0)),
    "F": ((0, 0, -1), (0, -1, 0)),
}
SIDES = tuple(_SIDES)
_SIDE_NAMES = {"A": "front", "P": "back", "L": "left", "R": "right", "H": "head", "F": "feet"}
_DEGREES_PER_PX = 0.45


def side_name(letter: str) -> str:
    """The side in a word: `front` for A; KeyError for another letter."""
    return _SIDE_NAMES[letter]


@dataclass(frozen=True, eq=False)
class Camera:
    """Looks at `focal_lps_mm`; `height_mm` of the patient fill the height of the picture.

    `frame` has three rows of length 1 in LPS: right in the picture, up in the picture, and
    from the patient towards the camera.
    """

    focal_lps_mm: FloatArray
    frame: FloatArray
    height_mm: float

    @staticmethod
    def at_side(letter: str, center_lps_mm: npt.ArrayLike, height_mm: float) -> Camera:
        """The camera at one side of the patient (A, P, L, R, H or F); KeyError for others."""
        back, up = (np.array(v, dtype=np.float64) for v in _SIDES[letter])
        frame = np.stack([np.cross(up, back), up, back])
        return Camera(np.asarray(center_lps_mm, dtype=np.float64), frame, float(height_mm))

    def rotated(self, right_px: float, down_px: float) -> Camera:
        """After dragging the patient by so many pixels, as one turns a globe."""
        turn = _rotation((0.0, 1.0, 0.0), right_px * _DEGREES_PER_PX)
        tip = _rotation((1.0, 0.0, 0.0), down_px * _DEGREES_PER_PX)
        frame = tip @ turn @ self.frame
        # Rounding must not add up over a thousand drags.
        right = frame[0] / np.linalg.norm(frame[0])
        back = np.cross(right, frame[1])
        back /= np.linalg.norm(back)
        return replace(self, frame=np.stack([right, np.cross(back, right), back]))

    def zoomed(self, factor: float) -> Camera:
        """With the patient drawn `factor` times as large, within 1 mm to 5 m of height."""
        return replace(self, height_mm=float(np.clip(self.height_mm / factor, 1.0, 5000.0)))

    def panned(self, right_px: float, down_px: float, height_px: int) -> Camera:
        """After pulling the patient by so many pixels of a picture `height_px` high."""
        mm_per_px = self.height_mm / max(1, height_px)
        move = (-right_px * self.frame[0] + down_px * self.frame[1]) * mm_per_px
        return replace(self, focal_lps_mm=self.focal_lps_mm + move)

    def to_view(self, width_px: float, height_px: float) -> FloatArray:
        """The 4x4 matrix from LPS mm to a picture of that size: x right and y down in pixels.

        Its third row is the way towards the camera in mm; the projection is parallel, so the last
        one leaves w at 1.
        """
        px_per_mm = height_px / self.height_mm
        lines = self.frame * np.array([[px_per_mm], [-px_per_mm], [1.0]])
        matrix = np.eye(4)
        matrix[:3, :3] = lines
        matrix[:3, 3] = np.array([width_px / 2, height_px / 2, 0.0]) - lines @ self.focal_lps_mm
        return matrix

    def project(self, direction_lps: npt.ArrayLike) -> FloatArray:
        """A direction of the patient as (right, up, towards the camera)."""
        result: FloatArray = self.frame @ np.asarray(direction_lps, dtype=np.float64)
        return result


def _rotation(axis: tuple[float, float, float], degrees: float) -> FloatArray:
    """Rodrigues' rotation matrix about a unit axis."""
    x, y, z = axis
    angle = math.radians(degrees)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    result: FloatArray = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return result
