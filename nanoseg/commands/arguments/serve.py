"""`nanoseg serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples


@examples(
    "nanoseg serve",
    "nanoseg serve --sample-config > nanoseg.toml",
    "nanoseg serve --config nanoseg.toml --check",
    "nanoseg serve --config nanoseg.toml --log-json",
)
def serve(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML configuration; without one, the simulated line on 127.0.0.1:8080."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the configuration and its bundle, and end.")] = False,
    sample_config: Annotated[
        bool, typer.Option("--sample-config", help="Print a configuration with every key, and end.")
    ] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Write the log as JSON lines.")] = False,
    debug: options.Debug = False,
) -> int:
    """Serve cameras: a page to look at, numbers to alert on, records, MQTT.

    Cameras, networks and files that fail are tried again for ever; SIGHUP reads the configuration again, SIGTERM and
    Ctrl-C end it within two seconds. The page is at http://127.0.0.1:8080, other addresses want a token.
    """
    from nanoseg.commands.serve import serve as serve_cameras

    return serve_cameras(config, check=check, sample=sample_config, log_json=log_json)
