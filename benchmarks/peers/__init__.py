"""Other systems in the same run: each module compares one way of doing the work with nanoseg's on the same frames.

`python benchmarks/peer.py NAME` runs one; its `measure` returns the figures, of which `ratio` is nanoseg's median time
divided by the peer's, and `ratio_low`, `ratio_high` its interval.
"""
