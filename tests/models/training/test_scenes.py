"""How training sees scenes: mirrored with their truth, in an order that can be taken up again."""

import numpy as np
import pytest

from nanoseg.evaluation.scenes import Scene, SimulatedScenes
from nanoseg.models.training.scenes import indices, mirror


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_a_mirrored_scene_keeps_boxes_on_masks(horizontal, vertical):
    scene = SimulatedScenes(validation=True)[3]
    turned = mirror(scene, horizontal, vertical)
    for box, mask in zip(turned.xyxy, turned.masks(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    back = mirror(turned, horizontal, vertical)
    assert np.array_equal(back.image, scene.image)
    assert np.array_equal(back.masks(), scene.masks())


class Few:
    """A data set that ends, of a bright square in some of its pictures."""

    labels, mirrored = ("square",), False

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
def test_an_epoch_holds_every_scene_once_in_an_order_of_its_own(count):
    scenes = Few([1] * count)
    seen = np.array([index for step in range(count) for index in indices(scenes, step, 3, seed=1)])
    epochs = (seen.reshape(3, count) % count).tolist()
    assert [sorted(epoch) for epoch in epochs] == [list(range(count))] * 3
    assert len(set(seen.tolist())) == 3 * count  # the same picture is mirrored and relit anew
    assert count < 12 or epochs[0] != epochs[1]


def test_simulated_scenes_are_taken_in_order():
    assert indices(SimulatedScenes(), 7, 4, seed=3) == [28, 29, 30, 31]
