"""The masks that McByte associates by."""

import numpy as np
import pytest

from nanoseg.tracking.library import open_tracks
from nanoseg.tracking.mask_memory import MaskMemory, MovedMasks
from tests.tracking.moving import FRAME_HW, a_frame, seen

BOX = np.array([40, 50, 80, 90])


@pytest.mark.parametrize("moved", [(0, 0), (7, -3), (-60, 0), (0, -70), (250, 170), (400, 0)])
def test_masks_move_with_their_boxes(moved):
    found = seen([BOX])
    memory = MaskMemory(lambda: {4: (BOX + np.tile(moved, 2)).astype(np.float32)})
    memory.remember(found, np.array([4]))
    masks = memory.get_updated_masks(removed_tracklet_ids=[])
    assert masks.tracklet_mask_dict == {4: 0}
    assert masks.masks.shape == (1, *FRAME_HW)
    expected = np.zeros(FRAME_HW, bool)
    for y, x in np.argwhere(found.mask[0]) + moved[::-1]:
        if 0 <= y < FRAME_HW[0] and 0 <= x < FRAME_HW[1]:
            expected[y, x] = True
    assert (masks.masks[0] == expected).all()


def test_masks_of_ended_tracks_are_forgotten():
    memory = MaskMemory(dict)
    memory.remember(seen([BOX, BOX + 100]), np.array([4, -1]))
    assert memory.get_updated_masks(removed_tracklet_ids=[]).tracklet_mask_dict == {4: 0}
    assert memory.get_updated_masks(removed_tracklet_ids=[4]).tracklet_mask_dict == {}


@pytest.mark.parametrize(("apart_px", "asked"), [(120, False), (10, True)])
def test_masks_are_looked_at_where_boxes_are_ambiguous(monkeypatch, apart_px, asked):
    looked_at = []
    draw = MovedMasks.__getitem__
    monkeypatch.setattr(MovedMasks, "__getitem__", lambda self, index: looked_at.append(index) or draw(self, index))
    tracks = open_tracks("mcbyte")
    for index in range(6):
        ids = tracks.identify(a_frame(index), seen([BOX + index, BOX + index + apart_px])).track_id.tolist()
    assert ids == [1, 2]
    assert bool(looked_at) == asked
