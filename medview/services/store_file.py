"""The store's file: SQLite tables, their version, and what is saved when the file is broken."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medview.core.errors import StoreError
from medview.core.events import Level, Notice
from medview.core.findings import utc_now
from medview.core.paths import sync_folder
from medview.services.lock import ProfileLock
from medview.services.store_log import Log, read_log, replace_log, version_of

#: Version of the tables: major << 16 | minor. A newer minor only adds, a newer major changes.
MAJOR, MINOR = 2, 0
VERSION = MAJOR << 16 | MINOR

_TRACKS = """
CREATE TABLE track (uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, content TEXT NOT NULL);
CREATE INDEX track_of_study ON track (study_uid);
"""

_RESULTS = """
CREATE TABLE result (uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, content TEXT NOT NULL);
CREATE INDEX result_of_study ON result (study_uid);
CREATE TABLE original (uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE patch (
    segmentation_uid TEXT NOT NULL, place INTEGER NOT NULL, box TEXT NOT NULL, dtype TEXT NOT NULL,
    labels BLOB NOT NULL, PRIMARY KEY (segmentation_uid, place)
) WITHOUT ROWID;
"""

#: Everything a store of this version holds. Pixels of originals are not among it.
SCHEMA = f"""{_TRACKS}{_RESULTS}
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE study (
    uid TEXT PRIMARY KEY, title TEXT NOT NULL, sources TEXT NOT NULL,
    saved_at TEXT NOT NULL, is_open INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE segmentation (
    uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, content TEXT NOT NULL
);
CREATE TABLE segmentation_slice (
    segmentation_uid TEXT NOT NULL, slice INTEGER NOT NULL, labels BLOB NOT NULL,
    PRIMARY KEY (segmentation_uid, slice)
) WITHOUT ROWID;
CREATE TABLE finding (
    uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, place INTEGER NOT NULL, content TEXT NOT NULL
);
CREATE TABLE report (
    uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, version INTEGER NOT NULL, content TEXT NOT NULL
);
CREATE TABLE picture (sha256 TEXT PRIMARY KEY, png BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE job (uid TEXT PRIMARY KEY, study_uid TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE step (
    study_uid TEXT NOT NULL, place INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (study_uid, place)
) WITHOUT ROWID;
CREATE TABLE audit (
    number INTEGER PRIMARY KEY, at TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    object_uid TEXT NOT NULL, study_uid TEXT NOT NULL, model TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL, note TEXT NOT NULL, previous TEXT NOT NULL, sha256 TEXT NOT NULL
);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE INDEX segmentation_of_study ON segmentation (study_uid);
CREATE INDEX finding_of_study ON finding (study_uid);
CREATE INDEX report_of_study ON report (study_uid);
"""

#: Upgrades to run, in order, on a store whose version is below the key.
UPGRADES: Mapping[int, Callable[[sqlite3.Connection], None]] = MappingProxyType(
    {
        1 << 16 | 1: lambda connection: _run(connection, _TRACKS),
        1 << 16 | 2: lambda connection: _run(connection, _RESULTS),
        # Reports and findings may hold parts that programs before refuse to read.
        2 << 16: lambda connection: _run(connection, ""),
    }
)


class NewerStoreError(StoreError):
    """The store was written by a program of a newer major version."""


def open_store(
    path: Path, *, was_clean: bool | None = None, is_mended: bool = False
) -> sqlite3.Connection:
    """Open a store for writing: made if missing, upgraded if old.

    NewerStoreError for a newer major; sqlite3.DatabaseError for a file that is damaged, which
    is looked into when the last owner did not close it (`was_clean` overrides what the file says),
    and thoroughly where its log was mended.
    """
    connection = connect(path)
    try:
        _bring_up_to_date(connection)
        clean = read_meta(connection, "clean") == "1" if was_clean is None else was_clean
        if is_mended or not clean:
            _check(connection, "integrity_check" if is_mended else "quick_check")
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path, *, writable: bool = True) -> sqlite3.Connection:
    """A connection in WAL mode whose commits are on disk when they return.

    It may be used by one thread after the other; the caller sees to that.
    """
    if writable:
        # Made before SQLite does, which would let others of the machine read it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    mode = "rwc" if writable else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        check_same_thread=False,
        isolation_level=None,
        timeout=10.0,
    )
    connection.text_factory = _text
    if writable:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        # What is in the log behind a damaged byte is lost: the log is kept short.
        connection.execute("PRAGMA wal_autocheckpoint = 128")
    return connection


def _text(data: bytes) -> str:
    """A text of the store; "" for one that is none any more, so that its row is lost alone."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def set_aside(path: Path) -> Path:
    """Copy a damaged store and what belongs to it; gives its new name.

    Nothing is overwritten: an earlier damaged store keeps its name.
    """
    count = 1
    target = path.with_name(path.name + ".damaged")
    while target.exists():
        count += 1
        target = path.with_name(f"{path.name}.damaged-{count}")
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            shutil.copy(path.with_name(path.name + suffix), target.with_name(target.name + suffix))
    return target


def read_meta(connection: sqlite3.Connection, name: str) -> str:
    """A value of the meta table, "" if it is not there."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else ""


def write_meta(connection: sqlite3.Connection, values: Mapping[str, str]) -> None:
    """Put values into the meta table, inside the caller's transaction if there is one."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def fetch(
    connection: sqlite3.Connection, query: str, arguments: Sequence[object] = ()
) -> list[tuple[object, ...]]:
    """All rows of a query."""
    with closing(connection.execute(query, tuple(arguments))) as cursor:
        return cursor.fetchall()


def open_for_one(path: Path, lock: ProfileLock) -> tuple[sqlite3.Connection | None, list[Notice]]:
    """A store opened by whoever holds its lock, and what the reader has to know about the file.

    No connection where it is open elsewhere, newer, or cannot be opened: then nothing is saved.
    A damaged file is kept aside and a new one begun with what can be read of it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if lock.acquire():
            return _open_locked(path)
        why = f"medview is already running with this profile (process {lock.owner()})"
        hint = "Use the other window, or close it first."
    except (NewerStoreError, OSError, sqlite3.OperationalError) as error:
        lock.release()
        if isinstance(error, NewerStoreError):
            why, hint = error.user_text, error.hint
        else:
            why = f"{path} cannot be opened ({error})"
            hint = "Check the disk and the rights of the profile folder."
    return None, [Notice(Level.WARNING, f"{why}; work done here is not saved", hint)]


def _open_locked(path: Path) -> tuple[sqlite3.Connection, list[Notice]]:
    log = read_log(path)
    _refuse_newer(version_of(path, log))  # before SQLite, which moves the log into the database
    notices = _mend_log(path, log)
    try:
        return open_store(path, is_mended=bool(notices)), notices
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return _begun_anew(path, error, notices)


def _mend_log(path: Path, log: Log | None) -> list[Notice]:
    """See to it that SQLite reads what lies behind damage in the log of a store.

    A log that merely ends in a save that was never finished is no damage.
    """
    if log is None or not log.is_damaged:
        return []
    kept = set_aside(path)
    replace_log(path, log)
    count, damaged = log.saves
    text = (
        f"The log of saved work is damaged: {damaged} of the last {count} saves cannot be read in"
        f" full. The rest was taken over, and the files were kept as {kept.name}"
    )
    return [Notice(Level.ERROR, text, "Look at what was done last in this profile.")]


def _begun_anew(
    path: Path, error: sqlite3.DatabaseError, notices: list[Notice]
) -> tuple[sqlite3.Connection, list[Notice]]:
    """A new store with what can be read of a damaged one, which it replaces when it is whole."""
    kept = set_aside(path)
    begun = path.with_name(path.name + ".begun")
    begun.unlink(missing_ok=True)
    with closing(open_store(begun)) as connection:
        saved = salvage(kept, connection)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    begun.replace(path)
    sync_folder(path.parent)
    text = (
        f"The file of saved work is damaged ({error}) and was kept as {kept.name}; a new one"
        f" was begun with the {saved} parts of it that can be read"
    )
    return open_store(path), [*notices, Notice(Level.ERROR, text)]


def salvage(damaged: Path, connection: sqlite3.Connection) -> int:
    """Take every row over that can still be read of a damaged store; how many.

    Each table is read from both ends up to what is damaged. The file itself stays as it is.
    """
    copy = damaged.with_name(damaged.name + ".reading")
    names = ("", "-wal", "-shm")
    try:
        for suffix in names[:2]:
            with suppress(FileNotFoundError):
                source = damaged.with_name(damaged.name + suffix)
                shutil.copyfile(source, copy.with_name(copy.name + suffix))
        with closing(sqlite3.connect(copy, isolation_level=None)) as reading:
            reading.text_factory = _text
            connection.execute("BEGIN IMMEDIATE")
            tables = fetch(connection, "SELECT name, sql FROM sqlite_master WHERE type = 'table'")
            count = sum(_taken_over(reading, connection, str(n), str(sql)) for n, sql in tables)
            write_meta(connection, {"clean": "0"})
            connection.execute("COMMIT")
    finally:
        for suffix in names:
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    return count


def _taken_over(
    reading: sqlite3.Connection, writing: sqlite3.Connection, table: str, made_by: str
) -> int:
    """The readable rows of one table, in their order; how many."""
    known = fetch(writing, f"PRAGMA table_info({table})")
    columns = [str(row[1]) for row in known]
    keys = [str(row[1]) for row in known if row[5]] if "WITHOUT ROWID" in made_by else ["rowid"]
    rows: dict[tuple[Any, ...], tuple[object, ...]] = {}
    for way in ("ASC", "DESC"):
        ordered = ", ".join(f"{key} {way}" for key in keys)
        query = f"SELECT {', '.join((*keys, *columns))} FROM {table} ORDER BY {ordered}"  # noqa: S608
        with suppress(sqlite3.DatabaseError), closing(reading.execute(query)) as cursor:
            for row in cursor:
                rows.setdefault(row[: len(keys)], row[len(keys) :])
    marks = ", ".join("?" for _ in columns)
    before = writing.total_changes
    # A damaged key may have become another kind of value, or none.
    for key in sorted(rows, key=lambda key: [(type(part).__name__, part) for part in key]):
        with suppress(sqlite3.IntegrityError):
            writing.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows[key])  # noqa: S608
    return writing.total_changes - before


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version == 0:
        _create(connection)
    else:
        _refuse_newer(version)
        _upgrade(connection, version)


def _refuse_newer(version: int) -> None:
    if version >> 16 > MAJOR:
        raise NewerStoreError(
            "The saved work was written by a newer medview",
            "It is left untouched. Use the newer program, or another profile.",
            f"store version {version >> 16}.{version & 0xFFFF}",
        )


def _create(connection: sqlite3.Connection) -> None:
    if fetch(connection, "SELECT name FROM sqlite_master"):
        raise sqlite3.DatabaseError("a database, but no store")
    made = utc_now().isoformat(timespec="seconds")
    connection.executescript(
        f"BEGIN; {SCHEMA} INSERT INTO meta VALUES ('clean', '1'), ('made_at', '{made}');"  # noqa: S608
        f" PRAGMA user_version = {VERSION}; COMMIT;"
    )


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    for target, upgrade in sorted(UPGRADES.items()):
        if version < target:
            connection.execute("BEGIN IMMEDIATE")
            upgrade(connection)
            connection.execute(f"PRAGMA user_version = {target}")
            connection.execute("COMMIT")


def _run(connection: sqlite3.Connection, statements: str) -> None:
    """Run statements one by one, inside the transaction that is open."""
    for statement in statements.split(";"):
        if statement.strip():
            connection.execute(statement)


def _check(connection: sqlite3.Connection, how: str) -> None:
    verdict = connection.execute(f"PRAGMA {how}(1)").fetchone()[0]
    if verdict != "ok":
        raise sqlite3.DatabaseError(str(verdict))
    tables = {row[0] for row in fetch(connection, "SELECT name FROM sqlite_master")}
    if not {"study", "segmentation_slice", "finding", "report", "audit"} <= tables:
        raise sqlite3.DatabaseError("tables are missing")
