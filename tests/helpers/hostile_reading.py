"""Imported by an import worker before its first call, this makes files dangerous.

`kill-scan` in the name of a file ends the worker that looks at its header, `busy-scan` keeps it
busy; `kill-fill` and `busy-fill` do so when pixels are read. As a Series Description, `scan`,
`sort`, `plan` and `group` with these words in front are dangerous wherever the header comes from:
when it is read, when it is sorted among others, when its frames are worked out, when they are
gathered to volumes with others.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medview.core.study import Instance
from medview.io import dicom_read, filling, scan
from medview.io.found import Record
from medview.io.frames import Frame
from medview.io.repeats import Headers
from medview.io.tree import Tree


def _meet(name: str, purpose: str) -> None:
    if f"kill-{purpose}" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    while f"busy-{purpose}" in name:
        pass


def _dangerous(purpose: str, open_file: Callable[..., Any]) -> Callable[..., Any]:
    def opened(path: str | Path) -> Any:
        _meet(Path(path).name, purpose)
        return open_file(path)

    return opened


def _replace(owner: Any, name: str, make: Callable[[Callable[..., Any]], Any]) -> None:
    setattr(owner, name, make(getattr(owner, name)))


def _dangerous_header(read: Callable[..., Any]) -> Callable[..., Any]:
    def headers_read(self: Headers, *arguments: Any) -> Any:
        values = read(self, *arguments)
        _meet(values.merged().get("SeriesDescription", ""), "scan")
        return values

    return headers_read


def _dangerous_sorting(add: Callable[..., Any]) -> Callable[..., Any]:
    def tree_add(self: Tree, record: Record) -> None:
        _meet(record.values.merged().get("SeriesDescription", ""), "sort")
        add(self, record)

    return tree_add


def _dangerous_planning(frames_of: Callable[..., Any]) -> Callable[..., Any]:
    def frames(instance: Instance, values: Mapping[str, str], header: Any) -> Any:
        _meet(values.get("SeriesDescription", ""), "plan")
        return frames_of(instance, values, header)

    return frames


def _dangerous_grouping(placed: Callable[..., Any]) -> Callable[..., Any]:
    def grouped(frames: Sequence[Frame]) -> Any:
        for frame in frames:
            _meet(frame.values.get("SeriesDescription", ""), "group")
        return placed(frames)

    return grouped


for module, purpose in ((scan, "scan"), (filling, "fill")):
    _replace(module, "open_file", partial(_dangerous, purpose))
_replace(Headers, "read", _dangerous_header)
_replace(Tree, "add", _dangerous_sorting)
_replace(dicom_read, "frames_of", _dangerous_planning)
_replace(dicom_read, "_placed", _dangerous_grouping)
