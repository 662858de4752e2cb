"""`nanoseg bench`: measure, compare and verify latencies."""
