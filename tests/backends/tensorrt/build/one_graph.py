"""One graph, its recipe, and a TensorRT of the test's own that builds it."""

import dataclasses
from pathlib import Path

import pytest

from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.engines.recipe import DimensionRange, Recipe
from nanoseg.errors import EngineError
from tests.fakes.tensorrt_builder import fake_builder

RECIPE = Recipe(
    "x.toml",
    Path("recipes/x.toml"),
    "int8",
    64,
    True,
    3,
    False,
    {"n": DimensionRange(1, 4, 8), "w": DimensionRange(2, 3, 5)},
)
CANNOT = "x.onnx: TensorRT 10.3.0 cannot"


def recipe(**changes):
    return dataclasses.replace(RECIPE, **changes)


def build(script, made=RECIPE, **options):
    return build_engine(fake_builder(script), b"graph", made, name="x.onnx", **options)


def refused(script, made=RECIPE, **options):
    with pytest.raises(EngineError) as error:
        build(script, made, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
