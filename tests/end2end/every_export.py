"""Every export of many different sources, each file before every program that judges its kind.

    python -m tests.end2end.every_export DATA OUT [SOURCE ...]

A model proposes segments, findings and a probability map; a reader at random draws, boxes,
writes and decides; the report is signed, and everything that can be written is. One line
a source; the exit code is 1 where a program complains. Every file is read back and compared by
the export itself, which fails where it differs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread

from medview.core.codes import ANATOMICAL_STRUCTURE, VOLUME
from medview.core.errors import MedviewError
from medview.core.events import Level
from medview.core.findings import Finding, Measurement, Provenance, SegmentRef, utc_now
from medview.core.jobs import InferenceJob, InferenceResult, JobInput
from medview.core.maps import MapKind, ScalarMap
from medview.core.paths import Paths
from medview.core.segmentation import Segment, Segmentation
from medview.core.volume import Volume
from medview.io.request import ALL_FORMATS
from medview.services import bundle
from medview.services.bundle import Services
from tests.end2end.command_line import ROOT
from tests.end2end.random_edits import Editor
from tests.helpers.desk import HIPPOCAMPUS, MODEL
from tests.helpers.validators import dciodvfy, dicom_sr_validator, dsrdump

#: By modality and kind of object: twelve and more makers and shapes of images.
SOURCES = {
    "CT of the chest": "ct/chest_covid_P002",
    "CT of lungs, thick": "ct_timepoints/A002304/axial",
    "tilted CT": "geometry/ge_gantry_tilt_18.5.tar.xz",
    "sagittal MR": "mr/sag_mprage_192.tar.xz",
    "MR of several sequences": "mr/brain_tumor_multiseq_study3.tar.xz",
    "MR, enhanced": "geometry/dcm_qa_xa30_enhanced.tar.xz",
    "MR, on the side": "geometry/decubitus_HFDL_t1_sag.tar.xz",
    "PET and CT": "pet_ct_mr_rtstruct/STS_012/dicom/STS_012",
    "CR of the chest": "projection/CR-MONO1-10-chest",
    "mammogram": "projection/GH133.dcm",
    "DX of the chest": "cxr/txv/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm",
    "scintigraphy": "multiframe/NM-MONO2-16-13x-heart",
    "ultrasound, palette": "multiframe/US-PAL-8-10x-echo",
    "ultrasound, colour": "multiframe/US-RGB-8-epicard",
}
STEPS = 25
_SR = ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.59")
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
_REFERENCES = ("ReferencedSeriesSequence", "StudiesContainingOtherReferencedInstancesSequence")
_NO_REFERENCE = (
    "Error - Missing attribute Type 1C Conditional Element=<{}> Module=<CommonInstanceReference>"
)
#: Younger than the programs that judge: they do not know the kind of object.
_UNKNOWN = ("1.2.840.10008.5.1.4.1.1.66.7",)


def export(source: Path, out: Path, seed: int, profile: Path) -> list[Path]:
    """Read a source as a reader at random would, and write all there is; the files."""
    paths = Paths.in_profile(ROOT / "resources", profile)
    paths.create()
    paths.settings_file.write_text("[loading]\nworkers = 1\n")
    with bundle.running(paths) as services:
        services.workspace.reader = "Dr Ada Reader"
        run = services.commands.run
        run("study.open", paths=[str(source)])
        services.commands.wait_idle(600)
        work(services, seed)
        run("report.sign", despite_contradictions=True)
        services.commands.wait_idle(600)
        run("report.export", folder=str(out), formats=[one.value for one in ALL_FORMATS])
        services.commands.wait_idle(900)
        last = services.workspace.notices[-1]
        if last.level is not Level.INFO:
            raise MedviewError(last.text, last.hint)
    return sorted(path for path in out.rglob("*") if path.is_file())


def work(services: Services, seed: int) -> None:
    """What a model finds, and what a reader at random makes of it; all but one is accepted."""
    volumes = services.workspace.volumes
    if volumes:
        volume = next(iter(volumes.values()))
        propose(services, volume)
        services.commands.wait_idle(60)
        editor = Editor(services.workspace, services.commands, seed)
        editor.begin()
        for _ in range(STEPS):
            editor.step()
            services.commands.wait_idle(120)
    else:
        services.commands.run("track.point")
        services.commands.wait_idle(120)
    study_uid = next(iter(services.workspace.studies))
    services.commands.run("report.begin")
    for finding in services.workspace.findings_of(study_uid)[:-1]:
        services.review.accept(finding.uid)
    heading = services.workspace.reports[study_uid].sections[0].heading
    services.commands.run("report.set_section", heading=heading, text="Läsion links, < 5 mm & more")
    services.commands.wait_idle(120)


def propose(services: Services, volume: Volume) -> None:
    """Two balls, a value of each, and how likely each place is the first."""
    shape = np.array(volume.geometry.shape)
    places = np.indices(volume.geometry.shape, dtype=np.float32)
    made = Provenance(MODEL, utc_now(), "job")
    labels = np.zeros(volume.geometry.shape, dtype=np.uint8)
    segments, findings = [], []
    likely = np.zeros(volume.geometry.shape, dtype=np.float32)
    for number, share in ((1, 0.35), (2, 0.65)):
        middle = (shape * [0.5, share, share])[:, None, None, None]
        apart = np.sqrt(((places - middle) / (np.maximum(shape, 4) / 6)[:, None, None, None]) ** 2)
        far = np.sqrt((apart**2).sum(axis=0))
        labels[far < 1] = number
        likely = np.maximum(likely, np.clip(1.5 - far, 0, 1)) if number == 1 else likely
        segments.append(
            Segment(
                number, f"Ball {number}", ANATOMICAL_STRUCTURE, HIPPOCAMPUS, (200, 90, 40), made
            )
        )
    found = Segmentation(volume.uid, volume.geometry, labels, tuple(segments), "Balls")
    for segment in segments:
        held = float((labels == segment.number).sum()) * volume.geometry.voxel_volume_ml
        value = Measurement(VOLUME, held, "mL", "Voxel count", made, "Volume")
        findings.append(
            Finding(
                segment.label, HIPPOCAMPUS, made, measurements=(value,),
                segment_ref=SegmentRef(found.uid, segment.number),
            )
        )  # fmt: skip
    study_uid = services.workspace.study_of(volume.uid).uid
    job = InferenceJob("finder", "1.0", (JobInput(volume.uid),), study_uid, uid="job")
    maps = (
        ScalarMap(volume.uid, MapKind.PROBABILITY, volume.geometry, likely, (0.0, 1.0), "Ball 1"),
    )
    result = InferenceResult("job", (found,), tuple(findings), maps=maps)
    services.review.propose(result, job)


def judged(
    files: list[Path], *, source: Path | None = None, is_sheared: bool = False
) -> Iterator[str]:
    """What the programs say against the files, and not against an image of the source.

    Of images that have no identity nothing can be referred to. dcmqi knows no sheared grid, and
    none of images that have no place in the patient.
    """
    excused = set(dciodvfy(source)) if source is not None else set()
    if source is not None and not _header(source).get("SOPInstanceUID"):
        excused |= {_NO_REFERENCE.format(name) for name in _REFERENCES}
    for path in files:
        if path.suffix != ".dcm":
            continue
        dataset = dcmread(path, stop_before_pixels=True)
        kind = dataset.SOPClassUID
        if kind not in _UNKNOWN:
            told = [one for one in dciodvfy(path) if one not in excused]
            yield from (f"{path.name}: dciodvfy: {one}" for one in told)
        if kind in _SR:
            dsrdump(path)
        if kind == _SR[0]:
            yield from (f"{path.name}: DicomSRValidator: {one}" for one in dicom_sr_validator(path))
        if kind == _SEG and dataset.get("FrameOfReferenceUID") and not is_sheared:
            yield from (f"{path.name}: dcmqi: {told}" for told in dcmqi(path))


def _header(source: Path) -> Dataset:
    """What a source says; some are older than the preamble of a file."""
    return dcmread(source, stop_before_pixels=True, force=True)


def dcmqi(path: Path) -> list[str]:
    """What dcmqi's reader of segmentations complains of."""
    program = Path(sys.prefix) / "bin" / "segimage2itkimage"
    with tempfile.TemporaryDirectory() as folder:
        words: list[Any] = [program, "--inputDICOM", path, "--outputDirectory", folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        told = [line for line in lines if "ERROR" in line or "rror:" in line]
        if done.returncode or not list(Path(folder).glob("*.nrrd")):
            told.append(f"ended with {done.returncode}: {' '.join(lines[-2:])}")
    return told


def main(arguments: list[str]) -> int:
    """Go through the sources that are named, or all."""
    data, out, *names = arguments
    code = 0
    for seed, (name, path) in enumerate(SOURCES.items()):
        if names and name not in names:
            continue
        folder = Path(out) / name.replace(" ", "_").replace(",", "")
        shutil.rmtree(folder, ignore_errors=True)
        files = export(Path(data) / path, folder / "out", seed, folder / "profile")
        at = Path(data) / path
        first = next((one for one in sorted(at.rglob("*")) if one.is_file()), at)
        image = None if first.suffix == ".xz" else first
        told = list(judged(files, source=image, is_sheared=name == "tilted CT"))
        code = code or int(bool(told))
        sys.stdout.write(f"{name}: {len(files)} files, {len(told)} complaints\n")
        sys.stdout.writelines(f"    {line}\n" for line in told)
        sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
