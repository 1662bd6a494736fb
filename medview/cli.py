"""`medview` on the command line: the same services without a window."""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from medview import __version__, model_commands
from medview.core.errors import Cancelled, MedviewError, ModelError, ReadError, ReportError
from medview.core.paths import Paths
from medview.reporting import describe
from medview.services import analysis, bundle, conversion, inspection, selftest
from medview.services.child_program import own_command
from medview.services.tasks import Tasks
from medview.terminal import (
    CANCELLED,
    DONE,
    EXPORT_FAILED,
    MODEL_FAILED,
    NOTHING_READ,
    USAGE,
    print_json,
    tell,
)

_EXIT_CODES: tuple[tuple[type[MedviewError], int], ...] = (
    (Cancelled, CANCELLED),
    (ModelError, MODEL_FAILED),
    (ReportError, EXPORT_FAILED),
    (MedviewError, NOTHING_READ),
)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace; exits with 2 on wrong usage. `command` None: the window."""
    if _first_word(argv) in _COMMANDS:
        return _command_parser().parse_args(argv)
    arguments = _window_parser().parse_args(argv)
    arguments.command = None
    return arguments


def _first_word(argv: Sequence[str]) -> str | None:
    """The first argument that is neither an option nor the value of one."""
    before = ""
    for word in argv:
        if not word.startswith("-") and before not in ("--profile", "--script", "--screenshot"):
            return word
        before = word
    return None


def run(arguments: argparse.Namespace) -> int:
    """Do one sub-command: JSON alone on stdout, words on stderr, the exit code as result."""
    try:
        return int(_COMMANDS[arguments.command](arguments))
    except KeyboardInterrupt:
        tell("Cancelled")
        return CANCELLED
    except MedviewError as error:
        tell(error.user_text)
        if error.hint:
            tell(error.hint)
        return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


def _profile_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", type=Path, metavar="DIR", help="keep settings and work in DIR")


def _window_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medview",
        description="A viewer for medical images in which a model proposes and a reader decides.",
        epilog=f"Sub-commands: {', '.join(_COMMANDS)}. Each has --help.",
    )
    parser.add_argument("paths", nargs="*", type=Path, help="folders, files or zips to open")
    parser.add_argument("--script", type=Path, metavar="FILE.py", help="run in the started window")
    parser.add_argument("--screenshot", type=Path, metavar="FILE.png", help="save one and quit")
    parser.add_argument("--version", action="version", version=f"medview {__version__}")
    _profile_option(parser)
    return parser


def _command_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="medview")
    _profile_option(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    declarations = (_declare_data, _declare_analyze, model_commands.declare, _declare_learning)
    for declare in (*declarations, _declare_rank):
        declare(commands)
    for command in commands.choices.values():
        command.add_argument(
            "--profile", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=argparse.SUPPRESS
        )
    return parser


Subparsers = Any  # argparse keeps the class of its sub-parser action to itself


def _declare_data(commands: Subparsers) -> None:
    info = commands.add_parser("info", help="what is in files and folders")
    info.add_argument("paths", nargs="+", type=Path)
    info.add_argument("--json", action="store_true", help="as JSON on stdout")
    info.add_argument("--password", default="", help="of an encrypted archive")
    convert = commands.add_parser("convert", help="write one series as NIfTI, NRRD or MetaImage")
    convert.add_argument("path", type=Path)
    convert.add_argument("--series", required=True, metavar="UID")
    convert.add_argument("--volume", type=int, default=0, metavar="N")
    convert.add_argument("--out", required=True, type=Path, metavar="FILE")
    convert.add_argument("--password", default="", help="of an encrypted archive")


def _declare_analyze(commands: Subparsers) -> None:
    analyze = commands.add_parser("analyze", help="run models on studies and export the results")
    analyze.add_argument("paths", nargs="+", type=Path)
    analyze.add_argument("--model", required=True, metavar="ID[,ID]")
    analyze.add_argument("--out", required=True, type=Path, metavar="DIR")
    analyze.add_argument("--series", metavar="UID")
    analyze.add_argument("--device", default="auto")
    analyze.add_argument("--accept-all", action="store_true", help="needs --reader")
    analyze.add_argument("--reader", default="", metavar="NAME")
    analyze.add_argument("--json", action="store_true")
    demo = commands.add_parser("demo", help="the main job on the sample study")
    demo.add_argument("--out", type=Path, default=Path("out"), metavar="DIR")
    check = commands.add_parser("selftest", help="check this installation")
    check.add_argument("--json", action="store_true")


def _declare_learning(commands: Subparsers) -> None:
    train = commands.add_parser("train", help="train a model")
    train.add_argument("config", type=Path, metavar="CONFIG.toml")
    train.add_argument("--out", required=True, type=Path, metavar="DIR")
    train.add_argument("--resume", action="store_true")
    train.add_argument("--variants", action="store_true", help="train and compare its variants")
    evaluate = commands.add_parser("evaluate", help="measure a model on labelled data")
    evaluate.add_argument("model", metavar="MODEL_DIR_OR_ID")
    evaluate.add_argument("data", type=Path, metavar="DATA_DIR")
    evaluate.add_argument("--out", required=True, type=Path, metavar="FILE.json")
    evaluate.add_argument("--split", choices=("test", "val", "train", "all"))
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--against", metavar="MODEL", help="the model it came from, as well")
    evaluate.add_argument("--card", action="store_true", help="into the model's card as well")


def _declare_rank(commands: Subparsers) -> None:
    rank = commands.add_parser("rank", help="order images for annotation, least sure first")
    rank.add_argument("model", metavar="MODEL_DIR_OR_ID")
    rank.add_argument("folder", type=Path, metavar="FOLDER")
    rank.add_argument("--out", required=True, type=Path, metavar="FILE.csv")
    rank.add_argument("--device", default="auto")


def _paths(arguments: argparse.Namespace) -> Paths:
    return bundle.find_paths(arguments.profile)


def _info(arguments: argparse.Namespace) -> int:
    _must_exist(arguments.paths)
    paths = [path.resolve() for path in arguments.paths]
    with closing(Tasks(workers=1)) as tasks:
        described = inspection.info(tasks, paths, arguments.password)
    if arguments.json:
        print_json(described)
    else:
        sys.stdout.write(describe.info_text(described))
    return DONE if described["patients"] else NOTHING_READ


def _convert(arguments: argparse.Namespace) -> int:
    _must_exist([arguments.path])
    source, target = arguments.path.resolve(), arguments.out.resolve()
    wanted = conversion.Wanted(arguments.series, target, arguments.volume, arguments.password)
    with closing(Tasks(workers=1)) as tasks:
        problems = conversion.convert(tasks, [source], wanted)
    for problem in problems:
        tell(f"{problem.severity.value}: {problem.path.name}: {problem.reason}")
    return DONE


def _import(target: str, *values: Any) -> Any:
    """What an `io` function gives, run in a worker process: files never reach this one."""
    with closing(Tasks(workers=1, import_workers=1)) as tasks:
        return tasks.wait_import(target, *values)


def _must_exist(paths: Sequence[Path]) -> None:
    for path in paths:
        # os.path answers where pathlib raises: names too long.
        if not os.path.lexists(path):
            raise ReadError(f"There is no file or folder {path}")


def _analyze(arguments: argparse.Namespace) -> int:
    if arguments.accept_all and not arguments.reader.strip():
        tell("--accept-all needs --reader NAME: somebody has to answer for it")
        return USAGE
    _must_exist(arguments.paths)
    order = analysis.Order(
        paths=tuple(path.resolve() for path in arguments.paths),
        models=tuple(name for name in arguments.model.split(",") if name),
        out=arguments.out.resolve(),
        series_uid=arguments.series,
        device=arguments.device,
        accept_as=arguments.reader.strip() if arguments.accept_all else None,
    )
    # Work of an earlier sitting on the same study must not come back into these results.
    with bundle.running(_paths(arguments), keeps_work=False) as services:
        results = analysis.analyze(services, order, tell)
    if arguments.json:
        print_json(results[0] if len(results) == 1 else results)
    tell(f"Results are in {order.out}")
    return DONE


def _call_main(module: str, argv: list[str]) -> None:
    sys.exit(importlib.import_module(module).main(argv))


def _in_child(module: str, argv: list[str]) -> int:
    """Run `main(argv)` of a module in a process of its own: this one never loads torch."""
    child = multiprocessing.get_context("spawn").Process(target=_call_main, args=(module, argv))
    child.start()
    try:
        child.join()
    except KeyboardInterrupt:
        child.join(10)
        if child.is_alive():
            child.kill()
        return CANCELLED
    code = child.exitcode or 0
    return code if code >= 0 else MODEL_FAILED


def _train(arguments: argparse.Namespace) -> int:
    argv = [str(arguments.config), "--out", str(arguments.out)]
    argv += ["--resume"] * arguments.resume + ["--variants"] * arguments.variants
    return _in_child("medview.learning.train", argv)


def _model_folder(arguments: argparse.Namespace, named: str) -> Path:
    """The folder of a model that is named by its folder or its id."""
    folder = Path(named)
    if (folder / "configs").is_dir():
        return folder
    return bundle.catalog(_paths(arguments)).folder(named)


def _evaluate(arguments: argparse.Namespace) -> int:
    folder = _model_folder(arguments, arguments.model)
    argv = [str(folder), str(arguments.data), "--out", str(arguments.out)]
    if arguments.against:
        argv += ["--against", str(_model_folder(arguments, arguments.against))]
    argv += ["--device", arguments.device]
    if arguments.split:
        argv += ["--split", arguments.split]
    argv += ["--card"] * arguments.card
    return _in_child("medview.learning.evaluate", argv)


def _rank(arguments: argparse.Namespace) -> int:
    folder = _model_folder(arguments, arguments.model)
    argv = [str(folder), str(arguments.folder), "--out", str(arguments.out)]
    return _in_child("medview.learning.rank", [*argv, "--device", arguments.device])


def _selftest(arguments: argparse.Namespace) -> int:
    with bundle.running(_paths(arguments), keeps_work=False) as services:
        checks = selftest.run(services)
    if arguments.json:
        print_json(selftest.as_json(checks))
    else:
        for check in checks:
            sys.stdout.write(f"{'ok' if check.ok else 'FAILED':7} {check.name}: {check.text}\n")
    return DONE if all(check.ok for check in checks) else 1


def _has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _demo(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out.resolve()
    paths = _paths(arguments)
    paths.create()
    sample: Path = _import("medview.io.sample:write_sample", paths.cache / "sample")
    profile = ["--profile", str(arguments.profile)] if arguments.profile else []
    if _has_display():
        tell(f"Opening the sample study {sample}")
        return subprocess.call([*own_command(), *profile, str(sample)])
    tell("There is no display here; the same job runs without a window.")
    return _headless_demo(sample, out, profile, paths)


def _headless_demo(sample: Path, out: Path, profile: list[str], paths: Paths) -> int:
    study = sample / "mni152"
    job = ["analyze", str(study), "--model", "hippocampus_mr", "--out", str(out)]
    code = subprocess.call(
        [*own_command(), *profile, *job, "--accept-all", "--reader", "Sample Reader"]
    )
    if code != DONE:
        return code
    picture = out / "window.png"
    script = paths.resources / "scripts" / "demo.py"
    window = [*own_command(), "--profile", str(out / "profile"), str(study)]
    window += ["--script", str(script), "--screenshot", str(picture)]
    code = subprocess.call([*_virtual_display(), *window], env=_off_screen_environment())
    shutil.rmtree(out / "profile", ignore_errors=True)
    if code != DONE or not picture.is_file():
        tell("The window could not be drawn; the results are complete without its picture.")
        return code or 1
    tell(f"Report, SEG, SR, PDF and a picture of the window are in {out}")
    return DONE


def _virtual_display() -> list[str]:
    wrapper = shutil.which("xvfb-run")
    return [wrapper, "-a", "-s", "-screen 0 1600x1000x24 -nolisten tcp"] if wrapper else []


def _off_screen_environment() -> dict[str, str]:
    if _virtual_display():
        return dict(os.environ)
    return {**os.environ, "QT_QPA_PLATFORM": "offscreen"}


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "info": _info,
    "convert": _convert,
    "analyze": _analyze,
    "models": model_commands.run,
    "train": _train,
    "evaluate": _evaluate,
    "rank": _rank,
    "selftest": _selftest,
    "demo": _demo,
}
