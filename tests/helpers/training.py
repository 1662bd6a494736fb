"""A data set small enough to learn in seconds: two balls of unlike brightness in noise."""

from pathlib import Path

import nibabel
import numpy as np

CONFIG = """
[data]
folder = "{folder}"
patch = [16, 16, 16]
[network]
class = "medview.inference.networks.unet.UNet3d"
[network.args]
out_channels = 3
widths = [8, 16]
[optimiser]
lr = 3e-2
[schedule]
epochs = {epochs}
warmup = 1
[augment]
rotate_deg = 10.0
flip = [0]
elastic_mm = 1.0
coarsen = 1.5
clip = 0.1
bias = 0.1
[run]
batch = 2
ema = 0.9
validate_every = 1
{more}
"""


def write_config(path: Path, folder: Path, *, epochs: int = 3, more: str = "") -> Path:
    path.write_text(CONFIG.format(folder=folder, epochs=epochs, more=more), encoding="utf-8")
    return path


def write_pair(folder: Path, name: str, seed: int) -> None:
    """One image with two balls, of radius 4 and 3 voxels, and its label map."""
    rng = np.random.default_rng(seed)
    place = np.stack(np.meshgrid(*[np.arange(20.0)] * 3, indexing="ij"))
    label = np.zeros((20, 20, 20), np.uint8)
    for number, (centre, radius) in enumerate([((10, 14, 10), 4), ((10, 5, 10), 3)], start=1):
        moved = np.asarray(centre) + rng.uniform(-1, 1, 3)
        distance = np.linalg.norm(place - moved[:, None, None, None], axis=0)
        label[distance <= radius] = number
    image = 100.0 + 80.0 * (label == 1) + 40.0 * (label == 2) + rng.normal(0, 4, label.shape)
    for kind, array in (("images", image.astype(np.float32)), ("labels", label)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / kind / f"{name}.nii.gz")


def write_dataset(folder: Path, *, patients: int = 5) -> Path:
    """Two cases for every patient, the last two patients for validation."""
    lines = ["file,patient,split,label"]
    for patient in range(patients):
        split = "val" if patient >= patients - 2 else "train"
        for side in range(2):
            name = f"ball_{patient}{side}"
            write_pair(folder, name, seed=10 * patient + side)
            lines.append(f"images/{name}.nii.gz,P{patient},{split},")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "dataset.toml").write_text(
        'task = "segmentation"\nclasses = ["large", "small"]\n[layout]\n'
        'image = "images/{id}.nii.gz"\nlabel = "labels/{id}.nii.gz"\n',
        encoding="utf-8",
    )
    return folder


CARD = """
name = "Two balls"
version = "0.1.0"
authors = "Nobody"
description = "Finds two balls. Nothing else."
intended_use = "Tests."
licence = "CC0-1.0"
licence_file = "LICENCE.txt"
data_source = "Computed."
data_licence = "CC0-1.0"
references = ["none"]
limits = ["Balls only."]
note = "Computed cases."
keep_largest = true
[scope]
modality = ["MR"]
[[outputs]]
index = 1
label = "Large ball"
code = { value = "1", scheme = "99TEST", meaning = "Large ball" }
color_rgb = [255, 0, 0]
[[outputs]]
index = 2
label = "Small ball"
code = { value = "2", scheme = "99TEST", meaning = "Small ball" }
color_rgb = [0, 255, 0]
"""


def write_card(folder: Path) -> Path:
    (folder / "LICENCE.txt").write_text("CC0", encoding="utf-8")
    path = folder / "card.toml"
    path.write_text(CARD, encoding="utf-8")
    return path
