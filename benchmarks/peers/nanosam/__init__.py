"""NanoSAM's way, re-created from the description of its predictor: on the CPU, and on a GPU for benchmarks/gpu.py."""
