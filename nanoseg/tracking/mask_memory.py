"""The masks that McByte associates by: the last one of each track, moved with its box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from nanoseg.processing.masks import Crop
from nanoseg.types import Detections


class _Remembered(NamedTuple):
    """A track's last mask."""

    crop: Crop
    confidence: float
    xyxy: np.ndarray  # (4,) of its detection


class MovedMasks:
    """(N, H, W) bool masks that are drawn when they are indexed: McByte looks at those of ambiguous tracks alone."""

    def __init__(
        self,
        ids: Sequence[int],
        remembered: Mapping[int, _Remembered],
        boxes: Callable[[], Mapping[int, np.ndarray]],
        frame_hw: tuple[int, int],
    ) -> None:
        """Take the masks of tracks, and what returns where their boxes are expected by now."""
        self.shape = (len(ids), *frame_hw)
        self._ids, self._remembered, self._boxes = ids, remembered, boxes

    def __getitem__(self, index: int) -> np.ndarray:
        crop, _, xyxy = self._remembered[self._ids[index]]
        mask = np.zeros(self.shape[1:], np.bool_)
        moved = self._boxes().get(self._ids[index], xyxy)
        x, y = np.round((moved[:2] + moved[2:] - xyxy[:2] - xyxy[2:]) / 2).astype(int).tolist()
        left, top = crop.left_px + x, crop.top_px + y
        height, width = crop.mask.shape
        inside = mask[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        first_row, first_column = max(-top, 0), max(-left, 0)
        inside[:] = crop.mask[first_row : first_row + inside.shape[0], first_column : first_column + inside.shape[1]]
        return mask


class MaskMemory:
    """The mask manager of a `McByteTracker`: it has the decoder's masks, so nothing is propagated."""

    def __init__(self, boxes: Callable[[], Mapping[int, np.ndarray]]) -> None:
        """Start without masks; `boxes` returns where the tracks are expected."""
        self._boxes = boxes
        self._remembered: dict[int, _Remembered] = {}
        self._frame_hw = (0, 0)

    def __deepcopy__(self, _: Any) -> MaskMemory:
        return self  # a copy of the tracker looks ahead, and remembers nothing

    def remember(self, found: Detections, ids: np.ndarray) -> None:
        """Take the masks of a frame's objects with their identities, (N,)."""
        self._frame_hw = found.masks.geometry.frame_hw
        for index in np.flatnonzero(ids >= 0).tolist():
            crop = found.masks.crop(index)
            self._remembered[int(ids[index])] = _Remembered(
                crop, float(found.mask_confidence[index]), found.xyxy[index]
            )

    def reset(self) -> None:
        """Forget all."""
        self._remembered.clear()

    def get_updated_masks(self, *, removed_tracklet_ids: Sequence[int] = (), **_: Any) -> Any:
        """Return the masks of the tracks as the library's MaskOutput; called before a frame's objects are associated.

        Args:
            removed_tracklet_ids: Of tracks that have ended.
        """
        from trackers.core.mcbyte.masks import MaskOutput

        for removed in removed_tracklet_ids:
            self._remembered.pop(removed, None)
        ids = list(self._remembered)
        return MaskOutput(
            masks=cast(Any, MovedMasks(ids, self._remembered, self._boxes, self._frame_hw)),
            tracklet_mask_dict={track_id: index for index, track_id in enumerate(ids)},
            mask_avg_prob_dict={track_id: self._remembered[track_id].confidence for track_id in ids},
        )
