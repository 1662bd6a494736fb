"""Data set folders: splits by patient, and every bad file named at once."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.errors import ReadError
from medview.learning.checks import read_all
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.data import Case, with_folds
from medview.learning.layouts import open_dataset
from medview.learning.scans import load_scan, to_spacing
from medview.learning.tasks.task import Recipe
from medview.learning.tasks.volumes import VolumeSegmentation
from tests.helpers.training import write_dataset, write_pair


def two_classes() -> VolumeSegmentation:
    recipe = Recipe(classes=("large", "small"), patch=(16, 16, 16))
    return VolumeSegmentation(recipe, LossConfig(), AugmentConfig())


def test_declared_data_set(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path))
    assert dataset.classes == ("large", "small")
    assert len(dataset.of("train")) == 6
    assert len(dataset.of("val")) == 4
    assert len(dataset.of("all")) == 10
    assert len(read_all(two_classes(), dataset.cases)) == 10


def test_pairs_with_an_index_are_known_without_a_declaration(tmp_path):
    (write_dataset(tmp_path) / "dataset.toml").unlink()
    assert open_dataset(tmp_path).classes == ("class 1", "class 2")


def test_hippocampus_pairs_have_their_classes(tmp_path):
    for name in ("hippocampus_001", "hippocampus_002"):
        write_pair(tmp_path, name, 1)
    rows = "file,patient,split,label\nimages/hippocampus_001.nii.gz,S1,train,\n"
    (tmp_path / "index.csv").write_text(rows)
    assert open_dataset(tmp_path).classes == ("anterior", "posterior")


def test_a_patient_in_two_splits_is_refused_by_name(tmp_path):
    index = write_dataset(tmp_path) / "index.csv"
    index.write_text(index.read_text().replace("P1,train", "P1,val", 1))
    with pytest.raises(ReadError, match="P1"):
        open_dataset(tmp_path)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(ReadError, match="not a data set"):
        open_dataset(tmp_path)


def test_index_without_columns_is_refused(tmp_path):
    (write_dataset(tmp_path) / "index.csv").write_text("file,label\na,b\n")
    with pytest.raises(ReadError, match="patient, split"):
        open_dataset(tmp_path)


@given(
    owners=st.lists(st.integers(0, 9), min_size=10, max_size=40),
    folds=st.integers(2, 4),
    seed=st.integers(0, 5),
)
def test_folds_never_share_a_patient_and_validate_everyone_once(owners, folds, seed):
    owners = [*owners, 0, 1, 2, 3]
    cases = [
        Case(str(i), f"P{owner}", "train" if owner else "test", Path("i"), Path("l"))
        for i, owner in enumerate(owners)
    ]
    held_out = []
    patients = {case.patient for case in cases if case.split != "test"}
    if len(patients) < folds:
        return
    for fold in range(folds):
        dealt = with_folds(cases, folds, fold, seed)
        train = {case.patient for case in dealt if case.split == "train"}
        val = {case.patient for case in dealt if case.split == "val"}
        assert not train & val
        assert {case.patient for case in dealt if case.split == "test"} <= {"P0"}
        held_out += sorted(val)
    assert sorted(held_out) == sorted(patients)


def test_all_bad_cases_are_named_at_once(tmp_path):
    dataset = open_dataset(write_dataset(tmp_path))
    (tmp_path / "labels/ball_00.nii.gz").unlink()
    (tmp_path / "images/ball_01.nii.gz").write_bytes(b"no image")
    label = tmp_path / "labels/ball_10.nii.gz"
    array = np.asarray(nibabel.load(label).dataobj)
    nibabel.save(nibabel.Nifti1Image(array[:-1], np.eye(4)), label)
    one_class = tmp_path / "labels/ball_11.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.where(array == 2, 0, array), np.eye(4)), one_class)
    too_many = tmp_path / "labels/ball_20.nii.gz"
    nibabel.save(nibabel.Nifti1Image(array + (array == 2), np.eye(4)), too_many)
    broken = np.full((20, 20, 20), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(broken, np.eye(4)), tmp_path / "images/ball_21.nii.gz")
    with pytest.raises(ReadError) as error:
        read_all(two_classes(), dataset.cases)
    text = error.value.user_text
    for words in (
        "6 of 10",
        "ball_00: label is missing",
        "ball_01: image cannot be read",
        "ball_10: image and label lie on different grids",
        "ball_11: label has no voxel of class 2",
        "ball_20: label holds values other than 0 to 2",
        "ball_21: image holds values that are not finite",
    ):
        assert words in text


def test_cases_may_lack_the_classes_that_their_data_set_names(tmp_path):
    folder = write_dataset(tmp_path)
    label = folder / "labels/ball_11.nii.gz"
    array = np.asarray(nibabel.load(label).dataobj)
    nibabel.save(nibabel.Nifti1Image(np.where(array == 2, 0, array), np.eye(4)), label)
    declared = (folder / "dataset.toml").read_text()
    name = open_dataset(folder).classes[1]
    with pytest.raises(ReadError, match="no voxel of class 2") as error:
        read_all(two_classes(), open_dataset(folder).cases)
    assert "may_lack" in error.value.hint
    (folder / "dataset.toml").write_text(f'may_lack = ["{name}"]\n' + declared)
    examples = read_all(two_classes(), open_dataset(folder).cases, ("train", "val"))
    assert sorted({int(n) for one in examples for n in np.unique(one.label)}) == [0, 1, 2]
    # The other class is wanted as before, and a name that is no class is none.
    nibabel.save(nibabel.Nifti1Image(np.zeros_like(array), np.eye(4)), label)
    with pytest.raises(ReadError, match="no voxel of class 1"):
        read_all(two_classes(), open_dataset(folder).cases)
    (folder / "dataset.toml").write_text('may_lack = ["unheard of"]\n' + declared)
    with pytest.raises(ReadError, match=r"dataset\.toml"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 1, 1), "image is a single voxel"), ((1, 9, 1), "image is a single line")],
)
def test_volumes_that_are_none_are_refused(shape, words, tmp_path):
    dataset = open_dataset(write_dataset(tmp_path))
    for kind in ("images", "labels"):
        image = nibabel.Nifti1Image(
            np.arange(np.prod(shape), dtype=np.float32).reshape(shape), np.eye(4)
        )
        nibabel.save(image, tmp_path / kind / "ball_00.nii.gz")
    with pytest.raises(ReadError, match=f"ball_00: {words}"):
        read_all(two_classes(), dataset.cases)


def test_everything_wrong_with_an_index_is_named_at_once(tmp_path):
    index = write_dataset(tmp_path) / "index.csv"
    text = index.read_text().replace("P1,train", "P1,val", 1).replace("P4,val", "P4,best", 1)
    index.write_text(text + "images/ball_00.nii.gz,P0,train,\n")
    with pytest.raises(ReadError) as error:
        open_dataset(tmp_path)
    for words in ("P1", "line 10: needs file", "line 12: images/ball_00.nii.gz has had a line"):
        assert words in error.value.user_text


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path):
    write_dataset(tmp_path)
    rows = ["a/scan.dcm,A,train,", "b/scan.dcm,B,train,", "b/1.2.3,B,train,", "c/x.nii.gz,C,val,"]
    (tmp_path / "index.csv").write_text("\n".join(["file,patient,split,label", *rows]))
    names = [case.id for case in open_dataset(tmp_path).cases]
    assert names == ["a_scan", "b_scan", "1.2.3", "x"]


def test_scans_are_turned_into_right_anterior_superior(tmp_path):
    """Stored left to right in the file, the same case comes out the same way round."""
    write_dataset(tmp_path)
    case = open_dataset(tmp_path).cases[0]
    before = load_scan(case, 2)
    for path in (case.image, case.label):
        array = np.asarray(nibabel.load(path).dataobj)
        mirrored = np.diag([-1.0, 1.0, 1.0, 1.0])
        mirrored[0, 3] = array.shape[0] - 1
        nibabel.save(nibabel.Nifti1Image(array[::-1], mirrored), path)
    after = load_scan(case, 2)
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_array_equal(after.label, before.label)


def test_another_spacing_keeps_a_ramp_where_it_was():
    """Voxel centres of a coarser grid lie half a voxel further in: (i + 0.5) * 2 - 0.5."""
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 4, 4)).copy()
    coarse = to_spacing(ramp, (1.0, 1.0, 1.0), (2.0, 1.0, 1.0))
    np.testing.assert_allclose(coarse[:, 0, 0], (np.arange(6) + 0.5) * 2 - 0.5, atol=1e-5)
