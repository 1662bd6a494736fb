"""One export: everything that leaves the program for one study, written and read back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medview.core.errors import ExportError
from medview.core.findings import Laterality
from medview.core.maps import MapKind
from medview.core.study import Instance, Series
from medview.io.dicom_write import (
    NOT_CLINICAL,
    ObjectOptions,
    foreign_values,
    ill_formed_references,
    new_dicom_uid,
    write_file,
    write_pdf,
)
from medview.io.key_objects import key_instances, write_capture, write_selection
from medview.io.map_write import MapOptions, write_map, write_probabilities
from medview.io.mesh_write import write_surface
from medview.io.nifti_write import write_labels
from medview.io.presentation_write import write_presentation
from medview.io.request import (
    ExportedFile,
    ExportedFiles,
    ExportFormat,
    ExportRequest,
    SegmentationExport,
)
from medview.io.rtss_write import write_structures
from medview.io.seg_nrrd_write import write_seg_nrrd
from medview.io.seg_write import SegmentTracking, SegOptions, models_drawing, write_segmentation
from medview.io.sources import Sources, read_sources, source_bytes
from medview.io.sr_content import SegmentPlace, SrOptions, image_places
from medview.io.sr_write import models_of, write_report

_RESULT = "result.json"
_NO_PLACE = "the images have no place in the patient, or no identity."


def export(request: ExportRequest) -> ExportedFiles:
    """Write what is asked for into the folder and prove each file by reading it again.

    Names are fixed: segmentation.dcm (-2, ...) or segmentation.nii.gz, report.dcm,
    report_pdf.dcm, presentation.dcm, key_objects.dcm, capture-01.dcm ..., structures.dcm,
    segmentation_labelmap.dcm, map-01.dcm ..., probability-01.dcm ..., segmentation.seg.nrrd,
    surface-01.stl ..., report.pdf,
    report.html, report.fhir.json, findings.csv, key-01.png ..., result.json last.
    Each file appears whole or not at all; an earlier one stays until the new one is safe.
    Files of an earlier export that this one no longer has are then removed, if untouched.
    ExportError names the file that failed; those written before it are good. What images cannot
    have (contours of a projection, say) is left out and named in the notes.
    """
    with foreign_values():
        return _Export(request).run()


@dataclass
class _Export:
    request: ExportRequest
    now: datetime = field(default_factory=lambda: datetime.now(UTC).astimezone())
    files: list[ExportedFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inputs: list[dict[str, str]] = field(default_factory=list)
    sources: dict[str, Sources] = field(default_factory=dict)
    segments: dict[str, SegmentPlace] = field(default_factory=dict)

    def run(self) -> ExportedFiles:
        """Everything in order: segmentations first, because the SR refers to them."""
        earlier = _earlier_files(self.request.folder / _RESULT)
        self._read_sources()
        if self._wants(ExportFormat.SEGMENTATION):
            self._segmentations()
        if self.request.series.is_dicom:
            self._dicom_documents()
        self._maps()
        self._label_maps()
        self._plain_documents()
        if self._wants(ExportFormat.JSON):
            self._result()
        self._remove(earlier)
        return ExportedFiles(
            self.request.folder, tuple(self.files), tuple(dict.fromkeys(self.notes))
        )

    def _wants(self, kind: ExportFormat) -> bool:
        return kind in self.request.formats

    def _read_sources(self) -> None:
        request = self.request
        wanted: dict[str, tuple[Series, set[str]]] = {}
        for one in request.segmentations:
            wanted.setdefault(one.series.uid, (one.series, set()))[1].update(one.instance_uids)
        for lying in request.maps:
            wanted.setdefault(lying.series.uid, (lying.series, set()))
        wanted.setdefault(request.series.uid, (request.series, set()))
        for series, uids in wanted.values():
            if series.is_dicom:
                uids.discard("")
                sources = read_sources(series, tuple(uids), request.password)
                self.sources[series.uid] = sources
                self.notes.extend(ill_formed_references(sources))
                found = [(one, sources.sha256[one]) for one in sources.instances]
            else:
                given = source_bytes(series.instances, request.password)
                found = [(one, hashlib.sha256(data).hexdigest()) for one, data in given]
            named = series.is_dicom and self.sources[series.uid].can_be_referred_to
            self.inputs.extend(_input(one, checksum, named=named) for one, checksum in found)

    def _segmentations(self) -> None:
        series_uid = new_dicom_uid()
        for number, one in enumerate(self.request.segmentations, start=1):
            path = self.request.folder / one.file
            if not one.series.is_dicom:
                write_labels(one.labels(), one.geometry, path)
                self._record(path, ExportFormat.SEGMENTATION)
                continue
            if not self._can_hold_segments(one):
                continue
            options = SegOptions(
                now=self.now,
                tracking=_tracking(self.request, one),
                creator=self.request.reader,
                series_uid=series_uid,
                instance_number=number,
            )
            uid = write_segmentation(one, self.sources[one.series.uid], path, options)
            self._record(path, ExportFormat.SEGMENTATION, uid)
            for finding in self.request.report.findings:
                ref = finding.segment_ref
                if (
                    ref is not None
                    and ref.segmentation_uid == one.uid
                    and ref.number in one.numbers
                ):
                    self.segments[finding.uid] = SegmentPlace(
                        uid, series_uid, one.numbers[ref.number], one.series.uid
                    )

    def _dicom_documents(self) -> None:
        request = self.request
        sources = self.sources[request.series.uid]
        if self._wants(ExportFormat.SR):
            path = request.folder / "report.dcm"
            options = SrOptions(
                now=self.now,
                places=self.segments,
                reader=request.reader,
                series_uid=new_dicom_uid(),
                frames=request.frames,
                images=image_places(request.study) if sources.can_be_referred_to else {},
                predecessors=request.predecessors,
            )
            uid = write_report(request.report, sources, path, options)
            self._record(path, ExportFormat.SR, uid, options.series_uid)
        if self._wants(ExportFormat.PDF_DICOM) and request.pdf:
            path = request.folder / "report_pdf.dcm"
            uid = write_pdf(
                request.pdf,
                sources,
                path,
                title="Imaging report",
                models=models_of(request.report.findings),
                verified=request.report.status.is_signed,
                now=self.now,
            )
            self._record(path, ExportFormat.PDF_DICOM, uid)

        self._about_images(sources)
        if self._wants(ExportFormat.LABEL_MAP):
            self._numbered_segments()
        if self._wants(ExportFormat.STRUCTURES):
            self._structures()

    def _about_images(self, sources: Sources) -> None:
        """What refers to single images: presentation state, key objects, captures."""
        request = self.request
        report, folder = request.report, request.folder
        named = sources.can_be_referred_to
        if self._wants(ExportFormat.PRESENTATION) and not named:
            self.notes.append(f"No presentation state was written: {_NO_PLACE}")
        elif self._wants(ExportFormat.PRESENTATION) and request.shown is not None:
            path = folder / "presentation.dcm"
            uid, notes = write_presentation(
                request.shown, report.findings, sources, path, self.now, request.reader
            )
            self.notes.extend(notes)
            self._record(path, ExportFormat.PRESENTATION, uid)
        images = key_instances(report.key_images, sources) if named else []
        if self._wants(ExportFormat.KEY_OBJECTS) and not images:
            self.notes.append(
                "No key object selection was written: no key image is an image of the study that "
                "can be referred to."
            )
        elif self._wants(ExportFormat.KEY_OBJECTS):
            path = folder / "key_objects.dcm"
            uid = write_selection(report, images, sources, path, self.now, request.reader)
            self._record(path, ExportFormat.KEY_OBJECTS, uid)
        if self._wants(ExportFormat.CAPTURES):
            series_uid = new_dicom_uid()
            drawn = [image for image in report.key_images if image.png]
            for number, image in enumerate(drawn, start=1):
                options = ObjectOptions(
                    str(sources.first.get("Modality", "OT")),
                    9906,
                    f"Key images. {NOT_CLINICAL}",
                    self.now,
                    tuple(models_of(report.findings)),
                    series_uid,
                    number,
                )
                path = folder / f"capture-{number:02d}.dcm"
                uid = write_capture(image, sources, path, options)
                self._record(path, ExportFormat.CAPTURES, uid, series_uid)

    def _numbered_segments(self) -> None:
        series_uid = new_dicom_uid()
        dicom = [one for one in self.request.segmentations if one.series.is_dicom]
        for number, one in enumerate(dicom, start=1):
            if not self._can_hold_segments(one):
                continue
            path = self.request.folder / _numbered("segmentation_labelmap.dcm", number)
            options = SegOptions(
                now=self.now,
                tracking=_tracking(self.request, one),
                creator=self.request.reader,
                series_number=9908,
                series_uid=series_uid,
                instance_number=number,
                label_map=True,
            )
            uid = write_segmentation(one, self.sources[one.series.uid], path, options)
            self._record(path, ExportFormat.LABEL_MAP, uid, series_uid)

    def _can_hold_segments(self, one: SegmentationExport) -> bool:
        """Whether there can be a DICOM SEG: of one image always, of many by their places."""
        if one.geometry.in_patient_space or one.geometry.shape[0] == 1:
            return True
        self.notes.append(
            f"No DICOM segmentation was written of {one.title}: {_NO_PLACE} NIfTI and NRRD can "
            "hold it."
        )
        return False

    def _structures(self) -> None:
        series_uid = new_dicom_uid()
        dicom = [one for one in self.request.segmentations if one.series.is_dicom]
        for number, one in enumerate(dicom, start=1):
            sources = self.sources[one.series.uid]
            if not (one.geometry.in_patient_space and sources.can_be_referred_to):
                self.notes.append(f"No contours were written of {one.title}: {_NO_PLACE}")
                continue
            path = self.request.folder / _numbered("structures.dcm", number)
            options = ObjectOptions(
                "RTSTRUCT",
                9907,
                f"Segments as contours. {NOT_CLINICAL}",
                self.now,
                models_drawing(one),
                series_uid,
                number,
            )
            uid = write_structures(one, sources, path, options)
            self._record(path, ExportFormat.STRUCTURES, uid, series_uid)

    def _maps(self) -> None:
        """Maps of values, and those of probabilities as segments that are so and so likely."""
        chance = [one for one in self.request.maps if one.map.kind is MapKind.PROBABILITY]
        for kind, name, maps, write, number in (
            (ExportFormat.MAPS, "map", self.request.maps, write_map, 9909),
            (ExportFormat.PROBABILITIES, "probability", chance, write_probabilities, 9910),
        ):
            series_uid = new_dicom_uid()
            for count, one in enumerate(maps if self._wants(kind) else (), start=1):
                if not one.series.is_dicom:
                    continue
                if not one.map.geometry.in_patient_space:
                    self.notes.append(f"No {name} was written of {one.map.caption}: {_NO_PLACE}")
                    continue
                path = self.request.folder / f"{name}-{count:02d}.dcm"
                options = MapOptions(self.now, series_uid, number, count)
                uid = write(one, self.sources[one.series.uid], path, options)
                self._record(path, kind, uid, series_uid)

    def _label_maps(self) -> None:
        """The segments for programs that read no DICOM."""
        folder = self.request.folder
        for number, one in enumerate(self.request.segmentations, start=1):
            if self._wants(ExportFormat.NRRD):
                path = folder / _numbered("segmentation.seg.nrrd", number)
                write_seg_nrrd(one, path)
                self._record(path, ExportFormat.NRRD)
            if self._wants(ExportFormat.NIFTI) and one.series.is_dicom:
                path = folder / _numbered("segmentation.nii.gz", number)
                write_labels(one.labels(), one.geometry, path)
                self._record(path, ExportFormat.NIFTI)
            if self._wants(ExportFormat.STL) and not one.geometry.in_patient_space:
                self.notes.append(f"No surfaces were written of {one.title}: {_NO_PLACE}")
            elif self._wants(ExportFormat.STL):
                labels = one.labels()
                for segment in one.segments:
                    path = folder / _numbered(f"surface-{segment.number:02d}.stl", number)
                    write_surface(one, labels, segment.number, path)
                    self._record(path, ExportFormat.STL)

    def _plain_documents(self) -> None:
        request = self.request
        documents = [
            ("report.pdf", ExportFormat.PDF, request.pdf),
            ("report.html", ExportFormat.HTML, request.html.encode("utf-8")),
            ("findings.csv", ExportFormat.CSV, request.csv.encode("utf-8")),
        ]
        documents.append(("report.fhir.json", ExportFormat.FHIR, request.fhir.encode("utf-8")))
        pictures = [image.png for image in request.report.key_images if image.png]
        for number, png in enumerate(pictures, start=1):
            documents.append((f"key-{number:02d}.png", ExportFormat.KEY_IMAGES, png))
        for name, kind, data in documents:
            if data and self._wants(kind):
                self._write(name, kind, data)

    def _result(self) -> None:
        written = {file.path.name: file for file in self.files}
        result: dict[str, Any] = dict(self.request.result)
        result["findings"] = [_placed(f, written) for f in result.get("findings", [])]
        result["inputs"] = self.inputs
        result["notes"] = [*result.get("notes", []), *self.notes]
        result["files"] = [
            {"name": file.path.name, "sha256": file.sha256}
            | ({"sop_instance_uid": file.sop_instance_uid} if file.sop_instance_uid else {})
            for file in self.files
        ]
        text = json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        self._write(_RESULT, ExportFormat.JSON, text.encode("utf-8"))

    def _write(self, name: str, kind: ExportFormat, data: bytes) -> None:
        path = self.request.folder / name
        write_file(path, lambda file: file.write(data))
        if self._record(path, kind).sha256 != hashlib.sha256(data).hexdigest():
            raise ExportError(f"{name} does not read back as it was written")

    def _record(
        self, path: Path, kind: ExportFormat, uid: str = "", series_uid: str = ""
    ) -> ExportedFile:
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        self.files.append(ExportedFile(path, kind, checksum, uid, series_uid))
        return self.files[-1]

    def _remove(self, earlier: Mapping[str, str]) -> None:
        """Take away what an earlier export left and this one has no more, if still as written."""
        now = {file.path.name for file in self.files}
        for name, checksum in earlier.items():
            path = self.request.folder / name
            if name in now or name != path.name or not path.is_file():
                continue
            if hashlib.sha256(path.read_bytes()).hexdigest() == checksum:
                path.unlink()


def _numbered(name: str, number: int) -> str:
    """The name, with the number before its ending from the second on."""
    stem, dot, ending = name.partition(".")
    return name if number == 1 else f"{stem}-{number}{dot}{ending}"


def _input(instance: Instance, checksum: str, *, named: bool) -> dict[str, str]:
    if named:
        return {"sop_instance_uid": instance.sop_instance_uid, "sha256": checksum}
    member = f"!/{instance.member}" if instance.member else ""
    return {"path": f"{instance.path}{member}", "sha256": checksum}


def _placed(finding: Mapping[str, Any], written: Mapping[str, ExportedFile]) -> dict[str, Any]:
    """The finding without its segment where the segment's file was not written."""
    segment = finding.get("segment")
    return {**finding, "segment": segment if segment and segment["file"] in written else None}


def _earlier_files(result: Path) -> dict[str, str]:
    """Name and checksum of what an earlier export into this folder wrote."""
    try:
        files = json.loads(result.read_text(encoding="utf-8"))["files"]
        return {str(file["name"]): str(file["sha256"]) for file in files}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _tracking(request: ExportRequest, one: SegmentationExport) -> dict[int, SegmentTracking]:
    """A segment carries identity and side of its finding; without one it has its own."""
    told = {
        finding["segment"]["number"]: finding
        for finding in request.result.get("findings", ())
        if (finding.get("segment") or {}).get("file") == one.file
    }
    tracking = {}
    for old, new in one.numbers.items():
        finding = told.get(new, {})
        side = finding.get("laterality")
        tracking[new] = SegmentTracking(
            uid=finding.get("uid", f"{one.uid}/{old}"),
            identifier=one.segments[new - 1].label,
            laterality=Laterality(side) if side else None,
        )
    return tracking
