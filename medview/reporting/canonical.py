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


def canonical(report: Report) -> bytes:
    """Canonical JSON (UTF-8, sorted keys, no spaces) of a report without signatures and status.

    Pictures enter by their sha256, times as UTC in ISO 8601, numbers as `repr` writes them.
    """
    content = {
        name: _plain(value) for name, value in told_fields(report) if name not in _NOT_SIGNED
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def digest(report: Report) -> str:
    """sha256 (hex) over `canonical(report)`: what a Signature carries."""
    return hashlib.sha256(canonical(report)).hexdigest()


def signature_holds(report: Report) -> bool:
    """Whether a signed report is still what was signed last; False for one without signature."""
    return bool(report.signatures) and report.signatures[-1].sha256 == digest(report)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if is_dataclass(value):
        return {name: _plain(item) for name, item in told_fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
