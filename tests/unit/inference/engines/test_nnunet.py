"""nnU-Net's folders through their engine, where the nnunetv2 package (an extra) is installed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from medview.core.errors import Cancelled, ModelError
from medview.core.geometry import Geometry
from medview.core.volume import Volume
from medview.inference.catalog import load_card
from medview.inference.engines import nnunet
from tests.helpers.nnunet_folder import THRESHOLDS, TRAINER, write_nnunet
from tests.helpers.run_context import RunContext

pytestmark = pytest.mark.filterwarnings("ignore")  # nnunetv2 and what it imports warn of much
pytest.importorskip("nnunetv2", reason="nnunetv2 is an extra: pip install medview[nnunet]")


@pytest.fixture(autouse=True)
def no_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bars that nnunetv2 draws start a thread for all of the process's life."""
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)


TILTED = np.array(
    [[0.0, 0.3, 0.9, -20], [0.0, 1.1, -0.2, -30], [2.0, 0, 0, -40], [0, 0, 0, 1]], np.float64
)


def image(affine: npt.NDArray[Any] = TILTED, scale: int = 1) -> Volume:
    """Two boxes, one brighter, that are not the same when turned or mirrored."""
    shape = np.array((20, 30, 26)) * scale
    voxels = np.zeros(shape, np.float32)
    voxels[tuple(slice(*np.array(ends) * scale) for ends in ((3, 12), (4, 20), (5, 11)))] = 200
    voxels[tuple(slice(*np.array(ends) * scale) for ends in ((8, 17), (12, 27), (14, 22)))] = 500
    return Volume("v", "s", Geometry(tuple(shape), affine), voxels)


def truth(volume: Volume) -> npt.NDArray[Any]:
    return np.digitize(volume.voxels, THRESHOLDS)


def loaded(folder: Path) -> nnunet.Engine:
    engine = nnunet.Engine(load_card(folder), folder)
    engine.load("cpu")
    return engine


def spacing_of(volume: Volume) -> tuple[float, float, float]:
    a, b, c = np.linalg.norm(volume.geometry.affine[:3, :3], axis=0)
    return float(a), float(b), float(c)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
def test_a_known_network_finds_what_is_known_on_a_tilted_grid(tmp_path: Path, reader: str) -> None:
    volume = image()
    folder = write_nnunet(
        tmp_path, "Dataset900_Known", spacing_of(volume), image_reader_writer=reader
    )
    context = RunContext()
    result = loaded(folder).run(volume, None, None, context)
    (segmentation,) = result.segmentations
    assert np.array_equal(segmentation.labels, truth(volume))
    spleen, kidney = result.findings
    assert (spleen.label, spleen.code.value) == ("Spleen", "78961009")
    assert (kidney.label, kidney.laterality) == ("Left kidney", "left")
    expected = float((volume.voxels == 500).sum()) * volume.geometry.voxel_volume_ml
    assert kidney.measurements[0].value == pytest.approx(expected)
    fractions = [done for stage, done in context.said if stage == "Segmenting"]
    assert len(fractions) > 8
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1


def test_other_spacings_are_resampled_by_nnunet_itself(tmp_path: Path) -> None:
    """The same labels as nnunetv2's own predictor gives."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    volume = image()
    folder = write_nnunet(tmp_path, "Dataset900_Known", (1.5, 1.5, 1.5))
    result = loaded(folder).run(volume, None, None, RunContext())
    theirs = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    theirs.initialize_from_trained_model_folder(str(folder / TRAINER), (0,), "checkpoint_final.pth")
    labels = theirs.predict_single_npy_array(
        volume.voxels[None], {"spacing": list(spacing_of(volume))}
    )
    assert np.array_equal(result.segmentations[0].labels, labels)


def test_an_image_for_totalsegmentator_comes_to_its_spacing_first(tmp_path: Path) -> None:
    affine = TILTED / [[2, 2, 2, 1]] * [[1.0], [1.0], [1.0], [1.0]]
    volume = image(affine, scale=3)
    name = "Dataset297_TotalSegmentator_total_3mm_1559subj"
    engine = loaded(write_nnunet(tmp_path, name, (3.0, 3.0, 3.0)))
    seen: list[tuple[int, ...]] = []
    predict = engine._predictor.labels

    def labels(values: npt.NDArray[Any], *args: Any) -> Any:
        seen.append(values.shape)
        return predict(values, *args)

    engine._predictor.labels = labels
    (found,) = engine.run(volume, None, None, RunContext()).segmentations
    extent = np.array(volume.geometry.shape) * spacing_of(volume)
    assert sorted(seen[0]) == sorted(np.rint(extent / 3).astype(int))
    for number in (1, 2):
        one, other = found.labels == number, truth(volume) == number
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.85


def test_a_stopped_run_leaves_no_thread(tmp_path: Path) -> None:
    volume = image()
    engine = loaded(write_nnunet(tmp_path, "Dataset900_Known", spacing_of(volume)))
    before = set(threading.enumerate())
    with pytest.raises(Cancelled):
        engine.run(volume, None, None, RunContext(stop_after=6))
    assert not {one for one in threading.enumerate() if one.is_alive()} - before
    assert np.array_equal(
        engine.run(volume, None, None, RunContext()).segmentations[0].labels, truth(volume)
    )


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = write_nnunet(tmp_path, "Dataset900_Known", (1.0, 1.0, 1.0))
    path = folder / TRAINER / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "network_weights": {}}, path)
    with pytest.raises(ModelError, match="do not fit"):
        loaded(folder)
    torch.save({**checkpoint, "trainer_name": "nnUNetTrainerOfAnother"}, path)
    with pytest.raises(ModelError, match="do not fit"):
        loaded(folder)
