"""What a FHIR bundle says of who found what."""

from __future__ import annotations

from dataclasses import replace

from medview.core.findings import Laterality, ModelAuthor, Person, Provenance
from medview.core.report import Report
from medview.core.study import Patient, Study
from medview.reporting.fhir import bundle_of
from tests.helpers.exports import AT, BY_MODEL, MODEL, finding


def test_a_model_is_the_device_of_what_a_person_drew_with_it() -> None:
    one = finding("Left lobe", Laterality.LEFT, 3.4)
    clicks, other = ModelAuthor("clicks", "2.1.0", ""), ModelAuthor("second", "3.0", "")
    drawn = Provenance(Person("Dr Reader"), AT)
    made_by = (
        BY_MODEL,
        replace(BY_MODEL, aids=(clicks,)),
        replace(drawn, aids=(clicks, other)),
        drawn,
    )
    findings = tuple(replace(one, provenance=by, uid=f"1.2.{n}") for n, by in enumerate(made_by))
    bundle = bundle_of(Report("1.2", findings=findings), Study("1.2", Patient("7", "DOE^J")))
    told = [entry["resource"] for entry in bundle["entry"]]
    seen = [one for one in told if one["resourceType"] == "Observation"]
    author, helped = f"{MODEL.model_id} {MODEL.version}", "clicks 2.1.0 (helped to draw it)"
    assert [one.get("device") for one in seen] == [
        {"display": author},
        {"display": f"{author}, {helped}"},
        {"display": f"{helped}, second 3.0 (helped to draw it)"},
        None,
    ]
    assert {one["performer"][0]["display"] for one in seen} == {"Dr Reader"}
