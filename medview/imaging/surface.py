"""The surface of a mask as triangles: closed, and running halfway between voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: The corners of a cell, numbered by their offsets (k, j, i).
_CORNERS = np.array([(k, j, i) for k in (0, 1) for j in (0, 1) for i in (0, 1)])
#: Six tetrahedra that fill a cell around its diagonal from corner 0 to corner 7; cells next to
#: each other share the diagonals of their faces, so surfaces meet without a gap.
_TETRAHEDRA = ((0, 1, 3, 7), (0, 3, 2, 7), (0, 2, 6, 7), (0, 6, 4, 7), (0, 4, 5, 7), (0, 5, 1, 7))
#: Smoothing by turns inwards and outwards, which keeps the volume (Taubin 1995).
_INWARDS, _OUTWARDS = 0.5, -0.53


@dataclass(frozen=True, eq=False)
class Triangles:
    """Points (n, 3) and triangles (m, 3) of their numbers, turned outwards."""

    points: npt.NDArray[np.float64]
    faces: npt.NDArray[np.intp]

    @property
    def volume(self) -> float:
        """The enclosed volume in the unit of the points, cubed; positive if turned outwards."""
        a, b, c = (self.points[self.faces[:, n]] for n in range(3))
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)

    def placed(self, affine: npt.NDArray[np.float64]) -> Triangles:
        """The same surface elsewhere by a 4x4 matrix; a mirroring one turns the triangles."""
        points = self.points @ affine[:3, :3].T + affine[:3, 3]
        faces = self.faces if np.linalg.det(affine[:3, :3]) > 0 else self.faces[:, ::-1]
        return Triangles(points, faces)


def surface_of(mask: npt.NDArray[np.bool_], rounds: int = 10) -> Triangles:
    """The surface of a 3D mask in indices (k, j, i), closed where the mask meets the border too.

    Marching tetrahedra (Doi and Koide 1991) at half between voxels inside and outside, then
    `rounds` of smoothing without shrinking. An empty mask has no triangles.
    """
    padded = np.pad(mask, 1)
    shape = np.array(padded.shape)
    ends, inside_first = _crossed(padded)
    if not len(ends):
        return Triangles(np.zeros((0, 3)), np.zeros((0, 3), np.intp))
    flat = ends.reshape(-1, 2)
    ordered = np.sort(flat, axis=1)
    keys = ordered[:, 0] * padded.size + ordered[:, 1]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    chosen = ordered[first]
    here, there = (np.stack(np.unravel_index(chosen[:, n], shape), axis=1) for n in (0, 1))
    points: npt.NDArray[np.float64] = (here + there) / 2 - 1.0
    faces = inverse.reshape(-1, 3)
    turned = _turned(points, faces, inside_first, shape)
    for _ in range(rounds):
        for step in (_INWARDS, _OUTWARDS):
            points = points + step * (_neighbours(points, turned) - points)
    return Triangles(points, turned)


def _crossed(
    padded: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each triangle its three edges of voxels, and one voxel inside beside it."""
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    count = np.zeros([n - 1 for n in padded.shape], np.uint8)
    for k, j, i in _CORNERS:
        count += padded[k : k + count.shape[0], j : j + count.shape[1], i : i + count.shape[2]]
    base = np.argwhere((count > 0) & (count < 8)) @ strides
    corner = base[:, None] + _CORNERS @ strides
    values = padded.ravel()
    triangles: list[npt.NDArray[np.intp]] = []
    inner: list[npt.NDArray[np.intp]] = []
    for four in _TETRAHEDRA:
        voxels = corner[:, four]
        marked = values[voxels]
        order = np.argsort(~marked, axis=1, kind="stable")  # those inside first
        voxels = np.take_along_axis(voxels, order, axis=1)
        number = marked.sum(axis=1)
        for inside, shapes in _SHAPES.items():
            some = voxels[number == inside]
            for shape in shapes:
                triangles.append(np.stack([some[:, list(edge)] for edge in shape], axis=1))
                inner.append(some[:, 0])
    return np.concatenate(triangles), np.concatenate(inner)


#: Triangles by how many of a tetrahedron's corners lie inside (those first): pairs of corners.
_SHAPES = {
    1: (((0, 1), (0, 2), (0, 3)),),
    3: (((3, 0), (3, 1), (3, 2)),),
    2: (((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))),
}


def _turned(
    points: npt.NDArray[np.float64],
    faces: npt.NDArray[np.intp],
    inside: npt.NDArray[np.intp],
    shape: npt.NDArray[np.intp],
) -> npt.NDArray[np.intp]:
    """The triangles, each seen anticlockwise from outside."""
    a, b, c = (points[faces[:, n]] for n in range(3))
    inner = np.stack(np.unravel_index(inside, shape), axis=1) - 1.0
    wrong = np.einsum("ij,ij->i", np.cross(b - a, c - a), a - inner) < 0
    return np.where(wrong[:, None], faces[:, ::-1], faces)


def _neighbours(
    points: npt.NDArray[np.float64], faces: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """The mean of the points that each one is joined to."""
    a = faces[:, [0, 1, 2]].ravel()
    b = faces[:, [1, 2, 0]].ravel()
    counts = np.bincount(a, minlength=len(points)).astype(np.float64)
    # In a closed surface each edge is met once in either direction: one of them is enough.
    sums = [np.bincount(a, points[b, n], len(points)) for n in range(3)]
    return np.stack(sums, axis=1) / counts[:, None]
