"""Where engines lie."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from nanoseg.errors import EngineError

VARIABLE = "NANOSEG_ENGINES"
CHECKOUT = Path(__file__).resolve().parents[2]  # the repository, where nanoseg is installed editable
_NAME_LENGTH = 200  # bytes; file systems end at 255


def engines_folder(given: Path | None = None) -> Path:
    """The folder of all engines: the one given, else $NANOSEG_ENGINES, a checkout's engines/, the user's cache.

    Absolute; it need not exist. Raises EngineError where none is set and there is no home.
    """
    chosen = given or os.environ.get(VARIABLE)
    if chosen:
        # A systemd unit and a quoted flag leave ~ as it is.
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "engines" / "README.md").is_file():
        return CHECKOUT / "engines"
    return cache_folder() / "engines"


def cache_folder() -> Path:
    """nanoseg's part of the user's cache: $XDG_CACHE_HOME, else ~/.cache; raises EngineError where there is no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification has relative ones ignored
        base = os.path.join(os.path.expanduser("~"), ".cache")
    if not os.path.isabs(base):  # a container's user may be a bare number
        raise EngineError(f"engines: this user has no home folder; give one: --engines DIR, or set {VARIABLE}")
    return Path(base, "nanoseg")


def folder_name(bundle_name: str) -> str:
    """A bundle's name as the name of one folder: as it is where it can be, else %-encoded; no two names share one."""
    name = quote(bundle_name, safe=" +,=@()[]", errors="surrogatepass")
    if name.startswith("."):  # ".", "..", and what is hidden
        name = f"%2E{name[1:]}"
    if len(name) > _NAME_LENGTH:
        digest = hashlib.sha256(bundle_name.encode(errors="surrogatepass")).hexdigest()[:16]
        name = f"{name[: _NAME_LENGTH - 17]}-{digest}"
    return name
