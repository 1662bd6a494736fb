"""Headers of many files: what a file repeats of an earlier one is compared, not read again.

The slices of a series differ in a few elements only. The bytes between those are compared as a
whole; where they are equal, so are the elements in them. A file that differs anywhere else is
walked element by element, and what it differs in is remembered for those that follow.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from medview.io.character_sets import encodings_of
from medview.io.elements import Element, elements_of
from medview.io.found import Values
from medview.io.header import (
    CHUNK,
    DEFLATED,
    LONGEST_VALUE,
    Header,
    Texts,
    read_header,
    text_of,
)
from medview.io.unpacking import Bytes

#: Elements that are the same in all files of one pattern: whose the file is and how it is written.
_FIXED = frozenset((
    0x00020010, 0x00080005, 0x00080016, 0x00080060, 0x00100010, 0x00100020, 0x00100021, 0x00100030,
    0x0020000D, 0x0020000E, 0x00200052, 0x00280103,
))  # fmt: skip
#: Elements that tell slices apart in nearly every series.
_VARYING = frozenset((
    0x00020000, 0x00020003, 0x00080018, 0x00080032, 0x00080033, 0x00181151, 0x00200013, 0x00200032,
    0x00201041, 0x00280107,
))  # fmt: skip
#: Patterns that are kept: more series than these are seldom mixed file by file.
_KEPT = 24
#: Headers up to this size are read at once where those before were as large.
_LARGEST = 1 << 18


class Headers:
    """Reads the headers of many files, one after the other."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._patterns: list[_Pattern] = []
        self._walked: dict[str, _Walked] = {}
        #: So many bytes of a file should be at hand.
        self.look = CHUNK

    def read(self, source: Bytes, head: bytes) -> Values:
        """The values of a file that begins with `head`; ReadError as `read_header` has it."""
        for n, pattern in enumerate(self._patterns):
            changes = pattern.match(head, source.size)
            if changes is not None:
                if n:
                    self._patterns.insert(0, self._patterns.pop(n))
                return Values(pattern.values.base, changes, pattern.values.notes)
        header = read_header(source, head, self._texts)
        return self._learned(head, header)

    def _learned(self, head: bytes, header: Header) -> Values:
        """The values of a file that had to be walked; the second of a series gives a pattern."""
        values = Values(_values(header), {}, header.notes)
        owner, stop = header.values.get("SeriesInstanceUID", ""), header.pixel_offset
        if not owner or stop < 0 or header.transfer_syntax == DEFLATED:
            return values
        self.look = max(self.look, min(_LARGEST, stop + 4096))
        before = self._walked.get(owner)
        if before is None:
            self._walked[owner] = _Walked(head[:stop], values)
            if len(self._walked) > _KEPT:
                del self._walked[next(iter(self._walked))]
            return values
        if before.tries == 0:
            return values
        elements = elements_of(head, stop)
        pattern = None if elements is None else self._widened(head, elements, before)
        changes = None if pattern is None else pattern.match(head, header.file_size)
        if pattern is None or changes is None:
            self._walked[owner] = _Walked(head[:stop], values, before.tries - 1)
            return values
        return Values(pattern.values.base, changes, header.notes)

    def _widened(
        self, head: bytes, elements: Sequence[Element], before: _Walked
    ) -> _Pattern | None:
        """A pattern that was made to fit a file, or one made from the file `before` it."""
        for n, pattern in enumerate(self._patterns):
            wider = pattern.widened(head, elements)
            if wider is not None:
                self._patterns[n] = wider
                return wider
        first = elements_of(before.head, len(before.head))
        if first is None:
            return None
        wider = _Pattern.of(before.head, first, before.values).widened(head, elements)
        if wider is None:
            return None
        self._patterns.insert(0, wider)
        del self._patterns[_KEPT:]
        return wider


@dataclass(frozen=True)
class _Walked:
    """A file of a series that had to be walked; `tries` more may be compared with such a one."""

    head: bytes
    values: Values
    tries: int = 3


@dataclass(frozen=True)
class _Step:
    """Bytes that all files share, then the length and value of an element that differs."""

    run: bytes
    size: int
    length: struct.Struct
    keyword: str = ""
    kind: str = ""


@dataclass(frozen=True)
class _Pattern:
    """What files have in common: `steps`, then `last` up to where the pixel data begin."""

    values: Values
    head: bytes
    elements: Sequence[Element]
    varying: frozenset[int]
    steps: tuple[_Step, ...]
    last: bytes
    encodings: list[str]

    @classmethod
    def of(
        cls,
        head: bytes,
        elements: Sequence[Element],
        values: Values,
        varying: frozenset[int] | None = None,
    ) -> _Pattern:
        """The pattern of one file in which the elements at `varying` may differ."""
        base = values.base
        if varying is None:
            varying = frozenset(n for n, one in enumerate(elements) if one.tag in _VARYING)
        sign = "SS" if base.get("PixelRepresentation") == "1" else "US"
        steps, at = [], 0
        seen: set[str] = set()
        for n, one in enumerate(elements):
            keyword = "" if one.keyword in seen else one.keyword
            seen.add(one.keyword)
            if n in varying:
                run = head[at : one.begin - one.width]
                kind = sign if one.kind == "US or SS" else one.kind
                steps.append(_Step(run, len(run), _LENGTHS[one.width], keyword, kind))
                at = one.end
        stop = elements[-1].begin
        return cls(
            values,
            head[:stop],
            elements,
            varying,
            tuple(steps),
            head[at:stop],
            encodings_of(base.get("SpecificCharacterSet", "")),
        )

    def match(self, head: bytes, size: int) -> dict[str, str] | None:
        """What a file of `size` bytes that begins with `head` differs in; None if it is other."""
        base, changes, at = self.values.base, {}, 0
        try:
            for step in self.steps:
                if not head.startswith(step.run, at):
                    return None
                at += step.size
                (length,) = step.length.unpack_from(head, at)
                begin = at + step.length.size
                at = begin + length
                keyword = step.keyword
                if keyword:
                    if length > LONGEST_VALUE:
                        return None
                    text = text_of(step.kind, head[begin:at], self.encodings)
                    if text != base.get(keyword):
                        changes[keyword] = text
        except struct.error:
            return None
        if not head.startswith(self.last, at):
            return None
        offset, total = str(at + len(self.last)), str(size)
        if offset != base["_PixelOffset"]:
            changes["_PixelOffset"] = offset
        if total != base["_FileSize"]:
            changes["_FileSize"] = total
        return changes

    def widened(self, head: bytes, elements: Sequence[Element]) -> _Pattern | None:
        """The pattern that fits this file too; None if it is of another kind or owner."""
        if len(elements) != len(self.elements):
            return None
        varying = set(self.varying)
        for n, (mine, other) in enumerate(zip(self.elements, elements, strict=True)):
            label = self.head[mine.start : mine.begin - mine.width]
            if label != head[other.start : other.begin - other.width]:
                return None
            if self.head[mine.begin : mine.end] != head[other.begin : other.end]:
                if not mine.width or mine.tag in _FIXED:
                    return None
                varying.add(n)
        return _Pattern.of(self.head, self.elements, self.values, frozenset(varying))


_LENGTHS = {2: struct.Struct("<H"), 4: struct.Struct("<L")}


def _values(header: Header) -> dict[str, str]:
    return header.values | {
        "_TransferSyntax": header.transfer_syntax,
        "_PixelOffset": str(header.pixel_offset),
        "_PixelLength": str(header.pixel_length),
        "_PixelKind": header.pixel_kind,
        "_FileSize": str(header.file_size),
    }
