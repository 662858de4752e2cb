"""`nanoseg service reload`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nanoseg.commands.service.systemctl import need_root, systemctl
from nanoseg.service.unit import BUNDLES, CONFIG, NAME, STATE
from nanoseg.utils.terminal import print_line

# In the unit's working folder, as relative paths are the unit's. Python would look for modules there, which the
# service may write and root must not run: so not by -m, and with a fixed path.
_CHECK = (
    "import sys; sys.path[:] = {path!r}; import os; os.chdir({folder!r}); sys.argv[0] = 'nanoseg'; "
    "from nanoseg.__main__ import main; main()"
)


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
    path = [folder for folder in sys.path if os.path.isabs(folder)]
    program = _CHECK.format(path=path, folder=STATE if os.path.isdir(STATE) else os.getcwd())
    check = [sys.executable, "-c", program, "serve", "--config", str(config.absolute()), "--check"]
    if code := subprocess.run(check, env={**os.environ, **as_unit}, check=False).returncode:
        return code
    systemctl("reload", NAME)
    print_line(f"{NAME}: reads it again; nanoseg service status has its last log lines")
    return 0
