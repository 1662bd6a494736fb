"""Segments to a file and back, by medview or by plain highdicom: one step in a process of its own.

    python -m tests.helpers.segment_files FOLDER (ours|peer) (write|read) (BINARY|LABELMAP)

prints the seconds that the step took and the most memory that the process ever held, in GB.
`make` fills the folder with the images and the labels, `make_most` with as many segments as there
can be.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.sr.codedict import codes

from medview.core.geometry import Geometry
from medview.core.study import SeriesKind
from medview.io.request import gather
from medview.io.seg_read import read_segmentations
from medview.io.seg_write import SegOptions, write_segmentation
from medview.io.sources import read_sources
from tests.helpers.dicom_phantoms import ct_datasets, save
from tests.helpers.exports import AT, segment, segmentation_of, study_of, volume_of
from tests.helpers.phantoms import Phantom

SHAPE = (600, 512, 512)
COUNT = 40
#: As many as a 16 bit number can tell apart.
MOST = 65_535


def _images(folder: Path, shape: tuple[int, int, int]) -> None:
    """Slices without a picture in them."""
    (folder / "ct").mkdir(parents=True)
    for number, ds in enumerate(ct_datasets(Phantom(shape=(shape[0], 8, 8)))):
        ds.Rows, ds.Columns = shape[1:]
        ds.PixelData = bytes(2 * shape[1] * shape[2])
        save(ds, folder / "ct" / f"{number:04}")


def make_most(folder: Path) -> None:
    """16 slices of 128 x 128 cut into 65,535 segments of four voxels."""
    shape = (16, 128, 128)
    _images(folder, shape)
    numbers = np.minimum(np.arange(np.prod(shape)) // 4 + 1, MOST).astype(np.uint16)
    np.save(folder / "labels.npy", numbers.reshape(shape))


def make(folder: Path) -> None:
    """600 slices without a picture in them, and 40 ellipsoids of organs' sizes as labels."""
    _images(folder, SHAPE)
    chance = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.uint8)
    for number in range(1, COUNT + 1):
        radius = chance.uniform((20, 15, 15), (60, 50, 50))
        middle = chance.uniform(radius, SHAPE - radius)
        first = np.maximum(0, middle - radius).astype(int)
        last = np.minimum(SHAPE, middle + radius + 1).astype(int)
        block = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        k, j, i = (np.arange(a, b) for a, b in zip(first, last, strict=True))
        apart = (((k - middle[0]) / radius[0]) ** 2)[:, None, None]
        apart = apart + (((j - middle[1]) / radius[1]) ** 2)[:, None]
        labels[block][apart + ((i - middle[2]) / radius[2]) ** 2 < 1] = number
    np.save(folder / "labels.npy", labels)


def grid(paths: list[Path], rows: int, columns: int) -> Geometry:
    """The grid of the slices."""
    first, last = (dcmread(path, stop_before_pixels=True) for path in (paths[0], paths[-1]))
    ends = [np.array(one.ImagePositionPatient, dtype=float) for one in (first, last)]
    cosines = np.array(first.ImageOrientationPatient, dtype=float)
    affine = np.eye(4)
    affine[:3, 0] = (ends[1] - ends[0]) / (len(paths) - 1)
    affine[:3, 1] = cosines[3:] * first.PixelSpacing[0]
    affine[:3, 2] = cosines[:3] * first.PixelSpacing[1]
    affine[:3, 3] = ends[0]
    shape = (len(paths), rows, columns)
    return Geometry(shape, affine, frame_of_reference_uid=str(first.FrameOfReferenceUID))


def ours(folder: Path, step: str, kind: str) -> float:
    """As the export and the import workers do it, the look at what was written included."""
    paths = sorted((folder / "ct").iterdir())
    labels, path = np.load(folder / "labels.npy"), folder / f"ours_{kind}.dcm"
    geometry = grid(paths, *labels.shape[1:])
    if step == "read":
        series = replace(study_of([path]).series[0], kind=SeriesKind.SEGMENTATION)
        begun = time.perf_counter()
        (found,) = read_segmentations(series, geometry)
        seconds = time.perf_counter() - begun
        assert np.array_equal(found.labels, labels)
        return seconds
    study = study_of(paths)
    volume = volume_of(study.series[0], geometry)
    numbers = range(1, int(labels.max()) + 1)
    segments = [segment(number, f"Organ {number}") for number in numbers]
    (export,) = gather([segmentation_of(volume, labels, segments)], {volume.uid: volume}, study)
    sources = read_sources(study.series[0])
    del labels
    begun = time.perf_counter()
    write_segmentation(export, sources, path, SegOptions(AT, label_map=kind == "LABELMAP"))
    return time.perf_counter() - begun


def peer(folder: Path, step: str, kind: str) -> float:
    """As highdicom's guide does it."""
    path = folder / f"peer_{kind}.dcm"
    if step == "read":
        begun = time.perf_counter()
        hd.seg.segread(path).get_volume(combine_segments=True)
        return time.perf_counter() - begun
    sources = [dcmread(one) for one in sorted((folder / "ct").iterdir())]
    labels = np.load(folder / "labels.npy")
    told = [
        hd.seg.SegmentDescription(
            number, f"Organ {number}", codes.SCT.Organ, codes.SCT.Liver,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number in range(1, COUNT + 1)
    ]  # fmt: skip
    begun = time.perf_counter()
    made = hd.seg.Segmentation(
        sources, labels, kind, told, hd.UID(), 1, hd.UID(), 1, "maker", "model", "1", "1"
    )
    made.save_as(path)
    return time.perf_counter() - begun


if __name__ == "__main__":
    where, who, what, how = sys.argv[1:]
    took = (ours if who == "ours" else peer)(Path(where), what, how)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    sys.stdout.write(json.dumps({"seconds": took, "gigabytes": held}) + "\n")
