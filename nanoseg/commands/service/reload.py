"""`nanoseg service reload`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nanoseg.commands.service.systemctl import need_root, systemctl
from nanoseg.service.unit import BUNDLES, CONFIG, NAME
from nanoseg.utils.terminal import print_line


def reload(config: Path = Path(CONFIG)) -> int:
    """Check the configuration, and let the service read it again, by SIGHUP.

    Returns:
        The exit code: that of `nanoseg serve --check` where it finds a fault.

    Raises:
        UsageError: not root, or the service does not run.
    """
    need_root("reload")
    # As the unit would read it: the token lies beside it, and is handed over as a credential.
    as_unit = {"CREDENTIALS_DIRECTORY": str(config.absolute().parent), "NANOSEG_BUNDLES": BUNDLES}
    check = [sys.executable, "-m", "nanoseg", "serve", "--config", str(config), "--check"]
    if code := subprocess.run(check, env={**os.environ, **as_unit}, check=False).returncode:
        return code
    systemctl("reload", NAME)
    print_line(f"{NAME}: reads it again; nanoseg service status has its last log lines")
    return 0
