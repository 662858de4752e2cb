"""A systemctl and a journalctl for PATH: they note how they are called and say what a test wants."""

from pathlib import Path

_SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> '{folder}/calls'
test -e '{folder}/fails-'"$1" && {{ cat '{folder}/fails-'"$1" >&2; exit 1; }}
test "$1" = show && cat '{folder}/shown'
exit 0
"""
_JOURNALCTL = """\
#!/bin/sh
cat '{folder}/journal'
"""


class FakeSystemctl:
    """The programs, in a folder for PATH."""

    def __init__(self, folder: Path) -> None:
        """Write them."""
        self.folder = folder
        self._data = folder / "data"
        self._data.mkdir()
        for name, text in (("systemctl", _SYSTEMCTL), ("journalctl", _JOURNALCTL)):
            (folder / name).write_text(text.format(folder=self._data))
            (folder / name).chmod(0o755)
        self.shows(LoadState="not-found", ActiveState="inactive", SubState="dead")
        (self._data / "journal").write_text("")

    def calls(self) -> list[str]:
        """Return the command lines so far, without those that only look, and forget them."""
        path = self._data / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith("show ")]

    def shows(self, **properties: str) -> None:
        """Set what `systemctl show` prints."""
        (self._data / "shown").write_text("".join(f"{name}={value}\n" for name, value in properties.items()))

    def logs(self, text: str) -> None:
        """Set what journalctl prints."""
        (self._data / "journal").write_text(text)

    def fails(self, verb: str, message: str) -> None:
        """Let a verb fail."""
        (self._data / f"fails-{verb}").write_text(f"{message}\n")
