"""Curves of a run as TensorBoard reads them, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Row = Mapping[str, float]

_MISSING = (
    "TensorBoard is not installed: the curves are in curves.csv and curves.svg"
    " (pip install 'medview[tensorboard]')"
)


@contextmanager
def open_board(
    folder: Path, epoch: int, report: Callable[[str], None]
) -> Iterator[Callable[[Row], None]]:
    """Give what adds the row of an epoch to the curves in `folder`, after `epoch` of them.

    What an earlier run wrote beyond that epoch is taken back. Without TensorBoard that is said,
    and nothing is written.
    """
    try:
        library = importlib.import_module("torch.utils.tensorboard")
    except ImportError:
        report(_MISSING)
        yield lambda _row: None
        return
    writer = library.SummaryWriter(str(folder), purge_step=epoch + 1)

    def add(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                writer.add_scalar(_tag(name), value, int(row["epoch"]))
        writer.flush()

    try:
        yield add
    finally:
        writer.close()


def _tag(name: str) -> str:
    """Give a figure's name, grouped with those that belong on one page."""
    group, _, rest = name.partition("_")
    return {"train": f"training/{rest}", "val": f"validation/{rest}"}.get(group, f"run/{name}")
