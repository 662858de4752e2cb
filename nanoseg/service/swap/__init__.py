"""Gated hot swap: a new bundle takes over only if it is as good on live frames."""
