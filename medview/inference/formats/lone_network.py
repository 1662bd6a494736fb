"""A network in a file of its own: ONNX or TorchScript. It runs with a card beside it.

Such a file says which arrays it takes and gives, and nothing of what they mean: neither in which
units and spacing it wants its image, nor what it finds.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from medview.core.errors import ModelError

_TORCH = (".pt", ".pth", ".ts", ".jit", ".torchscript")
_CARD = (
    "Write what it takes and finds as configs/metadata.json of a model folder, and add it with"
    " --card FILE.json."
)
#: What an engine runs that is a program, by the engine's word in the metadata.
CODE_OF_ENGINE = {"torchscript": "a TorchScript program"}


def describe(folder: Path) -> None:
    """None for a folder without such a file; ModelError naming what lies there otherwise."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    onnx = [path.name for path in files if path.suffix.lower() == ".onnx"]
    if onnx:
        raise ModelError(
            f"{folder.name} holds a network ({', '.join(onnx)}, ONNX) that does not say what it"
            " takes and finds.",
            hint=_CARD,
        )
    for path in files:
        if path.suffix.lower() in _TORCH:
            kind = "TorchScript" if is_torchscript(path) else "weights without their network"
            raise ModelError(
                f"{folder.name} holds {path.name} ({kind}), which does not say what it takes and"
                " finds.",
                hint=_CARD if kind == "TorchScript" else "Nothing here says what they belong to.",
            )


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with code in it (torch.jit.save)."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    inner = {name.split("/", 1)[-1] for name in names}
    return "constants.pkl" in inner and any(name.startswith("code/") for name in inner)
