"""A report as one HTML file: pictures inside, no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medview.core.models import ModelCard
from medview.core.report import Report
from medview.core.study import Series, Study
from medview.reporting.content import DISCLAIMER, sheet, visible

_PAGE = "report.html.j2"


def to_html(
    report: Report,
    study: Study,
    cards: Sequence[ModelCard] = (),
    *,
    templates: Path,
    series: Series | None = None,
) -> str:
    """The report as HTML; `templates` is the folder of report templates. All text is escaped."""
    page = sheet(report, study, cards, series)
    environment = Environment(
        loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined
    )
    numbers = {image.uid: n for n, image in enumerate(page.key_images, start=1)}
    images = {
        heading: [
            {
                "id": f"image-{numbers[image.uid]}",
                "caption": visible(image.caption),
                "data": base64.b64encode(image.png).decode("ascii"),
            }
            for image in page.images_under(heading)
        ]
        for heading in ("", *(heading for heading, _ in page.sections))
    }
    template = environment.get_template(_PAGE)
    return template.render(page=page, images=images, disclaimer=DISCLAIMER)
