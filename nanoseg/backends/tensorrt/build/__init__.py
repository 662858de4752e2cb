"""Building engines with TensorRT, or TensorRT for RTX."""
