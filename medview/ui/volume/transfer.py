"""Transfer functions: which values of a volume are seen in 3D, in which colour."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Transfer:
    """Colours and opacities (0-1) at real-world values, rising; `maximum` draws the MIP."""

    name: str
    colors: tuple[tuple[float, Rgb], ...]
    opacities: tuple[tuple[float, float], ...]
    maximum: bool = False


_CT = (
    Transfer(
        "Bone",
        (
            (120, (0.45, 0.24, 0.17)),
            (260, (0.80, 0.62, 0.44)),
            (600, (0.95, 0.90, 0.80)),
            (1800, (1.0, 1.0, 0.98)),
        ),
        ((130, 0.0), (240, 0.12), (500, 0.55), (1500, 0.9)),
    ),
    Transfer(
        "Soft tissue and bone",
        (
            (-200, (0.62, 0.42, 0.34)),
            (-50, (0.80, 0.58, 0.47)),
            (60, (0.78, 0.36, 0.30)),
            (180, (0.86, 0.55, 0.40)),
            (350, (0.97, 0.90, 0.78)),
            (1500, (1.0, 1.0, 1.0)),
        ),
        ((-220, 0.0), (-60, 0.03), (20, 0.10), (120, 0.18), (300, 0.5), (900, 0.9)),
    ),
    Transfer(
        "Lung",
        (
            (-950, (0.20, 0.30, 0.45)),
            (-750, (0.45, 0.62, 0.80)),
            (-500, (0.85, 0.75, 0.70)),
            (100, (0.95, 0.6, 0.5)),
        ),
        ((-960, 0.0), (-880, 0.02), (-600, 0.06), (-450, 0.02), (-200, 0.0), (2000, 0.0)),
    ),
)


def presets(modality: str, window: tuple[float, float]) -> tuple[Transfer, ...]:
    """What to offer for a modality; the first is the default.

    `window` is (centre, width) in real-world values; the ramps follow it. CT in HU has
    tissues of its own.
    """
    ramps = (_ramp(window), _maximum(window))
    return (*_CT, ramps[1]) if modality == "CT" else ramps


def _ramp(window: tuple[float, float]) -> Transfer:
    center, width = window
    low, high = center - width / 2, center + width / 2

    def at(part: float) -> float:
        return low + part * (high - low)

    return Transfer(
        "Tissue",
        (
            (at(0.0), (0.05, 0.04, 0.04)),
            (at(0.3), (0.48, 0.33, 0.27)),
            (at(0.65), (0.85, 0.72, 0.62)),
            (at(1.0), (1.0, 0.97, 0.93)),
        ),
        ((at(0.12), 0.0), (at(0.3), 0.06), (at(0.55), 0.28), (at(0.9), 0.75)),
    )


def _maximum(window: tuple[float, float]) -> Transfer:
    center, width = window
    low, high = center - width / 2, center + width / 2
    return Transfer(
        "Brightest (MIP)",
        ((low, (0.0, 0.0, 0.0)), (high, (1.0, 1.0, 1.0))),
        ((low, 0.0), (high, 1.0)),
        maximum=True,
    )
