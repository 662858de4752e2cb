"""Accuracy of detectors and segmenters on images with ground truth."""
