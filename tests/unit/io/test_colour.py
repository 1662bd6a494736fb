"""Palettes in all their writings, against tables worked out by hand and by the DICOM library."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import dcmread
from pydicom.pixels import apply_color_lut

from medview.core.errors import ReadError
from medview.io.pixels import Doubtful
from tests.helpers.codec_files import decoded, dicom_bytes

STORED = np.arange(256, dtype=np.uint8).reshape(16, 16)


def painted(
    stored: npt.NDArray[Any], descriptor: list[int], tables: list[bytes], kind: str = ""
) -> npt.NDArray[np.uint8]:
    """RGB of stored values through a palette of red, green and blue tables."""
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = descriptor
        attributes[f"{kind}{colour}PaletteColorLookupTableData"] = table
    (frame,) = decoded(dicom_bytes(stored, **attributes))
    if isinstance(frame, ReadError):
        raise frame
    assert not isinstance(frame, Doubtful)
    return frame


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def test_entries_of_sixteen_bits_keep_their_upper_eight() -> None:
    ramp = np.arange(256) * 257
    tables = [words(*ramp), words(*ramp[::-1]), words(*([0x8000] * 256))]
    found = painted(STORED, [256, 0, 16], tables)
    assert np.array_equal(found[..., 0], STORED)
    assert np.array_equal(found[..., 1], 255 - STORED)
    assert (found[..., 2] == 0x80).all()


@pytest.mark.parametrize("packed", [True, False])
def test_entries_of_eight_bits_lie_in_bytes_or_in_words(*, packed: bool) -> None:
    ramp = np.arange(256, dtype=np.uint8)
    table = ramp.tobytes() if packed else ramp.astype("<u2").tobytes()
    found = painted(STORED, [256, 0, 8], [table, table, table])
    assert np.array_equal(found, np.repeat(STORED[..., None], 3, axis=-1))


def test_eight_bit_colours_that_are_called_sixteen_bits_wide() -> None:
    table = words(*range(256))
    assert painted(STORED, [256, 0, 16], [table] * 3).max() == 255


def test_a_count_of_zero_means_65536() -> None:
    stored = np.array([[0, 1, 65535, 30000]], np.uint16)
    table = (np.arange(65536) // 256 * 257).astype("<u2").tobytes()
    found = painted(stored, [0, 0, 16], [table] * 3)
    assert found[0, :, 0].tolist() == [0, 0, 255, 30000 // 256]


def test_values_outside_of_the_table_have_its_first_or_last_colour() -> None:
    table = words(1 << 8, 2 << 8, 3 << 8)
    found = painted(STORED, [3, 100, 16], [table] * 3)
    assert found[..., 0].ravel()[[0, 99, 100, 101, 102, 103, 255]].tolist() == [1, 1, 1, 2, 3, 3, 3]


def test_a_first_value_below_zero() -> None:
    stored = np.array([[-5, -2, -1, 0]], np.int16)
    table = words(1 << 8, 2 << 8, 3 << 8)
    found = painted(stored, [3, -2, 16], [table] * 3)
    assert found[0, :, 0].tolist() == [1, 1, 2, 3]


def test_segments_discrete_linear_and_repeated() -> None:
    # PS3.3 C.7.9.2: two values, a line of eight to 0xFF00, then the first segment once more.
    table = words(0, 2, 0, 0x1000, 1, 8, 0xF000, 2, 1, 0, 0)
    stored = np.arange(12, dtype=np.uint8).reshape(1, 12)
    found = painted(stored, [12, 0, 16], [table] * 3, "Segmented")
    line = [0x1000 + (0xF000 - 0x1000) * n // 8 for n in range(1, 9)]
    assert found[0, :, 0].tolist() == [n >> 8 for n in (0, 0x1000, *line, 0, 0x1000)]


def test_segments_as_the_dicom_library_unfolds_them() -> None:
    table = words(0, 1, 0, 1, 100, 30000, 1, 155, 65535)
    attributes: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        attributes[f"Segmented{colour}PaletteColorLookupTableData"] = table
    data = dicom_bytes(STORED, **attributes)
    truth = apply_color_lut(STORED, dcmread(io.BytesIO(data))) >> 8
    (found,) = decoded(data)
    assert isinstance(found, np.ndarray)
    assert np.abs(found.astype(int) - truth).max() <= 1


@pytest.mark.parametrize(
    ("descriptor", "table", "kind"),
    [
        ([0, 0, 16], bytes(20), ""),
        ([256, 0, 16], b"", ""),
        ([256, 0, 16], words(0, 4000, 1), "Segmented"),
        ([256, 0, 16], words(1, 256, 5), "Segmented"),
        ([256, 0, 16], words(2, 60000, 0, 0), "Segmented"),
        ([256, 0, 16], words(7, 7, 7), "Segmented"),
    ],
)
def test_palettes_that_lie_are_refused(descriptor: list[int], table: bytes, kind: str) -> None:
    with pytest.raises(ReadError, match="palette"):
        painted(STORED, descriptor, [table] * 3, kind)
