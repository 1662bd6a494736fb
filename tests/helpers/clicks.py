"""Outlines to click on until they are good, and peers who answer the same clicks."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK
from PIL import Image
from scipy import ndimage

from medview.imaging.prompts import Answerer, Hints, Question, Slice, answered
from medview.imaging.walker import walked
from medview.inference.marks import open_answerer
from medview.learning.marking import Meant, clicked
from tests.end2end.command_line import ROOT

Mask = npt.NDArray[np.bool_]
#: A picture and the mask of the object that is meant.
Case = tuple[npt.NDArray[np.float32], Mask]
#: From a picture, all clicks so far, and the last answer to an answer.
Method = Callable[[npt.NDArray[np.float32], Hints, Mask | None], Mask]

GOOD, MOST = 0.9, 20
#: The longer side that pictures of lungs are brought to, so that peers are done today.
LUNG_PX = 256


def reached_by(case: Case, method: Method) -> list[float]:
    """The Dice after each click, until it is good."""
    picture, truth = case
    one = Meant(Slice(picture, (1.0, 1.0)), truth)
    return clicked(one, lambda asked: method(picture, asked.hints, asked.before), GOOD, MOST)


def clicks_needed(reached: list[float]) -> int:
    """How many clicks it took; one more than the most where it never was good."""
    return len(reached) if reached[-1] >= GOOD else MOST + 1


# Methods


@functools.cache
def _network() -> Answerer:
    return open_answerer(ROOT / "resources" / "prompts" / "clicks")


def network(picture: npt.NDArray[np.float32], hints: Hints, before: Mask | None) -> Mask:
    """The network that comes along, in windows that follow from the marks."""
    return answered(Question(Slice(picture, (1.0, 1.0)), hints, before), _network())


def walks(picture: npt.NDArray[np.float32], hints: Hints, before: Mask | None) -> Mask:
    """Random walks with priors, in windows that follow from the marks."""
    return answered(Question(Slice(picture, (1.0, 1.0)), hints, before), walked)


def confidence_connected(
    picture: npt.NDArray[np.float32], hints: Hints, _before: Mask | None
) -> Mask:
    """SimpleITK's ConfidenceConnected from all clicks in the object.

    It knows nothing of clicks beside it: its multiplier is lowered from 2.5 until none is inside.
    """
    image = SimpleITK.GetImageFromArray(picture)
    seeds = [[int(path[0, 1]), int(path[0, 0])] for path in hints.adds]
    beside = tuple(np.concatenate(hints.takes).astype(int).T) if hints.takes else None
    found = np.zeros(picture.shape, dtype=np.bool_)
    for multiplier in 2.5 * 0.8 ** np.arange(8):
        grown = SimpleITK.ConfidenceConnected(image, seeds, 4, float(multiplier), 2, 1)
        found = SimpleITK.GetArrayFromImage(grown) > 0
        if beside is None or not found[beside].any():
            break
    return found


def random_walker(picture: npt.NDArray[np.float32], hints: Hints, _before: Mask | None) -> Mask:
    """scikit-image's random walker; without a click beside it the frame is the background."""
    from skimage.segmentation import random_walker as walker

    labels = np.zeros(picture.shape, dtype=np.int32)
    if not hints.takes:
        labels[[0, -1]] = labels[:, [0, -1]] = 2
    for number, paths in ((2, hints.takes), (1, hints.adds)):
        for path in paths:
            down, across = path[0].astype(int)
            labels[max(0, down - 1) : down + 2, max(0, across - 1) : across + 2] = number
    scaled = (picture - picture.mean()) / max(float(picture.std()), 1e-6)
    with warnings.catch_warnings():  # its answers are compared, not its numbers between 0 and 1
        warnings.filterwarnings("ignore", "The probability range is outside")
        return np.asarray(walker(scaled, labels, beta=130, mode="cg_j", tol=1e-3) == 1)


# Cases


def _rows(folder: Path, split: str) -> Iterator[str]:
    lines = (folder / "index.csv").read_text(encoding="utf-8").splitlines()[1:]
    for line in lines:
        file, _, of, *_ = line.split(",")
        if of == split and file.startswith("images/"):
            yield file


def hippocampi(train: Path) -> Iterator[Case]:
    """One slice of each MRI of the validation patients, along each axis in turn."""
    folder = train / "hippocampus_msd_task04"
    for number, file in enumerate(_rows(folder, "val")):
        image = np.asarray(nibabel.load(folder / file).dataobj, dtype=np.float32)
        label = nibabel.load(folder / file.replace("images/", "labels/"))
        truth = np.asarray(label.dataobj) > 0
        axis = number % 3
        others = tuple(other for other in range(3) if other != axis)
        at = int(np.median(np.flatnonzero(truth.any(axis=others))))
        yield image.take(at, axis), truth.take(at, axis)


def lungs(train: Path) -> Iterator[Case]:
    """The larger lung in chest X-rays of the validation patients."""
    folder = train / "cxr_lungseg_covid_v7"
    for file in _rows(folder, "val"):
        with Image.open(folder / file) as opened:
            share = LUNG_PX / max(opened.size)
            size = (round(opened.width * share), round(opened.height * share))
            picture = np.asarray(opened.convert("L").resize(size), dtype=np.float32)
        name = Path(file).stem
        with Image.open(folder / "masks" / f"{name}.png") as opened:
            mask = np.asarray(opened.convert("L").resize(size)) > 127
        parts, _ = ndimage.label(mask)
        yield picture, np.asarray(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
