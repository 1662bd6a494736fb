"""The one byte string a report is signed over, and its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from medview.core.plain import told_fields
from medview.core.report import Report

#: A signature does not sign itself, and signing and releasing move the status.
_NOT_SIGNED = frozenset({"signatures", "status", "released"})


#: Fields that signatures of the first stores (1.0, 1.1) did not know.
_NOT_IN_THE_FIRST = frozenset({"picture_box", "classes", "cautions"})


def canonical(report: Report, without: frozenset[str] = frozenset()) -> bytes:
    """Canonical JSON (UTF-8, sorted keys, no spaces) of a report without signatures and status.

    Pictures enter by their sha256, times as UTC in ISO 8601, numbers as `repr` writes them. Fields
    named in `without` are left out where they are empty.
    """
    content = {
        name: _plain(value, without)
        for name, value in told_fields(report)
        if name not in _NOT_SIGNED
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def digest(report: Report, without: frozenset[str] = frozenset()) -> str:
    """sha256 (hex) over `canonical(report)`: what a Signature carries."""
    return hashlib.sha256(canonical(report, without)).hexdigest()


def signature_holds(report: Report) -> bool:
    """Whether a signed report is still what was signed last; False for one without signature."""
    if not report.signatures:
        return False
    return report.signatures[-1].sha256 in (digest(report), digest(report, _NOT_IN_THE_FIRST))


def _plain(value: Any, without: frozenset[str]) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if is_dataclass(value):
        return {
            name: _plain(item, without)
            for name, item in told_fields(value)
            if not (name in without and not item)
        }
    if isinstance(value, tuple | list):
        return [_plain(item, without) for item in value]
    return value
