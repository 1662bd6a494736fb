"""The training configuration: a TOML file turned into frozen dataclasses, or refused."""

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medview.core.errors import ReadError


@dataclass(frozen=True)
class DataConfig:
    """Which cases to learn from and how they are cut.

    `folds` = 0 takes the splits of the index; otherwise the patients of train and val are dealt
    into that many folds and number `fold` validates; -1: every fold in turn, and the model is all
    of them together. `only` limits what is trained on to rows of the index with these words in a
    column. `patch` is in voxels of `spacing_mm`, or in pixels of a picture (rows, columns) that is
    scaled to fit into `size_px` first (empty: as it is); `channels` is 1 for grey, 3 for colour,
    `grey` how colours become grey (`mean`, or `nuclear`: see `nuclear_stain`), `margin` the share
    of a picture to classify that is cut from each of its edges. A patch of a
    volume with one side of 1 is for a flat network, which sees slices across that axis with so
    many `neighbours` on each side as channels. `learn` is what is learned from the data where it
    is not what they are for: `marks`, to outline what a reader points at, from everything that is
    outlined in `folder` and in the folders `also` named.
    """

    folder: str
    learn: str = ""
    also: tuple[str, ...] = ()
    folds: int = 0
    fold: int = 0
    cache: bool = True
    only: dict[str, Any] = field(default_factory=dict)
    patch: tuple[int, ...] = (32, 48, 40)
    size_px: tuple[int, ...] = ()
    channels: int = 1
    grey: str = "mean"
    neighbours: int = 0
    margin: float = 0.0
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    intensity: dict[str, Any] = field(
        default_factory=lambda: {
            "method": "percentile_zscore",
            "low_percent": 0.5,
            "high_percent": 99.5,
        }
    )


@dataclass(frozen=True)
class NetworkConfig:
    """The network by its import name, its arguments, and a safetensors file to start from.

    `part` is the part of the network that the file is for, as torch names it; empty: all of it.
    """

    class_name: str = field(metadata={"key": "class"})
    args: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    part: str = ""


@dataclass(frozen=True)
class LossConfig:
    """The loss by name; `class_weights` has one number per class, background first.

    `smoothing` is the share of doubt put into class labels.
    """

    name: str = "dice_ce"
    class_weights: tuple[float, ...] = ()
    smoothing: float = 0.0


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser by name; momentum and nesterov belong to sgd."""

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = True
    clip_norm: float = 12.0


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate moves; `warmup` counts epochs."""

    name: str = "one_cycle"
    epochs: int = 100
    warmup: float = 5.0


@dataclass(frozen=True)
class AugmentConfig:
    """Largest amounts of each random change; zero, an empty list or [1, 1] turns one off.

    `scale` is a fraction, `translate_mm` and `elastic_mm` are in voxels of the training spacing
    (1 mm for whole millimetres), `flip` lists array axes, `noise` is in standard deviations of
    the normalised image, `coarsen` is the largest factor of lost resolution, `bias` the largest
    log-amplitude of a slow shading, `veil` the largest height of patches of background laid over
    it, as a share of its range, `clip` the largest share of the range cut from each end,
    `colour` the largest log-gain of a single channel, `erase` the largest share of a side that is
    blanked, `mixup` the parameter of the mixture of two pictures (Zhang, arXiv:1710.09412).
    For motion, `motion_px` is the longest displacement between two frames, `noise` the share of
    speckle, `gain` the largest log-gain of one frame against the other, and `invert` the chance
    that dark and bright change places.
    """

    rotate_deg: float = 15.0
    scale: float = 0.15
    translate_mm: float = 3.0
    elastic_mm: float = 0.0
    flip: tuple[int, ...] = ()
    noise: float = 0.1
    gamma: tuple[float, ...] = (0.7, 1.5)
    bias: float = 0.0
    veil: float = 0.0
    coarsen: float = 1.0
    clip: float = 0.0
    colour: float = 0.0
    erase: float = 0.0
    mixup: float = 0.0
    motion_px: float = 15.0
    gain: float = 0.0
    invert: float = 0.0


@dataclass(frozen=True)
class RunConfig:
    """How the run goes; `early_stop` (0: never) and `validate_every` count epochs.

    An epoch goes `rounds` times through the cases: few cases that are never twice alike.
    `batch` is shared out among `processes`, for processors without an accelerator.
    """

    seed: int = 0
    batch: int = 4
    amp: str = "auto"
    ema: float = 0.999
    accumulate: int = 1
    early_stop: int = 0
    validate_every: int = 5
    processes: int = 1
    rounds: int = 1


@dataclass(frozen=True)
class ExportConfig:
    """What the trained model is called and the file that describes it to people."""

    id: str = ""
    card: str = ""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training configuration."""

    data: DataConfig
    network: NetworkConfig
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    augment: AugmentConfig = AugmentConfig()
    run: RunConfig = RunConfig()
    export: ExportConfig = ExportConfig()


def load_config(path: Path) -> TrainConfig:
    """Read a training TOML; every unknown key, wrong type or bad choice is named in one error.

    Relative paths in it start at the folder of the file. Its `variants` are not looked at.
    """
    table = read_tables(path)
    table.pop("variants", None)
    problems: list[str] = []
    config = _build(TrainConfig, table, "", problems)
    if config is not None:
        _check_values(config, problems)
    if problems or config is None:
        raise ReadError(
            f"The training configuration {path.name} is not valid: " + "; ".join(problems),
            hint="Correct the named entries and start again.",
        )
    return _with_paths(typing.cast("TrainConfig", config), path.parent)


def read_tables(path: Path) -> dict[str, Any]:
    """Read a training TOML as it stands; ReadError if it is none, or for odd variants."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ReadError(
            "The training configuration could not be read.", detail=f"{path.name}: {error}"
        ) from error
    variants = table.get("variants", {})
    sections = variants.values() if isinstance(variants, dict) else [variants]
    if not all(isinstance(one, dict) for one in sections) or not all(
        isinstance(entries, dict) for one in sections for entries in one.values()
    ):
        raise ReadError(
            "The variants of the training configuration could not be understood.",
            hint="Each is a table of tables, as [variants.mse.loss].",
        )
    return table


def _with_paths(config: TrainConfig, beside: Path) -> TrainConfig:
    """Let the paths of a configuration start where its file lies."""

    def place(name: str) -> str:
        return str((beside / name).resolve()) if name else ""

    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            folder=place(config.data.folder),
            also=tuple(place(name) for name in config.data.also),
        ),
        network=dataclasses.replace(config.network, weights=place(config.network.weights)),
        export=dataclasses.replace(config.export, card=place(config.export.card)),
    )


def _build(kind: type, table: dict[str, Any], where: str, problems: list[str]) -> Any:
    fields = {f.metadata.get("key", f.name): f for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    before = len(problems)
    problems.extend(f"unknown entry {where}{key}" for key in table if key not in fields)
    values: dict[str, Any] = {}
    for key, entry in fields.items():
        if key in table:
            values[entry.name] = _convert(hints[entry.name], table[key], where + key, problems)
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            problems.append(f"{where}{key} is missing")
    return kind(**values) if len(problems) == before else None


def _convert(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, dict):
            return _build(hint, value, where + ".", problems)
        problems.append(f"{where} must be a table")
        return None
    origin = typing.get_origin(hint) or hint
    if origin is tuple and isinstance(value, list):
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, part, where, problems) for part in value)
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = {tuple: "a list", dict: "a table", str: "a text", float: "a number"}
    if not isinstance(value, origin) or (isinstance(value, bool) and origin is not bool):
        name = wanted.get(origin, {int: "a whole number", bool: "true or false"}.get(origin, ""))
        problems.append(f"{where} must be {name}, not {value!r}")
        return None
    return value


_CHOICES = types.MappingProxyType(
    {
        "loss.name": (
            *("cross_entropy", "mse", "focal", "dice", "dice_ce"),
            *("box", "depth", "end_point", "outline"),
        ),
        "optimiser.name": ("sgd", "adam", "adamw"),
        "schedule.name": ("constant", "cosine", "one_cycle", "poly"),
        "run.amp": ("auto", "on", "off"),
        "data.grey": ("mean", "nuclear"),
        "data.learn": ("", "marks"),
    }
)


def _check_values(config: TrainConfig, problems: list[str]) -> None:
    for where, choices in _CHOICES.items():
        section, name = where.split(".")
        value = getattr(getattr(config, section), name)
        if value not in choices:
            problems.append(f"{where} must be one of {', '.join(choices)}, not {value!r}")
    rules = {
        "data.patch must be two or three whole numbers above zero": len(config.data.patch) in {2, 3}
        and min(config.data.patch) > 0,
        "data.size_px must be empty or two whole numbers above zero": not config.data.size_px
        or (len(config.data.size_px) == 2 and min(config.data.size_px) > 0),
        "data.also belongs to data.learn": bool(config.data.learn) or not config.data.also,
        "data.margin must be from 0 to below 0.5": 0 <= config.data.margin < 0.5,
        "data.patch of a volume may have one side of 1": len(config.data.patch) != 3
        or config.data.patch.count(1) < 2,
        "data.neighbours belong to a patch of a volume with one side of 1": (
            config.data.neighbours == 0
            or (
                config.data.neighbours > 0
                and len(config.data.patch) == 3
                and 1 in config.data.patch
            )
        ),
        "data.channels must be 1 or 3": config.data.channels in {1, 3},
        "data.spacing_mm must be three numbers above zero": len(config.data.spacing_mm) == 3
        and min(config.data.spacing_mm) > 0,
        "data.fold must be below data.folds": -1 <= config.data.fold < max(config.data.folds, 1)
        and (config.data.fold >= 0 or config.data.folds > 0),
        "data.folds must be 0 or at least 2": config.data.folds == 0 or config.data.folds > 1,
        "optimiser.lr must be above zero": config.optimiser.lr > 0,
        "schedule.epochs must be above zero": config.schedule.epochs > 0,
        "run.batch must be above zero": config.run.batch > 0,
        "run.processes must be above zero and divide run.batch": config.run.processes > 0
        and config.run.batch % config.run.processes == 0,
        "run.rounds must be above zero": config.run.rounds > 0,
        "augment.motion_px must be above zero": config.augment.motion_px > 0,
        "run.accumulate must be above zero": config.run.accumulate > 0,
        "run.validate_every must be above zero": config.run.validate_every > 0,
        "run.ema must be at least 0 and below 1": 0 <= config.run.ema < 1,
        "augment.flip may hold the axes 0, 1 and 2": set(config.augment.flip) <= {0, 1, 2},
        "augment.gamma must be two numbers above zero, rising": len(config.augment.gamma) == 2
        and 0 < config.augment.gamma[0] <= config.augment.gamma[1],
    }
    problems.extend(text for text, good in rules.items() if not good)
    if config.data.learn == "marks":
        problems.extend(_unfit_for_marks(config.data.patch))


def _unfit_for_marks(patch: tuple[int, ...]) -> list[str]:
    # Only who learns marks pays for the import.
    from medview.imaging.prompts import SIDE  # noqa: PLC0415

    wanted = (SIDE, SIDE)
    return [] if patch == wanted else [f"data.patch must be {[*wanted]} to learn marks"]
