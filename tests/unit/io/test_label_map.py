"""Label maps of other programs: on the image they lie on, whatever the order of their axes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK

from medview.core.codes import Code
from medview.core.errors import ReadError
from medview.core.geometry import Geometry, lps_from_ras, reorder_kji
from medview.core.segmentation import SegmentState
from medview.io.label_map import read_label_map
from medview.io.request import gather
from medview.io.seg_nrrd_write import write_seg_nrrd
from tests.helpers.dicom_phantoms import write_ct
from tests.helpers.exports import random_labels, segment, segmentation_of, study_of, volume_of
from tests.helpers.phantoms import Phantom

LIVER = Code("10200004", "SCT", "Liver")

RAS = np.array([[-1.5, 0, 0, 40], [0, 2.0, 0, -30], [0, 0, 3.0, -20], [0, 0, 0, 1]], np.float64)
GRID = Geometry((6, 8, 10), reorder_kji(lps_from_ras(RAS)))
LABELS = np.zeros((10, 8, 6), np.int16)  # x, y, z
LABELS[2:5, 1:4, 2:5] = 1
LABELS[6:9, 4:8, 0:3] = 3


def nifti(path: Path, values: Any = LABELS, affine: Any = RAS) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def test_labels_lie_where_nibabel_says(tmp_path: Path) -> None:
    found = read_label_map(nifti(tmp_path / "a.nii.gz"), GRID, "v")
    assert np.array_equal(found.labels, LABELS.transpose())
    assert [(one.number, one.label) for one in found.segments] == [(1, "Label 1"), (3, "Label 3")]
    assert found.volume_uid == "v"


def test_other_orders_of_axes_give_the_same_labels(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(LABELS, RAS)
    for name in ("PIR", "LAS", "SRP"):
        target = nibabel.orientations.axcodes2ornt(name)
        turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(RAS), target)
        path = tmp_path / f"{name}.nii"
        nibabel.save(image.as_reoriented(turn), path)
        assert np.array_equal(read_label_map(path, GRID, "v").labels, LABELS.transpose())


@pytest.mark.parametrize("ending", ["nrrd", "mha"])
def test_nrrd_and_metaimage_are_read_too(tmp_path: Path, ending: str) -> None:
    image = SimpleITK.GetImageFromArray(LABELS.transpose().astype(np.uint8))
    lps = lps_from_ras(RAS)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(steps.tolist())
    image.SetDirection((lps[:3, :3] / steps).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    path = tmp_path / f"a.{ending}"
    SimpleITK.WriteImage(image, str(path))
    assert np.array_equal(read_label_map(path, GRID, "v").labels, LABELS.transpose())


@pytest.mark.parametrize(
    "names",
    [{"1": "liver", "3": "kidney_left"}, {"labels": ["none", "liver", "x", "kidney_left"]},
     {"labels": {"background": 0, "liver": 1, "kidney_left": 3}}],
)  # fmt: skip
def test_names_beside_the_map_become_codes(tmp_path: Path, names: Any) -> None:
    (tmp_path / "labels.json").write_text(json.dumps(names))
    first, second = read_label_map(nifti(tmp_path / "a.nii.gz"), GRID, "v").segments
    assert (first.label, first.type.value) == ("Liver", "10200004")
    assert (second.label, second.type.value) == ("Left kidney", "64033007")


def test_what_is_no_label_map_of_this_image_is_refused(tmp_path: Path) -> None:
    far = RAS.copy()
    far[0, 3] += 500
    for values, affine, words in (
        (LABELS + np.float32(0.5), RAS, "no whole numbers"),
        (LABELS * -1, RAS, "labels beyond"),
        (LABELS * 0, RAS, "marks nothing"),
        (LABELS, far, "lies elsewhere"),
        (np.stack([LABELS, LABELS], axis=-1), RAS, "4 dimensions"),
    ):
        with pytest.raises(ReadError, match=words):
            read_label_map(nifti(tmp_path / "a.nii", values, affine), GRID, "v")
    (tmp_path / "b.nii").write_bytes(b"no image")
    with pytest.raises(ReadError, match="cannot be read"):
        read_label_map(tmp_path / "b.nii", GRID, "v")


@pytest.mark.shared
def test_totalsegmentators_map_lies_on_its_ct() -> None:
    folder = Path(__file__).resolve().parents[4] / "shared/train/third_party_weights"
    folder /= "totalsegmentator_example"
    if not folder.is_dir():
        pytest.skip("no shared data")
    ct = nibabel.load(folder / "example_ct_sm.nii.gz")
    grid = Geometry(ct.shape[::-1], reorder_kji(lps_from_ras(ct.affine)))
    found = read_label_map(folder / "example_seg_fast_merged.nii.gz", grid, "v")
    names = {one.number: one.label for one in found.segments}
    assert len(names) == 40
    assert names[15] == "Liver"
    hounsfield = np.asarray(ct.dataobj).transpose()
    assert 40 < np.median(hounsfield[found.labels == 15]) < 140
    assert np.median(hounsfield[found.labels == 16]) < -600  # a lobe of a lung


def test_a_seg_nrrd_of_ours_comes_back_with_names_colours_terms_and_states(tmp_path: Path) -> None:
    study = study_of(write_ct(tmp_path / "ct", Phantom(shape=(4, 10, 12))))
    volume = volume_of(study.series[0], Phantom(shape=(4, 10, 12)).geometry)
    drawn = [
        replace(segment(1, "Left lobe"), state=SegmentState.FLAGGED),
        replace(segment(2, "Right lobe; lower"), color_rgb=(17, 3, 250), type=LIVER),
    ]
    made = segmentation_of(volume, random_labels(volume.geometry.shape, 2), drawn)
    (export,) = gather([made], {volume.uid: volume}, study)
    path = tmp_path / "segmentation.seg.nrrd"
    write_seg_nrrd(export, path)
    back = read_label_map(path, volume.geometry, volume.uid)
    assert np.array_equal(back.labels, made.labels)
    for wanted, seen in zip(drawn, back.segments, strict=True):
        for name in ("number", "label", "category", "type", "color_rgb", "state"):
            assert getattr(seen, name) == getattr(wanted, name)
