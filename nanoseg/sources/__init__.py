"""Sources of frames: images, videos and the simulated line."""
