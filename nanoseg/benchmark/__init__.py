"""Latency: what a board can be expected to need."""
