"""Folders, archives and odd files: what is found, and what is refused in which words."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import (
    EncapsulatedPDFStorage,
    MediaStorageDirectoryStorage,
    RTStructureSetStorage,
)

from medview.core.study import SeriesKind, Severity
from medview.io import members
from medview.io.identity import person
from medview.io.members import is_inside
from medview.io.reading import load, plan
from medview.io.scan import ScanResult, scan
from tests.helpers.dicom_phantoms import (
    CtOptions,
    Who,
    ct_datasets,
    new_dataset,
    save,
    uid,
    write_ct,
    write_enhanced,
    write_projection,
)
from tests.helpers.phantoms import Phantom

SMALL = Phantom(shape=(4, 20, 16), radius_mm=4)


def values_of(result: ScanResult, password: str = "") -> np.ndarray:
    (study,) = result.studies
    (volume,) = load(study.series[0], password).volumes
    return volume.values()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ct(tmp_path / "disk" / "a" / "b", SMALL, CtOptions(shuffled=True))
    return tmp_path / "disk"


def test_a_folder_among_other_files(folder: Path) -> None:
    (folder / "readme.txt").write_text("no image")
    (folder / "a" / "viewer.exe").write_bytes(b"MZ" * 500)
    (folder / "a" / "broken.dcm").write_bytes(b"nonsense" * 50)
    (folder / "a" / "empty.dcm").write_bytes(b"")
    result = scan([folder])
    (study,) = result.studies
    (series,) = study.series
    assert (study.patient.name, study.patient.id) == ("Phantom, Sphere", "PHANTOM-1")
    assert (study.date, study.accession) == ("20240501", "A1")
    assert (series.modality, series.kind, len(series.instances)) == ("CT", SeriesKind.VOLUME, 4)
    assert {problem.path.name: problem.reason for problem in result.problems} == {
        "broken.dcm": "This is no image that can be opened",
        "empty.dcm": "The file is empty",
    }


def test_headers_that_others_need(tmp_path: Path) -> None:
    said = {"PatientAge": "054Y", "EchoTime": "2.5", "BodyPartExamined": "HEAD",
            "MagneticFieldStrength": "3", "ProtocolName": "t1_mpr", "ContrastBolusAgent": "Gd",
            "ScanningSequence": ["GR", "IR"], "LossyImageCompression": "00"}  # fmt: skip
    write_ct(tmp_path, SMALL, CtOptions(extra=said))
    (study,) = scan([tmp_path]).studies
    (series,) = study.series
    expected = {key: "\\".join(v) if isinstance(v, list) else v for key, v in said.items()}
    assert {key: series.headers[key] for key in said} == expected
    assert series.body_part == "HEAD"


def test_names_for_people() -> None:
    assert person("Buc^Jérôme") == "Buc, Jérôme"
    assert person("Wang^XiaoDong=王^小东=") == "Wang, XiaoDong = 王, 小东"
    assert person("Doe^Jane^Q^Dr^MD") == "Doe, Dr Jane Q, MD"
    assert person("ANON-1") == "ANON-1"
    assert person("") == ""


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz", "nested"])
def test_archives_are_read_without_unpacking(folder: Path, tmp_path: Path, kind: str) -> None:
    before = set(tmp_path.rglob("*"))
    if kind == "nested":
        inner = Path(shutil.make_archive(str(tmp_path / "inner"), "zip", folder))
        path = tmp_path / "outer.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(inner, "deep/inner.zip")
        inner.unlink()
    else:
        names = {"tar.gz": "gztar", "tar.xz": "xztar"}
        path = Path(shutil.make_archive(str(tmp_path / "packed"), names.get(kind, kind), folder))
    assert np.array_equal(values_of(scan([path])), SMALL.values())
    assert set(tmp_path.rglob("*")) - before == {path}


@pytest.mark.parametrize(
    ("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2"), (lzma.compress, ".xz")]
)
def test_files_that_are_packed_one_by_one_are_read(
    folder: Path, tmp_path: Path, pack: Callable[[bytes], bytes], ending: str
) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        name = f"{number}.dcm{ending}" if number % 2 else f"{number}"
        (packed / name).write_bytes(pack(path.read_bytes()))
    (packed / f"letter.txt{ending}").write_bytes(pack(b"Dear colleague"))
    result = scan([packed])
    assert np.array_equal(values_of(result), SMALL.values())
    assert all("letter" in str(one.path) for one in result.problems)
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", packed))
    assert np.array_equal(values_of(scan([archive])), SMALL.values())


def test_other_formats_are_read_packed_and_what_is_none_is_named(tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "x.mha"))
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "x.nii")
    # NIfTI is known by what it holds, MetaImage by its name too.
    for name, packed in (("x.mha", "scan.mha.gz"), ("x.nii", "scan.gz")):
        folder = tmp_path / f"in {name}"
        folder.mkdir()
        (folder / packed).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        found = values_of(scan([folder]))
        assert np.array_equal(found, values if name == "x.mha" else values.transpose(2, 1, 0))
    junk = tmp_path / "junk.gz"
    junk.write_bytes(gzip.compress(b"no image"))
    (problem,) = scan([junk]).problems
    assert problem.path == junk
    assert "no image" in problem.reason
    junk.write_bytes(gzip.compress(bytes(100_000_000), 1))
    assert scan([junk]).problems[0].path == junk


def test_a_locked_zip_asks_for_its_password(folder: Path, tmp_path: Path) -> None:
    program = shutil.which("zip")
    if program is None:
        pytest.skip("needs the program zip to write an encrypted archive")
    path = tmp_path / "locked.zip"
    subprocess.run([program, "-q", "-r", "-P", "secret", path, "."], cwd=folder, check=True)
    result = scan([path])
    assert result.studies == ()
    assert "asks for a password" in result.problems[0].reason
    assert "does not open" in scan([path], "wrong").problems[0].reason
    assert np.array_equal(values_of(scan([path], "secret"), "secret"), SMALL.values())


def test_entries_that_lead_outside_are_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "slip.zip"
    good = next(p for p in folder.rglob("*") if p.is_file()).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.dcm", good)
        archive.writestr("/absolute.dcm", good)
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("ok.dcm", good)
    result = scan([path])
    assert len(result.studies[0].series[0].instances) == 1
    assert len(result.problems) == 3
    assert all(problem.severity is Severity.REFUSED for problem in result.problems)


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("link.dcm")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert "link" in scan([path]).problems[0].reason


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", b"\0" * (80 << 20))
    result = scan([path])
    assert result.studies == ()
    assert "200 times" in result.problems[0].reason


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "MAX_ENTRIES", 20)
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(30):
            archive.writestr(f"{n}.txt", b"")
    assert "more than" in scan([path]).problems[0].reason


def test_deep_nesting_is_refused(folder: Path, tmp_path: Path) -> None:
    data = next(p for p in folder.rglob("*") if p.is_file()).read_bytes()
    name = "x.dcm"
    for depth in range(6):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(name, data)
        data, name = buffer.getvalue(), f"{depth}.zip"
    path = tmp_path / "deep.zip"
    path.write_bytes(data)
    result = scan([path])
    assert result.studies == ()
    assert "too deep" in result.problems[0].reason


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz"])
def test_a_cut_archive_is_refused(folder: Path, tmp_path: Path, ending: str) -> None:
    kind = {"zip": "zip", "tar.gz": "gztar", "tar.xz": "xztar"}[ending]
    path = Path(shutil.make_archive(str(tmp_path / "cut"), kind, folder))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = scan([path])
    assert "damaged or cut off" in result.problems[-1].reason


@pytest.mark.parametrize(
    ("name", "inside"),
    [("a/b.dcm", True), ("../a", False), ("/etc/x", False), ("a/../../b", False),
     ("C:/x", False), ("a\\..\\..\\b", False), ("", False)],
)  # fmt: skip
def test_names_inside(name: str, *, inside: bool) -> None:
    assert is_inside(name) is inside


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.dcm"
    shutil.copy(next(p for p in folder.rglob("*") if p.is_file()), outside)
    (folder / "out.dcm").symlink_to(outside)
    (folder / "zero.dcm").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder)
    (study,) = scan([folder]).studies
    assert len(study.series[0].instances) == 4


def test_a_pipe_is_refused_and_does_not_wait(folder: Path) -> None:
    os.mkfifo(folder / "pipe.dcm")
    result = scan([folder, folder / "pipe.dcm"])
    assert "pipe" in result.problems[0].reason
    assert len(result.studies) == 1


def test_what_is_not_there(tmp_path: Path) -> None:
    (problem,) = scan([tmp_path / "nothing"]).problems
    assert "no longer there" in problem.reason
    assert "No image" in scan([tmp_path]).problems[0].reason


def test_names_of_any_kind(tmp_path: Path) -> None:
    data = write_ct(tmp_path / "src", SMALL)[0].read_bytes()
    target = tmp_path / "odd"
    target.mkdir()
    for name in (b"\xff\xfe_bad", b"new\nline", b"n" * 250, "名前".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(target), name))).write_bytes(data)  # noqa: PTH118
    result = scan([target])
    assert len(result.studies[0].series[0].instances) == 1
    assert [problem.severity for problem in result.problems] == [Severity.WARNING] * 3


def test_the_same_image_twice_is_read_once(folder: Path) -> None:
    shutil.copytree(folder / "a", folder / "copy")
    result = scan([folder])
    assert np.array_equal(values_of(result), SMALL.values())
    assert all("copy" in problem.reason for problem in result.problems)
    assert len(result.problems) == 4


def test_one_identifier_for_different_images_is_told(tmp_path: Path) -> None:
    same = {"SOPInstanceUID": uid("one")}
    write_ct(tmp_path, SMALL, CtOptions(extra=same))
    result = scan([tmp_path])
    assert sum("same identifier" in problem.reason for problem in result.problems) == 3
    assert np.array_equal(values_of(result), SMALL.values())


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_stands_for_its_folder(folder: Path) -> None:
    record = Dataset()
    record.DirectoryRecordType, record.PatientID = "PATIENT", "PHANTOM-1"
    index = new_dataset(Who(), MediaStorageDirectoryStorage, uid("dir"), "", uid("none"))
    images = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        images.append(Dataset())
        images[-1].ReferencedFileID = list(path.relative_to(folder).parts)
    directory = Dataset()
    directory.file_meta = index.file_meta
    directory.FileSetID, directory.DirectoryRecordSequence = (
        "DISK",
        DicomSequence([record, *images]),
    )
    save(directory, folder / "DICOMDIR")
    for given in (folder, folder / "DICOMDIR"):
        result = scan([given])
        assert result.problems == ()
        assert np.array_equal(values_of(result), SMALL.values())
    for path in folder.rglob("ct*"):
        path.unlink()
    missing = scan([folder]).problems
    assert len(missing) == 4
    assert all("it is not there" in problem.reason for problem in missing)
    assert not any(problem.path.exists() for problem in missing)


def test_objects_that_are_no_images_are_listed_as_what_they_are(tmp_path: Path) -> None:
    for n, (sop_class, modality) in enumerate(
        [(RTStructureSetStorage, "RTSTRUCT"), (EncapsulatedPDFStorage, "DOC")]
    ):
        save(new_dataset(Who(), sop_class, uid(n), modality, uid("s", n)), tmp_path / str(n))
    (study,) = scan([tmp_path]).studies
    assert {series.kind for series in study.series} == {
        SeriesKind.STRUCTURE_SET,
        SeriesKind.DOCUMENT,
    }
    for series in study.series:
        assert plan(series).volumes == ()
        assert plan(series).problems == ()


def test_several_kinds_in_one_study(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct", SMALL)
    write_projection(tmp_path / "dx")
    write_enhanced(tmp_path / "mf", SMALL)
    (study,) = scan([tmp_path]).studies
    assert {(series.modality, series.kind) for series in study.series} == {
        ("CT", SeriesKind.VOLUME),
        ("DX", SeriesKind.IMAGES),
        ("MR", SeriesKind.VOLUME),
    }


def test_missing_identifiers_are_made_the_same_every_time(tmp_path: Path) -> None:
    for n, ds in enumerate(ct_datasets(SMALL)):
        del ds.StudyInstanceUID
        del ds.SeriesInstanceUID
        save(ds, tmp_path / str(n))
    first, second = scan([tmp_path]), scan([tmp_path])
    assert first.studies[0].uid == second.studies[0].uid
    assert first.studies[0].uid.startswith("2.25.")
    assert np.array_equal(values_of(first), SMALL.values())


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    result = scan([tmp_path / ("x" * 300), tmp_path / "nul\0.dcm"])
    assert result.studies == ()
    assert [problem.reason for problem in result.problems] == ["The file cannot be opened"] * 2


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_named(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o000)
    assert "looked into" in scan([folder]).problems[0].reason
