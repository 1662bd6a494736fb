"""Geometry and values beside dcm2niix, run on the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medview.core.volume import Volume
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.dicom_phantoms import CtOptions, ct_datasets, save, uid, write_ct
from tests.helpers.phantoms import PLANES, Phantom, oblique
from tests.helpers.witness import apart, dcm2niix

SMALL = Phantom(shape=(7, 20, 26), spacing_mm=(3.1, 0.9, 0.7), radius_mm=6)
EXACT_MM = 1e-3


def volumes_of(folder: Path) -> list[Volume]:
    """Every volume below a folder."""
    studies = scan([folder]).studies
    return [v for study in studies for series in study.series for v in load(series).volumes]


def agrees(volume: Volume, image: object, time: int | None = None) -> bool:
    """Whether dcm2niix has the same voxels at the same places."""
    data = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
    data = data if time is None else data[..., time]
    found = apart(volume.geometry.affine, volume.values(), image.affine, data)  # type: ignore[attr-defined]
    return found.mm < EXACT_MM and found.value < 1e-4


@pytest.mark.parametrize("plane", [*PLANES.values(), oblique(25, -15), oblique(-70, 40)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_classic_slices(
    tmp_path: Path, plane: tuple[tuple[float, float, float], ...], *, shuffled: bool
) -> None:
    phantom = SMALL.turned((plane[0], plane[1]))
    write_ct(tmp_path / "in", phantom, CtOptions(shuffled=shuffled))
    (volume,) = volumes_of(tmp_path / "in")
    (image,) = dcm2niix(tmp_path / "in", tmp_path / "out")
    assert agrees(volume, image)


def test_slopes_of_each_slice(tmp_path: Path) -> None:
    write_ct(tmp_path / "in", SMALL, CtOptions(slopes=(1, 2, 1, 4, 1, 2, 1)))
    (volume,) = volumes_of(tmp_path / "in")
    (image,) = dcm2niix(tmp_path / "in", tmp_path / "out")
    assert agrees(volume, image)


def test_echoes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for echo in (1, 2, 3):
        extra = {"EchoTime": str(4.92 * echo), "EchoNumbers": echo}
        phantom = replace(SMALL, inside=100 * echo)
        for k, ds in enumerate(ct_datasets(phantom, CtOptions(modality="MR", extra=extra))):
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(echo, k)
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
            ds.InstanceNumber = echo * 100 + k
            save(ds, tmp_path / "in" / f"{echo}-{k}")
    volumes = volumes_of(tmp_path / "in")
    images = dcm2niix(tmp_path / "in", tmp_path / "out")
    assert len(volumes) == len(images) == 3
    for volume in volumes:
        assert sum(agrees(volume, image) for image in images) == 1
    assert [volume.notes[0] for volume in volumes] == [
        "Echo time 4.92 ms",
        "Echo time 9.84 ms",
        "Echo time 14.76 ms",
    ]
