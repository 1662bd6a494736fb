"""Files of results that are no DICOM: how they begin, and which study they speak of.

Light on purpose: every file of a folder is asked.
"""

from __future__ import annotations

import re

_CSV_START = b"study_uid,finding_uid,label,"
_JSON_UID = re.compile(rb'"study_uid"\s*:\s*"([0-9.]{1,64})"')
_FHIR_UID = re.compile(rb'"urn:dicom:uid"\s*,\s*"value"\s*:\s*"urn:oid:([0-9.]{1,64})"')
_CSV_UID = re.compile(rb"\n\"?([0-9.]{1,64})\"?,")


def format_of(name: str, head: bytes) -> str:
    """The format of a file of results that begins so; "" for any other file."""
    lower, start = name.lower(), head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if lower.endswith(".csv") and start.startswith(_CSV_START):
        return "results-csv"
    if lower.endswith(".json") and start.startswith(b"{"):
        if b'"resourceType"' in start[:200] and b'"Bundle"' in start[:400]:
            return "results-fhir"
        if b'"study_uid"' in start[:200]:
            return "results-json"
    return ""


def study_named(head: bytes, kind: str) -> str:
    """The Study Instance UID that results speak of, from their beginning; "" if it is not there."""
    pattern = {"results-json": _JSON_UID, "results-fhir": _FHIR_UID, "results-csv": _CSV_UID}[kind]
    found = pattern.search(head)
    return found[1].decode("ascii") if found else ""
