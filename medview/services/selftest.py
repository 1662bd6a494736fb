"""Does this installation work? What `medview selftest` and the help menu ask."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import medview
from medview.core.errors import MedviewError
from medview.services import analysis
from medview.services.bundle import Services


@dataclass(frozen=True)
class Check:
    """One thing that was tried, whether it works, and what was seen."""

    name: str
    ok: bool
    text: str


def run(services: Services) -> tuple[Check, ...]:
    """Try each part for real: the profile, models, reading, a model in its worker, an export."""
    folder = Path(tempfile.mkdtemp(prefix="selftest-", dir=services.paths.cache))
    try:
        return tuple(
            _check(name, part, services, folder)
            for name, part in (
                ("profile", _profile),
                ("models", _models),
                ("reading", _reading),
                ("analysis and export", _analysis),
            )
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_json(checks: Sequence[Check]) -> dict[str, Any]:
    """The JSON of `medview selftest --json`."""
    return {
        "version": medview.__version__,
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
    }


def _check(
    name: str, part: Callable[[Services, Path], str], services: Services, folder: Path
) -> Check:
    try:
        return Check(name, ok=True, text=part(services, folder))
    except MedviewError as error:
        return Check(name, ok=False, text=f"{error.user_text} {error.hint}".strip())


def _profile(services: Services, _folder: Path) -> str:
    faults = services.audit.verify()
    if faults:
        raise MedviewError("The audit trail is broken: " + "; ".join(faults))
    kept = "work is saved" if services.store.is_writable else "work is not saved"
    return f"{services.paths.data}: {kept}, {len(services.audit.rows())} audit rows in order"


def _models(services: Services, _folder: Path) -> str:
    problems = services.catalog.problems
    if problems:
        raise MedviewError(f"{problems[0].folder.name}: {problems[0].reason}")
    cards = services.catalog.cards()
    for card in cards:
        services.catalog.verify(card.id)
    return ", ".join(f"{card.id} {card.version}" for card in cards)


def _reading(services: Services, folder: Path) -> str:
    sample = services.tasks.wait_import("medview.io.sample:write_sample", folder / "sample")
    described = services.tasks.wait_import("medview.io.describe:info", [sample], "")
    if not described["patients"]:
        raise MedviewError("The sample study could not be read back")
    return f"{len(described['patients'])} sample patients written and read back"


def _analysis(services: Services, folder: Path) -> str:
    order = analysis.Order((folder / "sample" / "mni152",), ("threshold_body",), folder / "out")
    results = analysis.analyze(services, order, lambda _text: None)
    findings = sum(len(result["findings"]) for result in results)
    return f"{findings} findings by a worker process, exported and read back"
