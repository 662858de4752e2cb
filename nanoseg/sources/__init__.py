"""Where frames come from: cameras, files and the simulated line."""
