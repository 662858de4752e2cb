"""torch2trt: its files, and the engines in them."""
