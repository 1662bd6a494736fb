"""The Huffman-coded parts of JPEG pictures, read to their very end (ISO 10918-1 F, G and H).

A decoder that meets damage goes on with whatever it finds. Here every code, every restart marker
and the exact end of the data are checked, and lossless pictures are decoded in the same pass.
Importing this module loads numba, and the first picture compiles what it needs, once for an
installation: it is named by string and loaded with the first JPEG picture. What no reading can
find: a changed bit inside a value, of the right length, that leaves the value within its range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

#: What a scan came to.
WHOLE, CUT, DAMAGED = 0, 1, 2
_FAST = 11
#: A quick code and a difference of so many bits lie in one window, wherever in a byte they begin.
_TOGETHER = 25 - _FAST
#: A table: 2048 quick entries (length << 8 | symbol), then per length the largest code and the
#: place of its first symbol, then the symbols; then the largest category of each coefficient.
_LARGEST, _FIRST, _SYMBOLS = 1 << _FAST, (1 << _FAST) + 17, (1 << _FAST) + 34
_MOST = _SYMBOLS + 256
#: A difference that is none; the reason is added.
_NONE = 1 << 20
#: Zeros behind the data of a scan: whoever reads past its end finds out a little later.
_BEYOND = 1027


@dataclass(frozen=True, eq=False)
class Bits:
    """The data of one scan: 32 bits from every byte on, and (first, end) bit of each interval."""

    windows: npt.NDArray[np.uint32]
    intervals: npt.NDArray[np.int64]


def bits_of(data: bytes) -> Bits:
    """The bits of a scan, without stuffed bytes and restart markers (ISO 10918-1 B.1.1.5, F.1.2.3).

    Raises ValueError where restart markers are out of turn.
    """
    plain = np.zeros(len(data) + _BEYOND, np.uint8)
    ends = np.empty(data.count(b"\xff") + 1, np.int64)
    size, count = _unstuffed(np.frombuffer(data, np.uint8), plain, ends)
    if count < 0:
        raise ValueError("a restart marker is missing")
    ends = ends[:count] * 8
    windows = _windows(plain[: size + _BEYOND])
    return Bits(windows, np.stack([np.append(0, ends[:-1]), ends], axis=1))


@numba.njit(cache=True, nogil=True)
def _unstuffed(data, out, ends):  # type: ignore[no-untyped-def]
    """Copy a scan without stuffed bytes and markers, and note where each of its intervals ends.

    Gives the number of bytes, and of intervals: -1 where restart markers are out of turn.
    """
    size, at, count, last = 0, 0, 0, len(data) - 1
    while at <= last:
        byte = data[at]
        if byte == 0xFF and at < last:
            following = np.int64(data[at + 1])
            if 0xD0 <= following <= 0xD7:
                if following != 0xD0 + count % 8:
                    return size, -1
                ends[count] = size
                count += 1
                at += 2
                continue
            if following == 0:
                at += 1
        out[size] = byte
        size += 1
        at += 1
    ends[count] = size
    return size, count + 1


@numba.njit(cache=True, nogil=True)
def _windows(data):  # type: ignore[no-untyped-def]
    """The 32 bits from every byte on, but for the last three."""
    out = np.empty(len(data) - 3, np.uint32)
    for k in range(len(out)):
        out[k] = (
            np.uint32(data[k]) << np.uint32(24)
            | np.uint32(data[k + 1]) << np.uint32(16)
            | np.uint32(data[k + 2]) << np.uint32(8)
            | np.uint32(data[k + 3])
        )
    return out


def categories(steps: tuple[int, ...], depth: int, low: int = 0) -> list[int]:
    """The largest category that a coefficient can have, by its quantisation step.

    No cosine transform of pixels within their range goes beyond 8 times half that range (A.3.3);
    a quarter more is left to encoders that overshoot at edges on purpose.
    """
    reach = 5 << depth
    return [max(1, int((reach + step / 2) / (step << low)).bit_length()) for step in steps]


def table_of(counts: bytes, symbols: bytes, most: Sequence[int] = ()) -> npt.NDArray[np.int32]:
    """A Huffman table to look codes up in (ISO 10918-1 C.2); ValueError where codes overflow.

    `most` is the largest category of each coefficient.
    """
    table = np.zeros(_MOST + 64, dtype=np.int32)
    table[_MOST : _MOST + len(most)] = most
    table[_SYMBOLS : _SYMBOLS + len(symbols)] = np.frombuffer(symbols, np.uint8)
    code = used = 0
    for length in range(1, 17):
        count = counts[length - 1]
        if code + count > 1 << length:
            raise ValueError("the codes of a table do not fit in their lengths")
        table[_LARGEST + length] = code + count - 1 if count else -1
        table[_FIRST + length] = used - code
        if length <= _FAST:
            wide = _FAST - length
            for k in range(count):
                start = (code + k) << wide
                table[start : start + (1 << wide)] = length << 8 | symbols[used + k]
        used += count
        code = (code + count) << 1
    return table


@numba.njit(cache=True, nogil=True)
def _next16(bits, at):  # type: ignore[no-untyped-def]
    """Sixteen bits from a place on."""
    return np.int64(bits[np.uint64(at) >> np.uint64(3)] >> np.uint32(16 - (at & 7))) & 0xFFFF


@numba.njit(cache=True, nogil=True)
def _entry(bits, at, tables, number):  # type: ignore[no-untyped-def]
    """Length << 8 | symbol of the code at a place; 0 where there is none."""
    peek = _next16(bits, at)
    entry = np.int64(tables[number, peek >> (16 - _FAST)])
    if entry != 0:
        return entry
    for length in range(_FAST + 1, 17):
        code = peek >> (16 - length)
        if code <= tables[number, _LARGEST + length]:
            place = code + tables[number, _FIRST + length]
            return np.int64(length << 8 | tables[number, _SYMBOLS + place])
    return np.int64(0)


@numba.njit(cache=True, nogil=True)
def _difference(bits, at, tables, number, largest):  # type: ignore[no-untyped-def]
    """A coded difference and where it ends (ISO 10918-1 F.2.2.1), or _NONE.

    Category 16 has no bits and means 32768 (H.1.2.2).
    """
    entry = _entry(bits, at, tables, number)
    size = entry & 0xFF
    at += entry >> 8
    if entry == 0 or size > largest:
        return np.int64(_NONE), at
    if size in (0, 16):
        return size << 11, at
    value = _next16(bits, at) >> (16 - size)
    if value >> (size - 1) == 0:
        value -= (1 << size) - 1
    return value, at + size


@numba.njit(cache=True, nogil=True)
def _ending(bits, at, end):  # type: ignore[no-untyped-def]
    """Whether an interval was used up to its end, but for the bits that fill a byte, and FF bytes.

    Ones fill a byte (F.1.2.3); some encoders take zeros.
    """
    if at > end:
        return CUT
    spare = -at & 7
    filling = _next16(bits, at) >> (16 - spare)
    if filling not in (0, (1 << spare) - 1):
        return DAMAGED
    for place in range((at + 7) >> 3, end >> 3):
        if bits[place] >> np.uint32(24) != 0xFF:
            return DAMAGED
    return WHOLE


@numba.njit(cache=True, nogil=True)
def _why(at, end):  # type: ignore[no-untyped-def]
    """What a code that is none means: near the end of the data they are cut."""
    return CUT if at + 16 > end else DAMAGED


@numba.njit(cache=True, nogil=True)
def _foretold(left, above, corner, kind):  # type: ignore[no-untyped-def]
    """The value that its neighbours foretell (ISO 10918-1 table H.1)."""
    if kind == 1:
        return left
    if kind == 2:
        return above
    if kind == 3:
        return corner
    if kind == 4:
        return left + above - corner
    if kind == 5:
        return left + ((above - corner) >> 1)
    return above + ((left - corner) >> 1) if kind == 6 else (left + above) >> 1


@numba.njit(cache=True, nogil=True)
def _from_left(bits, place, tables, row, guess, limit):  # type: ignore[no-untyped-def]
    """Decode a row in which each value is foretold by the one left of it: outcome and end.

    What nearly all lossless pictures are made of: one look gives code and difference together, and
    nothing is asked that the processor would have to guess.
    """
    at, end = place
    for x in range(row.shape[0]):
        ahead = np.uint64(bits[np.uint64(at) >> np.uint64(3)]) << np.uint64(32 + (at & 7))
        entry = np.int64(tables[0, ahead >> np.uint64(64 - _FAST)])
        size, length = entry & 0xFF, entry >> 8
        if 0 < size <= _TOGETHER:
            diff = np.int64((ahead << np.uint64(length)) >> np.uint64(64 - size))
            diff -= ((1 << size) - 1) * (1 - (diff >> (size - 1)))
            at += length + size
        else:
            diff, at = _difference(bits, at, tables, 0, 16)
        if diff == _NONE or at > end:
            return _why(at, end), at
        guess = (guess + diff) & 0xFFFF
        if guess >= limit:
            return DAMAGED, at
        row[x, 0] = guess
    return WHOLE, at


@numba.njit(cache=True, nogil=True)
def _rows(bits, interval, tables, kind, out):  # type: ignore[no-untyped-def]
    """Decode the rows of one interval."""
    predictor, depth, shift = kind
    limit = 1 << (depth - shift)
    at, end = interval
    samples = out.shape[2]
    for y in range(out.shape[0]):
        row, above = out[y], out[max(0, y - 1)]
        if samples == 1 and (predictor == 1 or y == 0):
            guess = np.int64(above[0, 0]) if y > 0 else limit >> 1
            code, at = _from_left(bits, (at, end), tables, row, guess, limit)
            if code != WHOLE:
                return code
            continue
        for x in range(out.shape[1]):
            for c in range(samples):
                diff, at = _difference(bits, at, tables, c, 16)
                if diff == _NONE or at > end:
                    return _why(at, end)
                if y > 0 and x > 0:
                    guess = _foretold(
                        np.int64(row[x - 1, c]),
                        np.int64(above[x, c]),
                        np.int64(above[x - 1, c]),
                        predictor,
                    )
                elif y > 0:
                    guess = np.int64(above[x, c])
                else:
                    guess = np.int64(row[x - 1, c]) if x > 0 else limit >> 1
                value = (guess + diff) & 0xFFFF
                if value >= limit:
                    return DAMAGED
                row[x, c] = value
    return _ending(bits, at, end)


@numba.njit(cache=True, nogil=True)
def lossless(bits, intervals, tables, rows, kind, out):  # type: ignore[no-untyped-def]
    """Decode one scan of a lossless picture into `out` (rows, columns, components).

    `tables` has one table for each component; each interval holds so many `rows`; `kind` is
    (predictor, bits, point transform). Gives what the scan came to.
    """
    if len(intervals) != -(-out.shape[0] // rows):
        return CUT if len(intervals) * rows < out.shape[0] else DAMAGED
    for k in range(len(intervals)):
        interval = (intervals[k, 0], intervals[k, 1])
        code = _rows(bits, interval, tables, kind, out[k * rows : (k + 1) * rows])
        if code != WHOLE:
            return code
    if kind[2] > 0:
        out <<= np.uint16(kind[2])
    return WHOLE


@numba.njit(cache=True, nogil=True)
def _levels(bits, place, tables, number):  # type: ignore[no-untyped-def]
    """Pass over the 63 AC coefficients of a block (ISO 10918-1 F.2.2.2): outcome and end."""
    at, end = place
    k = 1
    while k < 64:
        entry = _entry(bits, at, tables, number)
        size, run = entry & 0xF, (entry >> 4) & 0xF
        at += (entry >> 8) + size
        if entry == 0 or at > end:
            return _why(at, end), at
        if size > 0:
            k += run + 1
        elif run == 15:
            k += 16
        else:
            return WHOLE if run == 0 else DAMAGED, at
        if k > 64 or size > tables[number, _MOST + k - 1]:
            return DAMAGED, at
    return WHOLE if k == 64 else DAMAGED, at


@numba.njit(cache=True, nogil=True)
def _possible(value, step, depth):  # type: ignore[no-untyped-def]
    """Whether pixels can have such a mean, with allowance for rounding."""
    return abs(value * step) <= (1 << (depth + 2)) + (1 << (depth - 1)) + step


@numba.njit(cache=True, nogil=True)
def _block(bits, place, tables, part, last, kind):  # type: ignore[no-untyped-def]
    """Pass over one block: outcome, end, and its mean, the one before it being `last`."""
    depth, high, low = kind
    at, end = place
    if high > 0:
        return (WHOLE if at < end else CUT), at + 1, last
    diff, at = _difference(bits, at, tables, part[1], depth + 3)
    if diff == _NONE or at > end:
        return _why(at, end), at, last
    last += diff
    if not _possible(last, part[3] << low, depth):
        return DAMAGED, at, last
    if part[2] < 0:
        return WHOLE, at, last
    code, at = _levels(bits, (at, end), tables, part[2])
    return code, at, last


@numba.njit(cache=True, nogil=True)
def blocks(bits, intervals, tables, units, parts, kind):  # type: ignore[no-untyped-def]
    """Check a scan of whole blocks, or of the DC coefficients of a progressive picture.

    `units` is MCUs in all, MCUs in an interval, 0. `parts` has a row for each component of the
    scan: its blocks in an MCU, the index of its DC and of its AC table (-1: a progressive
    picture), its DC quantisation step. `kind` is (bits of the picture, high, low) of successive
    approximation.
    """
    left, most, _ = units
    if len(intervals) != -(-left // most):
        return CUT if len(intervals) * most < left else DAMAGED
    last = np.zeros(len(parts), np.int64)
    for k in range(len(intervals)):
        at, end = intervals[k, 0], intervals[k, 1]
        last[:] = 0
        for _unit in range(min(left, most)):
            for c in range(len(parts)):
                part = (parts[c, 0], parts[c, 1], parts[c, 2], parts[c, 3])
                for _ in range(part[0]):
                    code, at, last[c] = _block(bits, (at, end), tables, part, last[c], kind)
                    if code != WHOLE:
                        return code
        left -= most
        code = _ending(bits, at, end)
        if code != WHOLE:
            return code
    return WHOLE


@numba.njit(cache=True, nogil=True)
def _corrected(known, band, zeros):  # type: ignore[no-untyped-def]
    """Pass over `zeros` coefficients that are zero so far, and over the others before the next.

    Gives the place reached, one beyond the last at the end of the band, and the bits that the
    others have: one each, when a scan refines.
    """
    k, last, high = band
    bits = 0
    while k <= last:
        if high > 0 and known[k] == 1:
            bits += 1
        elif zeros == 0:
            break
        else:
            zeros -= 1
        k += 1
    return k, bits


@numba.njit(cache=True, nogil=True)
def _band(bits, place, tables, known, band):  # type: ignore[no-untyped-def]
    """One block of a scan of AC coefficients: outcome, end, how many blocks end with it."""
    at, end = place
    k, last, high = band
    while k <= last:
        entry = _entry(bits, at, tables, 0)
        size, run = entry & 0xF, (entry >> 4) & 0xF
        at += entry >> 8
        if entry == 0 or at > end or size > (1 if high > 0 else 15):
            return _why(at, end), at, 0
        if size == 0 and run < 15:
            more = _next16(bits, at) >> (16 - run)
            at += run + _corrected(known, (k, last, high), 64)[1]
            return (WHOLE if at <= end else CUT), at, (1 << run) + more
        k, passed = _corrected(known, (k, last, high), run)
        at += size + passed
        if k > last or (high == 0 and size > tables[0, _MOST + k]):
            return DAMAGED, at, 0
        if size > 0:
            known[k] = 1
        k += 1
    return (WHOLE if at <= end else CUT), at, 1


@numba.njit(cache=True, nogil=True)
def bands(bits, intervals, tables, most, band, known):  # type: ignore[no-untyped-def]
    """Check a scan of AC coefficients of one component of a progressive picture (G.1.2.2, .3).

    `most` blocks lie in an interval. `band` is (first, last, high); `known` (blocks, 64) says
    which coefficients are not zero so far, and is brought up to date.
    """
    if len(intervals) != -(-len(known) // most):
        return CUT if len(intervals) * most < len(known) else DAMAGED
    for k in range(len(intervals)):
        at, end, ended = intervals[k, 0], intervals[k, 1], 0
        for block in range(k * most, min(len(known), (k + 1) * most)):
            code = WHOLE
            if ended == 0:
                code, at, ended = _band(bits, (at, end), tables, known[block], band)
            else:
                at += _corrected(known[block], band, 64)[1]
            if code != WHOLE:
                return code
            ended -= 1
        code = _ending(bits, at, end) if ended == 0 else DAMAGED
        if code != WHOLE:
            return code
    return WHOLE
