"""One bad slice does not lose the study, nor move the others; no two patients share a volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medview.core.study import Severity
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.bad_inputs.case import write
from tests.helpers.bad_inputs.seeds import EXPLICIT, part10, slice_elements
from tests.helpers.bad_inputs.streams import CODECS
from tests.helpers.dicom_phantoms import uid

SLICES = 300
_SIZE = {"Rows": 16, "Columns": 12}


def _plane(k: int) -> np.ndarray[Any, Any]:
    """The number of the slice in every pixel, and a corner that tells it from an empty one."""
    plane = np.full((16, 12), k, dtype=np.uint16)
    plane[0, 0] = 3000
    return plane


def _slice(k: int) -> bytes:
    pixels = {"PixelData": ("OW", _plane(k).tobytes()), "RescaleIntercept": "0"}
    return part10(slice_elements(k + 1, 1.25 * k, series="long", **_SIZE, **pixels))


def _damages() -> list[Any]:
    """Ways a file of a series gets lost: what is left of its bytes."""
    return [
        lambda data: data[:0],
        lambda data: data[:700],
        lambda data: data[:-40],
        lambda data: data[:140] + b"\xff" * 40 + data[180:],
        lambda data: data.replace(b"MONOCHROME2", b"MONOCHROME9"),
        lambda data: data.replace(b"US\2\0\x10\0", b"US\2\0\0\0", 1),
    ]


@pytest.mark.parametrize("percent", [1, 5, 20])
def test_good_slices_stay_at_their_true_places(percent: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(percent)
    # The ends stay: what lies outside of the last good slice cannot be missed.
    bad = rng.choice(np.arange(1, SLICES - 1), SLICES * percent // 100, replace=False)
    damages = _damages()
    for k in range(SLICES):
        data = _slice(k)
        if k in bad:
            data = damages[k % len(damages)](data)
        write(tmp_path / f"{k:04}.dcm", data)
    result = scan([tmp_path])
    ((series,),) = [study.series for study in result.studies]
    loaded = load(series)
    volume = loaded.volumes[0]
    assert volume.geometry.shape == (SLICES, 16, 12)
    affine = volume.geometry.affine
    named = {
        problem.path.name
        for problem in (*result.problems, *loaded.problems)
        if problem.severity is Severity.REFUSED
    }
    assert named == {f"{k:04}.dcm" for k in bad}
    for k in set(range(SLICES)) - set(bad.tolist()):
        place = affine @ np.array([k, 0, 0, 1])
        assert place[:3] == pytest.approx([-64, -64, 1.25 * k], abs=1e-3)
        assert np.array_equal(volume.voxels[k], _plane(k))
    for k in bad:
        assert len(np.unique(volume.voxels[k])) == 1
    assert any("missing" in note or "unreadable" in note for note in volume.notes)


def _people() -> list[dict[str, Any]]:
    return [
        {"PatientID": "A", "PatientName": "Able^Ann", "PatientBirthDate": "19500101"},
        {"PatientID": "B", "PatientName": "Baker^Bob", "PatientBirthDate": "19600202"},
        {"PatientID": "A", "PatientName": "Carter^Cid", "PatientBirthDate": "19700303"},
    ]


def _mixed(rng: np.random.Generator) -> Iterator[tuple[int, bytes]]:
    """Slices of two or three patients that share whatever identifiers chance has it."""
    people = _people()[: int(rng.integers(2, 4))]
    shared = {
        key: bool(rng.integers(2))
        for key in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    }
    order = rng.permutation([person for person in range(len(people)) for _ in range(3)])
    for n, person in enumerate(order):
        uids = {key: uid(key, 0 if same else int(person)) for key, same in shared.items()}
        pixels = np.full((16, 12), 100 * (person + 1), np.uint16)
        changes = {
            **people[person], **uids, **_SIZE,
            "SOPInstanceUID": uid("mixed", 0 if rng.random() < 0.1 else n),
            "PixelData": ("OW", pixels.tobytes()), "RescaleIntercept": "0",
        }  # fmt: skip
        yield int(person), part10(slice_elements(n + 1, 2.0 * n, **changes), EXPLICIT)


def test_no_interleaving_brings_two_patients_into_one_volume(tmp_path: Path) -> None:
    for trial in range(200):
        folder = tmp_path / str(trial)
        rng = np.random.default_rng(trial)
        people = set()
        for n, (person, data) in enumerate(_mixed(rng)):
            write(folder / f"{n}.dcm", data)
            people.add(person)
        result = scan([folder])
        seen = set()
        for study in result.studies:
            for series in study.series:
                for volume in load(series).volumes:
                    inside = set(np.unique(volume.voxels).tolist()) - {0}
                    assert len(inside) == 1, f"trial {trial}"
                    (person,) = (int(value) // 100 - 1 for value in inside)
                    wanted = _people()[person]["PatientName"].replace("^", ", ")
                    assert study.patient.name == wanted
                    seen.add(person)
        assert seen == people


def test_other_pixels_under_a_known_identifier_are_told_and_both_are_kept(tmp_path: Path) -> None:
    same = {"SOPInstanceUID": uid("twice"), **_SIZE}
    for n, value in enumerate((5, 6)):
        pixels = ("OW", np.full((16, 12), value, np.uint16).tobytes())
        data = part10(slice_elements(1, 0.0, PixelData=pixels, RescaleIntercept="0", **same))
        write(tmp_path / f"{n}" / "same.dcm", data)
    result = scan([tmp_path])
    assert any("Different images carry the same" in one.reason for one in result.problems)
    ((series,),) = [study.series for study in result.studies]
    values = {int(volume.voxels.max()) for volume in load(series).volumes}
    assert values == {5, 6}


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
def test_damage_gives_the_same_every_time(codec: Any, tmp_path: Path) -> None:
    """What is not in the file is never filled with what lay in memory."""
    write(tmp_path / "cut.dcm", codec.file(codec.cut(0.7, ended=True)))
    seen = set()
    for _ in range(3):
        ((series,),) = [study.series for study in scan([tmp_path]).studies]
        seen.add(tuple(volume.voxels.tobytes() for volume in load(series).volumes))
    assert len(seen) == 1
