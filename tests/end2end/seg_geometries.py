"""Segmentations on random grids, written as DICOM SEG and read by highdicom and dcmqi.

python -m tests.end2end.seg_geometries --count 100

Planes are turned and flipped at random, voxels are uneven, slices lie shuffled in their files;
every other SEG is a label map.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from medview.core.geometry import Geometry
from medview.io.request import gather
from medview.io.seg_write import SegOptions, write_segmentation
from medview.io.sources import read_sources
from tests.helpers.dicom_phantoms import CtOptions, write_ct
from tests.helpers.exports import (
    AT,
    placed,
    random_labels,
    segment,
    segmentation_of,
    study_of,
    volume_of,
)
from tests.helpers.phantoms import Phantom, oblique

DCMQI = Path(sys.prefix) / "bin" / "segimage2itkimage"
_SEGMENTS = tuple(segment(number, f"Part {number}") for number in (1, 2, 3))


@dataclass(frozen=True)
class Seen:
    """One grid, and how many voxels each reader saw wrong; -1 where it was not asked."""

    shape: tuple[int, int, int]
    label_map: bool
    in_highdicom: int
    in_dcmqi: int


def seen(folder: Path, chance: random.Random, *, label_map: bool) -> Seen:
    """Write one at random and read it."""
    phantom = _phantom(chance)
    study = study_of(write_ct(folder / "ct", phantom, CtOptions(shuffled=True)))
    geometry, path = phantom.geometry, folder / "seg.dcm"
    labels = random_labels(phantom.shape, 3)
    volume = volume_of(study.series[0], geometry)
    (export,) = gather([segmentation_of(volume, labels, _SEGMENTS)], {volume.uid: volume}, study)
    options = SegOptions(AT, {}, "Dr Ada", label_map=label_map)
    write_segmentation(export, read_sources(study.series[0]), path, options)
    read = hd.seg.segread(path).get_volume(combine_segments=True)
    found = placed(read.array, np.argwhere(read.array), read.affine, geometry)
    others = _by_dcmqi(path, folder, geometry) if DCMQI.exists() else None
    return Seen(
        phantom.shape,
        label_map,
        int((found != labels).sum()),
        -1 if others is None else int((others != labels).sum()),
    )


def _phantom(chance: random.Random) -> Phantom:
    row, column = oblique(chance.uniform(-180, 180), chance.uniform(-180, 180))
    if chance.random() < 0.3:
        row, column = column, row
    signs = chance.choice((1, -1)), chance.choice((1, -1))
    low, high = (3, 4, 4), (9, 15, 15)
    shape = tuple(chance.randint(a, b) for a, b in zip(low, high, strict=True))
    return Phantom(
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=(chance.uniform(0.5, 5), chance.uniform(0.3, 2), chance.uniform(0.3, 2)),
        row=(row[0] * signs[0], row[1] * signs[0], row[2] * signs[0]),
        column=(column[0] * signs[1], column[1] * signs[1], column[2] * signs[1]),
    )


def _by_dcmqi(path: Path, folder: Path, geometry: Geometry) -> npt.NDArray[np.uint8]:
    command = [DCMQI, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    found = np.zeros(geometry.shape, dtype=np.uint8)
    for file in folder.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        affine = np.eye(4)
        steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
        affine[:3, :3], affine[:3, 3] = steps[:, ::-1], image.GetOrigin()
        found = np.maximum(found, placed(array, np.argwhere(array), affine, geometry))
    return found


def geometries(count: int, seed: int = 0) -> list[Seen]:
    """So many of them."""
    chance = random.Random(seed)  # noqa: S311
    rows = []
    for number in range(count):
        with tempfile.TemporaryDirectory() as name:
            rows.append(seen(Path(name), chance, label_map=number % 2 == 1))
    return rows


def main() -> None:
    """Do it and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = geometries(given.count, given.seed)
    wrong = [row for row in rows if row.in_highdicom or row.in_dcmqi > 0]
    asked = sum(row.in_dcmqi >= 0 for row in rows)
    sys.stdout.write(
        f"{len(rows)} grids, {asked} read by dcmqi too: {len(wrong)} with wrong voxels\n"
    )
    sys.stdout.writelines(f"{row}\n" for row in wrong)


if __name__ == "__main__":
    main()
