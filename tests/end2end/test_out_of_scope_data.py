"""Real images that the shipped models are not made for: none gets a result that is not marked."""

from __future__ import annotations

from pathlib import Path

import pytest

from medview.core.clip import Clip
from medview.core.errors import ModelError
from medview.core.findings import Finding, ModelAuthor, Provenance, utc_now
from medview.core.jobs import InferenceResult
from medview.core.study import Study
from medview.core.volume import Volume
from medview.inference import orders
from medview.inference.catalog import Catalog
from medview.io.reading import load
from medview.io.scan import scan
from tests.helpers.desk import HIPPOCAMPUS
from tests.unit.services.test_jobs import Stage

pytestmark = pytest.mark.shared

PNEUMONIA = "pneumonia_mnist"
CHEST, HEAD, BODY, MOTION = "ct_chest_rules", "hippocampus_mr", "threshold_body", "motion"
#: Where an image lies, what it shows, and the shipped models that are not made for it.
IMAGES = (
    ("codecs/pydicom/693_J2KR.dcm", "CT of a head that names no part", (CHEST, HEAD, MOTION)),
    ("codecs/pydicom_core/image_dfl.dcm", "a screen shot", (CHEST, HEAD, BODY)),
    ("codecs/pydicom/color-pl.dcm", "a colour ultrasound picture", (CHEST, HEAD, BODY)),
    ("codecs/pydicom/emri_small.dcm", "MR of a head, coarse", (CHEST, HEAD, MOTION)),
    ("codecs/pydicom_core/CT_small.dcm", "one slice of a CT", (CHEST, HEAD, MOTION)),
    ("codecs/pydicom_core/MR_small.dcm", "one slice of an MR", (CHEST, HEAD, MOTION)),
    ("codecs/pydicom/MR-SIEMENS-DICOM-WithOverlays.dcm", "MR of a liver", (CHEST, HEAD, MOTION)),
    ("codecs/pydicom_core/examples_ybr_color.dcm", "a clip of a heart", (CHEST, HEAD, BODY)),
    ("codecs/pydicom/bad_sequence.dcm", "CT of a neck", (CHEST, HEAD, MOTION)),
    ("codecs/pydicom/explicit_VR-UN.dcm", "CT of a pancreas, one slice", (HEAD, MOTION)),
    ("codecs/pydicom_core/J2K_pixelrep_mismatch.dcm", "CT of a head", (CHEST, HEAD, MOTION)),
    ("charset/chrH31.dcm", "a picture of nothing", (CHEST, HEAD, BODY)),
    ("dicomdir/pydicom/77654033/CT2/17106", "CT of a head, tiny", (CHEST, HEAD, MOTION)),
    ("dicomdir/pydicom/77654033/CR1/6154", "an X-ray of a neck", (CHEST, HEAD, BODY, MOTION)),
    ("dicomdir/pydicom/98892003/MR700/4558", "angiography of a head", (CHEST, HEAD, MOTION)),
    ("pet_ct_mr_rtstruct/STS_012/dicom/STS_012/CT/image", "CT of a leg", (CHEST, HEAD, MOTION)),
    ("pet_ct_mr_rtstruct/STS_012/dicom/STS_012/PET/image", "PET of a leg", (CHEST, HEAD, MOTION)),
    ("pet_ct_mr_rtstruct/STS_012/dicom/STS_012/MR_T1/image", "MR of a leg", (CHEST, HEAD)),
    ("projection/CR-MONO1-10-chest", "an X-ray of a chest", (CHEST, HEAD, BODY, MOTION)),
    ("projection/CR-ModalitySequenceLUT.dcm", "an X-ray of teeth", (CHEST, HEAD, BODY, MOTION)),
    ("seg_sr/highdicom/dx_image.dcm", "an X-ray of a chest", (CHEST, HEAD, BODY, MOTION)),
    ("seg_sr/dcmqi/segmentations/ct-3slice", "CT of a liver, three slices", (CHEST, HEAD)),
    ("seg_sr/dcmqi_pm/paramaps/pm-example-slice.dcm", "diffusion in a prostate", (CHEST, HEAD)),
    ("multiframe/NM-MONO2-16-13x-heart", "scintigraphy of a heart", (CHEST, HEAD, BODY)),
    ("multiframe/US-PAL-8-10x-echo", "a clip of a heart", (CHEST, HEAD, BODY)),
    ("formats/nrrd/breast1_image.nrrd", "a breast in a NRRD file", (CHEST, HEAD, BODY)),
    ("formats/niivue/pcasl.nii.gz", "perfusion in a NIfTI file", (CHEST, HEAD)),
    ("video/lung_us/pocus_images/convex/Pneu_emdocs_1.png", "a screen shot", (CHEST, HEAD, BODY)),
)


def opened(path: Path) -> tuple[Study, Volume | Clip]:
    """The first image at a place, with its study."""
    for study in scan([path]).studies:
        for series in study.series:
            if series.kind.is_shown:
                loaded = load(series)
                return study, (*loaded.clips, *loaded.volumes)[0]
    raise AssertionError(f"nothing to see in {path}")


@pytest.mark.parametrize(("place", "shows", "models"), IMAGES, ids=[one[0] for one in IMAGES])
def test_no_model_says_anything_unmarked_of_what_it_is_not_made_for(
    shared: Path, resources: Path, tmp_path: Path, place: str, shows: str, models: tuple[str, ...]
) -> None:
    study, image = opened(shared / "data" / place)
    stage = Stage(tmp_path)
    stage.jobs._catalog = Catalog([resources / "models"])
    stage.work.open_studies((study,), ())
    (stage.work.add_clip if isinstance(image, Clip) else stage.work.add_volume)(image)
    for model in models if shows == "an X-ray of a chest" else (*models, PNEUMONIA):
        told = run_however(stage, model, image.uid)
        assert told is None or told, f"{model} would run on {shows} without a word"


def run_however(stage: Stage, model: str, image_uid: str) -> tuple[str, ...] | None:
    """What is marked on a result that a model gives there, even against its card; None: it cannot.

    The reader insists where the card speaks against it.
    """
    try:
        uid = stage.jobs.run(model, image_uid)
    except ModelError:
        try:
            uid = stage.jobs.run(model, image_uid, override=True)
        except ModelError:
            return None
        assert stage.work.jobs[uid].override_scope
    card = stage.jobs._catalog.card(model)
    author = ModelAuthor(card.id, card.version, card.sha256)
    found = Finding("Thing", HIPPOCAMPUS, Provenance(author, utc_now(), uid, (image_uid,)))
    result = InferenceResult(uid, findings=(found,))
    stage.say(orders.JobRunning(uid, "cpu"), orders.JobDone(uid, result))
    marked = stage.jobs.outcomes.result(uid).out_of_scope
    assert stage.work.findings[found.uid].provenance.cautions == marked
    return marked
