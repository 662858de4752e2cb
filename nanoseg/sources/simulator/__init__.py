"""The simulated line, parts://: rendered images with exact ground truth."""
