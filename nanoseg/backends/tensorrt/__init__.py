"""TensorRT's runtime: serialized engines, and the contexts that run them."""
