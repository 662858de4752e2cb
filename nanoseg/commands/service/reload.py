"""`nanoseg service reload`."""

from __future__ import annotations

from pathlib import Path

from nanoseg.commands.service.systemctl import need_root, systemctl
from nanoseg.service.config import load_config
from nanoseg.service.unit import CONFIG, NAME
from nanoseg.utils.terminal import print_line


def reload(config: Path = Path(CONFIG)) -> None:
    """Let the service read its configuration again, by SIGHUP.

    Raises:
        UsageError: not root, the configuration is wrong, or the service does not run.
    """
    need_root("reload")
    load_config(config)
    systemctl("reload", NAME)
    print_line(f"{NAME}: reads {config} again; nanoseg service status has its last log lines")
