"""Real studies, straight from their archives: exported, validated, read back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest

from medview.core.findings import Laterality
from medview.core.report import Report
from medview.io.export import export
from medview.io.reading import load
from medview.io.request import ExportRequest, gather, places
from medview.io.scan import scan
from medview.reporting.tables import result_json
from tests.helpers.exports import finding, placed, segment, segmentation_of

STUDIES = {
    "sagittal MPRAGE": "mr/sag_mprage_192.tar.xz",
    "enhanced multi-frame MR": "geometry/dcm_qa_xa30_enhanced.tar.xz",
    "tilted CT": "geometry/ge_gantry_tilt_18.5.tar.xz",
    "decubitus": "geometry/decubitus_HFDL_t1_sag.tar.xz",
}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_real_study_leaves_valid_and_reads_back(shared: Path, tmp_path: Path, name: str) -> None:
    scanned = scan([shared / "data" / STUDIES[name]])
    study = next(s for s in scanned.studies if s.series[0].is_dicom)
    series = study.series[0]
    volume = load(series).volumes[0]
    k, j, i = volume.geometry.shape
    labels = np.zeros((k, j, i), dtype=np.uint8)
    labels[k // 3 : k // 2, j // 4 : j // 2, i // 4 : i // 3] = 1
    labels[k // 2 :, j // 3 : j // 2, i // 2 : i // 2 + 9] = 2
    segments = (segment(1, "Left part"), segment(2, "Right part"))
    segmentation = segmentation_of(volume, labels, segments)
    findings = [
        finding("Left part", Laterality.LEFT, 1.25, segmentation=segmentation, number=1),
        finding("Right part", Laterality.RIGHT, 2.5, segmentation=segmentation, number=2),
    ]
    exports = gather([segmentation], {volume.uid: volume}, study)
    result = result_json(study, series, [], findings, places=places(exports))
    request = ExportRequest(
        folder=tmp_path,
        study=study,
        series=series,
        report=Report(study.uid, findings=tuple(findings)),
        result=result,
        segmentations=exports,
        pdf=b"%PDF-1.4\n%%EOF\n",
        reader="Dr Anna Reader",
    )
    done = export(request)
    assert done.notes == ()
    if shutil.which("dciodvfy"):
        for file in ("segmentation.dcm", "report.dcm", "report_pdf.dcm"):
            command = ["dciodvfy", tmp_path / file]
            told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
            assert "Error" not in told, file
    seg = hd.seg.segread(tmp_path / "segmentation.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        assert len(group.DerivationImageSequence) == 1
    if name != "tilted CT":  # a sheared grid is no box for highdicom
        seen = seg.get_volume(combine_segments=True)
        marked = np.argwhere(seen.array)
        assert np.array_equal(placed(seen.array, marked, seen.affine, volume.geometry), labels)
