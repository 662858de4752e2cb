"""What a graph costs on a GPU, read from its file: kernels, multiply-adds and bytes."""
