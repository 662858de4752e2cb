"""One context with arrays for all its tensors."""

import numpy as np

X = np.arange(12, dtype=np.float32).reshape(3, 4)


class Runner:
    """One context with arrays for all its tensors."""

    def __init__(self, platform, engine, shapes=(), memory=None):
        self.gpu, self.engine = platform.gpu, engine
        self.stream = self.gpu.stream()
        self.memory = memory or (self.gpu.device_buffer(engine.memory_bytes) if engine.memory_bytes else None)
        self.context = engine.context(self.memory)
        self.arrays, self.host = {}, {}
        self.reshape(**dict(shapes))

    def reshape(self, **shapes):
        for name, shape in shapes.items():
            self.context.set_shape(name, shape)
        for name, spec in {**self.engine.inputs, **self.engine.outputs}.items():
            self.host[name] = self.gpu.host_buffer(self.context.shape(name), spec.dtype)
            self.arrays[name] = self.gpu.device_buffer(self.host[name].nbytes).view(self.host[name].shape, spec.dtype)
            self.context.bind(name, self.arrays[name])

    def feed(self, **values):
        for name, value in values.items():
            self.host[name].array[...] = value
            self.gpu.copy(self.arrays[name], self.host[name], self.stream)

    def read(self, *names):
        for name in names:
            self.gpu.copy(self.host[name], self.arrays[name], self.stream)
        self.stream.synchronize()
        return [self.host[name].array.copy() for name in names]

    def run(self, **values):
        self.feed(**values)
        self.context.enqueue(self.stream)
        return self.read(*self.engine.outputs)
