"""Training scenes: mirrored with their ground truth, in an order that a resumed run continues."""

import numpy as np
import pytest

from nanoseg.evaluation.scenes import Scene
from nanoseg.evaluation.simulated_scenes import SimulatedScenes
from nanoseg.models.training.scenes import mirror, scene_indices


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_mirror_keeps_boxes_on_masks(horizontal, vertical):
    scene = SimulatedScenes(validation=True)[3]
    turned = mirror(scene, horizontal, vertical)
    for box, mask in zip(turned.xyxy, turned.masks(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    back = mirror(turned, horizontal, vertical)
    assert np.array_equal(back.image, scene.image)
    assert np.array_equal(back.masks(), scene.masks())


class FiniteScenes:
    """A finite data set with a square in some of its images."""

    labels, mirror_symmetric = ("square",), False

    def __init__(self, filled):
        self.filled = filled

    def __len__(self):
        return len(self.filled)

    def __getitem__(self, index):
        n = int(self.filled[index % len(self)])
        mask = np.zeros((n, 60, 60), bool)
        mask[:, 10:50, 10:50] = True
        image = np.full((60, 60, 3), 50, np.uint8)
        return Scene(image, np.array([[10, 10, 50, 50]] * n, np.float32).reshape(-1, 4), np.zeros(n, int), lambda: mask)


@pytest.mark.parametrize("count", [1, 5, 12])
def test_scene_indices_shuffle_each_epoch_on_its_own(count):
    scenes = FiniteScenes([1] * count)
    seen = np.array([index for step in range(count) for index in scene_indices(scenes, step, 3, seed=1)])
    epochs = (seen.reshape(3, count) % count).tolist()
    assert [sorted(epoch) for epoch in epochs] == [list(range(count))] * 3
    assert len(set(seen.tolist())) == 3 * count  # so that each epoch augments a scene anew
    assert count < 12 or epochs[0] != epochs[1]


def test_scene_indices_of_simulated_lines_are_in_order():
    assert scene_indices(SimulatedScenes(), 7, 4, seed=3) == [28, 29, 30, 31]
