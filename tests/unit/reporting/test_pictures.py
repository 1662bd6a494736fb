"""Key images: the right slice, the right way round, with the segments where they are."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from medview.core.geometry import Calibration, Geometry
from medview.core.segmentation import Segmentation
from medview.core.volume import Volume
from medview.reporting.pictures import key_images
from tests.helpers.exports import segment
from tests.helpers.phantoms import CORONAL, SAGITTAL, Phantom, oblique

RED, BLUE = (255, 0, 0), (0, 0, 255)
SEGMENTS = (segment(1, "Left part", color_rgb=RED), segment(2, "Right part", color_rgb=BLUE))


def halves(phantom: Phantom) -> tuple[Volume, Segmentation]:
    """The sphere of a phantom, its left half labelled 1, its right half 2."""
    volume = phantom.volume()
    x = phantom.points_lps_mm()[..., 0] - phantom.center_lps_mm[0]
    labels = np.where(phantom.sphere(), np.where(x > 0, 1, 2), 0).astype(np.uint8)
    return volume, Segmentation(volume.uid, volume.geometry, labels, SEGMENTS)


def pixels_of(png: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize(
    "phantom",
    [
        Phantom(),
        Phantom(row=SAGITTAL[0], column=SAGITTAL[1]),
        Phantom(row=CORONAL[0], column=CORONAL[1]),
        Phantom(row=oblique(12, 8)[0], column=oblique(12, 8)[1]),
    ],
)
def test_left_of_the_patient_is_right_in_the_picture(phantom: Phantom, resources: Path) -> None:
    volume, segmentation = halves(phantom)
    images = key_images(volume, segmentation, fonts=resources / "fonts")
    assert [image.plane for image in images] == ["coronal", "axial", "sagittal"]
    for image in images[:2]:
        picture = pixels_of(image.png)[:640].astype(int)
        red = np.argwhere(picture[..., 0] - picture[..., 2] > 60)
        blue = np.argwhere(picture[..., 2] - picture[..., 0] > 60)
        assert red[:, 1].mean() > blue[:, 1].mean() + 20
        assert image.caption.endswith("Left part, Right part")


def test_the_slice_with_most_of_the_segments_is_shown(resources: Path) -> None:
    phantom = Phantom()
    volume, segmentation = halves(phantom)
    (_, axial, _) = key_images(volume, segmentation, fonts=resources / "fonts")
    middle = phantom.geometry.to_index(axial.point_lps_mm)[0]
    areas = (segmentation.labels != 0).sum(axis=(1, 2))
    assert areas[round(middle)] == areas.max()
    assert f"slice {round(middle) + 1} of 16" in axial.caption


def test_only_the_segments_asked_for_are_drawn(resources: Path) -> None:
    volume, segmentation = halves(Phantom())
    for image in key_images(volume, segmentation, fonts=resources / "fonts", numbers=(2,)):
        picture = pixels_of(image.png).astype(int)
        assert (picture[..., 2] - picture[..., 0] > 60).any()
        assert not (picture[..., 0] - picture[..., 2] > 60).any()
        assert "Left" not in image.caption


def test_a_structure_at_the_edge_is_shown_without_the_nothing_beside_it(resources: Path) -> None:
    voxels = np.full((1, 400, 300), 900, np.int16)
    labels = np.zeros(voxels.shape, np.uint8)
    labels[0, 10:390, 5:100] = 1
    geometry = Geometry(voxels.shape, np.eye(4)[:, [2, 1, 0, 3]], calibration=Calibration.NONE)
    volume = replace(Phantom().volume(), voxels=voxels, geometry=geometry, instance_uids=("1",))
    segmentation = Segmentation(volume.uid, geometry, labels, SEGMENTS[:1])
    (image,) = key_images(volume, segmentation, fonts=resources / "fonts")
    picture = pixels_of(image.png)[:640].astype(int).sum(axis=(0, 2))
    empty = np.flatnonzero(picture == 0)
    # The square is as high as the picture, so that 100 of its 400 pixels across stay empty.
    assert abs(empty.size / 640 - 0.25) < 0.02
    left = (empty < 320).sum()
    assert abs(left - (empty >= 320).sum()) <= 4


def test_nothing_marked_gives_no_picture(resources: Path) -> None:
    volume, segmentation = halves(Phantom())
    empty = Segmentation(volume.uid, volume.geometry, segmentation.labels * 0, SEGMENTS)
    assert key_images(volume, empty, fonts=resources / "fonts") == ()


def test_the_image_it_is_taken_from_is_named_where_it_is_an_acquired_one(resources: Path) -> None:
    phantom = Phantom()
    volume, segmentation = halves(phantom)
    uids = tuple(f"1.2.{k}" for k in range(phantom.shape[0]))
    named = Volume("v", "1.2.3", volume.geometry, volume.voxels, instance_uids=uids)
    coronal, axial, _ = key_images(named, segmentation, fonts=resources / "fonts")
    number = int(axial.caption.split("slice ")[1].split(" ")[0])
    assert axial.sop_instance_uid == f"1.2.{number - 1}"
    assert coronal.sop_instance_uid == ""


def test_a_single_picture_gives_one_image(resources: Path) -> None:
    volume, segmentation = halves(Phantom(shape=(1, 40, 48)))
    (image,) = key_images(volume, segmentation, fonts=resources / "fonts")
    assert image.plane == "acquired"


def drawn_with(resources: Path, names: list[str]) -> tuple[str, int]:
    """Caption and height in pixels of a key image of stripes with these names."""
    volume = Phantom().volume()
    labels = np.zeros(volume.geometry.shape, np.uint8)
    segments = []
    for number, name in enumerate(names, start=1):
        labels[:, number % 40, (number // 40) * 8 : (number // 40) * 8 + 6] = number
        segments.append(segment(number, name))
    made = Segmentation(volume.uid, volume.geometry, labels, tuple(segments))
    (_, axial, _) = key_images(volume, made, fonts=resources / "fonts")
    return axial.caption, pixels_of(axial.png).shape[0]


def test_objects_of_one_kind_share_a_line_with_their_number(resources: Path) -> None:
    caption, height = drawn_with(resources, [f"Nucleus {n}" for n in range(1, 43)])
    assert caption.endswith(": Nucleus (42)")
    assert height == drawn_with(resources, ["Nucleus 1"])[1], "one line, as for one nucleus"


def test_a_legend_of_many_kinds_is_capped_and_says_so(resources: Path) -> None:
    names = [f"Part {chr(65 + n)}" for n in range(20)]
    caption, height = drawn_with(resources, names)
    assert caption.endswith("Part K, and 9 more structures")
    assert height == drawn_with(resources, names[:12])[1]


def test_a_lung_is_shown_as_lungs_are_read(resources: Path) -> None:
    """Air is black in the soft-tissue window of the volume and dark grey at 1500/-600."""
    volume, segmentation = halves(Phantom())
    named = tuple(segment(s.number, f"{s.label} lung", color_rgb=RED) for s in SEGMENTS)
    lungs = Segmentation(volume.uid, volume.geometry, segmentation.labels, named)
    for made, grey in ((segmentation, 0), (lungs, round(255 * (-1000 + 1350) / 1500))):
        (_, axial, _) = key_images(volume, made, fonts=resources / "fonts")
        corner = pixels_of(axial.png)[190:200, 190:200]
        assert abs(int(np.median(corner)) - grey) <= 2
