"""`nanoseg service`: the systemd unit of `nanoseg serve` installed, looked at, reloaded and removed."""
