"""What is known of TotalSegmentator's weights beyond what their nnU-Net folders say.

Names of data sets and releases: github.com/wasserth/TotalSegmentator. Only its openly licensed
tasks are known here: `total`, `total_mr` and `body`; a folder of another task stays a plain
nnU-Net folder, whose licence is for its makers to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"Dataset\d{3}_(?P<family>TotalSeg[A-Za-z]*|(?:mri_)?body)_(?P<rest>\w+)")
#: What names of data sets hold beside what was drawn: parts, spacing, number of subjects.
_NOISE = re.compile(r"(?:^|_)(?:part\d|\d+mm|\d+subj)(?=_|$)")
_CT = "Wasserthal et al., Radiology: Artificial Intelligence 2023, doi:10.1148/ryai.230024"
_MR = "Akinci D'Antonoli et al., Radiology 2025, doi:10.1148/radiol.241613"
#: Hospital patients; images of children were left out.
ADULTS = (18.0, 110.0)


@dataclass(frozen=True)
class Facts:
    """What a card says of a folder of TotalSegmentator."""

    title: str
    modality: tuple[str, ...]
    authors: str
    intended_use: str
    limitations: tuple[str, ...]
    license: str = "Apache-2.0 (TotalSegmentator's open tasks)"
    data_source: str = (
        "Images of hospital patients, labelled by networks and corrected by people; cite the paper"
        " of the authors"
    )


def facts_of(name: str, spacing_mm: tuple[float, float, float] | None) -> Facts | None:
    """What is known of the data set of that name; None for one that is not TotalSegmentator's."""
    known = _NAME.search(name)
    if known is None:
        return None
    is_mr = "mri" in known["family"].lower()
    what = _NOISE.sub("", known["rest"]).strip("_").replace("_", " ")
    body = "body" if "body" in known["family"] else what or "structures"
    step = f"{max(spacing_mm):g} mm" if spacing_mm else ""
    modality = "MR" if is_mr else "CT"
    limits = (
        "Made for adults: what it says of children was not measured.",
        f"It looks at voxels of {step or 'its own size'}: smaller structures are lost, borders are"
        " as coarse as that.",
        "Its labels were made with the help of earlier networks: where those err, it may err.",
        "The network is run alone: the steps that TotalSegmentator's own program adds for some"
        " tasks (cropping, cleaning, putting parts together) are left out.",
    )
    return Facts(
        title=f"TotalSegmentator {modality}: {body}{f', {step}' if step else ''}",
        modality=(modality,),
        authors=_MR if is_mr else _CT,
        intended_use=f"Outlining structures of the body in {modality} of adults, for research.",
        limitations=limits,
    )
