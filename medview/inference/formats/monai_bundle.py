"""MONAI bundles (docs.monai.io, MONAI Bundle Specification) without a medview block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medview.core.errors import ModelError
from medview.core.models import InputSpec, ModelCard, OutputChannel, OutputSpec, Scope, Task
from medview.inference.formats.described import channels_of, foreign_card, read_json

ENGINE = "medview.inference.engines.monai_bundle:Engine"
METADATA = Path("configs") / "metadata.json"
#: What a bundle's configuration may be called, the one that is looked for first.
CONFIGURATIONS = ("inference.json", "inference.yaml", "inference.yml")
#: What its weights may be called: tensors alone before what is a program.
WEIGHTS = ("model.safetensors", "model.pt", "model.pth", "model.ts")
#: A `_target_` of these is a part of MONAI or torch that builds something from numbers. Anything
#: else a configuration names could be any function of any library.
_KNOWN_TARGET = re.compile(
    r"[A-Z]\w*"
    r"|monai\.(transforms|networks|inferers)\.[\w.]*\.?[A-Z]\w*"
    r"|torch\.nn\.([a-z]+\.)*[A-Z]\w*"
)
_MODALITIES = ("CT", "MR", "MRI", "PT", "PET", "US", "CR", "DX", "XA", "OP")


def describe(folder: Path) -> ModelCard | None:
    """The card of a bundle; None for what is none, ModelError for one that is not run here.

    A bundle that does not take an image, or gives no segmentation or classes, is named for what
    it is and refused.
    """
    if not (folder / METADATA).is_file():
        return None
    metadata = read_json(folder / METADATA)
    if "network_data_format" not in metadata:
        return None
    given, answer = _formats_of(metadata, folder)
    _refuse_what_takes_no_image(metadata, given, answer)
    task, outputs = _outputs_of(metadata, answer, folder)
    if configuration_of(folder) is None:
        raise ModelError(f"The bundle {folder.name} has no configs/inference.json or .yaml.")
    channels = given.get("num_channels")
    return foreign_card(
        folder,
        kind="MONAI bundle",
        engine=ENGINE,
        weights=weights_of(folder),
        channels=outputs.channels,
        version=_text(metadata, "version"),
        title=_text(metadata, "name"),
        task=task,
        outputs=outputs,
        intended_use=_text(metadata, "intended_use") or _text(metadata, "description"),
        limitations=_limits(metadata),
        scope=Scope(modality=_modality_of(metadata, given)),
        inputs=InputSpec(
            patch_shape=tuple(n for n in given.get("spatial_shape", ()) if type(n) is int),
            intensity={"method": "bundle"},
            channels=channels if type(channels) is int and channels > 0 else 1,
        ),
        license=_text(metadata, "license") or _text(metadata, "licence"),
        data_source=_text(metadata, "data_source"),
        authors=_text(metadata, "authors"),
        code=code_in(folder),
    )


def configuration_of(folder: Path) -> Path | None:
    """The inference configuration of a bundle, None if there is none."""
    for name in CONFIGURATIONS:
        if (folder / "configs" / name).is_file():
            return folder / "configs" / name
    return None


def weights_of(folder: Path) -> str:
    """The weight file of a bundle; ModelError if there is none."""
    for name in WEIGHTS:
        if (folder / "models" / name).is_file():
            return f"models/{name}"
    raise ModelError(
        f"The bundle {folder.name} has no weights in models.",
        hint="Many bundles load them apart; see its docs/README.md.",
    )


def code_in(folder: Path) -> str:
    """What of a bundle is a program, in words; "" if nothing is.

    Expressions (`$`), targets beyond MONAI's and torch's own building blocks, weights as
    TorchScript, and macros (`%`) that pull in other files.
    """
    found = []
    configuration = configuration_of(folder)
    if configuration is not None and configuration.suffix == ".json":
        content = read_json(configuration)
        expressions = sum(text.startswith("$") for text in _texts(content))
        targets = sorted({name for name in _targets(content) if not _KNOWN_TARGET.fullmatch(name)})
        if expressions:
            found.append(f"{expressions} Python expressions in {configuration.name}")
        if targets:
            found.append(f"calls of {', '.join(targets[:4])}")
        if any(text.startswith("%") for text in _texts(content)):
            found.append("parts taken from other files")
    elif configuration is not None:
        # What YAML may hold beyond JSON is too much to be looked through without running it.
        found.append(f"a configuration in YAML ({configuration.name})")
    if weights_of(folder).endswith(".ts"):
        found.append("weights as a TorchScript program")
    return "; ".join(found)


def _texts(content: Any) -> Iterator[str]:
    """All texts of a JSON value, keys included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)


def _targets(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        if "_target_" in content:
            yield str(content["_target_"])
        for value in content.values():
            yield from _targets(value)
    elif isinstance(content, list):
        for value in content:
            yield from _targets(value)


def _text(metadata: dict[str, Any], name: str) -> str:
    value = metadata.get(name)
    return value.strip() if isinstance(value, str) else ""


def _formats_of(metadata: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the first input and the first output are said to be."""
    formats = metadata["network_data_format"]
    parts = []
    for side in ("inputs", "outputs"):
        block = formats.get(side) if isinstance(formats, dict) else None
        first = next(iter(block.values()), None) if isinstance(block, dict) else None
        if not isinstance(first, dict):
            raise ModelError(
                f"The bundle {folder.name} does not say what its network takes and gives.",
                hint="network_data_format of its metadata.json is missing or empty.",
            )
        parts.append(first)
    return parts[0], parts[1]


def _refuse_what_takes_no_image(
    metadata: dict[str, Any], given: dict[str, Any], answer: dict[str, Any]
) -> None:
    if given.get("type") == "image":
        return
    name = f"{_text(metadata, 'name') or 'It'} {_text(metadata, 'version')}".strip()
    size = "×".join(str(n) for n in given.get("spatial_shape", ()))
    takes = " ".join(filter(None, (size, str(given.get("format") or given.get("type") or ""))))
    generates = answer.get("type") == "image" and answer.get("format") == "magnitude"
    does = "generates pictures: it takes" if generates else "does not look at images: it takes"
    raise ModelError(
        f"{name} is a MONAI bundle that {does} {takes} numbers and no image of a patient, so"
        " there is nothing it could be run on.",
        hint=" ".join(
            text.rstrip(".") + "."
            for key in ("task", "intended_use")
            if (text := _text(metadata, key))
        ),
    )


def _outputs_of(
    metadata: dict[str, Any], answer: dict[str, Any], folder: Path
) -> tuple[Task, OutputSpec]:
    form = str(answer.get("format", "")).lower()
    defined = answer.get("channel_def")
    names = {
        int(number): str(name)
        for number, name in (defined.items() if isinstance(defined, dict) else ())
        if str(number).isdigit()
    }
    if not names:
        raise ModelError(f"The bundle {folder.name} does not name what it finds (channel_def).")
    if form in ("segmentation", "labels", "label", "mask"):
        channels = channels_of(names)
        if not channels:  # a single map of foreground, numbered 0
            channels = channels_of({1: names[0]})
        return Task.SEGMENTATION, OutputSpec("labels", channels)
    if form in ("probabilities", "classification", "logits"):
        classes = channels_of({number + 1: name for number, name in names.items()})
        shifted = tuple(OutputChannel(c.index - 1, c.label, c.code, c.color_rgb) for c in classes)
        return Task.CLASSIFICATION, OutputSpec("classes", shifted)
    name = _text(metadata, "name") or folder.name
    raise ModelError(
        f"{name} is a MONAI bundle whose output is {form or 'not described'};"
        " medview runs bundles that segment or classify.",
        hint=_text(metadata, "task") or _text(metadata, "description"),
    )


def _modality_of(metadata: dict[str, Any], given: dict[str, Any]) -> tuple[str, ...]:
    """The DICOM modality that the input is said to be; empty where it is not."""
    stated = str(given.get("modality") or metadata.get("modality") or "").upper()
    words = set(re.findall(r"[A-Z]+", stated))
    found = [name for name in _MODALITIES if name in words]
    translated = {"MRI": "MR", "PET": "PT"}
    return tuple(dict.fromkeys(translated.get(name, name) for name in found))


def _limits(metadata: dict[str, Any]) -> tuple[str, ...]:
    metrics = metadata.get("eval_metrics")
    if not isinstance(metrics, dict) or not metrics:
        return ()
    stated = ", ".join(f"{name} {value}" for name, value in metrics.items())
    return (f"Its makers state {stated}; on which cases, and how sure, is not said.",)
