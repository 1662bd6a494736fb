"""Motion learned from clips: the pairs that are made, and what comes of a training."""

import csv
import json
import math

import jsonschema
import numpy as np
import pytest
import torch
from scipy import ndimage

from medview.core.errors import ReadError
from medview.learning.clips import read_frames
from medview.learning.evaluate import main as evaluate_main
from medview.learning.layouts import open_dataset
from medview.learning.tasks.choice import make_task
from medview.learning.tasks.task import Recipe
from medview.learning.tasks.video import exam
from medview.learning.train import main
from medview.learning.warps import (
    EXAM,
    Disturbance,
    end_point_error,
    moved_pair,
    random_motion,
)
from tests.helpers.flat_training import write_flat_card
from tests.helpers.moving import beating_frames, speckled_picture, write_clips, write_gif

_INTENSITY = {"method": "percentile_zscore", "low_percent": 0.0, "high_percent": 100.0}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_motions_are_smooth_and_no_longer_than_asked():
    fields = [random_motion((90, 120), 15.0, generator(seed)) for seed in range(40)]
    longest = [field.norm(dim=0).max().item() for field in fields]
    assert max(longest) <= 15.0 + 1e-4
    assert max(longest) > 8  # and long ones do occur
    steepest = [max(field.diff(dim=a).abs().max().item() for a in (1, 2)) for field in fields]
    assert max(steepest) <= 0.6 + 1e-4
    # No pixel jumps: what is left after smoothing over three pixels is next to nothing.
    rough = [
        np.abs(part - ndimage.uniform_filter(part, 3))[2:-2, 2:-2].max()
        for field in fields
        for part in field.numpy()
    ]
    assert max(rough) < 0.2


def test_the_first_picture_shows_at_x_what_the_second_shows_at_x_plus_motion():
    frame = torch.from_numpy(speckled_picture() / 255)
    motion = random_motion((96, 112), 10.0, generator(3))
    first, second = moved_pair(frame, motion, Disturbance(10, 0, 0), generator(4)).numpy()
    rows, columns = np.mgrid[:96, :112].astype(float)
    places = [rows + motion[1].numpy(), columns + motion[0].numpy()]
    assert first == pytest.approx(
        ndimage.map_coordinates(second, places, order=1, mode="nearest"), abs=1e-4
    )


def test_speckle_and_gain_stay_below_what_is_asked():
    frame = torch.ones(200, 200)
    still = torch.zeros(2, 200, 200)
    gains, spreads = [], []
    for seed in range(30):
        first, second = moved_pair(frame, still, Disturbance(1, 0.2, 0.3), generator(seed))
        gains.append(math.log(second.mean().item() / first.mean().item()))
        spreads.append(first.std().item())
    assert max(map(abs, gains)) < 0.31
    assert max(spreads) < 0.21
    assert np.std(gains) == pytest.approx(0.3 / math.sqrt(3), rel=0.35)  # uniform
    assert np.mean(spreads) == pytest.approx(0.1, rel=0.35)


def test_the_error_of_an_answer_counts_only_what_stays_in_the_picture():
    motion = torch.zeros(2, 10, 20)
    motion[0] = 5.0  # to the right: the last five columns leave the picture
    answer = motion.clone()
    answer[:, :, 15:] += 100
    assert end_point_error(answer, motion).item() == 0
    answer[0, :, :15] += 3
    answer[1, :, :15] += 4
    assert end_point_error(answer, motion).item() == pytest.approx(5)


def test_every_model_is_measured_by_the_same_pairs():
    frames, _ = beating_frames(8)
    once, again = exam(frames / np.float32(255)), exam(frames / np.float32(255))
    assert all(torch.equal(a.pictures, b.pictures) for a, b in zip(once, again, strict=True))
    longest = [pair.motion.norm(dim=0).max().item() for pair in once]
    assert max(longest) <= EXAM.motion_px + 1e-4
    other = exam(np.flip(frames, axis=1) / np.float32(255))
    assert not torch.equal(once[0].motion, other[0].motion)


def test_frames_of_a_clip_are_grey_shares_spread_over_it(tmp_path):
    frames, _ = beating_frames(70)
    read = read_frames(write_gif(tmp_path / "beat.gif", frames))
    assert read.shape == (32, 128, 128)
    assert read.min() == 0
    assert 0.9 < read.max() < 1.3
    last = frames[-1].astype(float).ravel()
    assert np.corrcoef(read[-1].ravel(), last)[0, 1] > 0.99
    with pytest.raises(ReadError, match="missing"):
        read_frames(tmp_path / "gone.gif")
    (tmp_path / "no.gif").write_bytes(b"nothing of the kind")
    with pytest.raises(ReadError):
        read_frames(tmp_path / "no.gif")


def test_a_wrong_recipe_is_refused():
    with pytest.raises(ReadError, match="flat grey patches"):
        make_task("video", Recipe(("motion",), (64, 64), channels=3, intensity=_INTENSITY))


def write_config(path, folder, epochs):
    path.write_text(
        f'[data]\nfolder = "{folder}"\npatch = [64, 64]\n'
        'intensity = { method = "percentile_zscore", low_percent = 0.0, high_percent = 100.0 }\n'
        '[network]\nclass = "medview.inference.networks.flow.FlowNet"\n'
        "[network.args]\nlevels = 3\nsteps = [1, 2, 3]\nfeatures = 2\n"
        '[loss]\nname = "end_point"\n[optimiser]\nlr = 3e-3\n'
        f"[schedule]\nepochs = {epochs}\nwarmup = 1\n"
        "[augment]\nmotion_px = 5.0\nnoise = 0.1\ngain = 0.2\nflip = [0, 1]\n"
        f"[run]\nbatch = 4\nrounds = 10\nema = 0.9\nvalidate_every = {epochs}\n"
        '[export]\nid = "beat"\ncard = "card.toml"\n',
        encoding="utf-8",
    )
    return path


@pytest.mark.slow
def test_a_training_learns_to_see_motion_and_writes_it_down(tmp_path, resources):
    data = write_clips(tmp_path / "data")
    write_flat_card(tmp_path, "masks")
    config = write_config(tmp_path / "r.toml", data, 4)
    assert main([str(config), "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "beat"
    result = json.loads((folder / "docs" / "metrics.json").read_text())
    schema = json.loads((resources / "schemas" / "evaluate.schema.json").read_text())
    jsonschema.validate(result, schema)
    found = result["metrics"]["epe_px"]
    assert found["ci95"][0] <= found["value"] <= found["ci95"][1]
    assert found["value"] < 0.7 * result["metrics"]["epe_still_px"]["value"]
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    assert metadata["medview"]["engine"] == "motion"
    assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 2
    assert "end-point error" in (folder / "docs" / "README.md").read_text()

    # A folder of clips without splits: what was learned from is not measured on.
    loose = tmp_path / "loose"
    (loose / "videos").mkdir(parents=True)
    rows = []
    for number in range(3):
        (loose / "videos" / f"v{number}.gif").write_bytes((data / f"c{number}.gif").read_bytes())
        rows.append(f"v{number}.gif,P{number},healthy")
    (loose / "labels.csv").write_text("video,patient,label\n" + "\n".join(rows) + "\n")
    assert open_dataset(loose).task == "video"
    out = tmp_path / "loose.json"
    assert evaluate_main([str(folder), str(loose), "--out", str(out)]) == 0
    measured = json.loads(out.read_text())
    assert [case["id"] for case in measured["cases"]] == ["v2.gif"]
    assert measured["metrics"]["epe_px"]["value"] == pytest.approx(found["value"], rel=1e-6)
    with (folder / "docs" / "split.csv").open() as stream:
        splits = {row["id"]: row["split"] for row in csv.DictReader(stream)}
    assert splits == {"c0.gif": "train", "c1.gif": "train", "c2.gif": "val"}
