"""Text that would like to be more than text (lines D of the list)."""

from __future__ import annotations

from typing import Any

from tests.helpers.bad_inputs.case import Case, file_case
from tests.helpers.bad_inputs.seeds import part10, slice_elements

HTML_NAME = "<b>Bold</b><img src=file:///etc/passwd>^X"
CONTROL_NAME = "Esc\x1b[31m\u202eevil\u202c\x07^Two\nLines"


def _case(name: str, expected: str, **changes: Any) -> Case:
    return file_case(name, expected, lambda: part10(slice_elements(**changes)))


TEXTS: tuple[Case, ...] = (
    _case("D01_charset_unknown.dcm", "W", SpecificCharacterSet="ISO_IR 999",
          PatientName="M\u00fcller^A".encode()),
    _case("D02_pn_html.dcm", "N", PatientName=HTML_NAME),
    _case("D03_pn_ansi_rtl.dcm", "N", PatientName=CONTROL_NAME),
    _case("D03_pn_nul.dcm", "N", PatientName=b"Nul\0Inside^A "),
    _case("D04_pn_1MB.dcm", "N", SeriesDescription="x" * 60_000),
    _case("D05_id_traversal.dcm", "N", PatientID="../../tmp/pwned; $(touch x) `id`"),
    _case("D06_uid_bad.dcm", "NW", SOPInstanceUID="../../x", SeriesInstanceUID="../../y"),
    _case("D07_uid_65plus.dcm", "W", SOPInstanceUID="1.2." + "3" * 88),
    _case("D08_no_sop_uid.dcm", "W", SOPInstanceUID=None),
    _case("D09_bad_dates.dcm", "W", StudyDate="99999999", PatientBirthDate="99999999"),
    _case("D10_formula.dcm", "N", PatientName="=cmd|' /C calc'!A0", PatientID="@SUM(1)"),
)  # fmt: skip
