"""Audit: who did what, when, with which model; rows that can be added but not changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from medview.core.findings import utc_now

#: What stands before the first row.
NO_HASH = "0" * 64


@dataclass(frozen=True)
class AuditRow:
    """One thing that was done.

    `model` is id and version where one had part in it; `before` and `after` are digests of the
    object. `sha256` covers all other fields, that of the row before included.
    """

    number: int
    at: str
    actor: str
    action: str
    object_uid: str
    study_uid: str = ""
    model: str = ""
    before: str = ""
    after: str = ""
    note: str = ""
    previous: str = NO_HASH
    sha256: str = ""

    def digest(self) -> str:
        """What `sha256` has to be."""
        fields = astuple(replace(self, sha256=""))[:-1]
        text = json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


class AuditKeeper(Protocol):
    """What keeps the rows: the store."""

    def audit_rows(self) -> tuple[AuditRow, ...]:
        """All rows kept so far, the first first."""

    def audit_head(self) -> tuple[int, str]:
        """Number and hash of the last row as noted apart from the rows; (0, NO_HASH) for none."""

    def add_audit(self, row: AuditRow) -> None:
        """Keep one more."""


class Audit:
    """The trail: rows in a chain, each carrying the hash of the one before.

    A row that was changed, taken out or put in breaks the chain; one cut off at the end is
    missed by the head the store notes beside it.
    """

    def __init__(self, keeper: AuditKeeper, now: Callable[[], datetime] = utc_now) -> None:
        self._keeper = keeper
        self._now = now
        self._number, self._last = keeper.audit_head()

    def record(
        self,
        actor: str,
        action: str,
        object_uid: str,
        *,
        study_uid: str = "",
        model: str = "",
        digests: tuple[str, str] = ("", ""),
        note: str = "",
    ) -> AuditRow:
        """Add a row: `actor` is a person's name, a model's id or "medview".

        `digests` are those of the object before and after.
        """
        at = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        row = AuditRow(
            self._number + 1,
            at,
            actor,
            action,
            object_uid,
            study_uid,
            model,
            *digests,
            note,
            self._last,
        )
        row = replace(row, sha256=row.digest())
        self._number, self._last = row.number, row.sha256
        self._keeper.add_audit(row)
        return row

    def rows(self, study_uid: str = "") -> tuple[AuditRow, ...]:
        """The trail, or what concerns one study of it."""
        rows = self._keeper.audit_rows()
        return tuple(row for row in rows if not study_uid or row.study_uid == study_uid)

    def verify(self) -> tuple[str, ...]:
        """What is wrong with the trail, in words; empty when it is whole."""
        return check_chain(self._keeper.audit_rows(), self._number, self._last)


def check_chain(rows: Sequence[AuditRow], count: int, last: str) -> tuple[str, ...]:
    """What is wrong with rows that should be `count` and end with the hash `last`."""
    wrong: list[str] = []
    previous = NO_HASH
    for place, row in enumerate(rows, start=1):
        if row.sha256 != row.digest():
            wrong.append(f"Row {row.number} was changed")
        if row.previous != previous or row.number != place:
            wrong.append(f"Row {row.number} does not follow the one before it")
        previous = row.sha256
    if len(rows) != count or previous != last:
        wrong.append(f"The trail ends with {len(rows)} rows, not the {count} that were written")
    return tuple(wrong)
