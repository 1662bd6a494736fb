"""A signature covers every word and number of a report, and nothing but them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta, timezone

from medview.core.findings import Laterality
from medview.core.report import KeyImage, Report, ReportStatus, Section, Signature
from medview.reporting.canonical import canonical, digest
from tests.helpers.exports import AT, finding

ONE = finding("Left x – größer", Laterality.LEFT, 1.25)
IMAGE = KeyImage("v", "axial", (1.0, 2.0, 3.0), "caption", b"png")
REPORT = Report(
    "1.2", sections=(Section("Findings", "Text."),), findings=(ONE,), key_images=(IMAGE,)
)


def test_it_is_the_sha256_of_canonical_json() -> None:
    text = canonical(REPORT)
    assert digest(REPORT) == hashlib.sha256(text).hexdigest()
    plain = json.loads(text)
    again = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert again.encode() == text
    assert "größer" in text.decode("utf-8")
    assert plain["key_images"][0]["png"] == {"sha256": hashlib.sha256(b"png").hexdigest()}


def test_signing_does_not_change_it() -> None:
    signed = replace(
        REPORT, status=ReportStatus.FINAL, signatures=(Signature("Dr", AT, digest(REPORT)),)
    )
    assert digest(signed) == digest(REPORT)


def test_the_zone_a_time_is_told_in_does_not_matter() -> None:
    review = replace(ONE.review, at=AT.astimezone(timezone(timedelta(hours=5))))
    assert digest(replace(REPORT, findings=(ONE.reviewed(review),))) == digest(REPORT)


def test_every_word_and_number_counts() -> None:
    (measurement,) = ONE.measurements
    more = replace(ONE, measurements=(replace(measurement, value=1.2500001),))
    changed = [
        replace(REPORT, sections=(Section("Findings", "Text"),)),
        replace(REPORT, findings=(more,)),
        replace(REPORT, findings=(replace(ONE, laterality=Laterality.RIGHT),)),
        replace(REPORT, key_images=(replace(IMAGE, png=b"other"),)),
        replace(REPORT, ai_statement="x"),
        replace(REPORT, version=2),
        replace(REPORT, study_uid="1.3"),
    ]
    assert len({digest(REPORT), *map(digest, changed)}) == len(changed) + 1
