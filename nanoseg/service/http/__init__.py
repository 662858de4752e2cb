"""The page and the numbers over HTTP."""
