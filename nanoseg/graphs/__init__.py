"""Deployment graphs, composed once with onnx alone when a bundle is made; a Jetson only parses them."""
