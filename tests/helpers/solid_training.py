"""Small data sets of volumes with balls and cubes in noise, for classes and for boxes."""

from pathlib import Path

import nibabel
import numpy as np

from medview.core.geometry import Geometry
from medview.core.volume import Volume
from tests.helpers.training import CARD

#: Stored with the first axis to the left, so that sides could be exchanged and are not.
AFFINE = np.array([[-2.0, 0, 0, 31], [0, 2, 0, -20], [0, 0, 2, 7], [0, 0, 0, 1.0]])
SHAPE = (24, 24, 24)
#: The columns of a list of boxes.
COLUMNS = "id,label,right_low_mm,front_low_mm,head_low_mm,right_high_mm,front_high_mm,head_high_mm"


def as_opened(path: Path) -> Volume:
    """A NIfTI file with its axes as the program orders them: k, j, i."""
    image = nibabel.load(path)
    affine = np.diag([-1.0, -1, 1, 1]) @ image.affine[:, [2, 1, 0, 3]]
    voxels = np.ascontiguousarray(np.asarray(image.dataobj, np.float32).transpose(2, 1, 0))
    return Volume("v", "s", Geometry(voxels.shape, affine), voxels)


def _scene(rng: np.random.Generator, kinds: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A noisy volume with a bright ball or a dark cube, or both, or nothing, and their labels."""
    place = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"))
    labels = np.zeros(SHAPE, np.uint8)
    for number, kind in enumerate(("ball", "cube"), start=1):
        if kind not in kinds:
            continue
        middle = rng.uniform(6, 17, 3)
        middle[0] = rng.uniform(5, 9) + 9 * (number - 1)  # never over each other
        away = np.abs(place - middle.reshape(3, 1, 1, 1))
        inside = np.sqrt((away**2).sum(axis=0)) <= 4 if kind == "ball" else away.max(axis=0) <= 3
        labels[inside] = number
    values = 100 + 60 * (labels == 1) - 60 * (labels == 2) + rng.normal(0, 8, SHAPE)
    return values.astype(np.float32), labels


_KINDS = {
    "single": [("ball",), ("cube",)],
    "multi": [(), ("ball",), ("cube",), ("ball", "cube")],
    "maps": [("ball",), ("cube",), ("ball", "cube")],
    "list": [("ball",), ("cube",), ("ball", "cube")],
}


def write_solid(folder: Path, task: str, *, cases: int = 24) -> Path:
    """A declared data set; the last third validates. `task` is a key of `_KINDS`."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines, boxes = ["file,patient,split,label"], [COLUMNS]
    for case in range(cases):
        kinds = _KINDS[task][case % len(_KINDS[task])]
        values, labels = _scene(rng, kinds)
        name = f"v{case}"
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), folder / "images" / f"{name}.nii.gz")
        if task == "maps":
            (folder / "labels").mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / "labels" / f"{name}.nii.gz")
        for number, kind in enumerate(("ball", "cube"), start=1):
            if kind in kinds:
                boxes.append(f"{name},{kind},{_corners_mm(labels == number)}")
        split = "train" if case < 2 * cases // 3 else "val"
        label = "|".join(kinds) if task in {"single", "multi"} else ""
        lines.append(f"images/{name}.nii.gz,P{case},{split},{label}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if task == "list":
        (folder / "boxes.csv").write_text("\n".join(boxes) + "\n", encoding="utf-8")
    kind = "classification" if task in {"single", "multi"} else "detection"
    label = {"maps": 'label = "labels/{id}.nii.gz"\n', "list": 'label = "boxes.csv"\n'}
    (folder / "dataset.toml").write_text(
        f'task = "{kind}"\nclasses = ["ball", "cube"]\n'
        f"multi_label = {str(task == 'multi').lower()}\n"
        f'[layout]\nimage = "images/{{id}}.nii.gz"\n{label.get(task, "")}',
        encoding="utf-8",
    )
    return folder


def _corners_mm(inside: np.ndarray) -> str:
    """The box around some voxels in mm of the file: low corner, then high corner."""
    index = np.argwhere(inside)
    ends = np.array([index.min(axis=0) - 0.5, index.max(axis=0) + 0.5])
    ends_mm = ends @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    return ",".join(f"{n:g}" for n in (*ends_mm.min(axis=0), *ends_mm.max(axis=0)))


_NETWORKS = {
    "classification": (
        "classifiers.ResidualClassifier",
        "dimensions = 3\nclasses = 2\nwidths = [8, 16]\ndropout = 0.0",
        "cross_entropy",
    ),
    "detection": (
        "centres.CentreDetector",
        "dimensions = 3\nin_channels = 1\nclasses = 2\nwidths = [16, 24]",
        "box",
    ),
}


def write_solid_config(path: Path, folder: Path, kind: str, *, epochs: int) -> Path:
    name, arguments, loss = _NETWORKS[kind]
    path.write_text(
        f'[data]\nfolder = "{folder}"\npatch = [24, 24, 24]\nspacing_mm = [2.0, 2.0, 2.0]\n'
        f'[network]\nclass = "medview.inference.networks.{name}"\n[network.args]\n{arguments}\n'
        f'[loss]\nname = "{loss}"\n[optimiser]\nlr = 1e-2\n'
        f"[schedule]\nepochs = {epochs}\nwarmup = 2\n"
        "[augment]\nrotate_deg = 5.0\nscale = 0.05\nflip = [0]\n"
        f"[run]\nbatch = 4\nema = 0.8\nvalidate_every = {epochs}\n"
        '[export]\nid = "solids"\ncard = "card.toml"\n',
        encoding="utf-8",
    )
    return path


def write_solid_card(folder: Path, kind: str) -> Path:
    (folder / "LICENCE.txt").write_text("CC0", encoding="utf-8")
    path = folder / "card.toml"
    text = CARD.replace("keep_largest = true\n", "").replace("Large ball", "ball")
    text = text.replace("Small ball", "cube").replace("Two balls", "Solids")
    if kind == "classification":
        text = text.replace("index = 1", "index = 0").replace("index = 2", "index = 1")
    path.write_text(text, encoding="utf-8")
    return path
