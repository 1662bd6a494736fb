"""Receipts: which files a model had when the reader added it, so that one changed byte is noticed.

The receipt lies beside the model folder as `ID.receipt.json`. The hash of a folder is the SHA-256
of what `sha256sum` prints for its files in the order of their names: anyone can compute it.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medview.core.errors import ModelError
from medview.core.findings import utc_now
from medview.core.paths import write_whole
from medview.core.plain import PlainError, from_plain, to_plain

_AGAIN = "Add the model again."
_LARGEST = 16 << 20


@dataclass(frozen=True)
class Receipt:
    """Where a model came from and the SHA-256 of each of its files, by path with slashes.

    `replaces` is the SHA-256 of the weights whose place it took by the reader's word.
    """

    source: str
    files: Mapping[str, str]
    folder_sha256: str
    added_at: str = field(default_factory=lambda: utc_now().isoformat(timespec="seconds"))
    replaces: str = ""


def receipt_file(folder: Path) -> Path:
    """Where the receipt of a model folder lies."""
    return folder.with_name(f"{folder.name}.receipt.json")


def make_receipt(folder: Path, source: str) -> Receipt:
    """Hash every file of a folder; ModelError for links and for what is no file."""
    files = hash_files(folder)
    return Receipt(source, files, hash_of(files))


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Put the receipt beside the folder, whole or not at all."""
    write_whole(receipt_file(folder), json.dumps(to_plain(receipt), indent=1) + "\n")


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a folder, None where it was not added by medview; ModelError if damaged."""
    path = receipt_file(folder)
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"The receipt of {folder.name} is damaged.", hint=_AGAIN)
        receipt = from_plain(Receipt, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, PlainError) as error:
        raise ModelError(
            f"The receipt of {folder.name} is damaged.", hint=_AGAIN, detail=repr(error)
        ) from error
    if hash_of(receipt.files) != receipt.folder_sha256:
        raise ModelError(f"The receipt of {folder.name} contradicts itself.", hint=_AGAIN)
    return receipt


def hash_of(files: Mapping[str, str]) -> str:
    """The hash of a folder from those of its files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def hash_folder(folder: Path) -> str:
    """The hash of a folder as it is now; ModelError for links and for what is no file."""
    return hash_of(hash_files(folder))


def hash_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by path with slashes."""
    digests = {}
    for path in regular_files(folder):
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(
                f"{path.name} of {folder.name} cannot be read.", detail=type(error).__name__
            ) from error
        digests[path.relative_to(folder).as_posix()] = digest
    return digests


def regular_files(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, by name; ModelError for links and devices."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted([*files, *folders]):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                raise ModelError(
                    f"{path.relative_to(folder)} of {folder.name} is a link or no file; models"
                    " consist of files alone.",
                    hint="Copy what it points to in its place if you trust it.",
                )


def verify_folder(folder: Path, expected: str, title: str) -> None:
    """Raise ModelError unless a folder is, byte for byte, what it was when it was added."""
    found = hash_folder(folder)
    if found != expected:
        raise ModelError(
            f"The files of {title} are not those that were added.",
            hint="Remove the model and add it again.",
            detail=f"expected {expected}, found {found}",
        )
