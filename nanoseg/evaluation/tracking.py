"""Accuracy of tracking against the ground truth of a video: HOTA, IDF1, MOTA and, of masks, sMOTSA, by TrackEval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nanoseg.errors import needs


class TrackScores(NamedTuple):
    """Figures of one video in [0, 1]; MOTA and sMOTA may be below 0."""

    hota: float  # mean over the thresholds 0.05 to 0.95 of the geometric mean of detection and association
    deta: float  # its part of detection
    assa: float  # its part of association
    loca: float  # mean IoU of what is matched
    idf1: float
    mota: float
    smota: float  # MOTA with IoUs for hits: sMOTSA where they are those of masks
    switches: int  # of identity
    fragments: int


class Video(NamedTuple):
    """Truth and results of a video, frame by frame."""

    truth_ids: Sequence[np.ndarray]  # (n,) int
    found_ids: Sequence[np.ndarray]  # (m,) int
    ious: Sequence[np.ndarray]  # (n, m) of boxes, or of masks


def score_tracks(video: Video) -> TrackScores:
    """Compare identities with the truth, whatever the classes.

    Raises:
        DependencyError: TrackEval is not installed.
    """
    with needs("TrackEval", "bench"):
        from trackeval.metrics import CLEAR, HOTA, Identity
    truth_ids, truths = _numbered(video.truth_ids)
    found_ids, tracks = _numbered(video.found_ids)
    data = {
        "num_timesteps": len(truth_ids),
        "gt_ids": truth_ids,
        "tracker_ids": found_ids,
        "similarity_scores": list(video.ious),
        "num_gt_ids": truths,
        "num_tracker_ids": tracks,
        "num_gt_dets": sum(map(len, truth_ids)),
        "num_tracker_dets": sum(map(len, found_ids)),
    }
    hota = HOTA().eval_sequence(data)
    clear = CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    identity = Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    return TrackScores(
        hota=float(np.mean(hota["HOTA"])),
        deta=float(np.mean(hota["DetA"])),
        assa=float(np.mean(hota["AssA"])),
        loca=float(np.mean(hota["LocA"])),
        idf1=float(identity["IDF1"]),
        mota=float(clear["MOTA"]),
        smota=float(clear["sMOTA"]),
        switches=int(clear["IDSW"]),
        fragments=int(clear["Frag"]),
    )


def mask_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of masks (n, H, W) and (m, H, W), bool, as (n, m) float64; two empty masks have 0."""
    first, second = (
        masks.reshape(len(masks), int(np.prod(masks.shape[1:]))).astype(np.float32) for masks in (one, other)
    )
    shared = first @ second.T
    union = first.sum(1)[:, None] + second.sum(1)[None] - shared
    iou: np.ndarray = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return iou.astype(np.float64)


def _numbered(ids: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Return the same identities counted from 0 without gaps, and their number."""
    known, numbers = np.unique(np.concatenate([np.zeros(0, np.int64), *ids]), return_inverse=True)
    return np.split(numbers, np.cumsum([len(each) for each in ids])[:-1]), len(known)
