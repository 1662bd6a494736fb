"""The 3D scene: one volume and the surfaces of segments, drawn off-screen into an array.

A scene is made and used by one thread at a time, not always the same one; it frees the
drawing context after every picture so that the next thread can take it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401  (brings the drawing classes)
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkLogger
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPiecewiseFunction
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkColorTransferFunction,
    vtkLight,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkVolume,
    vtkWindowToImageFilter,
)
from vtkmodules.vtkRenderingVolume import vtkFixedPointVolumeRayCastMapper
from vtkmodules.vtkRenderingVolumeOpenGL2 import vtkOpenGLGPUVolumeRayCastMapper

from medview.core.errors import MedviewError
from medview.core.findings import SegmentRef
from medview.core.segmentation import Segmentation
from medview.core.volume import Volume
from medview.ui.volume.camera import Camera
from medview.ui.volume.shot import Look, Shot
from medview.ui.volume.surfaces import Surface, build
from medview.ui.volume.transfer import Transfer

#: Voxels drawn at most, without and with a graphics processor.
_SOFTWARE_VOXELS, _HARDWARE_VOXELS = 4_000_000, 48_000_000
_SOFTWARE_NAMES = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software")
_STEPS = 4095
_BACKGROUND = (0.035, 0.04, 0.048)


class Scene:
    """Volume and surfaces, ready to be drawn. Raises MedviewError where nothing can draw."""

    def __init__(self) -> None:
        # Trying one way to draw after the other is no news; what fails is said below.
        vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
        self._renderer = vtkRenderer()
        self._renderer.SetBackground(*_BACKGROUND)
        self._renderer.AutomaticLightCreationOff()
        self._renderer.AddLight(_headlight())
        self._window = vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(64, 64)
        self._window.AddRenderer(self._renderer)
        self._window.Initialize()
        self._window.MakeCurrent()
        if not self._window.IsCurrent():
            # Asking it to draw now would end the program.
            raise MedviewError(
                "There is no OpenGL on this machine, so the 3D view cannot draw.",
                "Install Mesa (libegl1 or libosmesa6) or a graphics driver. "
                "Everything else works without it.",
            )
        self._window.Render()
        capabilities = self._window.ReportCapabilities().lower()
        self.software = any(name in capabilities for name in _SOFTWARE_NAMES)
        self._renderer.SetUseDepthPeeling(1)
        self._renderer.SetMaximumNumberOfPeels(6)
        self._renderer.SetOcclusionRatio(0.05)
        self._volume = vtkVolume()
        self._mapper: Any = None
        self._range = (0.0, 1.0)
        self._spacing_mm = 1.0
        self._bounds_mm: tuple[float, ...] = (-1.0, 1.0) * 3
        self._surfaces: dict[str, dict[int, Surface]] = {}
        self._actors: dict[SegmentRef, tuple[vtkActor, Surface]] = {}
        self._window.ReleaseCurrent()

    def show_volume(self, volume: Volume) -> None:
        """Take over a volume, thinned to what this machine can turn fluently."""
        budget = _SOFTWARE_VOXELS if self.software else _HARDWARE_VOXELS
        image, matrix, self._range, self._spacing_mm = _image_of(volume, budget)
        self._bounds_mm = _bounds_of(volume)
        self._window.MakeCurrent()
        if self._mapper is not None:
            self._mapper.ReleaseGraphicsResources(self._window)
        if self.software:
            self._mapper = vtkFixedPointVolumeRayCastMapper()
        else:
            self._mapper = vtkOpenGLGPUVolumeRayCastMapper()
        self._mapper.SetAutoAdjustSampleDistances(0)
        self._mapper.SetInputData(image)
        self._volume.SetMapper(self._mapper)
        self._volume.SetUserMatrix(matrix)
        self._renderer.AddVolume(self._volume)
        self._window.ReleaseCurrent()

    def build_surfaces(self, segmentation: Segmentation) -> int:
        """Make the surfaces of a segmentation that changed; gives the revision they show."""
        numbers = [segment.number for segment in segmentation.segments]
        known = self._surfaces.get(segmentation.uid, {})
        labels, geometry = segmentation.labels, segmentation.geometry
        self._surfaces[segmentation.uid] = build(labels, geometry, numbers, known)
        return segmentation.revision

    def keep_surfaces(self, segmentation_uids: Collection[str]) -> None:
        """Forget the surfaces of all other segmentations."""
        self._surfaces = {
            uid: surfaces for uid, surfaces in self._surfaces.items() if uid in segmentation_uids
        }

    def _show_surfaces(self, looks: Mapping[SegmentRef, Look]) -> None:
        """Show exactly these segments, as far as they have a surface."""
        for ref in [ref for ref in self._actors if ref not in looks]:
            self._renderer.RemoveActor(self._actors.pop(ref)[0])
        for ref, look in looks.items():
            surface = self._surfaces.get(ref.segmentation_uid, {}).get(ref.number)
            actor, shown = self._actors.pop(ref, (None, None))
            if actor is not None and surface is not shown:
                self._renderer.RemoveActor(actor)
                actor = None
            if surface is None:
                continue
            if actor is None:
                actor = _actor_of(surface)
                self._renderer.AddActor(actor)
            _dress(actor, look)
            self._actors[ref] = (actor, surface)

    def clear(self) -> None:
        """Show nothing: lets go of the volume and of all surfaces."""
        self._window.MakeCurrent()
        self._show_surfaces({})
        self._surfaces = {}
        self._renderer.RemoveVolume(self._volume)
        if self._mapper is not None:
            self._mapper.ReleaseGraphicsResources(self._window)
            self._mapper = None
        self._window.ReleaseCurrent()

    def abort(self) -> None:
        """Give up the picture being drawn, soon. May be called by any thread."""
        self._window.SetAbortRender(1)

    def draw(self, shot: Shot) -> npt.NDArray[np.uint8] | None:
        """The picture, (rows, columns, 3), top row first; None if `abort` was called meanwhile."""
        self._window.MakeCurrent()
        self._show_surfaces(shot.looks)
        self._set_transfer(shot.transfer, shot.volume_opacity)
        self._set_quality(draft=shot.draft)
        self._set_camera(shot.camera)
        self._window.SetSize(shot.width_px, shot.height_px)
        self._window.Render()
        if self._window.GetAbortRender():
            self._window.ReleaseCurrent()
            return None
        reader = vtkWindowToImageFilter()
        reader.SetInput(self._window)
        reader.ReadFrontBufferOff()
        reader.ShouldRerenderOff()
        reader.SetInputBufferTypeToRGB()
        reader.Update()
        pixels = vtk_to_numpy(reader.GetOutput().GetPointData().GetScalars())
        self._window.ReleaseCurrent()
        picture = pixels.reshape(shot.height_px, shot.width_px, 3)[::-1]
        return np.ascontiguousarray(picture)

    def close(self) -> None:
        """Give the drawing memory back."""
        self._renderer.RemoveAllViewProps()
        self._window.Finalize()

    def _set_transfer(self, transfer: Transfer, opacity: float) -> None:
        if self._mapper is None:
            return
        low, high = self._range
        scale = _STEPS / (high - low)
        colors, opacities = vtkColorTransferFunction(), vtkPiecewiseFunction()
        for value, (red, green, blue) in transfer.colors:
            colors.AddRGBPoint((value - low) * scale, red, green, blue)
        for value, part in transfer.opacities:
            opacities.AddPoint((value - low) * scale, part * opacity)
        look = self._volume.GetProperty()
        look.SetColor(colors)
        look.SetScalarOpacity(opacities)
        look.SetInterpolationTypeToLinear()
        look.SetScalarOpacityUnitDistance(self._spacing_mm)
        look.SetShade(0 if transfer.maximum else 1)
        look.SetAmbient(0.3)
        look.SetDiffuse(0.75)
        look.SetSpecular(0.1)
        self._mapper.SetBlendMode(1 if transfer.maximum else 0)
        self._volume.SetVisibility(1 if opacity > 0 else 0)

    def _set_quality(self, *, draft: bool) -> None:
        if self._mapper is None:
            return
        self._mapper.SetSampleDistance(self._spacing_mm * (1.0 if draft else 0.5))
        self._mapper.SetImageSampleDistance(2.0 if draft else 1.0)

    def _set_camera(self, camera: Camera) -> None:
        eye = self._renderer.GetActiveCamera()
        eye.ParallelProjectionOn()
        eye.SetParallelScale(camera.height_mm / 2)
        eye.SetFocalPoint(*camera.focal_lps_mm)
        eye.SetPosition(*(camera.focal_lps_mm + 1000.0 * camera.frame[2]))
        eye.SetViewUp(*camera.frame[1])
        # Asked without bounds VTK goes through all surfaces, and nothing else runs meanwhile.
        self._renderer.ResetCameraClippingRange(self._bounds_mm)


def _bounds_of(volume: Volume) -> tuple[float, ...]:
    """The ends of a volume along x, y and z in LPS mm, outer faces: surfaces lie within."""
    ends = product(*((-1.0, float(size)) for size in volume.geometry.shape))
    corners = np.array([volume.geometry.to_lps_mm(end) for end in ends])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return tuple(float(n) for pair in zip(low, high, strict=True) for n in pair)


def _headlight() -> vtkLight:
    """Light from the camera; its ambient part keeps even tissue, without slopes, from black."""
    light = vtkLight()
    light.SetLightTypeToHeadlight()
    light.SetAmbientColor(1, 1, 1)
    return light


def _actor_of(surface: Surface) -> vtkActor:
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(surface.mesh)
    mapper.ScalarVisibilityOff()
    actor = vtkActor()
    actor.SetMapper(mapper)
    return actor


def _dress(actor: vtkActor, look: Look) -> None:
    paint = actor.GetProperty()
    paint.SetColor(*(part / 255 for part in look.color_rgb))
    paint.SetOpacity(look.opacity)
    paint.SetAmbient(0.35)
    paint.SetDiffuse(0.8)
    paint.SetSpecular(0.25)
    paint.SetSpecularPower(25)


def _image_of(
    volume: Volume, budget: int
) -> tuple[vtkImageData, vtkMatrix4x4, tuple[float, float], float]:
    """The volume as VTK wants it: image, its matrix to LPS, its value range, its spacing in mm."""
    steps = _steps(volume, budget)
    values = volume.value_of(_thinned(volume, steps))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    high = high if high > low else low + 1
    codes = np.nan_to_num((values - low) * (_STEPS / (high - low))).astype(np.uint16)
    k, j, i = (n * mm for n, mm in zip(steps, volume.geometry.spacing_mm, strict=True))
    image = vtkImageData()
    image.SetDimensions(*codes.shape[::-1])
    image.SetSpacing(i, j, k)
    image.GetPointData().SetScalars(numpy_to_vtk(codes.ravel(), deep=True))
    matrix = vtkMatrix4x4()
    directions = volume.geometry.affine[:3, :3] / np.array(volume.geometry.spacing_mm)
    # The middle of the first block lies (step - 1) / 2 voxels into the grid.
    origin = volume.geometry.to_lps_mm((np.array(steps) - 1) / 2)
    for row in range(3):
        for column in range(3):
            matrix.SetElement(row, column, directions[row, 2 - column])
        matrix.SetElement(row, 3, origin[row])
    return image, matrix, (low, high), float(np.cbrt(i * j * k))


def _steps(volume: Volume, budget: int) -> tuple[int, int, int]:
    """How many voxels to merge along (k, j, i): the finest direction first, to keep cubes."""
    shape, spacing = volume.geometry.shape, volume.geometry.spacing_mm
    steps = [1, 1, 1]
    while math.prod(n // s for n, s in zip(shape, steps, strict=True)) > budget:
        sizes = [mm * s for mm, s in zip(spacing, steps, strict=True)]
        steps[int(np.argmin(sizes))] += 1
    return steps[0], steps[1], steps[2]


def _thinned(volume: Volume, steps: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Stored values averaged over blocks, slab by slab; padding at the minimum."""
    slices, rows, columns = (
        max(1, n // step) for n, step in zip(volume.geometry.shape, steps, strict=True)
    )
    depth, height, width = steps
    result = np.empty((slices, rows, columns), dtype=np.float32)
    for k in range(slices):
        slab = volume.voxels[k * depth : (k + 1) * depth, : rows * height, : columns * width]
        slab = slab.astype(np.float32)
        if volume.channels > 1:
            slab = slab.mean(axis=3)
        if volume.padding is not None:
            slab[volume.is_padding(slab)] = np.nan
        result[k] = slab.reshape(slab.shape[0], rows, -1, columns, slab.shape[2] // columns).mean(
            axis=(0, 2, 4)
        )
    if np.isnan(result).any():
        result[np.isnan(result)] = np.nanmin(result) if np.isfinite(result).any() else 0
    return result
