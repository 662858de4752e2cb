"""Deployment graphs, composed once with onnx alone when a bundle is made; a Jetson only parses them."""

from nanoseg.errors import needs

with needs("onnx", "bundle"):
    import onnx  # noqa: F401
