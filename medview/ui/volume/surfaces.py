"""Segments as smooth surfaces in patient space."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkImageData, vtkPolyData
from vtkmodules.vtkFiltersCore import (
    vtkReverseSense,
    vtkSurfaceNets3D,
    vtkTriangleMeshPointNormals,
)

from medview.core.geometry import Box, Geometry

#: Voxels of one segment above which its surface is made from every second voxel.
_COARSE_ABOVE = 24_000_000


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles in LPS mm with normals, and the checksum of the voxels they were made from."""

    mesh: vtkPolyData
    checksum: int


def build(
    labels: npt.NDArray[Any],
    geometry: Geometry,
    numbers: Collection[int],
    known: Mapping[int, Surface],
) -> dict[int, Surface]:
    """A surface for each of the numbered segments that has voxels.

    A surface in `known` is kept where the voxels are the same. Runs beside the window: the
    heavy parts free the interpreter.
    """
    result: dict[int, Surface] = {}
    boxes = ndimage.find_objects(labels)
    for number in numbers:
        found = boxes[number - 1] if number <= len(boxes) else None
        if found is None:
            continue
        mask = (labels[found] == number).astype(np.uint8)
        start = (found[0].start, found[1].start, found[2].start)
        checksum = zlib.crc32(mask.data, zlib.crc32(repr((start, mask.shape)).encode()))
        if number in known and known[number].checksum == checksum:
            result[number] = known[number]
            continue
        crop = geometry.cropped(Box(start, tuple(s.stop for s in found)))
        result[number] = Surface(_mesh(mask, crop), checksum)
    return result


def _mesh(mask: npt.NDArray[np.uint8], geometry: Geometry) -> vtkPolyData:
    step = 2 if mask.size > _COARSE_ABOVE else 1
    padded = np.ascontiguousarray(np.pad(mask[::step, ::step, ::step], 1))
    k, j, i = (step * mm for mm in geometry.spacing_mm)
    image = vtkImageData()
    image.SetDimensions(*padded.shape[::-1])
    image.SetSpacing(i, j, k)
    image.SetOrigin(-i, -j, -k)
    image.GetPointData().SetScalars(numpy_to_vtk(padded.ravel()))
    nets = vtkSurfaceNets3D()
    nets.SetInputData(image)
    nets.SetValue(0, 1)
    nets.SmoothingOn()
    nets.SetNumberOfIterations(20)
    nets.SetRelaxationFactor(0.4)
    nets.SetOutputMeshTypeToTriangles()
    nets.Update()
    return _with_normals(_placed(nets.GetOutput(), geometry), geometry)


def _placed(mesh: vtkPolyData, geometry: Geometry) -> vtkPolyData:
    """Points in scaled (i, j, k) taken to LPS mm: rotation and shear of the grid."""
    if mesh.GetNumberOfPoints() == 0:
        return mesh
    scaled = vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64)
    index = scaled[:, ::-1] / np.array(geometry.spacing_mm)
    points = vtkPoints()
    # Not copied: VTK keeps the array as long as anything shows it.
    placed_mm = np.ascontiguousarray(geometry.to_lps_mm(index), np.float32)
    points.SetData(numpy_to_vtk(placed_mm))
    placed = vtkPolyData()
    placed.SetPoints(points)
    placed.SetPolys(mesh.GetPolys())
    return placed


def _with_normals(mesh: vtkPolyData, geometry: Geometry) -> vtkPolyData:
    # (k, j, i) -> LPS with a positive determinant turns the triangles of (i, j, k) inside out.
    if np.linalg.det(geometry.affine[:3, :3]) > 0:
        turned = vtkReverseSense()
        turned.SetInputData(mesh)
        turned.ReverseCellsOn()
        turned.Update()
        mesh = turned.GetOutput()
    normals = vtkTriangleMeshPointNormals()
    normals.SetInputData(mesh)
    normals.Update()
    result: vtkPolyData = normals.GetOutput()
    return result
