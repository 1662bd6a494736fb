"""Small data sets of flat pictures for every task, to learn from in seconds."""

from pathlib import Path

import numpy as np
from PIL import Image

TASKS = ("masks", "classes", "boxes", "objects")


def _picture(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture with `number` bright discs, and their map, numbered from 1."""
    rows, columns = np.mgrid[:48, :64]
    objects = np.zeros((48, 64), np.uint8)
    for index in range(number):
        middle = (rng.uniform(10, 38), 12 + 20 * index + rng.uniform(-2, 2))
        objects[(rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= rng.uniform(5, 8) ** 2] = (
            index + 1
        )
    grey = 60 + 120 * (objects > 0) + rng.normal(0, 6, objects.shape)
    return np.clip(grey, 0, 255).astype(np.uint8), objects


def write_flat(folder: Path, task: str, *, cases: int = 12) -> Path:
    """A folder in one of the layouts that are known by themselves; the last third validates."""
    rng = np.random.default_rng(0)
    lines = ["file,patient,split,label"]
    places = {"masks": "masks", "objects": "labels", "boxes": "Annotations"}
    (folder / "images").mkdir(parents=True, exist_ok=True)
    if task in places:
        (folder / places[task]).mkdir(exist_ok=True)
    for number in range(cases):
        count = 1 + number % 3 if task != "classes" else 1 + 2 * (number % 2)
        picture, objects = _picture(rng, count)
        name = f"p{number}"
        Image.fromarray(picture).save(folder / "images" / f"{name}.png")
        split = "train" if number < 2 * cases // 3 else "val"
        label = ("few", "many")[count > 1] if task == "classes" else ""
        lines.append(f"images/{name}.png,P{number},{split},{label}")
        if task == "masks":
            mask = np.where(objects > 0, 255, 0).astype(np.uint8)
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
        if task == "objects":
            Image.fromarray(objects.astype(np.uint16)).save(folder / "labels" / f"{name}.png")
        if task == "boxes":
            write_voc(folder / "Annotations" / f"{name}.xml", objects)
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_voc(path: Path, objects: np.ndarray, more: str = "") -> None:
    text = "<annotation>"
    for number in range(1, int(objects.max()) + 1):
        rows, columns = np.nonzero(objects == number)
        text += (
            f"<object><name>disc</name><bndbox><xmin>{columns.min()}</xmin>"
            f"<ymin>{rows.min()}</ymin><xmax>{columns.max() + 1}</xmax>"
            f"<ymax>{rows.max() + 1}</ymax></bndbox></object>"
        )
    path.write_text(text + more + "</annotation>", encoding="utf-8")


_NETWORKS = {
    "masks": ("unet.UNet2d", "out_channels = 2\nwidths = [8, 16]", "dice_ce"),
    "classes": (
        "classifiers.ResidualClassifier",
        "widths = [8, 16]\ndropout = 0.0",
        "cross_entropy",
    ),
    "boxes": ("centres.CentreDetector", "in_channels = 1\nwidths = [16, 24]", "box"),
    "objects": ("unet.UNet2d", "out_channels = 2\nwidths = [8, 16]", "depth"),
}


def write_flat_config(path: Path, folder: Path, task: str, *, epochs: int, more: str = "") -> Path:
    name, arguments, loss = _NETWORKS[task]
    path.write_text(
        f'[data]\nfolder = "{folder}"\npatch = [48, 64]\n'
        f'[network]\nclass = "medview.inference.networks.{name}"\n[network.args]\n{arguments}\n'
        f'[loss]\nname = "{loss}"\n[optimiser]\nlr = 1e-2\n'
        f"[schedule]\nepochs = {epochs}\nwarmup = 2\n"
        "[augment]\nrotate_deg = 5.0\nscale = 0.05\nflip = [1]\n"
        f"[run]\nbatch = 4\nema = 0.8\nvalidate_every = {epochs}\n{more}\n",
        encoding="utf-8",
    )
    return path


def write_flat_card(folder: Path, task: str) -> Path:
    (folder / "LICENCE.txt").write_text("CC0", encoding="utf-8")
    path = folder / "card.toml"
    names = ("few", "many") if task == "classes" else ("disc",)
    first = 0 if task == "classes" else 1
    path.write_text(
        'name = "Discs"\nversion = "0.1.0"\nauthors = "Nobody"\n'
        'description = "Finds discs. Nothing else."\nintended_use = "Tests."\n'
        'licence = "CC0-1.0"\nlicence_file = "LICENCE.txt"\ndata_source = "Computed."\n'
        'data_licence = "CC0-1.0"\nreferences = ["none"]\nlimits = ["Discs only."]\n'
        'note = "Computed cases."\n[scope]\nmodality = ["XC"]\n'
        + "".join(
            f'[[outputs]]\nindex = {index}\nlabel = "{name}"\ncolor_rgb = [255, 0, 0]\n'
            f'code = {{ value = "1", scheme = "99TEST", meaning = "{name}" }}\n'
            for index, name in enumerate(names, start=first)
        ),
        encoding="utf-8",
    )
    return path
