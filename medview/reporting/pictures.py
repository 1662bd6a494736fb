"""Key images: a slice with its segments outlined, letters, scale and names, as PNG."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from medview.core.codes import HOUNSFIELD
from medview.core.findings import Point
from medview.core.geometry import Box
from medview.core.report import KeyImage
from medview.core.segmentation import Segment, Segmentation
from medview.core.views import Plane, SegmentDisplay
from medview.core.volume import Volume, Window
from medview.imaging.rendering import draw_grey, draw_labels, draw_rgb, drawable, label_ink
from medview.imaging.reslice import PlaneFrame, plane_frame
from medview.imaging.windowing import initial_window, lookup_table, preset_for
from medview.reporting.content import DISCLAIMER

_SIZE_PX = 640
_LEGEND_LINE_PX = 20
_MARGIN_MM = 30.0
#: A legend is for looking up, not for reading: more lines than this push the picture away.
_MOST_LINES = 12
_OWN_NUMBER = re.compile(r"\s+\d+$")
_SMALLEST_FIELD_MM = 60.0
_TEXT = (225, 232, 238)
_PLANES = (Plane.CORONAL, Plane.AXIAL, Plane.SAGITTAL)


def key_images(
    volume: Volume, segmentation: Segmentation, *, fonts: Path, numbers: Sequence[int] = ()
) -> tuple[KeyImage, ...]:
    """The slice of each plane of the body that shows most of the segments, closely framed.

    `numbers` are the segments to show, all if empty. Nothing to see gives no pictures; a single
    image (radiograph) gives the one it is.
    """
    shown = [s for s in segmentation.segments if not numbers or s.number in numbers]
    wanted = np.zeros(np.iinfo(segmentation.labels.dtype).max + 1, dtype=np.bool_)
    wanted[[segment.number for segment in shown]] = True
    marked = wanted[segmentation.labels]
    box = Box.of(marked)
    if box is None:
        return ()
    block = marked[box.slices]
    flat = volume.geometry.shape[0] == 1 or not volume.geometry.in_patient_space
    pictures = []
    for plane in (Plane.ACQUIRED,) if flat else _PLANES:
        frame = plane_frame(volume.geometry, plane)
        others = tuple(axis for axis in range(3) if axis != frame.normal)
        number = box.start[frame.normal] + int(block.sum(axis=others).argmax())
        middle = (np.array(box.start) + np.array(box.stop) - 1) / 2
        middle[frame.normal] = number
        center = volume.geometry.to_lps_mm(middle)
        point = (float(center[0]), float(center[1]), float(center[2]))
        pictures.append(
            key_image(volume, frame, point, shown, segmentation, field=box, fonts=fonts)
        )
    return tuple(pictures)


def key_image(
    volume: Volume,
    frame: PlaneFrame,
    point_lps_mm: Point,
    segments: Sequence[Segment],
    segmentation: Segmentation,
    *,
    field: Box | None,
    fonts: Path,
) -> KeyImage:
    """One picture of the slice through a point; `field` is the box to frame, None for all."""
    number = frame.slice_number(point_lps_mm)
    extent = _field(frame, field)
    canvas, mm_per_px = _drawn(volume, frame, number, extent, segmentation, segments)
    present = set(np.unique(frame.pixels(segmentation.labels, number)).tolist())
    legend = [segment for segment in segments if segment.number in present]
    told = _legend(legend)
    picture = _lettered(canvas, frame, mm_per_px, told, fonts)
    out = io.BytesIO()
    picture.save(out, format="PNG")
    uids = volume.instance_uids
    acquired = frame.normal == 0 and number < len(uids)
    return KeyImage(
        volume_uid=volume.uid,
        plane=frame.plane.value,
        point_lps_mm=point_lps_mm,
        caption=_caption(frame, number, told),
        png=out.getvalue(),
        sop_instance_uid=uids[number] if acquired else "",
    )


def _field(frame: PlaneFrame, field: Box | None) -> tuple[float, float, float]:
    """Left, top and side length in mm of the square to show."""
    whole = frame.extent_mm
    left, top, right, bottom = whole
    if field is not None:
        edges = np.array(
            [
                frame.index_to_mm @ (down, across)
                for down in (field.start[frame.down_axis], field.stop[frame.down_axis])
                for across in (field.start[frame.right_axis], field.stop[frame.right_axis])
            ]
        )
        left, top = np.maximum(edges.min(axis=0) - _MARGIN_MM, (left, top))
        right, bottom = np.minimum(edges.max(axis=0) + _MARGIN_MM, (right, bottom))
    side = max(float(right - left), float(bottom - top), _SMALLEST_FIELD_MM)
    return (
        _within(float(left + right - side) / 2, side, whole[0], whole[2]),
        _within(float(top + bottom - side) / 2, side, whole[1], whole[3]),
        side,
    )


def _within(start: float, side: float, low: float, high: float) -> float:
    """A range moved into another, so that no edge of nothing is shown; in the middle if longer."""
    return (low + high - side) / 2 if side > high - low else min(max(start, low), high - side)


def _drawn(
    volume: Volume,
    frame: PlaneFrame,
    number: int,
    extent: tuple[float, float, float],
    segmentation: Segmentation,
    segments: Sequence[Segment],
) -> tuple[npt.NDArray[np.uint32], float]:
    left, top, side = extent
    mm_per_px = side / _SIZE_PX
    canvas = np.zeros((_SIZE_PX, _SIZE_PX), dtype=np.uint32)
    # Columns of `mm_to_index` belong to x and y; the matrix of the pens wants y, then x.
    matrix = np.empty((2, 3))
    matrix[:, :2] = frame.mm_to_index[:, ::-1] * mm_per_px
    matrix[:, 2] = frame.mm_to_index @ (left + mm_per_px / 2, top + mm_per_px / 2)
    image = drawable(volume, frame.pixels(volume.voxels, number))
    if volume.channels == 1:
        draw_grey(image, matrix, lookup_table(volume, _window(volume, segments)), canvas)
    else:
        draw_rgb(image, matrix, canvas)
    shown = {segment.number: SegmentDisplay(opacity=0.25) for segment in segments}
    hidden = {s.number: SegmentDisplay(visible=False) for s in segmentation.segments}
    ink = label_ink(segmentation, hidden | shown)
    draw_labels(frame.pixels(segmentation.labels, number), matrix, ink, 1, canvas)
    return canvas, mm_per_px


def _window(volume: Volume, segments: Sequence[Segment]) -> Window:
    """A CT in the preset that most of the segments are judged in, others as they are opened."""
    presets = [found for one in segments if (found := preset_for(one.label)) is not None]
    if volume.unit != HOUNSFIELD.value or volume.channels != 1 or not presets:
        return initial_window(volume)
    [(preset, _count)] = Counter(presets).most_common(1)
    return preset.window


def _lettered(
    canvas: npt.NDArray[np.uint32],
    frame: PlaneFrame,
    mm_per_px: float,
    legend: Sequence[tuple[str, tuple[int, int, int]]],
    fonts: Path,
) -> Image.Image:
    rgb = np.stack([(canvas >> shift) & 0xFF for shift in (16, 8, 0)], axis=-1).astype(np.uint8)
    height = _SIZE_PX + 8 + _LEGEND_LINE_PX * (len(legend) + 1)
    picture = Image.new("RGB", (_SIZE_PX, height))
    picture.paste(Image.fromarray(rgb), (0, 0))
    draw = ImageDraw.Draw(picture)
    large = ImageFont.truetype(str(fonts / "DejaVuSans-Bold.ttf"), 20)
    small = ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), 14)
    letters, middle = frame.letters, _SIZE_PX // 2
    for text, place, anchor in (
        (letters.left, (8, middle), "lm"),
        (letters.right, (_SIZE_PX - 8, middle), "rm"),
        (letters.top, (middle, 8), "mt"),
        (letters.bottom, (middle, _SIZE_PX - 8), "mb"),
    ):
        draw.text(place, text, _TEXT, large, anchor, stroke_width=2, stroke_fill=0)
    if frame.geometry.in_patient_space:
        _scale_bar(draw, mm_per_px, small)
    y = _SIZE_PX + 8
    for words, color_rgb in legend:
        draw.rectangle((8, y + 3, 20, y + 15), fill=color_rgb)
        draw.text((28, y + 9), words, _TEXT, small, "lm")
        y += _LEGEND_LINE_PX
    draw.text((8, y + 9), DISCLAIMER, (150, 160, 170), small, "lm")
    return picture


def _scale_bar(draw: ImageDraw.ImageDraw, mm_per_px: float, font: ImageFont.FreeTypeFont) -> None:
    length_mm = next((n for n in (100, 50, 20, 10, 5, 2) if n / mm_per_px < _SIZE_PX / 3), 1)
    end, y = _SIZE_PX - 14, _SIZE_PX - 14
    start = end - length_mm / mm_per_px
    draw.line((start, y, end, y), fill=_TEXT, width=3)
    place = ((start + end) / 2, y - 5)
    draw.text(place, f"{length_mm} mm", _TEXT, font, "mb", stroke_width=2, stroke_fill=0)


def _legend(segments: Sequence[Segment]) -> list[tuple[str, tuple[int, int, int]]]:
    """Words and colour of each line under a picture; at most `_MOST_LINES`.

    Objects of one kind (`Cell 1`, `Cell 2`) share a line with their number. Where there are still
    too many kinds, the last line says how many are not named.
    """
    kinds: dict[str, list[Segment]] = {}
    for segment in segments:
        kinds.setdefault(_OWN_NUMBER.sub("", segment.label), []).append(segment)
    lines = [
        (ones[0].label if len(ones) == 1 else f"{kind} ({len(ones)})", ones[0].color_rgb)
        for kind, ones in kinds.items()
    ]
    if len(lines) <= _MOST_LINES:
        return lines
    left = len(lines) - (_MOST_LINES - 1)
    return [*lines[: _MOST_LINES - 1], (f"and {left} more structures", _TEXT)]


def _caption(
    frame: PlaneFrame, number: int, legend: Sequence[tuple[str, tuple[int, int, int]]]
) -> str:
    place = f"{frame.plane.value.capitalize()}, slice {number + 1} of {frame.count}"
    if frame.plane is Plane.ACQUIRED:
        place = "Image as acquired"
    names = ", ".join(words for words, _ in legend)
    return f"{place}: {names}" if names else place
