"""An engine of the fake of TensorRT, with one context, through the bindings alone."""

import numpy as np

from nanoseg.backends.cuda import open_gpu
from tests.fakes.tensorrt import ILogger, Severity
from tests.fakes.tensorrt_platforms import RECIPE, SCALE
from tests.fakes.tensorrt_runtime import ExecutionContextAllocationStrategy, fake_plan, fake_trt, profile_of

PROFILE = profile_of(SCALE, RECIPE.dimensions)
MEMORY_BYTES = 1024
PLAN = fake_plan(SCALE, PROFILE, MEMORY_BYTES)
X = np.arange(12, dtype=np.float32).reshape(3, 4)


class Log(ILogger):
    def __init__(self):
        self.text = []

    def log(self, severity, msg):
        self.text.append((severity, msg))


class Bench:
    """An engine with one context, through the bindings alone."""

    def __init__(self, cuda):
        self.cuda, self.gpu, self.trt, self.log = cuda, open_gpu(), fake_trt(cuda), Log()
        self.runtime = self.trt.Runtime(self.log)
        self.engine = self.runtime.deserialize_cuda_engine(PLAN)
        self.stream, self.memory = self.gpu.stream(), self.gpu.device_buffer(MEMORY_BYTES)
        self.places = {
            name: self.gpu.device_buffer(int(np.prod(shape, dtype=int)) * 4).view(shape, np.float32)
            for name, shape in {"x": (3, 4), "k": (), "y": (3, 4), "total": ()}.items()
        }
        self.context = self.make()

    def make(self, ready=True):
        context = self.engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED)
        if ready:
            context.set_device_memory(self.memory.address, MEMORY_BYTES)
            assert context.set_input_shape("x", (3, 4))
            for name, place in self.places.items():
                assert context.set_tensor_address(name, place.address)
        return context

    def set(self, name, value):
        place = self.places[name]
        self.cuda.array(place.address, place.shape, place.dtype)[...] = value

    def get(self, name):
        place = self.places[name]
        return self.cuda.array(place.address, place.shape, place.dtype).copy()

    def enqueue(self, context=None, stream=None):
        return (context or self.context).execute_async_v3((stream or self.stream).handle)

    def capture(self, context=None):
        with self.stream.capture() as capture:
            assert self.enqueue(context)
        return capture.graph

    def errors(self):
        return [words for severity, words in self.log.text if severity == Severity.ERROR]
