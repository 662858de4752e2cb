"""Training of the detector and of the segmenter; needs `nanoseg[train]`."""
