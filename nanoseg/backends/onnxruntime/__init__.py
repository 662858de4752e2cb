"""ONNX Runtime: on a CPU, on CUDA, and with TensorRT inside it."""
