"""What the figures come from, each a command; some of it is used by the tests."""
