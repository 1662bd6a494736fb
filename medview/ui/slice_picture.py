"""The picture of a slice: grey values through the window, segments over them, as Qt draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PyQt6.QtGui import QImage

from medview.core.graphics import Graphics
from medview.core.segmentation import Segmentation
from medview.core.views import SegmentDisplay
from medview.core.volume import Volume
from medview.imaging.masks import graphics_ink, graphics_labels
from medview.imaging.rendering import (
    Pens,
    Picture,
    PixelMatrix,
    drawable,
    label_ink,
    shrink,
)
from medview.services.graphics import ImageGraphics
from medview.services.previews import Preview
from medview.services.viewing import Viewing
from medview.ui.viewport import Viewport

_FORMAT = QImage.Format.Format_RGB32


@dataclass(frozen=True, eq=False)
class Placed:
    """A finished picture and where its top left corner stands in the view."""

    pixels: Picture
    image: QImage
    left_px: int
    top_px: int


class Labels(Protocol):
    """Which segmentations are drawn, and how: the overlay of the view, or of a comparison."""

    @property
    def segmentations(self) -> tuple[Segmentation, ...]:
        """Those on the volume on show, the last on top."""

    def displays(self, segmentation: Segmentation) -> Mapping[int, SegmentDisplay]:
        """How each segment is drawn, by number."""


class SlicePicture:
    """Draws the slices of one view and keeps the last picture.

    A picture is drawn at the resolution of the screen, so that grey values are interpolated
    before they are windowed, and segments keep sharp borders however large a voxel is shown.
    """

    def __init__(
        self, viewing: Viewing, graphics: ImageGraphics, labels: Labels | None = None
    ) -> None:
        self._viewing = viewing
        self._graphics = graphics
        self._labels: Labels = viewing.overlay if labels is None else labels
        self._laid: tuple[object, npt.NDArray[np.uint16]] = None, np.zeros((1, 1), np.uint16)
        self.pens = Pens()
        self._key: tuple[object, ...] = ()
        self._placed: Placed | None = None

    def draw(
        self,
        port: Viewport,
        ratio: float,
        stamp: int,
        preview: Preview | None,
        *,
        smooth: bool,
    ) -> Placed | None:
        """The picture of a view; None where the image lies wholly beside it.

        `stamp` counts changes of labels in the slice; the last picture is given again while
        nothing it shows has changed.
        """
        volume = self._viewing.picture
        left, top, right, bottom = port.covered_px()
        if volume is None or right <= left or bottom <= top:
            return None
        state = port.state
        look = (self._viewing.table, state.zoom, state.center_lps_mm, smooth)
        size = (port.width_px, port.height_px, ratio)
        coming = preview.key if preview is not None else None
        place = (volume.uid, port.frame, port.number)
        over = self._over(volume, port)
        key = (*place, *look, *size, stamp, coming, self._inks(), over, self.pens)
        if key != self._key or self._placed is None:
            box = left, top, right, bottom
            self._placed = self._draw(volume, port, box, ratio, preview, smooth=smooth)
            self._key = key
        return self._placed

    def _over(self, volume: Volume, port: Viewport) -> tuple[Graphics, bool]:
        """What lies over the acquired image on show, and whether all of it is drawn."""
        acquired = port.frame.normal == 0
        over = self._graphics.of(volume, port.number) if acquired else Graphics()
        return over, self._graphics.overlays_shown

    def _draw_graphics(
        self, volume: Volume, port: Viewport, matrix: PixelMatrix, out: Picture
    ) -> None:
        """Shutters hide, overlay planes are drawn, both on the pixels of the image."""
        graphics, overlays = key = self._over(volume, port)
        if graphics.is_empty:
            return
        if self._laid[0] != key:
            shape = (volume.geometry.shape[1], volume.geometry.shape[2])
            self._laid = key, graphics_labels(graphics, shape, overlays=overlays)
        pixels: npt.NDArray[Any] = port.frame.pixels(self._laid[1][None], 0)
        self.pens.labels(pixels, matrix, graphics_ink(graphics), 1, out)

    def _inks(self) -> tuple[object, ...]:
        """What tells one look of the overlay from another, the labels themselves apart."""
        overlay = self._labels
        return tuple(
            (
                s.uid,
                tuple(segment.color_rgb for segment in s.segments),
                *overlay.displays(s).items(),
            )
            for s in overlay.segmentations
        )

    def _draw(
        self,
        volume: Volume,
        port: Viewport,
        box: tuple[int, int, int, int],
        ratio: float,
        preview: Preview | None,
        *,
        smooth: bool,
    ) -> Placed:
        left, top, right, bottom = box
        shape = (round((bottom - top) * ratio), round((right - left) * ratio))
        out = np.empty((max(shape[0], 1), max(shape[1], 1)), dtype=np.uint32)
        matrix = port.pixel_matrix(left, top, ratio)
        self._draw_image(volume, port, matrix, out, smooth=smooth)
        self._draw_graphics(volume, port, matrix, out)
        for segmentation in self._labels.segmentations:
            meant = preview is not None and preview.segmentation_uid in ("", segmentation.uid)
            shown = preview if meant else None
            self._draw_segments(segmentation, port, matrix, shown, out, max(1, round(ratio)))
        # The picture lends its memory to the image and is kept beside it.
        rows, columns = out.shape
        image = QImage(out.data, columns, rows, out.strides[0], _FORMAT)  # type: ignore[call-overload]
        image.setDevicePixelRatio(ratio)
        return Placed(out, image, left, top)

    def _draw_image(
        self, volume: Volume, port: Viewport, matrix: PixelMatrix, out: Picture, *, smooth: bool
    ) -> None:
        pixels = drawable(volume, port.frame.pixels(volume.voxels, port.number))
        steps = np.abs(matrix[:, :2]).sum(axis=1)
        factor = int(steps.min()) if smooth else 1
        if factor > 1:
            pixels = shrink(pixels, factor)
            matrix = matrix / factor
            matrix[:, 2] += 0.5 / factor - 0.5
        if volume.channels > 1:
            self.pens.rgb(pixels, matrix, out, smooth=smooth)
            return
        self.pens.grey(pixels, matrix, self._viewing.table, out, smooth=smooth)

    def _draw_segments(
        self,
        segmentation: Segmentation,
        port: Viewport,
        matrix: PixelMatrix,
        preview: Preview | None,
        out: Picture,
        width_px: int,
    ) -> None:
        ink = label_ink(segmentation, self._labels.displays(segmentation))
        if not ink.shows_anything:
            return
        labels: npt.NDArray[Any] = port.frame.pixels(segmentation.labels, port.number)
        if preview is not None:
            labels = preview.over(labels, port.frame, port.number)
        self.pens.labels(labels, matrix, ink, width_px, out)
