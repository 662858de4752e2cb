"""The search for the fewest layers to keep out of INT8, on networks whose drops are known."""

import pytest

from nanoseg.onnx_graphs.int8.mixed_precision import select_layers

LAYERS = tuple(f"layer{i}" for i in range(64))


class Network:
    """Each layer has its own cost; no choice of layers may be measured twice."""

    def __init__(self, costs):
        self.costs, self.measured = dict(zip(LAYERS, costs, strict=False)), []
        self.rankings = 0

    def ranked(self):
        self.rankings += 1
        return sorted(self.costs, key=self.costs.__getitem__, reverse=True)

    def drop(self, kept):
        assert tuple(kept) not in self.measured
        self.measured.append(tuple(kept))
        return sum(cost for layer, cost in self.costs.items() if layer not in kept)


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5, 7, 8, 13, 31, 32, 33, 63])
def test_mixed_precision_keeps_the_fewest_layers(needed):
    costs = [1.0 if i < needed else 1e-4 for i in range(64)]
    network = Network(costs)
    found = select_layers(network.ranked, network.drop, budget=0.1)
    assert found.kept == LAYERS[:needed]
    assert found.within
    assert found.drop == network.drop((*LAYERS[:needed], "measured again")) <= 0.1
    assert len(found.trials) == len(network.measured) - 1 <= 14
    fewer = "none" if needed == 1 else str(needed - 1)
    assert found.reason() == f"with {fewer} kept out it would be {1 + (64 - needed) * 1e-4:.2f}"


def test_mixed_precision_within_budget_ranks_nothing():
    network = Network([0.001] * 64)
    found = select_layers(network.ranked, network.drop, budget=0.3)
    assert (found.kept, found.within, network.rankings) == ((), True, 0)
    assert found.reason() == "all layers in INT8 are within it"


@pytest.mark.parametrize("layers", [1, 2, 6, 64])
def test_mixed_precision_out_of_reach(layers):
    network = Network([1.0] * layers)
    found = select_layers(network.ranked, lambda kept: network.drop(kept) + 5, budget=0.3)
    assert (found.kept, found.within, found.drop) == (LAYERS[:layers], False, 5)
    assert found.reason() == f"out of reach: with all {layers} layers kept out the drop is still 5.00"


@pytest.mark.parametrize("noise", [0, 1, 2, 3])
def test_mixed_precision_of_an_unsteady_drop(noise):
    steady = Network([2.0**-i for i in range(64)])

    def drop(kept):
        return steady.drop(kept) + 0.05 * ((len(kept) + noise) % 3)

    found = select_layers(steady.ranked, drop, budget=0.2)
    assert found.within
    measured = {trial.kept: trial.drop for trial in found.trials}
    assert measured[len(found.kept)] == found.drop
    assert measured[len(found.kept) - 1] > 0.2
