"""Where `nanoseg bundle get` installs bundles, to be opened by their names."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "NANOSEG_BUNDLES"
# The bundle that knows photographs, and the command that makes it.
COCO_BUNDLE = "coco"
GET_COCO = f"nanoseg bundle get {COCO_BUNDLE}"


def user_bundles_folder() -> Path | None:
    """Return $NANOSEG_BUNDLES, else nanoseg/bundles in $XDG_DATA_HOME or ~/.local/share; None without a home folder.

    The path is absolute; it need not exist.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    base = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(base):  # the XDG specification has relative ones ignored
        base = os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(base, "nanoseg", "bundles") if os.path.isabs(base) else None  # a container's user may have no home
