"""Deployment graphs, composed once with onnx alone when a bundle is made; a Jetson only parses them."""

from nanoseg.errors import DependencyError

try:
    import onnx  # noqa: F401
except ImportError as missing:
    raise DependencyError('onnx is not installed: pip install "nanoseg[bundle]"') from missing
