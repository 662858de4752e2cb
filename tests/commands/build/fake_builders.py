"""A fake builder with a device and a TensorRT, which records its calls."""

from dataclasses import dataclass

from nanoseg.backends.tensorrt.build.builder import Builder
from nanoseg.engines import Device
from tests.fakes.tensorrt_builder import Script, Tensor, fake_builder
from tests.helpers.engine_records import ORIN

NAMES = ["prepare", "detect", "embed", "segment", "segment_boxes"]
INPUTS = (Tensor("frame", (1, "height", "width", 3)), Tensor("point_coords", ("prompts", "points", 2)))
NO_GPU = "no CUDA driver on this machine"
NO_INT8 = "INT8 constants are not taken"


@dataclass(frozen=True)
class FakeBuilder(Builder):
    """A builder with a device of the test's own."""

    here: Device | None = ORIN
    refuses: str = ""

    def device(self):
        return self.here, "" if self.here else NO_GPU

    def int8_weights_refusal(self):
        self.api.calls += 1
        return self.refuses


def fake_builder_for(script=None, here=ORIN, refuses="", api=None):
    api = api or fake_builder(script or Script(), here.tensorrt if here else "10.3.0")
    api.calls = 0
    return FakeBuilder(api, here.kind if here else "tensorrt", api.__version__, here, refuses)


def lines(capfd):
    out, err = capfd.readouterr()
    assert err == ""
    return out.splitlines()


def built(builder):
    """Return how many engines were built since the last call."""
    graphs = builder.api.script.graphs
    count = len(graphs)
    graphs.clear()
    return count
