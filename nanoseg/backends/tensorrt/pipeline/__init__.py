"""The pipeline on a GPU: TensorRT's engines over pinned memory, streams and captured graphs."""
