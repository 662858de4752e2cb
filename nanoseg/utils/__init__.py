"""Files, folders, hashing, TOML, timing and terminal output."""
