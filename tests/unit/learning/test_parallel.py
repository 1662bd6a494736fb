"""Processes that train together: what the first one reads, and what goes wrong there."""

from pathlib import Path

import pytest
import torch

from medview.core.errors import ReadError
from medview.learning import parallel


def share(folder: str) -> None:
    """Only the first process can read; all of them write down what they got."""
    source = Path(folder) / "source"

    def read() -> str:
        if parallel.rank() > 0:
            raise AssertionError("only the first process reads")
        if not source.is_file():
            raise ReadError("There is nothing to read.", hint="Write it.")
        return source.read_text()

    words = parallel.from_first(read)
    number = parallel.rank()
    numbers = parallel.total(torch.tensor([float(number)]))
    (Path(folder) / f"got{number}").write_text(f"{words} {numbers.item():g}")


def test_what_the_first_process_reads_all_have(tmp_path):
    (tmp_path / "source").write_text("weights")
    parallel.run(share, (str(tmp_path),), 2)
    assert [(tmp_path / f"got{n}").read_text() for n in range(2)] == ["weights 1", "weights 1"]


def test_what_it_cannot_read_is_said_and_nobody_waits(tmp_path):
    with pytest.raises(ReadError, match="nothing to read") as told:
        parallel.run(share, (str(tmp_path),), 2)
    assert told.value.hint == "Write it."


def test_alone_there_is_nobody_to_meet(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with parallel.joined():
        assert (parallel.rank(), parallel.count()) == (0, 1)
        assert parallel.from_first(lambda: 3) == 3
