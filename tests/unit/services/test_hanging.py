"""Hanging protocols: which series is shown first, and in which layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from medview.core.errors import MedviewError
from medview.core.study import Instance, Patient, Series, SeriesKind, Study
from medview.core.views import match
from medview.services.hanging import load_protocols


def series(
    description: str,
    modality: str,
    images: int,
    kind: SeriesKind = SeriesKind.VOLUME,
    **headers: str,
) -> Series:
    instances = tuple(Instance(f"{description}{n}", "1", "f") for n in range(images))
    return Series(description, "s", modality, description, instances, kind, headers=headers)


def choose(resources: Path, *found: Series) -> tuple[str, str]:
    study = Study("s", Patient("1", "A"), series=found)
    protocol, chosen = match(load_protocols(resources / "hanging"), study)
    return chosen.description, protocol.layout


def test_ct_shows_the_stack_and_not_the_scout(resources: Path) -> None:
    scout = series("Topogram 0.6", "CT", 2)
    thick, thin = series("Abdomen 5.0", "CT", 60), series("Abdomen 1.0 B30f", "CT", 400)
    assert choose(resources, scout, thick, thin) == ("Abdomen 1.0 B30f", "four")


def test_mr_prefers_a_three_dimensional_t1(resources: Path) -> None:
    found = (
        series("3-plane localizer", "MR", 30),
        series("Ax T2 TSE", "MR", 30, MRAcquisitionType="2D"),
        series("Sag MPRAGE", "MR", 192, MRAcquisitionType="3D"),
        series("Ax FLAIR", "MR", 40, MRAcquisitionType="2D"),
    )
    assert choose(resources, *found) == ("Sag MPRAGE", "four")


def test_projections_hang_one_by_one_frontal_first(resources: Path) -> None:
    lateral = series("Lateral", "DX", 1, SeriesKind.IMAGES, ViewPosition="LL")
    frontal = series("Frontal", "DX", 1, SeriesKind.IMAGES, ViewPosition="PA")
    assert choose(resources, lateral, frontal) == ("Frontal", "one")


def test_whatever_holds_pictures_is_shown(resources: Path) -> None:
    assert choose(resources, series("brain.nii", "OT", 100)) == ("brain.nii", "mpr")
    clip = series("Heart", "US", 1, SeriesKind.CLIP)
    assert choose(resources, clip) == ("Heart", "one")
    report = series("Report", "SR", 1, SeriesKind.REPORT)
    with pytest.raises(LookupError):
        choose(resources, report)


@pytest.mark.parametrize(
    "text",
    [
        "name = 'x'",
        "name = 'x'\nlayout = 'spiral'\nrules = []",
        "name = 'x'\nlayout = 'one'\n[[rules]]\nattribute = 'a'\nop = 'like'\nvalue = 'b'",
        "name = 'x'\nlayout = 'one'\n[[rules]]\nattribute = 'a'\nworth = 2",
        "not toml",
    ],
)
def test_a_wrong_protocol_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(MedviewError, match=r"mine\.toml"):
        load_protocols(tmp_path)
