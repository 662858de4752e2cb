"""What is refused of an engine and of a context, and in which words."""

import numpy as np
import pytest

from nanoseg.errors import EngineError
from tests.backends.tensorrt.runner import Runner, X
from tests.fakes.tensorrt_platforms import SCALE


def wrong_dtype(platform, runner):
    runner.context.bind("x", platform.gpu.device_buffer(48).view((3, 4), np.int32))


def wrong_rank(platform, runner):
    runner.context.bind("x", platform.gpu.device_buffer(48).view((12,), np.float32))


def not_aligned(platform, runner):
    runner.context.bind("x", platform.gpu.device_buffer(1024).view((3, 4), np.float32, offset=128))


def not_mapped(platform, runner):
    runner.context.bind("x", platform.gpu.host_buffer((3, 4), np.float32))


def bound_to_another_shape(platform, runner):
    runner.context.bind("y", platform.gpu.device_buffer(128).view((8, 4), np.float32))
    runner.context.enqueue(runner.stream)


def shape_changed_after_binding(platform, runner):
    runner.context.set_shape("x", (8, 4))
    runner.context.enqueue(runner.stream)


def bound_to_nothing(platform, runner):
    context = runner.engine.context(runner.memory)
    context.set_shape("x", (3, 4))
    context.enqueue(runner.stream)


def no_shape(platform, runner):
    context = runner.engine.context(runner.memory)
    for name, array in runner.arrays.items():
        context.bind(name, array)
    context.enqueue(runner.stream)


def output_of_unknown_shape(platform, runner):
    runner.engine.context(runner.memory).shape("y")


def too_large(platform, runner):
    runner.context.set_shape("x", (9, 4))


def not_the_networks(platform, runner):
    runner.context.set_shape("x", (3, 5))


def an_output(platform, runner):
    runner.context.set_shape("y", (3, 4))


def unknown(platform, runner):
    runner.context.bind("z", runner.arrays["x"])


def profile_of_an_output(platform, runner):
    runner.engine.max_shape("y")


def array_closed(platform, runner):
    runner.arrays["x"].owner.close()
    runner.context.enqueue(runner.stream)


def memory_closed(platform, runner):
    runner.memory.close()
    runner.context.enqueue(runner.stream)


def context_closed(platform, runner):
    runner.context.close()
    runner.context.close()
    runner.context.enqueue(runner.stream)


def engine_closed(platform, runner):
    runner.engine.close()
    runner.engine.close()
    runner.context.enqueue(runner.stream)


def engine_closed_before_a_context(platform, runner):
    runner.engine.close()
    runner.engine.context(runner.memory)


def too_little_memory(platform, runner):
    runner.engine.memory_bytes = 4096
    runner.engine.context(platform.gpu.device_buffer(4095))


def no_memory(platform, runner):
    runner.engine.memory_bytes = 4096
    runner.engine.context(None)


def memory_not_aligned(platform, runner):
    size = runner.engine.memory_bytes or 1
    runner.engine.context(platform.gpu.device_buffer(size + 128).view((size,), np.uint8, offset=128))


def sized_memory_too_little(platform, runner):
    runner.engine.sized_context({"x": (3, 4)}, lambda nbytes: platform.gpu.device_buffer(max(nbytes, 2) - 1))
    raise EngineError("x.engine: its activations want any")  # a real engine of so little takes no memory


def sized_without_a_shape(platform, runner):
    runner.engine.sized_context({}, platform.gpu.device_buffer)


def sized_context_of_another_shape(platform, runner):
    context = runner.engine.sized_context({"x": (3, 4)}, lambda nbytes: platform.gpu.device_buffer(max(nbytes, 1)))
    context.set_shape("x", (3, 4))
    context.set_shape("x", (2, 4))


MISUSE = {
    sized_memory_too_little: "its activations want *",
    sized_without_a_shape: "the shape of 'x' is not known: the shape of x is not set",
    sized_context_of_another_shape: "its memory is that of 'x' (3, 4), got (2, 4)",
    wrong_dtype: "'x' wants float32 (any, 4), got int32 (3, 4)",
    wrong_rank: "'x' wants float32 (any, 4), got float32 (12,)",
    not_aligned: "'x' wants an address that is a multiple of 256: copy it",
    bound_to_another_shape: "'y' is (3, 4) now, and is bound to (8, 4)",
    shape_changed_after_binding: "'x' is (8, 4) now, and is bound to (3, 4)",
    bound_to_nothing: "'x' is bound to nothing",
    no_shape: "the shape of 'x' is not known: the shape of x is not set",
    output_of_unknown_shape: "the shape of 'y' is not known: the shape of x is not set",
    too_large: "'x' wants (1, 4) to (8, 4), got (9, 4): *",
    not_the_networks: "'x' wants (1, 4) to (8, 4), got (3, 5): *",
    an_output: "has no input y; its inputs are x, k",
    unknown: "has no tensor z; its tensors are x, k, y, total",
    profile_of_an_output: "has no input y; its inputs are x, k",
    context_closed: "its context was closed; load the bundle again",
    engine_closed: "its context was closed; load the bundle again",
    engine_closed_before_a_context: "it was closed; load the bundle again",
    too_little_memory: "a context wants 4096 bytes for its activations, got 4095",
    no_memory: "a context wants 4096 bytes for its activations, got none",
    memory_not_aligned: "the memory of a context starts at a multiple of 256 bytes",
}
CLOSED = {
    not_mapped: "HostBuffer: it has no device address: allocate it with mapped=True",
    array_closed: "DeviceBuffer: it is closed and cannot be used any more",
    memory_closed: "DeviceBuffer: it is closed and cannot be used any more",
}


@pytest.mark.parametrize("misuse", [*MISUSE, *CLOSED], ids=lambda misuse: misuse.__name__)
def test_context_misuse(misuse, platform):
    with platform.engine(SCALE) as engine:
        memory = platform.gpu.device_buffer(engine.memory_bytes or 1)
        runner = Runner(platform, engine, {"x": (3, 4)}, memory)
        runner.run(x=X, k=1)
        with pytest.raises(EngineError) as error:
            misuse(platform, runner)
    message, wanted = str(error.value), CLOSED.get(misuse) or f"x.engine: {MISUSE[misuse]}"
    assert "\n" not in message
    if wanted.endswith("*"):
        assert message.startswith(wanted[:-1])
        assert message[len(wanted) - 1 :] != "it does not say why"
    else:
        assert message == wanted
