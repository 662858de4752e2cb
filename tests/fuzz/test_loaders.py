"""Changed files through every loader: a result or an error of one line, within seconds and without noise.

`make fuzz` runs it; FUZZ_CASES sets the number of cases, which are the same in every run. What a loader stumbled over
is kept in the folder that the failure names: also the file that it was reading where its process died or hung.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings

from nanoseg.errors import NanosegError
from tests.fuzz.loaders import LOADERS, Loader

CASES = int(os.environ.get("FUZZ_CASES", "40000"))
SHARES = sum(loader.share for loader in LOADERS.values())
LIMIT_S = 5  # of processor time: a machine that is busy is no fault
HANGS_S = 60
KEPT = Path(tempfile.gettempdir()) / f"nanoseg-fuzz-{os.getuid()}"


@pytest.mark.parametrize("name", LOADERS)
def test_whole_file_is_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is refused before it is changed tests little."""
    loader = LOADERS[name]
    monkeypatch.chdir(tmp_path)
    loader.beside(tmp_path)
    path = tmp_path / "changed" / loader.file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(loader.whole(tmp_path)[0])
    loader.load(path)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", LOADERS)
def test_loader(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    loader = LOADERS[name]
    monkeypatch.chdir(tmp_path)
    loader.beside(tmp_path)
    path = tmp_path / "changed" / loader.file
    path.parent.mkdir(exist_ok=True)
    KEPT.mkdir(exist_ok=True)
    last = KEPT / f"{name}-last{path.suffix}"
    faults: dict[str, Path] = {}
    outcomes = Counter[str]()

    @settings(
        max_examples=max(20, int(CASES * loader.share / SHARES)),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(loader.inputs(tmp_path))
    def run(content: bytes) -> None:
        path.write_bytes(content)
        last.write_bytes(content)
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        outcome, fault = _load(loader, path, lambda: "".join(capfd.readouterr()))
        faulthandler.cancel_dump_traceback_later()
        outcomes[outcome] += 1
        if fault and fault not in faults and len(faults) < 20:
            faults[fault] = KEPT / f"{name}-{len(faults)}{path.suffix}"
            faults[fault].write_bytes(content)

    run()
    last.unlink()
    with capfd.disabled():
        print(f" {outcomes.total()} cases:", ", ".join(f"{count} {each}" for each, count in sorted(outcomes.items())))
    assert not faults, "\n".join(f"{kept}: {fault}" for fault, kept in faults.items())


def _load(loader: Loader, path: Path, printed: Callable[[], str]) -> tuple[str, str]:
    """Load a file and return the outcome, and what is wrong with that or nothing."""
    started, outcome, fault = time.process_time(), "results", ""
    try:
        loader.load(path)
    except NanosegError as error:
        outcome = "errors"
        if len(str(error).splitlines()) > 1 or len(str(error)) > 2000:
            fault = f"an error of {len(str(error).splitlines())} lines, {len(str(error))} characters"
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"{type(error).__name__} at {frame.filename}:{frame.lineno}"
    if time.process_time() - started > LIMIT_S:
        fault = f"took over {LIMIT_S} seconds"
    noise = printed()
    fault = fault or (f"a library printed {noise.split()[0]} ..." if noise.strip() else "")
    return "faults" if fault else outcome, fault
