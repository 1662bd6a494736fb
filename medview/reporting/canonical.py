"""The one byte string a report is signed over, and its digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from medview.core.report import Report

#: A signature does not sign itself, and signing moves the status.
_NOT_SIGNED = frozenset({"signatures", "status"})


def canonical(report: Report) -> bytes:
    """Canonical JSON (UTF-8, sorted keys, no spaces) of a report without signatures and status.

    Pictures enter by their sha256, times as UTC in ISO 8601, numbers as `repr` writes them.
    """
    content = {
        field.name: _plain(getattr(report, field.name))
        for field in fields(report)
        if field.name not in _NOT_SIGNED
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def digest(report: Report) -> str:
    """sha256 (hex) over `canonical(report)`: what a Signature carries."""
    return hashlib.sha256(canonical(report)).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
