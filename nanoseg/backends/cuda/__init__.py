"""The GPU through CUDA's driver API: memory, streams, events and captured graphs."""

from nanoseg.backends.cuda.gpu import PROVIDERS, Gpu, open_gpu

__all__ = ["PROVIDERS", "Gpu", "open_gpu"]
