"""`nanoseg service install`, `status`, `reload`, `swap` and `uninstall`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples
from nanoseg.errors import UsageError
from nanoseg.service.unit import CONFIG

# Who may not read it still sees the unit.
Config = Annotated[
    Path, typer.Option(metavar="FILE", readable=False, help="Configuration; the token's file lies beside it.")
]
Url = Annotated[
    str | None,
    typer.Option(metavar="http://HOST:PORT", help="Address of the service; by default --config's, on this machine."),
]
UnitDir = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the unit.")]


@examples(
    "nanoseg service install --dry-run",
    "sudo /opt/nanoseg/bin/nanoseg service install",
    "sudo /opt/nanoseg/bin/nanoseg service install --no-start",
)
def install(
    *,
    config: Config = Path(CONFIG),
    unit_dir: UnitDir = Path("/etc/systemd/system"),
    no_start: Annotated[bool, typer.Option("--no-start", help="Only enable it, for the next boot.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    debug: options.Debug = False,
) -> None:
    """Install, enable and start the systemd unit of nanoseg serve; as root.

    The unit starts the nanoseg that is called here, as a user of its own that can read no home folder. A configuration
    with a simulated camera and a token for HTTP are written where there are none; those that are there are kept. Called
    again, as after an update, it replaces the unit and restarts the service.
    """
    from nanoseg.commands.service.install import InstallOptions
    from nanoseg.commands.service.install import install as install_unit

    install_unit(InstallOptions(unit_dir=unit_dir, config=config, start=not no_start, dry_run=dry_run))


@examples(
    "nanoseg service status",
    "nanoseg service status --json",
    "nanoseg service status --url http://127.0.0.1:8080",
)
def status(
    *,
    url: Url = None,
    config: Config = Path(CONFIG),
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Print the state of the unit, its last log lines, and whether the service is ready.

    The exit code is 0 where the service answers GET /readyz with that it is ready, else 1.
    """
    from nanoseg.commands.service.status import status as print_status

    return print_status(url, config, json)


@examples("nanoseg service reload   # as root")
def reload(*, config: Config = Path(CONFIG), debug: options.Debug = False) -> int:
    """Check the configuration, and let the service read it again, without a restart; as root."""
    from nanoseg.commands.service.reload import reload as reload_unit

    return reload_unit(config)


@examples(
    "nanoseg service swap /var/lib/nanoseg/bundles/night",
    "nanoseg service swap --undo",
    "nanoseg service swap night --json --token-file token",
)
def swap(
    bundle: Annotated[
        str | None, typer.Argument(metavar="BUNDLE", help="Its name, or its folder on the service's machine.")
    ] = None,
    *,
    undo: Annotated[
        bool, typer.Option("--undo", help="Put the bundle before back, or call the trial of one off.")
    ] = False,
    url: Url = None,
    config: Config = Path(CONFIG),
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The service's token; by default the file token beside --config."),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Try another bundle while the service runs, and swap it in if it is as good as the running one.

    It is verified and loaded beside the running one, and runs on the same live frames. It takes over between two frames
    if agreement, latency and memory are within the bounds of [swap] in the configuration, and is refused otherwise: the
    exit code is 4 then. Should it fail in its first minutes, the one before comes back by itself. See docs/swap.md.
    """
    from nanoseg.commands.service.swap import SwapOptions
    from nanoseg.commands.service.swap import swap as swap_bundle

    if undo == (bundle is not None):
        raise UsageError(f"nanoseg service swap: wanted a bundle or --undo, got {'both' if undo else 'neither'}")
    swap_bundle(bundle, SwapOptions(url, config, token_file, json))


@examples(
    "nanoseg service uninstall   # as root",
    "nanoseg service uninstall --purge   # with configuration and engines",
)
def uninstall(
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove configuration, token, engines, records and cache, too.")
    ] = False,
    config: Config = Path(CONFIG),
    unit_dir: UnitDir = Path("/etc/systemd/system"),
    debug: options.Debug = False,
) -> None:
    """Stop the service and remove its unit, as root; configuration and state are kept without --purge."""
    from nanoseg.commands.service.uninstall import uninstall as uninstall_unit

    uninstall_unit(unit_dir, config, purge)
