"""Surfaces in STL come back as the segments they were, from us and from others."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from medview.core.errors import ReadError
from medview.core.geometry import Calibration, Geometry
from medview.io.label_map import read_label_map
from medview.io.mesh_write import write_surface
from medview.io.request import SegmentationExport, gather
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import segment, segmentation_of, study_of, volume_of
from tests.helpers.phantoms import Phantom, oblique

ROW, COLUMN = oblique(20, 30)
PHANTOM = Phantom(shape=(9, 14, 12), spacing_mm=(2.5, 0.8, 0.7), row=ROW, column=COLUMN)
GRID = PHANTOM.geometry


@pytest.fixture
def labels() -> np.ndarray:
    made = np.zeros(PHANTOM.shape, np.uint8)
    made[2:6, 3:9, 2:8] = 1
    made[3, 4:6, 3:5] = 0
    made[6, 5, 4] = 1
    return made


@pytest.fixture
def export(tmp_path: Path, labels: np.ndarray) -> SegmentationExport:
    study = study_of(write_ct(tmp_path / "ct", PHANTOM))
    volume = volume_of(study.series[0], GRID)
    found = segmentation_of(volume, labels, [segment(1, "Left kidney")])
    return gather([found], {volume.uid: volume}, study)[0]


@pytest.fixture
def surface(tmp_path: Path, export: SegmentationExport) -> Path:
    path = tmp_path / "kidney_left.stl"
    write_surface(export, export.labels(), 1, path)
    return path


def rows_of(path: Path) -> np.ndarray:
    data = path.read_bytes()
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
    return np.frombuffer(data[84:], kind)


def test_our_surface_is_the_segment_it_was_made_of(surface: Path, labels: np.ndarray) -> None:
    found = read_label_map(surface, GRID, "v")
    assert np.array_equal(found.labels, labels)
    (one,) = found.segments
    assert (one.label, one.type.meaning) == ("Left kidney", "Kidney")
    assert found.title == "kidney_left.stl"


def test_right_and_left_follow_what_the_header_says(surface: Path, labels: np.ndarray) -> None:
    data = bytearray(surface.read_bytes())
    data[:80] = b"3D Slicer output. SPACE=RAS".ljust(80)
    rows = rows_of(surface).copy()
    rows["corners"] *= (-1, -1, 1)
    surface.write_bytes(bytes(data[:84]) + rows.tobytes())
    assert np.array_equal(read_label_map(surface, GRID, "v").labels, labels)
    data[:80] = b"made by somebody".ljust(80)
    surface.write_bytes(bytes(data[:84]) + rows_of(surface).tobytes())
    with pytest.raises(ReadError, match="lies elsewhere"):
        read_label_map(surface, GRID, "v")


def test_a_file_in_words_is_read_too(surface: Path, labels: np.ndarray) -> None:
    lines = ["solid somebody's"]
    for row in rows_of(surface):
        corners = [f"vertex {x:.6e} {y:.6e} {z:.6e}" for x, y, z in row["corners"]]
        lines += ["facet normal 0 0 0", "outer loop", *corners, "endloop", "endfacet"]
    surface.write_text("\n".join([*lines, "endsolid"]))
    found = read_label_map(surface, GRID, "v")
    assert np.array_equal(found.labels, labels)
    assert found.title == "kidney_left.stl (taken as LPS)"


def test_what_is_no_surface_of_this_image_is_refused(surface: Path, tmp_path: Path) -> None:
    nowhere = Geometry(GRID.shape, GRID.affine, calibration=Calibration.NONE)
    with pytest.raises(ReadError, match="no place in the patient"):
        read_label_map(surface, nowhere, "v")
    data = surface.read_bytes()
    count = len(rows_of(surface))
    cases = {
        "is not closed": data[:80]
        + struct.pack("<I", count // 2)
        + data[84 : 84 + count // 2 * 50],
        "no surface in STL": data[:-7],
        "is no surface": b"solid nothing\nvertex 1 2 x\nendsolid",
        "no surface": data[:84] + data[84:96] + struct.pack("<f", np.nan) + data[100:],
    }
    for words, content in cases.items():
        path = tmp_path / "other.STL"
        path.write_bytes(content)
        with pytest.raises(ReadError, match=words):
            read_label_map(path, GRID, "v")
