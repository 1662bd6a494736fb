"""Lookup tables of DICOM files: Modality LUTs and VOI LUTs, checked before they are believed.

PS3.3 C.11.1.1 and C.11.2.1.1. LUT Descriptor: number of entries (0 means 65536), first stored
value mapped (signed like the pixels), bits of an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from medview.core.volume import Curve, Window

_MOST_ENTRIES = 65536


@dataclass(frozen=True, eq=False)
class Table:
    """A lookup table as the file has it; `missing` entries were promised and are not there."""

    first: int
    outputs: npt.NDArray[np.uint16]
    bits: int
    missing: int = 0
    explanation: str = ""
    kind: str = ""


def table_of(item: Dataset, *, signed: bool) -> Table | None:
    """One item of a LUT sequence; None where descriptor or data are absent or senseless."""
    descriptor = _whole_numbers(item, "LUTDescriptor")
    raw = item.get("LUTData")
    if len(descriptor) != 3 or raw is None:
        return None
    count = (descriptor[0] & 0xFFFF) or _MOST_ENTRIES
    first = descriptor[1] & 0xFFFF
    if first >= 0x8000 and (signed or item["LUTDescriptor"].VR == "SS"):
        first -= 0x10000
    bits = descriptor[2]
    outputs = _entries(raw, count, bits, big=item.original_encoding[1] is False)[:count]
    if outputs.size == 0 or not 0 < bits <= 16:
        return None
    # Some write more into an entry than they declare: the larger range is the true one.
    bits = max(bits, int(outputs.max()).bit_length())
    return Table(
        first,
        outputs,
        bits,
        count - outputs.size,
        str(item.get("LUTExplanation") or ""),
        str(item.get("ModalityLUTType") or ""),
    )


def _whole_numbers(item: Dataset, keyword: str) -> list[int]:
    value = item.get(keyword)
    if isinstance(value, bytes):
        return [int(x) for x in np.frombuffer(value[: len(value) // 2 * 2], "<u2")]
    if value is None or isinstance(value, (str, int, float)):
        return []
    return [int(x) for x in value]


def _entries(raw: Any, count: int, bits: int, *, big: bool) -> npt.NDArray[np.uint16]:
    """The outputs: 16-bit words, or bytes where 8-bit entries were packed two to a word."""
    if not isinstance(raw, bytes):
        values = np.atleast_1d(np.asarray(raw, dtype=np.int64))
        return (values & 0xFFFF).astype(np.uint16)
    if bits <= 8 and len(raw) < 2 * count:
        packed = np.frombuffer(raw, dtype=np.uint8)
        if big and packed.size % 2 == 0:
            packed = packed.reshape(-1, 2)[:, ::-1].reshape(-1)
        return packed.astype(np.uint16)
    words = np.frombuffer(raw[: len(raw) // 2 * 2], dtype=">u2" if big else "<u2")
    return words.astype(np.uint16)


def modality_table(ds: Dataset, *, signed: bool) -> tuple[Table | None, str]:
    """The Modality LUT and a note; no table where entries are missing, for they cannot be known."""
    item = _first(ds.get("ModalityLUTSequence"))
    if item is None:
        return None, ""
    table = table_of(item, signed=signed)
    if table is None:
        return None, "The Modality LUT of the file is incomplete: stored values are shown"
    if table.missing:
        return None, (
            f"The Modality LUT of the file lacks {table.missing:,} of its "
            f"{table.missing + table.outputs.size:,} entries: stored values are shown"
        )
    return table, ""


def voi_windows(ds: Dataset, *, signed: bool) -> tuple[tuple[Window, ...], tuple[str, ...]]:
    """The display curves of a VOI LUT Sequence as windows, and what is wrong with others."""
    windows, notes = [], []
    for number, item in enumerate(ds.get("VOILUTSequence") or (), start=1):
        table = table_of(item, signed=signed)
        if table is None or table.missing or table.outputs.size < 2:
            notes.append(f"Display curve {number} (VOI LUT) is cut short or incomplete: not used")
            continue
        windows.append(_curve_window(table, table.explanation or f"VOI LUT {number}"))
    return tuple(windows), tuple(notes)


def _curve_window(table: Table, explanation: str) -> Window:
    """A VOI LUT as a window from its first to its last mapped value."""
    width = table.outputs.size - 1
    curve = Curve(table.outputs, (1 << table.bits) - 1)
    return Window(table.first + width / 2, width, explanation, "LUT", curve)


def _first(sequence: Sequence[Dataset] | None) -> Dataset | None:
    return sequence[0] if sequence else None
