"""PNG, JPEG and TIFF pictures: no place in a patient, no millimetres."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from medview.core.errors import ReadError
from medview.core.geometry import Calibration
from medview.core.study import Series
from medview.io.archives import read_all
from medview.io.plan import PixelFormat, PlanePlan, SeriesPlan, VolumePlan

_FORMATS = ("PNG", "JPEG", "TIFF")
_MAX_PIXELS = 1 << 28
_GREY = {
    "1": "|u1",
    "L": "|u1",
    "I;16": "<u2",
    "I;16L": "<u2",
    "I;16B": "<u2",
    "I": "<i4",
    "F": "<f4",
}
_FAILURES = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, MemoryError,
             Image.DecompressionBombError, TypeError, KeyError, IndexError)  # fmt: skip
_NOTE = "A picture without a pixel size: lengths are in pixels"


def plan_raster(series: Series, password: str = "") -> SeriesPlan:
    """One volume of one plane for each page of the picture; pages of one size form one stack."""
    instance = series.instances[0]
    entry = next(read_all(instance.path, [instance.member], password), None)
    if entry is None:
        raise ReadError("The file is no longer there")
    pages = _pages(entry.data)
    stacks: dict[PixelFormat, list[int]] = {}
    for number, form in enumerate(pages):
        stacks.setdefault(form, []).append(number)
    volumes = []
    for count, (form, numbers) in enumerate(stacks.items()):
        planes = [PlanePlan(instance.path, form, instance.member, frame=n) for n in numbers]
        shape = (len(numbers), form.rows, form.columns)
        volumes.append(
            VolumePlan(
                uid=f"{series.uid}#{count}",
                series_uid=series.uid,
                shape=shape if form.samples == 1 else (*shape, 3),
                dtype=form.dtype,
                affine=tuple(tuple(float(r == c) for c in range(4)) for r in range(4)),
                planes=tuple(planes),
                calibration=Calibration.NONE,
                notes=(_NOTE,),
                password=password,
            )
        )
    return SeriesPlan(series.uid, tuple(volumes))


def _pages(data: bytes) -> list[PixelFormat]:
    try:
        with _opened(data) as image:
            pages = []
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                pages.append(_format(image))
            return pages
    except _FAILURES as error:
        raise ReadError("The picture is damaged", detail=str(error)) from error


def _opened(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data), formats=_FORMATS)


def _format(image: Image.Image) -> PixelFormat:
    columns, rows = image.size
    if rows * columns > _MAX_PIXELS:
        raise ReadError(f"A picture of {columns} x {rows} pixels is too large to be shown")
    dtype = _GREY.get(image.mode)
    if dtype is not None:
        return PixelFormat("picture", rows, columns, dtype)
    return PixelFormat("picture", rows, columns, "|u1", samples=3, photometric="RGB")


def decode_picture(
    data: bytes, planes: Sequence[PlanePlan]
) -> Iterator[npt.NDArray[Any] | ReadError]:
    """Pages of a picture as they are stored, in grey or RGB; transparency is left out."""
    try:
        image = _opened(data)
    except _FAILURES as error:
        yield from [ReadError("The picture is damaged", detail=str(error))] * len(planes)
        return
    with image:
        for plane in planes:
            yield _page(image, plane)


def _page(image: Image.Image, plane: PlanePlan) -> npt.NDArray[Any] | ReadError:
    try:
        image.seek(plane.frame)
        if _format(image) != plane.format:
            return ReadError("The picture has changed since it was opened")
        page = image.convert("RGB") if plane.format.samples == 3 else image
        if page.mode == "1":
            page = page.convert("L")
        return np.asarray(page).astype(plane.format.dtype)
    except _FAILURES as error:
        return ReadError("The picture is damaged or cut short", detail=str(error))


def shrunk(picture: npt.NDArray[np.uint8], rows: int, columns: int) -> npt.NDArray[np.uint8]:
    """A smaller or larger copy of a grey picture, averaged."""
    resized = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(resized)
