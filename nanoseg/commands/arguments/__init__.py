"""Arguments, help and examples of each verb, for typer; the work itself is in the module of nanoseg.commands."""
