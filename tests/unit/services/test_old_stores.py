"""Stores written by every release open, with all their work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medview.core.findings import ReviewState
from medview.core.report import ReportStatus
from medview.reporting.canonical import signature_holds
from medview.services.audit import Audit
from medview.services.kept import read_kept
from medview.services.store import Store
from medview.services.store_file import MAJOR, MINOR
from tests.helpers.desk import STUDY

STORES = Path(__file__).resolve().parents[2] / "data" / "stores"


def test_the_present_version_is_among_them() -> None:
    assert (STORES / f"{MAJOR}.{MINOR}.sqlite").is_file()


@pytest.mark.parametrize("file", sorted(STORES.glob("*.sqlite")), ids=lambda file: file.stem)
def test_a_store_of_an_earlier_release_opens_with_all_its_work(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    shutil.copyfile(file, path)
    store = Store(path)
    assert not store.notices
    assert [one.study_uid for one in store.unfinished()] == [STUDY]
    assert Audit(store).verify() == ()
    assert len(store.audit_rows()) >= 6
    store.close()
    kept = read_kept(path, STUDY)
    assert kept.losses == 0
    since_tracks = tuple(int(part) for part in file.stem.split(".")) >= (1, 1)
    assert [one.track.name for one in kept.tracks] == (["Wall"] if since_tracks else [])
    ((_, labels),) = kept.segmentations
    assert [int((labels.labels == number).sum()) for number in (1, 2)] == [64, 48]
    assert [finding.review.state for finding in kept.findings] == [
        ReviewState.EDITED,
        ReviewState.REJECTED,
    ]
    assert [report.status for report in kept.reports] == [ReportStatus.FINAL, ReportStatus.DRAFT]
    assert kept.reports[0].key_images[0].png == b"\x89PNG"
    assert signature_holds(kept.reports[0])
    since_parts = tuple(int(part) for part in file.stem.split(".")) >= (2, 0)
    critical = kept.reports[0].critical
    assert (critical is not None and critical.informed == "Dr Bea") == since_parts
    assert [answer.value for answer in kept.reports[0].answers] == ["R91"] * since_parts
    assert [step.title for step in kept.steps] == ["Amend report", "Reject: Left structure 2"]
    since_results = tuple(int(part) for part in file.stem.split(".")) >= (1, 2)
    assert [job.model_id for job, _ in kept.runs] == (["finder"] if since_results else [])
    assert [len(result.candidates) for _, result in kept.runs] == [1] * since_results
    for original in kept.originals.values():
        counted = original.restored(labels).labels
        assert [int((counted == number).sum()) for number in (1, 2)] == [48, 48]
    assert len(kept.originals) == since_results
