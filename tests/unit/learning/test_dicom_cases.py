"""DICOM as images of a data set: folders of a series and single files, on the grid of the label."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from medview.core.errors import ReadError
from medview.learning.checks import read_all
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.layouts import open_dataset
from medview.learning.pictures import image_sha256, read_picture
from medview.learning.scans import load_scan
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import Recipe
from tests.helpers.dicom_phantoms import CtOptions, Who, write_ct, write_projection
from tests.helpers.phantoms import Phantom

DECLARED = 'task = "{task}"\nclasses = {classes}\n[layout]\nimage = "{{file}}"\n'
PHANTOM = Phantom(shape=(6, 20, 24), radius_mm=5.0)


def write_series(folder, patients: int = 3):
    """A CT of each patient as a folder of files, labelled above 0 HU, the label as NIfTI."""
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine = (to_ras @ PHANTOM.affine)[:, [2, 1, 0, 3]]
    (folder / "labels").mkdir(parents=True)
    rows = ["file,patient,split,label"]
    for number in range(patients):
        who = Who(patient_id=f"P{number}")
        write_ct(folder / "scans" / f"P{number}" / "ct", PHANTOM, CtOptions(who=who, shuffled=True))
        label = (PHANTOM.values() > 0).astype(np.uint8).transpose(2, 1, 0)
        name = f"scans_P{number}_ct.nii.gz"
        nibabel.save(nibabel.Nifti1Image(label, affine), folder / "labels" / name)
        rows.append(f"scans/P{number}/ct,P{number},{('train', 'val')[number == 2]},")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    label = 'label = "labels/{id}.nii.gz"\n'
    declared = DECLARED.format(task="segmentation", classes='["bright"]') + label
    (folder / "dataset.toml").write_text(declared)
    return open_dataset(folder)


def test_a_folder_of_slices_is_a_volume_with_its_label(tmp_path):
    dataset = write_series(tmp_path)
    assert [case.id for case in dataset.cases] == [f"scans_P{n}_ct" for n in range(3)]
    task = make_task("segmentation", Recipe(classes=("bright",), patch=(16, 16, 4)))
    scans = read_all(task, dataset.cases, ("train",))
    for scan in scans:
        np.testing.assert_allclose(scan.spacing_mm, (0.7, 0.8, 2.5), atol=1e-5)
        assert (scan.image[scan.label > 0] > 0).all()
        assert (scan.image[scan.label == 0] <= 0).all()
        assert (scan.label > 0).sum() == (PHANTOM.values() > 0).sum()


def test_its_checksum_is_that_of_all_its_files(tmp_path):
    case = write_series(tmp_path).cases[0]
    before = image_sha256(case)
    (one, *_) = sorted(case.image.iterdir())
    assert image_sha256(case) == before
    one.write_bytes(one.read_bytes() + b"\0\0")
    assert image_sha256(case) != before


def test_what_is_wrong_with_a_folder_is_named(tmp_path):
    dataset = write_series(tmp_path)
    folders = [case.image for case in dataset.cases]
    for path in folders[0].iterdir():
        path.write_bytes(b"no image")
    write_ct(folders[1], PHANTOM, CtOptions(who=Who("P1"), series="second"))
    sorted(folders[2].iterdir())[2].unlink()
    task = make_task("segmentation", Recipe(classes=("bright",), patch=(16, 16, 4)))
    with pytest.raises(ReadError) as error:
        read_all(task, dataset.cases)
    for words in (
        "scans_P0_ct: image cannot be read",
        "scans_P1_ct: image is one of 2 volumes there",
        "scans_P2_ct: image lacks slices",
    ):
        assert words in error.value.user_text


@pytest.mark.parametrize("inverted", [False, True])
def test_a_single_file_is_a_picture_bright_where_it_is_bright(inverted, tmp_path):
    stored = write_projection(tmp_path / "x.dcm", monochrome1=inverted)
    (tmp_path / "index.csv").write_text("file,patient,split,label\nx.dcm,P,train,a\n")
    classes = '["a", "b"]'
    (tmp_path / "dataset.toml").write_text(DECLARED.format(task="classification", classes=classes))
    (case,) = open_dataset(tmp_path).cases
    picture = read_picture(case)
    expected = -stored.astype(float) if inverted else stored
    np.testing.assert_allclose(picture - picture.min(), expected - expected.min())


def test_a_class_that_nothing_shows_is_named_with_all_else(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["file,patient,split,label"]
    for number, (split, label) in enumerate([("train", "a"), ("train", "a"), ("val", "b")]):
        noise = rng.integers(0, 255, (20, 20), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,P{number},{split},{label}")
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "index.csv").write_text("\n".join(rows) + "\n")
    dataset = open_dataset(tmp_path)
    recipe = Recipe(classes=dataset.classes, patch=(20, 20))
    task = make_task("classification", recipe, LossConfig("cross_entropy"), AugmentConfig())
    with pytest.raises(ReadError) as error:
        read_all(task, dataset.cases, ("train",))
    assert "1: image cannot be read" in error.value.user_text
    assert "no case to learn from shows b" in error.value.user_text
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    assert len(read_all(task, dataset.cases, ("train", "val"))) == 3


def test_a_scan_without_its_place_in_the_patient_is_no_case(tmp_path):
    case = write_series(tmp_path).cases[0]
    write_projection(tmp_path / "flat.dcm")
    odd = type(case)("flat", "P", "train", tmp_path / "flat.dcm", case.label)
    with pytest.raises(ReadError, match="does not say where in the patient"):
        load_scan(odd, 1)
