"""The audit trail: rows are added, never changed, and what was changed all the same is found."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from medview.services.audit import NO_HASH, Audit, AuditRow
from medview.services.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def write(path: Path, count: int) -> None:
    store = Store(path)
    audit = Audit(store, lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    for number in range(count):
        audit.record("Dr Ada", "finding.accept", f"f{number}", study_uid="1.2", model="finder 1.0")
    store.close()


def test_rows_say_who_what_when_with_which_model(path: Path) -> None:
    write(path, 1)
    store = Store(path)
    (row,) = Audit(store).rows()
    expected = AuditRow(
        1, "2026-01-02T03:04:05.000+00:00", "Dr Ada", "finding.accept", "f0", "1.2", "finder 1.0"
    )
    assert row.previous == NO_HASH
    assert row == AuditRow(**{**vars(expected), "sha256": expected.digest()})
    store.close()


def test_the_chain_goes_on_in_the_next_run(path: Path) -> None:
    write(path, 3)
    write(path, 2)
    store = Store(path)
    audit = Audit(store)
    assert audit.verify() == ()
    rows = audit.rows()
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert all(b.previous == a.sha256 for a, b in pairwise(rows))
    store.close()


def test_rows_waiting_to_be_saved_are_part_of_the_trail(path: Path) -> None:
    store = Store(path)
    audit = Audit(store)
    audit.record("Dr Ada", "report.sign", "r", study_uid="a")
    audit.record("Dr Ada", "report.sign", "s", study_uid="b")
    assert [row.object_uid for row in audit.rows("b")] == ["s"]
    assert audit.verify() == ()
    store.close()


def test_without_a_file_the_trail_lasts_as_long_as_the_run() -> None:
    audit = Audit(Store(None))
    audit.record("Dr Ada", "report.sign", "r")
    assert [row.object_uid for row in audit.rows()] == ["r"]
    assert audit.verify() == ()


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'X'", "DELETE FROM audit"])
def test_the_table_refuses_changes(path: Path, statement: str) -> None:
    write(path, 2)
    with (
        closing(sqlite3.connect(path)) as raw,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        raw.execute(statement)


@pytest.mark.parametrize(
    ("tampering", "complaint"),
    [
        ("UPDATE audit SET actor = 'X' WHERE number = 2", "Row 2 was changed"),
        ("UPDATE audit SET note = 'x' WHERE number = 4", "Row 4 was changed"),
        ("DELETE FROM audit WHERE number = 2", "Row 3 does not follow"),
        ("DELETE FROM audit WHERE number = 4", "ends with 3 rows"),
        ("DELETE FROM audit", "ends with 0 rows"),
    ],
)
def test_tampering_with_the_file_is_found(path: Path, tampering: str, complaint: str) -> None:
    write(path, 4)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DROP TRIGGER audit_is_not_changed")
        raw.execute("DROP TRIGGER audit_is_not_deleted")
        raw.execute(tampering)
        raw.commit()
    store = Store(path)
    assert complaint in " ".join(Audit(store).verify())
    store.close()
