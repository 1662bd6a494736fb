"""What is in files, and what a model is, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from medview.core.models import ModelCard


def info_text(described: Mapping[str, Any]) -> str:
    """The JSON of `medview info` as lines for people."""
    lines: list[str] = []
    for patient in described["patients"]:
        lines.append(f"Patient {patient['name'] or '(no name)'} [{patient['id']}]")
        for study in patient["studies"]:
            lines.append(f"  Study {study['date']} {study['description']}".rstrip())
            for series in study["series"]:
                lines.extend(_series_lines(series))
    lines += [f"{p['severity']}: {p['path']}: {p['reason']}" for p in described["problems"]]
    return "".join(f"{line}\n" for line in lines)


def _series_lines(series: Mapping[str, Any]) -> Iterator[str]:
    head = f"    {series['modality']} {series['description']}".rstrip()
    yield f"{head}: {series['kind']}, {series['instances']} file(s)  {series['uid']}"
    for volume in series["volumes"]:
        shape = " x ".join(str(n) for n in volume["shape"])
        spacing = volume["spacing_mm"]
        step = " x ".join(f"{n:.4g}" for n in spacing) + " mm" if spacing else "no millimetres"
        values = f"{volume['min']:g} to {volume['max']:g} {volume['unit']}"
        yield f"      {shape} voxels of {step}, {values}"
    for clip in series["clips"]:
        yield f"      clip of {clip['shape'][0]} frames"
    for note in series["notes"]:
        yield f"      note: {note}"


def card_text(card: ModelCard) -> str:
    """A model card as lines for people."""
    rows = [
        ("Model", f"{card.id} {card.version}"),
        ("Title", card.title),
        ("Task", card.task.value),
        ("Intended use", card.intended_use),
        ("Clinical use", "yes" if card.clinical_use else "no, not for clinical use"),
        ("Modality", ", ".join(card.scope.modality)),
        ("X-ray view", ", ".join(card.scope.views)),
        ("Body part", ", ".join(card.scope.body_part)),
        ("Finds", ", ".join(channel.label for channel in card.outputs.channels)),
        ("Data", card.data_source),
        ("Data licence", card.data_license),
        ("Licence", card.license),
        ("Weights", f"{card.weights} sha256 {card.sha256}" if card.weights else ""),
        ("Trained by", card.train_command),
        ("Format", "" if card.format == "medview" else card.format),
        ("Program", f"{card.code}: {'trusted' if card.trusted else 'not trusted'}"
         if card.code else ""),
        ("Folder", f"sha256 {card.folder_sha256}" if card.folder_sha256 else ""),
    ]  # fmt: skip
    lines = [f"{name + ':':14} {text}" for name, text in rows if text]
    lines += [f"{'Limit:':14} {text}" for text in card.limitations]
    if card.metrics is not None:
        lines.append(f"{'Measured:':14} split {card.metrics.split}, {card.metrics.count} cases")
        for metric in card.metrics.values:
            ci95 = metric.ci95
            interval = f" (95 % interval {ci95[0]:.3f} to {ci95[1]:.3f})" if ci95 else ""
            lines.append(f"{'':14} {metric.name} {metric.value:.3f}{interval}")
    return "".join(f"{line}\n" for line in lines)
