"""The tree itself is checked: sizes, names, layers, state at import, start-up weight."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "medview").rglob("*.py"))
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
TOP_LEVEL = {"pyproject.toml", "README.md", "medview", "resources", "tests", "packaging"} | {
    "LICENSE",
    "Makefile",
}


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_modules_functions_and_classes_stay_small() -> None:
    too_long = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if text.count("\n") > 500:
            too_long.append(f"{path.name}: {text.count(chr(10))} lines")
        too_long += [
            f"{path.name}: {node.name} has {_lines(node)} lines"
            for node in _functions(tree)
            if _lines(node) > 60
        ]
        too_long += [
            f"{path.name}: class {node.name} has {_lines(node)} lines"
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and _lines(node) > 300
        ]
    assert not too_long


def test_no_module_hides_behind_an_empty_name() -> None:
    assert not [path for path in MODULES if path.stem in BANNED_NAMES]


def test_no_two_test_modules_share_a_name() -> None:
    # Pytest knows a module by its name alone, and would refuse the second one.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_top_level_holds_what_was_agreed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


def test_no_state_is_made_at_import() -> None:
    """Module-level names hold constants: no list, dict or set that the module itself changes."""
    changed = []
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        changed += [
            f"{path.name}: global {', '.join(node.names)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Global)
        ]
    assert not changed


def test_nothing_dangerous_is_called() -> None:
    """No unpickling, no evaluation of text, no shell, no unsafe weights (promise R9)."""
    forbidden = re.compile(
        r"pickle\.load|weights_only\s*=\s*False|(?<![\w.])eval\(|(?<![\w.])exec\(|yaml\.load\(|"
        r"shell\s*=\s*True"
    )
    hits = [
        f"{path.name}: {match.group()}"
        for path in MODULES
        for match in forbidden.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not hits


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/codes.py", "import PyQt6", "Windows and drawing only in ui"),
        ("services/history.py", "import medview.ui.theme", "Layers point down only"),
        ("services/tasks.py", "import torch", "The main process never loads torch"),
        ("services/audit.py", "import pydicom", "DICOM stays in io"),
    ],
)
def test_a_planted_violation_is_found(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "medview", tmp_path / "medview", ignore=shutil.ignore_patterns("__pycache__")
    )
    assert _lint(tmp_path).returncode == 0, _lint(tmp_path).stdout
    planted = tmp_path / "medview" / module
    planted.write_text(f"{planted.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    result = _lint(tmp_path)
    assert result.returncode != 0
    assert re.search(rf"{contract}\s+BROKEN", result.stdout)


def test_an_undeclared_room_is_found(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        ROOT / "medview", tmp_path / "medview", ignore=shutil.ignore_patterns("__pycache__")
    )
    (tmp_path / "medview" / "attic.py").write_text('"""A room nobody declared."""\n')
    assert _lint(tmp_path).returncode != 0


def test_the_window_starts_without_what_is_slow_to_import() -> None:
    """torch, DICOM, SimpleITK, VTK and numba wait until after the first paint."""
    program = (
        "import sys, medview.app, medview.ui.main_window\n"
        "slow = ['torch','monai','pydicom','highdicom','SimpleITK','numba','nibabel',"
        "'vtkmodules','scipy','sqlalchemy']\n"
        "print([name for name in slow if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_dependency_is_pinned() -> None:
    """What pyproject asks for stands in the constraints with one exact version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[<>=\[ ]", line)[0].lower().replace("_", "-") for line in wanted}
    pins = {
        line.split("==")[0].strip().lower().replace("_", "-")
        for line in (ROOT / "packaging" / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    assert names <= pins
