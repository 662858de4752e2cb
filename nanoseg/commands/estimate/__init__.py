"""`nanoseg estimate`: options in, the estimate printed and written."""
