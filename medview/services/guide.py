"""Guide: takes the views to a finding, in the window and at the size it is judged best in."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from medview.core.codes import HOUNSFIELD
from medview.core.findings import Finding, Point, SegmentRef
from medview.core.geometry import Box
from medview.core.views import Plane
from medview.core.volume import Volume
from medview.imaging.boxes import index_box
from medview.imaging.windowing import Preset, preset_for
from medview.services.result_overlay import ResultOverlay
from medview.services.settings import Settings
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace

#: A finding takes this share of the view, and never less than so many millimetres are seen.
_SHARE, _LEAST_MM = 0.35, 60.0
#: Boxes of segments that are remembered: they cost a pass over all labels.
_REMEMBERED = 256
FloatArray = npt.NDArray[np.float64]


class Guide:
    """Shows a finding: its image, its place, and, unless the settings say no, its window and zoom.

    A CT is shown in the preset of what was found; other images keep the window they have. The
    zoom gives the finding a third of the view with some of what lies around it.
    """

    def __init__(self, viewing: Viewing, results: ResultOverlay, settings: Settings) -> None:
        self._viewing = viewing
        self._workspace = viewing.workspace
        self._results = results
        self._settings = settings
        self._boxes: OrderedDict[tuple[str, int, int], Box | None] = OrderedDict()

    def go_to(self, finding: Finding) -> None:
        """Have the finding at hand and show it; one without a place leaves the views alone."""
        self._results.take_up(finding.uid)
        self._show_image(finding)
        self._choose_segment(finding.segment_ref)
        picture = self._viewing.picture
        if picture is None:
            return
        corners = self._corners(finding, picture)
        point = self._point(finding, picture, corners)
        if point is None:
            return
        self._go_to_frame(finding)
        self._viewing.set_crosshair(point)
        if self._settings.flag("finding.window"):
            self._set_window(finding, picture)
        if corners is not None and self._settings.flag("finding.zoom"):
            self._frame(point, corners, picture)

    # The image

    def _show_image(self, finding: Finding) -> None:
        """Show the volume or clip that the finding was made on, if another one is on show."""
        picture = self._viewing.picture
        wanted = made_on(self._workspace, finding)
        if finding.segment_ref is None:
            if picture is not None and self._results.lies_on(finding, picture):
                return
            wanted = (*wanted, *self._with_instance(finding))
        known = {*self._workspace.volumes, *self._workspace.clips}
        chosen = next((uid for uid in wanted if uid in known), "")
        if chosen and (picture is None or picture.uid != chosen):
            self._viewing.show_volume(chosen)

    def _with_instance(self, finding: Finding) -> list[str]:
        """The volumes that hold the object a picture's box names."""
        box = finding.picture_box
        if box is None or not box.sop_instance_uid:
            return []
        volumes = self._workspace.volumes.values()
        return [one.uid for one in volumes if box.sop_instance_uid in one.instance_uids]

    def _choose_segment(self, ref: SegmentRef | None) -> None:
        segmentation = self._workspace.segmentations.get(ref.segmentation_uid) if ref else None
        numbers = () if segmentation is None else tuple(s.number for s in segmentation.segments)
        if ref is not None and ref.number in numbers:
            self._viewing.overlay.select(ref)

    def _go_to_frame(self, finding: Finding) -> None:
        if self._viewing.clip is not None and finding.picture_box is not None:
            self._viewing.cine.pause()
            self._viewing.cine.go_to(finding.picture_box.slice_index)

    # Place, window, size

    def _point(self, finding: Finding, picture: Volume, corners: FloatArray | None) -> Point | None:
        if finding.location_lps_mm is not None:
            return finding.location_lps_mm
        if corners is None:
            return None
        x, y, z = (float(value) for value in corners.mean(axis=0))
        if finding.picture_box is None:
            return (x, y, z)
        # The frame of a picture's box counts as a whole: its middle is the slice itself.
        index = picture.geometry.to_index((x, y, z))
        x, y, z = (
            float(value)
            for value in picture.geometry.to_lps_mm(
                (finding.picture_box.slice_index, index[1], index[2])
            )
        )
        return (x, y, z)

    def _corners(self, finding: Finding, picture: Volume) -> FloatArray | None:
        """The corners of what was found, (8, 3) in LPS mm; None where it has no extent here."""
        found = self._index_box(finding, picture)
        if found is None:
            return None
        low, high = found
        corners = [
            picture.geometry.to_lps_mm((k - 0.5, j - 0.5, i - 0.5))
            for k in (low[0], high[0])
            for j in (low[1], high[1])
            for i in (low[2], high[2])
        ]
        return np.array(corners)

    def _index_box(self, finding: Finding, picture: Volume) -> tuple[FloatArray, FloatArray] | None:
        ref = finding.segment_ref
        segmentation = self._workspace.segmentations.get(ref.segmentation_uid) if ref else None
        if segmentation is not None and ref is not None:
            box = self._segment_box(ref)
            if box is None or segmentation.volume_uid != picture.uid:
                return None
            return np.array(box.start, np.float64), np.array(box.stop, np.float64)
        if not self._results.lies_on(finding, picture):
            return None
        return index_box(finding, picture.geometry)

    def _segment_box(self, ref: SegmentRef) -> Box | None:
        segmentation = self._workspace.segmentations[ref.segmentation_uid]
        key = (segmentation.uid, segmentation.revision, ref.number)
        if key not in self._boxes:
            self._boxes[key] = Box.of(segmentation.labels == ref.number)
            while len(self._boxes) > _REMEMBERED:
                self._boxes.popitem(last=False)
        return self._boxes[key]

    def _set_window(self, finding: Finding, picture: Volume) -> None:
        series = self._workspace.series(picture.series_uid)
        preset = window_for(finding, picture, f"{series.body_part} {series.description}")
        if preset is not None:
            self._viewing.set_window(preset.window)

    def _frame(self, middle: Point, corners: FloatArray, picture: Volume) -> None:
        """Zoom every view so that the finding takes its share of it, its middle in the middle."""
        for row in self._viewing.layout.rows:
            for name in row:
                if name == "volume":
                    continue
                plane = Plane(name)
                frame = self._viewing.frame(plane)
                flat = np.array([frame.to_plane_mm(corner) for corner in corners])
                wanted = float(np.ptp(flat, axis=0).max()) / _SHARE
                left, top, right, bottom = frame.extent_mm
                whole = max(right - left, bottom - top)
                least = _LEAST_MM if picture.geometry.in_patient_space else whole / 4
                zoom = whole / max(wanted, least)
                if zoom > 1:
                    self._viewing.set_view(plane, center_lps_mm=middle, zoom=zoom)
                else:
                    # All of the image is seen: off its middle a part of it would be cut off.
                    self._viewing.fit(plane)


def made_on(workspace: Workspace, finding: Finding) -> tuple[str, ...]:
    """The UIDs of the images a finding was made on: that of its segment, else what its run saw."""
    ref = finding.segment_ref
    segmentation = workspace.segmentations.get(ref.segmentation_uid) if ref else None
    if segmentation is not None:
        return (segmentation.volume_uid,)
    job = workspace.jobs.get(finding.provenance.job_uid)
    inputs = () if job is None else tuple(item.uid for item in job.inputs)
    return (*finding.provenance.derived_from, *inputs)


def window_for(finding: Finding, volume: Volume, about: str = "") -> Preset | None:
    """The CT preset for what was found; None for other images and where nothing tells.

    `about` has words of the series: they count where the finding's own say nothing.
    """
    if volume.unit != HOUNSFIELD.value or volume.channels != 1:
        return None
    site = finding.site.meaning if finding.site is not None else ""
    return preset_for(f"{finding.label} {finding.code.meaning} {site}", about)
