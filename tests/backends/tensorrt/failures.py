"""What TensorRT may fail in, and a run that goes through all of it."""

from tests.backends.tensorrt.runner import Runner, X
from tests.fakes.tensorrt_platforms import SCALE

FAILURES = {
    "deserialize_cuda_engine": "cannot load this engine",
    "create_execution_context": "no context can be made",
    "set_device_memory": "no context can be made",
    "update_device_memory_size_for_shapes": "the memory of its activations is not known",
    "set_input_shape": "'x' wants (1, 4) to (8, 4), got (2, 4)",
    "set_tensor_address": "'x' takes no address",
    "execute_async_v3": "it cannot be run",
}


def run_once(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (2, 4)})
        engine.sized_context({"x": (2, 4)}, fake.gpu.device_buffer)
        runner.context.enqueue(runner.stream)
        return runner.run(x=X[:2], k=2)
