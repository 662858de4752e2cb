"""What `--resume` finds in place of the last.pt of its run: one line."""

from pathlib import Path

import pytest
import torch

from nanoseg.errors import NanosegError
from tests.models.training.test_training import trained


@pytest.fixture(scope="module")
def last(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(KeyboardInterrupt):
        trained(folder, stop_after=2)
    return (folder / "last.pt").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "wanted a file of torch.save, got a damaged file"),
        (lambda path: path.write_bytes(b"<html>"), "holds more than weights, or is no checkpoint"),
        (lambda path: torch.save({"model": {}}, path), "wanted a run to resume, got another file"),
        (lambda path: torch.save([1], path), "wanted a run to resume, got another file"),
        (lambda path: torch.save({"step": Path.cwd, "plan": {}}, path), "holds more than weights"),
        (lambda path: torch.save({**torch.load(path), "network": {}}, path), "does not fit this network: Error"),
        (lambda path: torch.save({**torch.load(path), "optimizer": 3}, path), "does not fit this network"),
    ],
)
def test_training_resume_refuses_other_files(change, message, last, tmp_path):
    (tmp_path / "last.pt").write_bytes(last)
    change(tmp_path / "last.pt")
    with pytest.raises(NanosegError, match=message) as caught:
        trained(tmp_path, resume=True)
    assert len(str(caught.value).splitlines()) == 1


def test_training_resume_of_a_whole_file_goes_on(last, tmp_path):
    (tmp_path / "last.pt").write_bytes(last)
    assert trained(tmp_path, resume=True).step == 12
