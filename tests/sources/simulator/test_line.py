"""The simulated line: frames that depend on nothing but their index, and ground truth that fits them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.sources.simulator.line import LABELS, MIN_VISIBLE_PX, TEST_SEED, GroundTruth, SimulatedLine, line_from_url
from nanoseg.sources.simulator.shapes import PART_TYPES
from nanoseg.sources.simulator.sprites import Light, PartSpec, render

SIZES_WH = [(160, 120), (320, 240), (641, 479), (480, 640), (1920, 1080), (33, 700)]
SMALL, TINY = (320, 240), (160, 120)  # of a quarter the work each


def same(one: GroundTruth, other: GroundTruth) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("seed", [0, 3, TEST_SEED])
def test_line_frames_do_not_depend_on_earlier_ones(seed: int) -> None:
    in_order, at_random = SimulatedLine(seed, TINY), SimulatedLine(seed, TINY)
    forward = {i: in_order.sample(i) for i in range(0, 400, 25)}
    for i in np.random.default_rng(seed).permutation(sorted(forward)).tolist():
        frame, truth = at_random.sample(i)
        np.testing.assert_array_equal(frame.image, forward[i][0].image)
        assert same(truth, forward[i][1])
        assert same(truth, SimulatedLine(seed, TINY).truth(i))
        assert (frame.index, frame.image.dtype) == (i, np.uint8)


def test_line_frames_are_the_same_in_threads() -> None:
    line, alone = SimulatedLine(5, TINY), SimulatedLine(5, TINY)
    wanted = [i * 7 % 200 for i in range(60)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda i: line.frame(i).image, wanted))
    for i, image in zip(wanted, images, strict=True):
        np.testing.assert_array_equal(image, alone.frame(i).image)


def test_line_seeds_and_frames_differ() -> None:
    images = [SimulatedLine(seed, SMALL).frame(i).image for seed in range(4) for i in (0, 1)]
    for i, image in enumerate(images):
        assert not any(np.array_equal(image, other) for other in images[:i])


def test_line_iterates_without_end() -> None:
    line = SimulatedLine(2, SMALL)
    for i, frame in enumerate(islice(line, 5)):
        assert frame.index == i
        np.testing.assert_array_equal(frame.image, line.frame(i).image)


@pytest.mark.parametrize("size_wh", SIZES_WH)
@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_line_ground_truth_fits_the_frame(size_wh: tuple[int, int], seed: int) -> None:
    width, height = size_wh
    line = SimulatedLine(seed, size_wh, objects=9)
    for i in (0, 37, 1000):
        frame, truth = line.sample(i)
        assert frame.image.shape == (height, width, 3)
        assert truth.masks.shape == (len(truth), height, width)
        assert truth.masks.dtype == bool
        assert truth.xyxy.dtype == np.float32
        assert truth.masks.sum(axis=0).max(initial=0) <= 1, "visible masks are disjoint"
        assert len(set(truth.track_id.tolist())) == len(truth)
        assert ((truth.class_id >= 0) & (truth.class_id < len(LABELS))).all()
        for box, mask in zip(truth.xyxy, truth.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert len(rows) >= MIN_VISIBLE_PX
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("seed", range(6))
def test_line_parts_keep_their_identity_and_move_with_the_belt(seed: int) -> None:
    line = SimulatedLine(seed, SMALL)
    width, height = SMALL
    followed = 0
    for i in range(0, 200, 20):
        before, after = line.truth(i), line.truth(i + 1)
        step = np.subtract(line.travel_px(i + 1), line.travel_px(i))
        assert np.abs(np.abs(step).sum() - line.speed_px) <= 1
        later = {track: index for index, track in enumerate(after.track_id.tolist())}
        for index, track in enumerate(before.track_id.tolist()):
            x0, y0, x1, y1 = before.xyxy[index]
            if track not in later or min(x0, y0) < 8 or x1 > width - 8 or y1 > height - 8:
                continue
            followed += 1
            assert after.class_id[later[track]] == before.class_id[index]
            moved = np.roll(before.masks[index], (step[1], step[0]), axis=(0, 1))
            # A part that lies on top may itself have come into the frame; nothing else may change.
            assert (moved ^ after.masks[later[track]]).sum() <= 0.02 * moved.sum()
    assert followed > 5


def test_line_parts_enter_and_leave() -> None:
    line = SimulatedLine(1, SMALL)
    seen = [set(line.truth(i).track_id.tolist()) for i in (0, 1000)]
    assert seen[0]
    assert seen[1]
    assert not seen[0] & seen[1]
    assert min(seen[0]) >= 0


def test_line_masks_are_where_the_parts_are() -> None:
    """Against an independent image: the same line without parts differs inside the masks and not far away."""
    for seed in (1, 2, 6):
        line, bare = SimulatedLine(seed, objects=4), SimulatedLine(seed, objects=0)
        truth = line.truth(60)
        assert len(bare.truth(60)) == 0
        change = np.abs(line.frame(60).image.astype(int) - bare.frame(60).image).max(axis=2)
        inside = truth.masks.any(axis=0)
        assert (change[inside] > 8).mean() > 0.75
        assert (change[~inside] > 8).mean() < 0.12


@pytest.mark.parametrize("class_id", range(len(PART_TYPES)), ids=LABELS)
def test_sprites_have_the_size_of_their_part(class_id: int) -> None:
    for seed in range(4):
        sprite = render(PartSpec(class_id, 100, 0.0, seed), Light(1.0, 1.2, 0.5))
        rows, columns = np.nonzero(sprite.mask)
        sides = sorted([rows.max() - rows.min() + 1, columns.max() - columns.min() + 1])
        assert 97 <= sides[1] <= 101
        # Nothing is cut off at the sprite's border, the shadow neither.
        border = np.ones(sprite.mask.shape, bool)
        border[1:-1, 1:-1] = False
        assert not sprite.mask[border].any()
        assert sprite.keep[border].min() >= 245
        assert sprite.area_px == sprite.mask.sum()


@pytest.mark.parametrize("label", ["hex nut", "washer", "gear", "bearing", "L-bracket", "wing nut", "flange"])
def test_sprites_masks_have_through_holes(label: str) -> None:
    sprite = render(PartSpec(LABELS.index(label), 120, 0.3, 1), Light(1.0, 1.2, 0.5))
    outside = flood(~sprite.mask)
    assert (~sprite.mask & ~outside).sum() > 100


def flood(free: np.ndarray) -> np.ndarray:
    """Return the part of `free` that is connected to the border."""
    reached = np.zeros_like(free)
    reached[[0, -1]], reached[:, [0, -1]] = free[[0, -1]], free[:, [0, -1]]
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= free
        if np.array_equal(grown, reached):
            return reached
        reached = grown


def test_line_shows_every_label_and_some_overlap() -> None:
    assert len(LABELS) >= 8
    counts, hidden = np.zeros(len(LABELS), int), []
    for seed in range(TEST_SEED, TEST_SEED + 8):
        line = SimulatedLine(seed, TINY)
        for i in range(0, 1200, 120):
            truth = line.truth(i)
            counts += np.bincount(truth.class_id, minlength=len(LABELS))
            grown = truth.masks.copy()
            grown[:, 1:] |= truth.masks[:, :-1]
            grown[:, :, 1:] |= truth.masks[:, :, :-1]
            hidden.append(bool((grown.sum(axis=0) > 1).any()))
    assert counts.min() > 0
    assert 0.1 < np.mean(hidden) < 0.95


@pytest.mark.parametrize("objects", [2, 6, pytest.param(14, marks=pytest.mark.slow)])
def test_line_mean_number_of_parts(objects: int) -> None:
    lines = [SimulatedLine(seed, TINY, objects) for seed in range(8)]
    counts = [len(line.truth(i)) for line in lines for i in range(0, 2000, 200)]
    assert 0.75 * objects <= np.mean(counts) <= 1.2 * objects


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("parts://", (0, (640, 480), 6)),
        ("parts://?seed=7", (7, (640, 480), 6)),
        ("parts://?size=1280x720&objects=2.5&seed=3", (3, (1280, 720), 2.5)),
        ("parts:///?size=160X120", (0, (160, 120), 6)),
    ],
)
def test_line_from_url(url: str, wanted: tuple[int, tuple[int, int], float]) -> None:
    line = line_from_url(url)
    assert (line.seed, line.size_wh, line.objects) == wanted
    other = line_from_url(line.name)
    assert (other.seed, other.size_wh, other.objects) == wanted


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("parts://?sead=1", "sead"),
        ("parts://?seed=one", "one"),
        ("parts://?seed=-1", "-1"),
        ("parts://?seed=", "seed"),
        ("parts://?seed", "key=value"),
        ("parts://?size=640", "640"),
        ("parts://?size=8x8", "8x8"),
        ("parts://?size=99999x480", "99999"),
        ("parts://?size=640x480x3", "640x480x3"),
        ("parts://?objects=many", "many"),
        ("parts://?objects=-2", "-2"),
        ("parts://?objects=nan", "nan"),
        ("parts://?objects=1000", "1000"),
        ("parts://line1?seed=1", "line1"),
        ("rtsp://?seed=1", "parts://"),
    ],
)
def test_line_from_url_refuses(url: str, word: str) -> None:
    with pytest.raises(UsageError) as raised:
        line_from_url(url)
    assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_line_refuses_values_out_of_range() -> None:
    with pytest.raises(UsageError, match="part_px"):
        SimulatedLine(part_px=(90, 20))
    with pytest.raises(UsageError, match="numbered from 0"):
        SimulatedLine(size_wh=SMALL).frame(-1)
