"""Clips whose motion is known: speckle that is carried along by a formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage


def speckled_picture(rows: int = 96, columns: int = 112, seed: int = 0) -> np.ndarray:
    """Speckle of about 3 pixels, 0 to 255."""
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.float32)


def beating_frames(
    frames: int = 24, period: int = 12, swing: float = 0.12, *, seed: int = 0, side: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (time, side, side) of tissue that swells and shrinks about its middle, and how much.

    A place at distance r from the middle on frame 0 is at r * factor[n] on frame n.
    """
    picture = speckled_picture(side, side, seed)
    factors = 1 + swing * np.sin(np.arange(frames) * 2 * np.pi / period)
    middle = (side - 1) / 2
    rows, columns = np.mgrid[:side, :side] - middle
    clip = [
        ndimage.map_coordinates(
            picture, [rows / f + middle, columns / f + middle], order=3, mode="reflect"
        )
        for f in factors
    ]
    return np.clip(np.stack(clip), 0, 255).astype(np.uint8), factors


def write_gif(path: Path, frames: np.ndarray, *, step_ms: int = 40) -> Path:
    """Write grey frames as a clip that any viewer opens."""
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=step_ms, loop=0)
    return path


def write_clips(folder: Path, *, clips: int = 3) -> Path:
    """A data set of clips as dataset.toml and index.csv have it; the last one validates."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(
        'task = "video"\nclasses = ["motion"]\n[layout]\nimage = "{file}"\n', encoding="utf-8"
    )
    lines = ["file,patient,split"]
    for number in range(clips):
        frames, _ = beating_frames(6, seed=number)
        write_gif(folder / f"c{number}.gif", frames)
        lines.append(f"c{number}.gif,P{number},{'val' if number == clips - 1 else 'train'}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
