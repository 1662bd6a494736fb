"""`medview models` on folders: added, listed, shown, checked, changed by a byte, removed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medview import cli

SHIPPED = Path(__file__).resolve().parents[2] / "resources" / "models" / "hippocampus_mr"


def said(capsys: pytest.CaptureFixture[str], *words: str, profile: Path) -> tuple[int, Any]:
    code = cli.run(cli.parse(["--profile", str(profile), "models", *words, "--json"]))
    out = capsys.readouterr().out
    return code, json.loads(out) if out.strip() else None


def other_model(folder: Path) -> Path:
    """A copy of a shipped model under an id of its own."""
    shutil.copytree(SHIPPED, folder)
    metadata = folder / "configs" / "metadata.json"
    told = json.loads(metadata.read_text(encoding="utf-8"))
    told["medview"]["id"] = "another_one"
    metadata.write_text(json.dumps(told), encoding="utf-8")
    return folder


def test_a_folder_is_added_checked_and_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "profile"
    code, told = said(capsys, "list", profile=profile)
    assert code == 0
    assert "another_one" not in {one["id"] for one in told["models"]}
    code, _ = said(capsys, "add", str(other_model(tmp_path / "given")), profile=profile)
    assert code == 0
    _, told = said(capsys, "list", profile=profile)
    assert {"another_one", "hippocampus_mr"} <= {one["id"] for one in told["models"]}
    code, card = said(capsys, "show", "another_one", profile=profile)
    assert (code, card["id"]) == (0, "another_one")
    code, _ = said(capsys, "verify", profile=profile)
    assert code == 0
    code, _ = said(capsys, "remove", "another_one", profile=profile)
    assert code == 0
    _, told = said(capsys, "list", profile=profile)
    assert "another_one" not in {one["id"] for one in told["models"]}


def test_one_changed_byte_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "profile"
    said(capsys, "add", str(other_model(tmp_path / "given")), profile=profile)
    (weights,) = (profile / "models").rglob("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    code, told = said(capsys, "verify", profile=profile)
    assert code != 0
    verdicts = {one["id"]: one["ok"] for one in told["models"]}
    assert verdicts["another_one"] is False
    assert verdicts["hippocampus_mr"] is True
