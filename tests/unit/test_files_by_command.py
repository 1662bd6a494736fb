"""`medview info` and `medview convert` on one file, held against nibabel."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medview import cli

pytestmark = pytest.mark.session_processes


def test_a_file_is_told_and_converted_on_its_own_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    affine = np.array([[-2.0, 0, 0, 10], [0, 1.5, 0, -20], [0, 0, 3.0, 30], [0, 0, 0, 1]])
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    source = tmp_path / "grid.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, affine), source)
    profile = ["--profile", str(tmp_path / "profile")]
    assert cli.run(cli.parse([*profile, "info", str(source), "--json"])) == 0
    told = json.loads(capsys.readouterr().out)
    (patient,) = told["patients"]
    (series,) = patient["studies"][0]["series"]
    (volume,) = series["volumes"]
    assert volume["shape"] == [6, 5, 4]
    assert volume["spacing_mm"] == [3.0, 1.5, 2.0]
    assert (volume["min"], volume["max"]) == (0, 119)
    out = tmp_path / "out.nii.gz"
    words = [*profile, "convert", str(source), "--series", series["uid"], "--out", str(out)]
    assert cli.run(cli.parse(words)) == 0
    again = nibabel.load(out)
    np.testing.assert_allclose(again.affine, affine, atol=1e-3)
    assert np.array_equal(np.asarray(again.dataobj), values)


def test_nothing_readable_is_said_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter.nii").write_text("Dear colleague")
    words = ["--profile", str(tmp_path / "profile"), "info", str(tmp_path / "letter.nii"), "--json"]
    assert cli.run(cli.parse(words)) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["problems"][0]["path"].endswith("letter.nii")
