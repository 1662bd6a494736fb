"""Key frames of boxes on clips: placed, moved, dropped, each a step that can be taken back."""

from __future__ import annotations

import numpy as np
import pytest

from medview.core.errors import CommandError
from medview.core.findings import Finding, ReviewState
from medview.imaging.boxes import box_on, key_boxes
from medview.services.audit import Audit
from medview.services.detections import Detections
from medview.services.outcomes import Outcomes
from medview.services.review import ReviewDesk
from medview.services.settings import Settings
from medview.services.store import Store
from medview.services.viewing import Viewing
from medview.services.workspace import Workspace
from tests.helpers import desk as made
from tests.helpers.clips import clip, open_clip


class Room:
    """A clip of ten frames on show, and one box on its third frame."""

    def __init__(self) -> None:
        self.work = Workspace(Settings(None))
        self.work.reader = "Dr Ada"
        self.viewing = Viewing(self.work, Settings(None))
        review = ReviewDesk(self.work, Audit(Store(None)), made.TEMPLATES)
        self.detections = Detections(self.viewing, review, Outcomes())
        open_clip(self.work, clip([n / 10 for n in range(10)]))
        self.viewing.show_series("1.3")
        self.uid = self.detections.add(box(2, 4, 6, 10, 14), "Valve")

    @property
    def finding(self) -> Finding:
        return self.work.findings[self.uid]

    def frames(self) -> list[int]:
        return [one.slice_index for one in key_boxes(self.finding)]


def box(frame: int, *edges: float) -> tuple[np.ndarray, np.ndarray]:
    top, left, bottom, right = edges
    return np.array([frame, top, left], float), np.array([frame + 1, bottom, right], float)


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_box_moved_on_another_frame_becomes_a_key_frame(room: Room) -> None:
    room.detections.reshape(room.uid, box(6, 8, 6, 18, 14))
    assert room.frames() == [2, 6]
    assert room.finding.picture_box is not None
    assert room.finding.picture_box.box_px == (4, 6, 10, 14), "the first one stays"
    between = box_on(room.finding, 4)
    assert between is not None
    assert between.box_px == (6, 6, 14, 14)
    assert room.finding.review.state is ReviewState.EDITED
    room.detections.reshape(room.uid, box(4, 5, 5, 12, 12))
    assert room.frames() == [2, 4, 6]
    room.detections.reshape(room.uid, box(2, 3, 3, 9, 9))
    assert room.finding.picture_box.box_px == (3, 3, 9, 9)
    assert room.work.history.undo_title == "Key frame 3: Valve"
    for frames in ([2, 4, 6], [2, 6], [2]):
        room.work.history.undo()
        assert room.frames() == frames


def test_a_key_frame_is_put_on_the_frame_on_show_and_taken_away(room: Room) -> None:
    room.viewing.cine.go_to(8)
    room.detections.put_key_frame(room.uid)
    assert room.frames() == [2, 8]
    assert key_boxes(room.finding)[1].box_px == (4, 6, 10, 14), "as on the nearest one"
    room.viewing.cine.go_to(5)
    with pytest.raises(CommandError, match="no key frame"):
        room.detections.drop_key_frame(room.uid)
    room.viewing.cine.go_to(2)
    room.detections.drop_key_frame(room.uid)
    assert room.frames() == [8]
    assert not room.finding.key_boxes
    room.viewing.cine.go_to(8)
    with pytest.raises(CommandError, match="only one"):
        room.detections.drop_key_frame(room.uid)


def test_boxes_that_are_joined_leave_their_key_frames_behind(room: Room) -> None:
    room.viewing.cine.go_to(8)
    room.detections.put_key_frame(room.uid)
    other = room.detections.add(box(2, 12, 6, 20, 14), "Valve")
    joined = room.work.findings[room.detections.merge([room.uid, other])]
    assert not joined.key_boxes
    assert joined.picture_box is not None
    assert joined.picture_box.box_px == (4, 6, 20, 14)
