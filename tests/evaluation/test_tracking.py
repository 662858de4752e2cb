"""HOTA, IDF1, MOTA and sMOTA of small videos, whose figures are known from their definitions."""

import numpy as np
import pytest

pytest.importorskip("trackeval")

from nanoseg.evaluation.tracking import Video, mask_iou, score_tracks

SAME = np.eye(2)


def video(found_ids, iou=SAME, frames=10, truth_ids=(7, 9)):
    """Two objects, found with `found_ids(frame)`."""
    found = [np.array(found_ids(index), np.int64) for index in range(frames)]
    ious = [np.array(iou, float)[:, : len(each)] for each in found]
    return Video([np.array(truth_ids)] * frames, found, ious)


def test_perfect_tracks_score_one():
    scores = score_tracks(video(lambda _: (30, 4)))
    assert scores[:7] == pytest.approx((1, 1, 1, 1, 1, 1, 1))
    assert (scores.switches, scores.fragments) == (0, 0)


def test_missed_objects_lower_the_detection_alone():
    scores = score_tracks(video(lambda index: (1, 2) if index < 5 else (1,)))
    assert scores.deta == pytest.approx(15 / 20)
    assert scores.idf1 == pytest.approx(2 * 15 / (20 + 15))
    assert scores.mota == pytest.approx(15 / 20)
    assert scores.switches == 0


def test_another_identity_halfway_is_a_switch():
    scores = score_tracks(video(lambda index: (1, 2) if index < 5 else (1, 3)))
    assert scores.deta == pytest.approx(1)
    assert scores.assa == pytest.approx((10 * 1 + 10 * 0.5) / 20)  # of the second one, half the frames share a track
    assert scores.hota == pytest.approx(np.sqrt(scores.assa))
    assert scores.idf1 == pytest.approx(15 / 20)
    assert (scores.switches, scores.mota) == (1, pytest.approx(19 / 20))


def test_smota_counts_a_hit_by_its_iou():
    scores = score_tracks(video(lambda _: (1, 2), SAME * 0.8))
    assert (scores.mota, scores.smota) == (pytest.approx(1), pytest.approx(0.8))


def test_videos_without_anything_found_score_nothing():
    scores = score_tracks(video(lambda _: ()))
    assert (scores.hota, scores.idf1, scores.mota) == (0, 0, 0)


def test_mask_iou_is_that_of_sets():
    rng = np.random.default_rng(0)
    one, other = rng.random((3, 9, 11)) < 0.4, rng.random((4, 9, 11)) < 0.6
    one[1] = False
    expected = [[(a & b).sum() / (a | b).sum() for b in other] for a in one]
    np.testing.assert_allclose(mask_iou(one, other), expected, atol=1e-6)
    assert mask_iou(one[:0], other).shape == (0, 4)
    assert mask_iou(one[1:2], one[1:2]).tolist() == [[0]]
