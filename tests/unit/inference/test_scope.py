"""Whether a model fits an image, from headers as they are found in the wild."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medview.core.codes import Code
from medview.core.errors import ModelError
from medview.core.geometry import Calibration, Geometry
from medview.core.models import InputSpec, ModelCard, OutputChannel, OutputSpec, Scope, Task
from medview.core.study import Instance, Patient, Series, SeriesKind, Severity, Study
from medview.core.volume import Volume
from medview.inference.scope import (
    age_years,
    best_series,
    contrast_of,
    fit,
    fit_image,
    ranked,
    refusals,
)

HEAD = Scope(("MR",), ("HEAD", "BRAIN"), ("T1",), (18, 90), (0.5, 1.6))


def card(scope: Scope = HEAD, **fields: Any) -> ModelCard:
    code = Code("1", "99TEST", "thing")
    base = ModelCard(
        id="m",
        version="1",
        title="Head model",
        task=Task.SEGMENTATION,
        engine="a:B",
        intended_use="",
        limitations=(),
        scope=scope,
        inputs=InputSpec("RAS", (1, 1, 1)),
        outputs=OutputSpec("labels", (OutputChannel(1, "x", code, (0, 0, 0)),)),
    )
    return replace(base, **fields)


def series(uid: str = "s", images: int = 180, /, **fields: Any) -> Series:
    one = Instance("1.2", "1.2.840.10008.5.1.4.1.1.4", "a")
    values: dict[str, Any] = {
        "modality": "MR",
        "description": "T1 mprage",
        "body_part": "BRAIN",
        "headers": {"PatientAge": "040Y"},
    }
    return Series(uid, "study", instances=(one,) * images, **(values | fields))


def study(*series: Series, born: str = "", date: str = "20260110") -> Study:
    return Study("study", Patient("1", "A", born), date=date, series=series)


def grid(spacing: tuple[float, float, float] = (1, 1, 1), slices: int = 150) -> Geometry:
    return Geometry((slices, 200, 200), np.diag([*spacing, 1.0]))


def words(*reasons: Any) -> list[tuple[Severity, str]]:
    return [(reason.severity, reason.text) for reason in reasons]


def test_what_the_card_was_made_for_has_nothing_against_it() -> None:
    one = series()
    assert fit(card(), study(one), one, grid()) == ()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"modality": "CT"}, "The image is CT; the model is for MR."),
        ({"modality": "DX"}, "The image is DX; the model is for MR."),
        ({"body_part": "KNEE"}, "The image shows the knee; the model is for the head or brain."),
        ({"body_part": "CHEST^LUNG", "description": "T1"}, None),
        ({"body_part": "FOOT"}, "The image shows the foot; the model is for the head or brain."),
        ({"description": "ax T2 tse"}, "The headers say T2; the model is for T1 images."),
        ({"description": "t2_tirm"}, "The headers say FLAIR; the model is for T1 images."),
        ({"kind": SeriesKind.REPORT}, "The series holds no pictures but a report."),
        ({"headers": {"ImageType": "ORIGINAL\\PRIMARY\\LOCALIZER", "PatientAge": "040Y"}},
         "The series is a localizer."),
    ],
)  # fmt: skip
def test_other_images_are_refused_in_words(fields: dict[str, Any], text: str | None) -> None:
    one = series("s", 180, **fields)
    reasons = fit(card(), study(one), one)
    expected = (text,) if text else ()
    assert refusals(reasons) == expected


@pytest.mark.parametrize("part", ["HEAD", "Skull", "head_neck", "WHOLEBODY"])
def test_other_words_for_the_same_region_are_no_reason(part: str) -> None:
    one = series(body_part=part)
    assert fit(card(), study(one), one, grid()) == ()


UNSTATED = "The headers do not tell which part of the body"


@pytest.mark.parametrize(
    ("description", "study_says", "doubt"),
    [
        ("T1 5/5mm plain", "", UNSTATED),
        ("T1 head", "", ""),
        ("T1", "MRI Brain^routine", ""),
        ("T1 knee", "", "The description speaks of the limb; the model is for the head or brain."),
        ("T1", "Chest abdomen", "The description speaks of the abdomen or chest; the model is"),
    ],
)
def test_a_region_that_is_not_stated_is_a_doubt(
    description: str, study_says: str, doubt: str
) -> None:
    one = series(body_part="", description=description)
    seen = Study("study", Patient("1", "A"), study_says, "20260110", series=(one,))
    told = words(*fit(card(), seen, one, grid()))
    assert [severity for severity, _ in told] == [Severity.WARNING] * bool(doubt)
    assert all(doubt in text for _, text in told)
    anywhere = card(replace(HEAD, body_part=()))
    assert fit(anywhere, seen, one, grid()) == ()


FRONTAL = Scope(("DX", "CR"), ("CHEST",), views=("PA", "AP"))


@pytest.mark.parametrize(
    ("headers", "severity", "text"),
    [
        ({"ViewPosition": "PA", "PatientOrientation": "L\\F"}, None, ""),
        ({"ViewPosition": "PA"}, None, ""),
        ({"ViewPosition": "LL"}, Severity.REFUSED, "The view is LL; the model is for PA or AP."),
        ({}, Severity.WARNING, "The headers do not tell the view; the model is for PA or AP."),
        ({"ViewPosition": "AP", "PatientOrientation": "R\\F"}, Severity.WARNING, "mirrored"),
        ({"ViewPosition": "AP", "PatientOrientation": "F\\R"}, Severity.WARNING, "turned"),
    ],
)
def test_the_view_of_an_x_ray_picture(
    headers: dict[str, str], severity: Severity | None, text: str
) -> None:
    one = series("s", 1, modality="DX", body_part="CHEST", headers=headers)
    reasons = fit(card(FRONTAL, inputs=InputSpec(patch_shape=(64, 64))), study(one), one)
    assert [reason.severity for reason in reasons] == ([severity] if severity else [])
    assert all(text in reason.text for reason in reasons)


def turned(degrees: float, spacing: tuple[float, float, float] = (1, 1, 1)) -> Geometry:
    """A grid of axial slices turned about the patient's left-right axis."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    steps = np.array([[0, 0, 1.0], [-sin, cos, 0], [cos, sin, 0]]) * spacing
    affine = np.eye(4)
    affine[:3, :3] = steps
    return Geometry((150, 200, 200), affine)


@pytest.mark.parametrize(("degrees", "shown"), [(0, ""), (15, ""), (-32, "32°"), (90, "")])
def test_a_grid_askew_to_the_body_is_a_caution(degrees: float, shown: str) -> None:
    one = series()
    told = [reason.text for reason in fit(card(), study(one), one, turned(degrees))]
    assert len(told) == bool(shown)
    assert all(shown in text for text in told)
    for inputs in (InputSpec("RAS", (1, 1, 1), along_body=True), InputSpec("", (1, 1, 1)),
                   InputSpec("RAS", (1, 1, 1), localise="mni152")):  # fmt: skip
        assert fit(card(inputs=inputs), study(one), one, turned(degrees)) == ()


def test_thick_slices_in_another_plane_are_a_caution_for_models_of_slices() -> None:
    one, wide = series(), replace(HEAD, spacing_mm=None)
    slices = InputSpec("RAS", (1, 1, 3), patch_shape=(64, 64, 1))
    axial, coronal = turned(0, (3, 1, 1)), turned(90, (3, 1, 1))
    assert fit(card(wide, inputs=slices), study(one), one, axial) == ()
    (reason,) = fit(card(wide, inputs=slices), study(one), one, coronal)
    assert reason.text == "The slices are coronal and 3 mm apart; the model looks at axial ones."
    assert fit(card(wide, inputs=slices), study(one), one, turned(90)) == ()
    solid = InputSpec("RAS", (1, 1, 3), patch_shape=(64, 64, 64))
    assert fit(card(wide, inputs=solid), study(one), one, coronal) == ()


@pytest.mark.parametrize(
    ("fields", "geometry", "text"),
    [
        ({"modality": ""}, grid(), "The file does not say how the image was made"),
        ({"body_part": "ZYGOMA"}, grid(), "The image shows the zygoma"),
        ({"description": "sagittal"}, grid(), "The headers do not tell the contrast"),
        ({"headers": {}}, grid(), "The age is not known; the model is for 18 to 90 years."),
        ({"headers": {"PatientAge": "009Y"}}, grid(), "this patient is 9."),
        ({"headers": {"PatientAge": "006M"}}, grid(), "this patient is 0.5."),
        ({}, grid((6.5, 0.7, 0.7)), "Voxels are 6.5 × 0.7 × 0.7 mm; the model was made for 0.5"),
        ({}, grid((1, 0.3, 0.3)), "Voxels are 1 × 0.3 × 0.3 mm"),
    ],
)
def test_what_is_unusual_or_unstated_is_a_caution(
    fields: dict[str, Any], geometry: Geometry, text: str
) -> None:
    one = series("s", 180, **fields)
    (reason,) = fit(card(), study(one), one, geometry)
    assert reason.severity is Severity.WARNING
    assert text in reason.text
    assert not refusals([reason])


def test_no_patient_space_is_final_but_not_for_models_of_flat_pictures() -> None:
    flat = replace(grid(), calibration=Calibration.DETECTOR)
    one = series()
    reasons = fit(card(), study(one), one, flat)
    assert refusals(reasons, final_only=True)
    x_ray = card(Scope(("CR", "DX")), inputs=InputSpec())
    picture = series(modality="DX", body_part="CHEST")
    assert fit(x_ray, study(picture), picture, flat) == ()
    assert refusals(fit(x_ray, study(one), one, grid()))  # an MR is none of its matter


def test_a_single_image_is_no_volume() -> None:
    one = series("s", 1)
    assert refusals(fit(card(), study(one), one)) == (
        "The series has 1 image(s); the model looks at volumes.",
    )
    assert refusals(fit(card(), study(one), one, grid(slices=150))) == ()  # one file, many frames
    assert refusals(fit(card(), study(one), one, grid(slices=2)))


def test_channels_must_agree() -> None:
    one, shape = series(), (4, 5, 6)
    colour = Volume("v", "s", Geometry(shape, np.eye(4)), np.zeros((*shape, 3), np.uint8))
    reasons = fit_image(card(), study(one), one, colour)
    assert refusals(reasons, final_only=True) == (
        "The image is in colour; the model takes 1 channel(s).",
    )
    grey = Volume("v", "s", Geometry(shape, np.eye(4)), np.zeros(shape, np.uint8))
    assert fit_image(card(), study(one), one, grey) == ()
    # A model of stained nuclei is made for colours as for grey; others of pictures are warned.
    pictures = InputSpec(patch_shape=(64, 64))
    for spec, count in ((pictures, 1), (replace(pictures, grey="nuclear"), 0)):
        flat = Volume("v", "s", Geometry((1, 5, 6), np.eye(4)), np.zeros((1, 5, 6, 3), np.uint8))
        model = card(Scope(), inputs=spec)
        said = [r for r in fit_image(model, study(one), one, flat) if "colour" in r.text]
        assert len(said) == count


def test_an_empty_scope_limits_nothing() -> None:
    one = series(modality="PT", body_part="FOOT", headers={})
    assert fit(card(Scope()), study(one), one, grid((9, 9, 9))) == ()


TIMES = [  # milliseconds, from scanners' protocols
    ("MPRAGE", {"EchoTime": "2.98", "RepetitionTime": "2300", "InversionTime": "900"}, "T1"),
    ("spin echo", {"EchoTime": "12", "RepetitionTime": "550"}, "T1"),
    ("turbo spin echo", {"EchoTime": "98", "RepetitionTime": "5400"}, "T2"),
    ("fluid suppressed", {"EchoTime": "390", "RepetitionTime": "5000", "InversionTime": "1800"},
     "FLAIR"),
    ("proton density", {"EchoTime": "15", "RepetitionTime": "3200"}, "PD"),
    ("between", {"EchoTime": "45", "RepetitionTime": "2000"}, ""),
    ("echo planar", {"EchoTime": "90", "RepetitionTime": "4000", "ScanningSequence": "EP"}, ""),
    ("not a number", {"EchoTime": "fast"}, ""),
    ("several", {"EchoTime": "98\\120", "RepetitionTime": "4000"}, "T2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "headers", "contrast"), TIMES)
def test_contrast_by_times(name: str, headers: dict[str, str], contrast: str) -> None:
    assert contrast_of(series("s", 1, description="", headers=headers)) == contrast, name


@pytest.mark.parametrize(
    ("description", "contrast"),
    [
        ("t1_mprage_sag", "T1"),
        ("3D BRAVO", "T1"),
        ("AX T2 PROPELLER", "T2"),
        ("t2_spc_flair", "FLAIR"),
        ("ep2d_diff_ADC", "diffusion"),
        ("SWI_Images", "susceptibility"),
        ("Cor PD fs", "PD"),
        ("T1 and T2 maps", ""),
        ("PDF of the report", ""),
        ("localizer", ""),
    ],
)
def test_contrast_by_words(description: str, contrast: str) -> None:
    assert contrast_of(series("s", 1, description=description, headers={})) == contrast


def test_times_are_believed_over_words() -> None:
    wrong = series(description="T1", headers={"EchoTime": "100", "RepetitionTime": "4000"})
    assert contrast_of(wrong) == "T2"


@pytest.mark.parametrize(
    ("stated", "born", "date", "years"),
    [
        ("067Y", "19000101", "20260110", 67),
        ("018M", "", "", 1.5),
        ("010W", "", "", 70 / 365.25),
        ("003D", "", "", 3 / 365.25),
        ("", "19700110", "20260110", 56),
        ("", "1970-01-10", "2026.01.10", 56),
        ("67", "19700110", "20260110", 56),
    ],
)
def test_age_by_header_or_dates(stated: str, born: str, date: str, years: float) -> None:
    one = series(headers={"PatientAge": stated})
    assert age_years(study(one, born=born, date=date), one) == pytest.approx(years, abs=0.01)


@pytest.mark.parametrize("born", ["", "19991399", "20300101"])
def test_age_is_unknown_rather_than_guessed(born: str) -> None:
    one = series(headers={})
    assert age_years(study(one, born=born), one) is None


def test_the_best_series_is_the_one_with_least_against_it() -> None:
    t2 = series("t2", 200, description="T2 tse")
    thick = series("unsaid", 300, description="sag")
    small = series("small", 20)
    good = series("good", 180)
    report = series("report", 1, kind=SeriesKind.REPORT)
    choice = best_series(card(), [study(t2, thick, small, good, report)])
    assert choice.series.uid == "good"
    order = [candidate.series.uid for candidate in ranked(card(), [study(t2, thick, small, good)])]
    assert order == ["good", "small", "unsaid", "t2"]


def test_where_nothing_fits_the_reasons_are_given() -> None:
    with pytest.raises(ModelError) as refused:
        best_series(
            card(), [study(series("a", 9, modality="CT"), series("b", 9, body_part="KNEE"))]
        )
    assert refused.value.user_text == "No series fits Head model."
    assert "The image is CT" in refused.value.hint
    assert "shows the knee" in refused.value.hint
    with pytest.raises(ModelError) as nothing:
        best_series(card(), [study()])
    assert nothing.value.hint == "There is no series with pictures."
