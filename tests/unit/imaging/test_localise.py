"""Heads turned, moved and stored in any way are found; what is no T1 head is doubted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from medview.core.errors import Cancelled, ModelError
from medview.core.geometry import Geometry, reorder_kji
from medview.imaging.localise import HeadPlacement, HeadTemplate, TissueLevels, place_head
from medview.inference.head_template import load_template
from tests.helpers.heads import PosedHead, stored

#: Both hippocampi in the template, LPS: middle, head and tail of each.
PLACES = np.array(
    [[26, 21, -15], [-26, 21, -15], [24, 8, -22], [-24, 8, -22], [28, 38, -4], [-28, 38, -4]], float
)


@pytest.fixture(scope="module")
def template(resources: Path) -> HeadTemplate:
    return load_template(resources, "mni152")


@pytest.mark.parametrize(
    ("head", "order"),
    [
        (PosedHead((21, -8, 12), (32, -40, 25)), "RAH"),
        (PosedHead((-12, 16, -20), (-70, 60, 300), scale=0.85, scalp=False), "PFL"),
    ],
    ids=["with skull", "without skull"],
)
def test_a_head_is_found_however_it_lies(
    template: HeadTemplate, head: PosedHead, order: str
) -> None:
    geometry = stored(order, 2.6, 216.0, tuple(head.place([0.0, 20.0, 0.0])))
    placement = place_head(head.voxels(template, geometry), geometry, template)
    assert placement.doubts() == ()
    assert placement.coverage > 0.95
    error = np.linalg.norm(placement.to_patient_mm(PLACES) - head.place(PLACES), axis=1)
    assert error.max() < 1.0
    turn = Rotation.from_matrix(placement.rotation)
    truth = Rotation.from_euler("xyz", head.angles_deg, degrees=True)
    assert np.degrees((turn * truth.inv()).magnitude()) < 2.0
    assert placement.scales[1] == pytest.approx(head.scale, rel=0.04)


def test_a_head_in_another_contrast_is_doubted(template: HeadTemplate) -> None:
    geometry = stored("HPL", 3.0, 210.0, (0.0, 20.0, 0.0))
    t1 = PosedHead().voxels(template, geometry)
    t2_like = np.where(t1 > 40, 330 - t1, t1).astype(np.float32)
    assert place_head(t2_like, geometry, template).doubts()


def test_the_search_tells_how_far_it_is_and_can_be_stopped(template: HeadTemplate) -> None:
    geometry = stored("HPL", 4.0, 200.0, (0.0, 20.0, 0.0))
    heard: list[float] = []

    def stop(fraction: float) -> None:
        heard.append(fraction)
        if len(heard) > 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        place_head(PosedHead().voxels(template, geometry), geometry, template, stop)
    assert heard == sorted(heard)
    assert 0 < heard[0] < heard[-1] < 0.6


@pytest.mark.parametrize(
    ("shape", "spacing", "words"),
    [
        ((36, 50, 36), 1.0, "36 × 50 × 36 mm: too little"),
        ((300, 60, 60), 2.0, "598 mm: more than a head"),
    ],
)
def test_what_cannot_hold_one_head_is_refused(
    template: HeadTemplate, shape: tuple[int, int, int], spacing: float, words: str
) -> None:
    geometry = Geometry(shape, np.diag([spacing, spacing, spacing, 1.0]))
    with pytest.raises(ModelError, match=words):
        place_head(np.zeros(shape, np.float32), geometry, template)


GOOD = HeadPlacement(
    np.eye(4), 0.75, 1.0, (0.85, 0.9, 0.97), TissueLevels(csf=0.5, grey=0.84, white=1.0)
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"similarity": 0.4}, "No T1-weighted head was found"),
        ({"scales": (0.4, 0.9, 1.0)}, "no brain's size"),
        ({"scales": (0.9, 1.2, 1.5)}, "no brain's size"),
        ({"tissues": TissueLevels(csf=0.4, grey=1.2, white=1.0)}, "not T1-weighted"),
        ({"tissues": TissueLevels(csf=1.5, grey=1.2, white=1.0)}, "not T1-weighted"),
        ({"tissues": TissueLevels(csf=0.99, grey=0.99, white=1.0)}, "not T1-weighted"),
        ({"coverage": 0.4}, "Only 40% of the brain"),
    ],
)
def test_doubts_are_named(change: dict[str, object], words: str) -> None:
    assert GOOD.doubts() == ()
    (doubt,) = replace(GOOD, **change).doubts()  # type: ignore[arg-type]
    assert words in doubt


def test_an_image_of_nothing_is_doubted(template: HeadTemplate) -> None:
    geometry = stored("HPL", 4.0, 160.0, (0.0, 0.0, 0.0))
    placement = place_head(np.zeros(geometry.shape, np.float32), geometry, template)
    assert any("No T1-weighted head" in doubt for doubt in placement.doubts())


def _read(path: Path) -> tuple[np.ndarray, Geometry]:
    image = SimpleITK.ReadImage(str(path), SimpleITK.sitkFloat32)
    voxels = SimpleITK.GetArrayFromImage(image)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return voxels, Geometry(voxels.shape, reorder_kji(affine))


@pytest.mark.slow
@pytest.mark.shared
def test_a_real_head_and_a_turned_moved_copy_agree(template: HeadTemplate, shared: Path) -> None:
    voxels, geometry = _read(shared / "train/third_party_weights/brainchop_t1_crop.nii.gz")
    placement = place_head(voxels, geometry, template)
    assert placement.doubts() == ()
    middle = placement.to_patient_mm(PLACES[:2])
    # Where an independent network (MeshNet, subcortical) has both hippocampi of this head.
    truth = np.array([[24.0, 20.7, -14.0], [-23.9, 20.5, -13.5]])
    assert np.linalg.norm(middle - truth, axis=1).max() < 3.0

    turn = Rotation.from_euler("xyz", (20, -10, 8), degrees=True).as_matrix()
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = turn, (40.0, -40.0, 40.0)
    turned = Geometry(geometry.shape, moved @ geometry.affine)
    again = place_head(voxels, turned, template)
    expected = placement.to_patient_mm(PLACES) @ turn.T + moved[:3, 3]
    assert np.linalg.norm(again.to_patient_mm(PLACES) - expected, axis=1).max() < 1.0


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("name", ["study1_FLAIR.nii.gz", "study2_FLAIR.nii.gz"])
def test_a_real_flair_is_doubted(template: HeadTemplate, shared: Path, name: str) -> None:
    voxels, geometry = _read(shared / "data/mr_timepoints/ms_patient01" / name)
    assert place_head(voxels, geometry, template).doubts()
