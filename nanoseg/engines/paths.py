"""The engine store's folder on this machine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from nanoseg.errors import EngineError

VARIABLE = "NANOSEG_ENGINES"
CHECKOUT = Path(__file__).resolve().parents[2]  # the repository, in an editable install
_MAX_NAME_LENGTH = 200  # bytes; file systems take up to 255


def engines_folder(given: Path | None = None) -> Path:
    """Return the engine store's folder: `given`, else $NANOSEG_ENGINES, a checkout's engines/, or the user's cache.

    The path is absolute; it need not exist. Raises EngineError where none is set and the user has no home folder.
    """
    chosen = given or os.environ.get(VARIABLE)
    if chosen:
        # A systemd unit and a quoted flag leave ~ as it is.
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "engines" / "README.md").is_file():
        return CHECKOUT / "engines"
    return cache_folder() / "engines"


def cache_folder() -> Path:
    """Return nanoseg's folder in $XDG_CACHE_HOME, else in ~/.cache; raises EngineError without a home folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification has relative ones ignored
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):  # a container's user may be a bare number
        raise EngineError(f"engines: this user has no home folder; give one: --engines DIR, or set {VARIABLE}")
    return Path(base, "nanoseg")


def folder_name(bundle_name: str) -> str:
    """Return a folder name for a bundle: unchanged where possible, else %-encoded; no two bundles share one."""
    name = quote(bundle_name, safe=" +,=@()[]", errors="surrogatepass")
    if name.startswith("."):  # ".", "..", and what is hidden
        name = f"%2E{name[1:]}"
    if len(name) > _MAX_NAME_LENGTH:
        digest = hashlib.sha256(bundle_name.encode(errors="surrogatepass")).hexdigest()[:16]
        name = f"{name[: _MAX_NAME_LENGTH - 17]}-{digest}"
    return name
