"""How stored values become grey: windows, presets, and the lookup table of a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medview.core.codes import HOUNSFIELD
from medview.core.volume import Volume, Window

#: How many voxels are enough to judge the range of a volume by.
_SAMPLE_VOXELS = 1_000_000
#: Entries of a table for curved windows over values that are not small whole numbers.
_FINE_ENTRIES = 65536
_OPAQUE = np.uint32(0xFF000000)
_LARGEST_GREY = 255


@dataclass(frozen=True)
class Preset:
    """A named window in HU on a number key."""

    key: int
    name: str
    window: Window


def _preset(key: int, name: str, width: float, center: float) -> Preset:
    return Preset(key, name, Window(center, width, name))


#: Windows for computed tomography, bound by name (width and centre in HU).
PRESETS = (
    _preset(1, "Soft tissue", 400, 40),
    _preset(2, "Lung", 1500, -600),
    _preset(3, "Bone", 2000, 350),
    _preset(4, "Brain", 80, 40),
    _preset(5, "Abdomen", 400, 50),
    _preset(6, "Liver", 150, 90),
    _preset(7, "CT angiography", 600, 300),
    _preset(8, "Stroke", 40, 40),
    _preset(9, "Subdural", 200, 75),
)

#: What is found, by how words in its name or site begin, and its CT window; the first holds.
_SEEN_IN = (
    ("Brain", "brain|cerebr|cerebell|intracranial|ha?emorrhage"),
    ("Liver", "liver|hepatic"),
    ("Bone", r"bones?\b|ribs?\b|vertebra|spine|skull|femur|hips?\b|clavic|scapula|sternum|sacrum"
             "|humerus|fracture"),
    ("Lung", "lungs?|pulmonary|airway|trachea|bronch|emphysema|pneumothorax"),
    ("Abdomen", "spleen|pancrea|kidney|adrenal|gallbladder|bowel|colon|duodenum|stomach|bladder"
                "|prostate"),
    ("Soft tissue", "heart|aort|mediastin|lymph|thyroid|muscle|o?esophag|atri|ventric|vena cava"),
)  # fmt: skip
#: Where nothing of that is said, the part of the body tells.
_BODY_PARTS = (("Lung", "chest|thora|lung"), ("Brain", "head|brain"), ("Abdomen", "abdom|pelvi"))

#: Standardised uptake values 0 to 5, the usual reading window of PET.
SUV_WINDOW = Window(2.5, 5.0, "SUV 0-5", "LINEAR_EXACT")


def find_preset(name: str) -> Preset:
    """The preset with that name, whatever the case; LookupError if there is none."""
    for preset in PRESETS:
        if preset.name.casefold() == name.casefold():
            return preset
    raise LookupError(f"No window preset is called {name!r}")


def apply_window(
    values: npt.ArrayLike, window: Window, low: float = 0.0, high: float = 255.0
) -> npt.NDArray[np.float64]:
    """Real-world values through a window to the range `low` to `high`, float64.

    PS3.3 C.11.2.1.2: LINEAR, LINEAR_EXACT and SIGMOID. LINEAR is defined for widths of at
    least 1; narrower ones (values that are no whole numbers) are taken as LINEAR_EXACT. LUT
    (C.11.2.1.1): the entry nearest to the value, the first and last for values beside the table.
    ValueError for other functions.
    """
    x = np.asarray(values, dtype=np.float64)
    center, width, span = window.center, window.width, high - low
    if window.function == "SIGMOID":
        # Far below the window the exponential overflows to infinity, which is the right limit.
        with np.errstate(over="ignore"):
            result: npt.NDArray[np.float64] = span / (1 + np.exp(-4 * (x - center) / width)) + low
        return result
    if window.curve is not None:
        return window_outputs(x, window) * (span / window.curve.largest) + low
    if window.function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1
    elif window.function not in ("LINEAR", "LINEAR_EXACT"):
        raise ValueError(f"No window function {window.function!r}")
    ramp = ((x - center) / width + 0.5) * span + low if width > 0 else np.full(x.shape, low)
    return np.where(x <= center - width / 2, low, np.where(x > center + width / 2, high, ramp))


def window_outputs(values: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    """What a VOI LUT gives for values, in its own numbers; ValueError for other windows."""
    if window.curve is None:
        raise ValueError("The window is no lookup table")
    outputs = window.curve.outputs
    steps = outputs.size - 1
    place = (values - (window.center - window.width / 2)) * (steps / window.width)
    known = np.where(np.isnan(place), 0, place)
    result: npt.NDArray[np.float64] = outputs[
        np.floor(np.clip(known, 0, steps) + 0.5).astype(np.intp)
    ].astype(np.float64)
    return result


def window_bounds(window: Window) -> tuple[float, float]:
    """Real-world values at the dark and the bright end; a sigmoid's where it is 2 % from them."""
    half = window.width if window.function == "SIGMOID" else window.width / 2
    return window.center - half, window.center + half


def _sample(volume: Volume, limit: int = _SAMPLE_VOXELS) -> npt.NDArray[np.float32]:
    """Real-world values of evenly spread voxels, padding and not-a-number left out."""
    step = max(1, int(np.ceil((volume.voxels.size / limit) ** (1 / 3))))
    steps = [step if count > 2 * step else 1 for count in volume.geometry.shape]
    stored = volume.voxels[:: steps[0], :: steps[1], :: steps[2]]
    kept = stored[~volume.is_padding(stored)] if volume.padding else stored.reshape(-1)
    values = volume.value_of(kept)
    return values[np.isfinite(values)]


def _window_between(low: float, high: float, explanation: str) -> Window:
    """The window whose ends are those two values."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return Window((low + high) / 2, high - low, explanation, "LINEAR_EXACT")


def automatic_window(volume: Volume) -> Window:
    """A window from the image itself: all but 0.5 % of the values at each end, without padding."""
    values = _sample(volume)
    if values.size == 0:
        return _window_between(0.0, 1.0, "Automatic")
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return _window_between(low, high, "Automatic")


def full_window(volume: Volume) -> Window:
    """The window from the smallest to the largest value of the volume, without padding."""
    lows, highs = [], []
    for stored in volume.voxels:
        kept = stored[~volume.is_padding(stored)] if volume.padding else stored
        values = kept[np.isfinite(kept)] if kept.dtype.kind == "f" else kept
        if values.size:
            lows.append(values.min())
            highs.append(values.max())
    if not lows:
        return _window_between(0.0, 1.0, "Full range")
    ends = volume.value_of([min(lows), max(highs)])
    return _window_between(float(ends.min()), float(ends.max()), "Full range")


def initial_window(volume: Volume) -> Window:
    """How a volume is first shown: SUV 0-5 for uptake, else its first DICOM window.

    Without one, computed tomography is shown as soft tissue and everything else by its values.
    """
    if volume.unit.startswith("g/ml{SUV"):
        return SUV_WINDOW
    if volume.default_windows:
        return volume.default_windows[0]
    if volume.unit == HOUNSFIELD.value:
        return find_preset("Soft tissue").window
    return automatic_window(volume)


def shows_uptake(volume: Volume) -> bool:
    """Whether values are standardised uptake, whose window starts at zero and stays there."""
    return "SUV" in volume.unit


def key_windows(volume: Volume) -> tuple[Window, ...]:
    """The windows on keys 1 to 9: presets where values are HU, the image's own elsewhere."""
    if volume.unit == HOUNSFIELD.value:
        return tuple(preset.window for preset in PRESETS)
    return volume.default_windows[:9]


def dynamic_range(volume: Volume) -> float:
    """Spread of the real-world values of the middle slice, the measure for drags.

    The middle slice, because text burned into the first ones inflates the stored range.
    """
    stored = volume.voxels[volume.geometry.shape[0] // 2]
    kept = stored[~volume.is_padding(stored)]
    values = volume.value_of(kept)
    values = values[np.isfinite(values)]
    return float(np.ptp(values)) if values.size and np.ptp(values) > 0 else 1.0


def dragged(window: Window, wider: float, brighter: float, *, upper_only: bool = False) -> Window:
    """The window after a drag, both amounts in real-world values.

    Brighter means a lower centre. With `upper_only` (PET) the lower end stays and only the
    upper one moves, down for brighter.
    """
    smallest = 1.0 if window.function == "LINEAR" and window.width >= 1 else 1e-6 * window.width
    if upper_only:
        low, high = window_bounds(window)
        width = max(high - low - brighter, smallest)
        return replace(window, center=low + width / 2, width=width, explanation="")
    width = max(window.width + wider, smallest)
    return replace(window, center=window.center - brighter, width=width, explanation="")


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Stored values to 0xFFRRGGBB: entry `round(stored * scale + offset)`, held to the table.

    `blank` is the colour where there is no image: padding, not-a-number, beside the image.
    """

    colors: npt.NDArray[np.uint32]
    scale: float
    offset: float
    blank: int = 0xFF000000

    def colors_of(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """The colour of each stored value."""
        place = stored.astype(np.float64) * self.scale + self.offset
        known = np.isfinite(place)
        last = self.colors.size - 1
        index = np.clip(np.where(known, place, 0) + 0.5, 0, last).astype(np.intp)
        return np.where(known, self.colors[index], np.uint32(self.blank))


def lookup_table(volume: Volume, window: Window, *, inverted: bool = False) -> LookupTable:
    """The table that shows a grey volume in a window.

    MONOCHROME1 volumes and the reader's `inverted` each turn the greys round (PS3.3 C.11.6.1.2);
    padding stays black either way. Whole numbers of at most 16 bits get one entry a value. For
    others a straight window has one entry a grey, at which the value is rounded as the formula
    rounds it; a curved one has 65536 entries over its width.
    """
    kind = volume.voxels.dtype
    by_value = kind.kind in "iub" and kind.itemsize <= 2
    if by_value:
        limits = np.iinfo(np.uint8 if kind.kind == "b" else kind)
        stored = np.arange(limits.min, limits.max + 1, dtype=np.float64)
        scale, offset = 1.0, -float(limits.min)
    else:
        low, high = _stored_ends(volume, window)
        straight = window.function in ("LINEAR", "LINEAR_EXACT")
        stored = np.linspace(low, high, _LARGEST_GREY + 1 if straight else _FINE_ENTRIES)
        scale = (stored.size - 1) / (high - low)
        offset = -low * scale
    grey = np.floor(apply_window(stored * volume.slope + volume.intercept, window) + 0.5)
    if not by_value and window.function in ("LINEAR", "LINEAR_EXACT"):
        grey = np.arange(_LARGEST_GREY + 1.0)[:: 1 if volume.slope > 0 else -1]
    grey = _LARGEST_GREY - grey if inverted != volume.inverted else grey
    if by_value:
        grey[volume.is_padding(stored)] = 0
    colors = grey.astype(np.uint32) * np.uint32(0x010101) | _OPAQUE
    return LookupTable(colors, scale, offset)


def _stored_ends(volume: Volume, window: Window) -> tuple[float, float]:
    """Stored values at the dark and bright end of what a table spans."""
    center, half = window.center, window.width / 2
    if window.function == "LINEAR" and window.width >= 1:
        center, half = center - 0.5, max((window.width - 1) / 2, 1e-6)
    elif window.function == "SIGMOID":
        half = 2 * window.width
    ends = [(end - volume.intercept) / volume.slope for end in (center - half, center + half)]
    return min(ends), max(ends)


def preset_for(words: str, about: str = "") -> Preset | None:
    """The CT preset that what the words name is judged in; None where nothing tells.

    `about` has words of the examination: they count where those of the finding say nothing.
    """
    for told, table in ((words.casefold(), _SEEN_IN), (about.casefold(), _BODY_PARTS)):
        for name, beginnings in table:
            if re.search(rf"\b(?:{beginnings})", told):
                return find_preset(name)
    return None
