"""Result folders of nnU-Net v2: `plans.json`, `dataset.json`, `fold_*/checkpoint_final.pth`.

The weights of TotalSegmentator come as such folders too; what they do not say of themselves is in
`formats.totalsegmentator`.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from medview.core.errors import ModelError
from medview.core.models import InputSpec, ModelCard, Scope
from medview.inference.formats.described import (
    channels_of,
    foreign_card,
    is_number_list,
    read_json,
)
from medview.inference.formats.totalsegmentator import ADULTS, Facts, facts_of

ENGINE = "medview.inference.engines.nnunet:Engine"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
_DATASET = re.compile(r"Dataset(\d{3})_(\w+)")
_BUILDING_BLOCK = re.compile(
    r"(torch\.nn\.([a-z]+\.)*|dynamic_network_architectures\.architectures\.(\w+\.)*)[A-Z]\w*"
)
#: How far below the folder the results may lie: Dataset*/Trainer__Plans__Configuration.
_DEPTH = 3


def describe(folder: Path) -> ModelCard | None:
    """The card of a folder with nnU-Net results in it; None if there are none."""
    results = results_folder(folder)
    if results is None:
        return None
    plans, dataset = read_json(results / "plans.json"), read_json(results / "dataset.json")
    names = _names_of(dataset)
    modality, body = _modality_of(dataset)
    configuration = _configuration_of(results, plans)
    folds = folds_of(results)
    known = _DATASET.search(str(plans.get("dataset_name", "")))
    title = known.group(2).replace("_", " ") if known else folder.name
    inside = results.relative_to(folder)
    spacing = _spacing_of(configuration)
    total = facts_of(f"{plans.get('dataset_name', '')} {folder.name}", spacing)
    card = foreign_card(
        folder,
        kind="nnU-Net v2",
        engine=ENGINE,
        weights=(inside / folds[0]).as_posix(),
        channels=channels_of(names),
        title=f"{title} (nnU-Net)",
        intended_use=str(dataset.get("description") or ""),
        limitations=_limits(plans, len(folds)),
        scope=Scope(modality=modality, body_part=body),
        inputs=InputSpec(
            # nnU-Net's arrays of images turned to RAS: slices upwards, rows, columns.
            orientation="SAR" if total or reorients(plans) else "",
            spacing_mm=spacing,
            patch_shape=tuple(int(n) for n in configuration.get("patch_size", ())),
            intensity={"method": "nnunet", "resampled_first": total is not None},
            channels=len(dataset.get("channel_names", dataset.get("modality", {"0": ""}))),
        ),
        license=str(dataset.get("licence") or dataset.get("license") or ""),
        data_source=str(dataset.get("reference") or plans.get("dataset_name") or ""),
        code=_code_in(configuration),
    )
    return card if total is None else _with_facts(card, total)


def _with_facts(card: ModelCard, total: Facts) -> ModelCard:
    """The card of a folder of TotalSegmentator; its own words come before what is known."""
    unstated = {**asdict(total), "limitations": (*total.limitations, *card.limitations)}
    del unstated["modality"]
    if card.license != "unknown":
        del unstated["license"]
    scope = replace(card.scope, modality=total.modality, age_years=ADULTS)
    return replace(card, scope=scope, format="nnU-Net v2 of TotalSegmentator", **unstated)


def results_folder(folder: Path) -> Path | None:
    """Where `plans.json` and `dataset.json` lie together, the folder itself or below it.

    Several such places (configurations of one data set) are refused: which is meant is unknown.
    """
    places = [folder]
    for _ in range(_DEPTH):
        found = [
            place
            for place in places
            if (place / "plans.json").is_file() and (place / "dataset.json").is_file()
        ]
        found = [place for place in found if any(place.glob("fold_*"))] or []
        if len(found) > 1:
            names = ", ".join(place.name for place in found)
            raise ModelError(
                f"{folder.name} holds several nnU-Net models: {names}.",
                hint="Add the folder of one of them.",
            )
        if found:
            return found[0]
        places = [
            child
            for place in places
            for child in sorted(place.iterdir())
            if child.is_dir() and not child.is_symlink()
        ][:1000]
    return None


def folds_of(results: Path) -> list[str]:
    """The checkpoints of a result folder, one a fold; ModelError if there is none."""
    found = []
    for fold in sorted(results.glob("fold_*")):
        names = [name for name in CHECKPOINTS if (fold / name).is_file()]
        if names:
            found.append(f"{fold.name}/{names[0]}")
    if not found:
        raise ModelError(f"{results.name} is an nnU-Net folder without a finished fold.")
    return found


def reorients(plans: dict[str, Any]) -> bool:
    """Whether the images were turned to RAS when it was trained (NibabelIOWithReorient)."""
    return "Reorient" in str(plans.get("image_reader_writer", ""))


def _names_of(dataset: dict[str, Any]) -> dict[int, str]:
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise ModelError("The dataset.json of the nnU-Net folder names no labels.")
    names = {}
    for name, number in labels.items():
        if isinstance(number, list):
            raise ModelError(
                "The nnU-Net model was trained on regions that overlap.",
                hint="Only models with one label for each voxel can be run.",
            )
        if str(name) == "ignore":
            continue
        names[int(number)] = str(name)
    return names


def _modality_of(dataset: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """DICOM modalities of the first channel, as far as its name says them."""
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    first = str(channels.get("0", "")).upper() if isinstance(channels, dict) else ""
    words = set(re.findall(r"[A-Z0-9]+", first))
    if "CT" in words:
        return ("CT",), ()
    if words & {"MR", "MRI", "T1", "T2", "FLAIR", "T1W", "T2W", "ADC"}:
        return ("MR",), ()
    return (), ()


def _configuration_of(results: Path, plans: dict[str, Any]) -> dict[str, Any]:
    """The settings of the configuration that the folder's name says (`Trainer__Plans__Name`)."""
    configurations = plans.get("configurations")
    if not isinstance(configurations, dict) or not configurations:
        raise ModelError("The plans.json of the nnU-Net folder holds no configuration.")
    name = configuration_name(results, plans)
    found = configurations[name]
    settings: dict[str, Any] = found if isinstance(found, dict) else {}
    parent = settings.get("inherits_from")
    if isinstance(parent, str) and isinstance(configurations.get(parent), dict):
        settings = {**configurations[parent], **settings}
    if settings.get("previous_stage"):
        raise ModelError(
            "The nnU-Net model is the second stage of a cascade; it needs the first one's result.",
            hint="Add a model of one stage (2d, 3d_lowres or 3d_fullres).",
        )
    return settings


def configuration_name(results: Path, plans: dict[str, Any]) -> str:
    """The name of the configuration that was trained; ModelError where it cannot be told."""
    configurations = plans.get("configurations", {})
    by_name = results.name.rsplit("__", 1)[-1]
    if by_name in configurations:
        return by_name
    if len(configurations) == 1:
        return str(next(iter(configurations)))
    names = ", ".join(configurations)
    raise ModelError(
        f"Which of its configurations ({names}) the nnU-Net folder was trained with is unknown.",
        hint="Keep the name nnU-Net gave the folder: Trainer__Plans__configuration.",
    )


def _code_in(settings: dict[str, Any]) -> str:
    """Classes that the plans want imported and that are not nnU-Net's or torch's building blocks.

    nnunetv2 imports whatever its plans name.
    """
    architecture = settings.get("architecture")
    if not isinstance(architecture, dict):
        return ""
    wanted = [str(architecture.get("network_class_name", ""))]
    arguments = architecture.get("arch_kwargs")
    imported = architecture.get("_kw_requires_import")
    if isinstance(arguments, dict) and isinstance(imported, list):
        wanted += [str(arguments[name]) for name in imported if arguments.get(name) is not None]
    strange = sorted({name for name in wanted if name and not _BUILDING_BLOCK.fullmatch(name)})
    return f"classes named in plans.json: {', '.join(strange[:4])}" if strange else ""


def _spacing_of(settings: dict[str, Any]) -> tuple[float, float, float] | None:
    spacing = settings.get("spacing")
    if not is_number_list(spacing, 3):
        return None
    a, b, c = (float(step) for step in spacing)  # type: ignore[union-attr]
    return a, b, c


def _limits(plans: dict[str, Any], folds: int) -> tuple[str, ...]:
    limits = [f"{folds} fold{'s' if folds > 1 else ''} of training; their mean answers."]
    if not reorients(plans):
        limits.append(
            "It is shown images as they are stored: one stored in another orientation than its"
            " training images may come out wrong."
        )
    return tuple(limits)
