"""Who has a file open."""

import subprocess
import sys

from nanoseg.utils.open_files import processes_with


def test_processes_with(tmp_path):
    path = tmp_path / "video0"
    path.touch()
    assert processes_with(path) == []
    code = f"file = open({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        link = tmp_path / "by-id"
        link.symlink_to(path)
        found = processes_with(link)
        assert [one.pid for one in found] == [process.pid]
        assert found[0].name.startswith("python")
        process.communicate(b"\n")
    assert processes_with(tmp_path / "nothing") == []
