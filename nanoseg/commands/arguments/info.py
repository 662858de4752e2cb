"""`nanoseg info`."""

from __future__ import annotations

from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples


@examples("nanoseg info parts", "nanoseg info path/to/bundle --json", "nanoseg info parts --engines /srv/engines")
def info(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder of a bundle, or its name: parts, or coco.")],
    engines: options.Engines = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Verify every file of a bundle and describe it, with its engines and whether they are valid on this device."""
    from nanoseg.commands.info import info as print_info

    print_info(bundle, json, engines)
