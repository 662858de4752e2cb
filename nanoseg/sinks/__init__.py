"""Sinks: results of a run as JSON lines, images, video or in a window."""
