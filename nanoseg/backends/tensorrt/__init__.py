"""TensorRT'"'"'s runtime: a serialized engine, and the contexts that run it."""
