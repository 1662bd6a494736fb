"""Key images: the right slice, the right way round, with the segments where they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

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
