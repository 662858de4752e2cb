"""What every test may ask for."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data() -> Path:
    """The small golden files that travel with the project."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The large reference folder beside a developer's checkout; its tests are skipped where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip("needs the reference folder ../shared, which is not beside this checkout")
    return folder


@pytest.fixture
def call(capfd):
    """Run one command line: exit code, stdout, stderr."""

    from nanoseg.cli import run_command

    def do(*arguments):
        code = run_command([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return do
