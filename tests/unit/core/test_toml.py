"""Tables written as TOML are what the standard library reads again."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medview.core.toml import toml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLAIN = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_was_written_is_read_again(tables: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(tables)) == tables


def test_it_reads_as_people_write_it() -> None:
    tables = {"data": {"folder": ".", "patch": [32, 48]}, "outputs": [{"index": 1}, {"index": 2}]}
    assert toml_text(tables) == (
        '[data]\nfolder = "."\npatch = [32, 48]\n\n'
        "[[outputs]]\nindex = 1\n\n[[outputs]]\nindex = 2\n"
    )


def test_what_toml_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="NoneType"):
        toml_text({"a": None})
