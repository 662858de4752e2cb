"""Estimated times of layers, by hand."""

import pytest

from nanoseg.benchmark.boards import Board
from nanoseg.benchmark.layer import Layer, work_of
from nanoseg.benchmark.layer_time import Constants, LayerTime, binds
from nanoseg.benchmark.roofline import Work

ROUND = Board("of round figures", 100, {"int8": 40, "fp16": 20, "fp32": 10}, 5, 2000)
HALVES = Constants(0.5, 0.25, 0.5, 10)  # 50 MB a ms; 5, 5, 2.5 and 1.25 G multiply-adds a ms; 5 us a kernel


def a_layer(mb=0.0, gmacs=0.0, precision="fp16", tensor_cores=True):
    third = int(mb * 1e6 / 4)
    return Layer("Conv", precision, int(gmacs * 1e9), tensor_cores, 2 * third, third, third)


@pytest.mark.parametrize(
    ("layer", "ms", "bound"),
    [
        (a_layer(mb=50), 1.005, "memory"),
        (a_layer(gmacs=10), 2.005, "arithmetic"),
        (a_layer(gmacs=10, precision="int8"), 2.005, "arithmetic"),
        (a_layer(gmacs=10, precision="fp32"), 4.005, "arithmetic"),
        (a_layer(gmacs=10, tensor_cores=False), 8.005, "arithmetic"),
        (a_layer(mb=150, gmacs=20), 5.005, "arithmetic"),  # 3 and 4 ms: neither hides the other wholly
        (a_layer(mb=0.05), 0.006, "launches"),
    ],
)
def test_time_of_a_layer(layer, ms, bound):
    found = LayerTime.of(layer, ROUND, HALVES)
    assert found.ms == pytest.approx(ms)
    assert binds([found]) == bound


def test_work_of_layers_adds_them_up():
    layers = [a_layer(4, 1), a_layer(8, 2, "int8"), a_layer(4, 1), Layer("Relu", "", 0, True, 1, 1, 0)]
    assert work_of(layers) == Work(4, 16.000002, {"fp16": 2, "int8": 2})
