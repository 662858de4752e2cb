"""Training: scenes to learn from, and the loop that every network is trained by."""
