"""`nanoseg build` that ends early: full disks, Ctrl-C, another build; the engines built before are kept."""

import errno
import os
import signal
import time

import pytest

from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import EngineStore
from nanoseg.engines import store as store_module
from nanoseg.errors import EngineError
from tests.commands.build.fake_builders import built, fake_builder_for
from tests.fakes.tensorrt_builder import Script
from tests.helpers.engine_records import ORIN


def leftovers(engines):
    return [path.name for path in engines.rglob("*") if ".part" in path.name]


def test_build_full_disk_keeps_earlier_engines(engines, bundle, monkeypatch):
    write = store_module.write_all_atomic

    def full(contents, **options):
        if any(path.name == "embed.engine" for path in contents):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(contents, **options)

    monkeypatch.setattr(store_module, "write_all_atomic", full)
    with pytest.raises(EngineError, match=r"embed\.engine: cannot be written: No space left on device"):
        build(BuildOptions(engines=engines), fake_builder_for())
    states = EngineStore(engines).best_states(bundle, ORIN)
    assert {name: state.invalid_reason for name, state in states.items()} == {
        "prepare": "",
        "detect": "",
        "embed": "not built",
        "segment": "not built",
        "segment_boxes": "not built",
    }
    assert leftovers(engines) == []


def test_build_ctrl_c_keeps_earlier_engines(engines, bundle, capfd):
    builder = fake_builder_for(Script(steps=5))

    def step(number):
        if number == 2 and len(builder.api.script.graphs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            until = time.monotonic() + 60
            while signal.getsignal(signal.SIGINT) is not signal.SIG_DFL and time.monotonic() < until:
                time.sleep(0.01)  # until it was heard

    builder.api.script.at_step = step
    assert build(BuildOptions(engines=engines), builder) == 130
    assert capfd.readouterr().err == "nanoseg: interrupted: 2 of 5 engines built; the engines built before are kept\n"
    assert [state.valid for state in EngineStore(engines).best_states(bundle, ORIN).values()] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert leftovers(engines) == []
    builder.api.script.at_step = None
    assert build(BuildOptions(engines=engines), builder) == 0
    assert len(builder.api.script.graphs) == 3 + 3


def test_build_while_another_build_runs(engines, bundle):
    with (
        EngineStore(engines).build_lock(bundle, ORIN),
        pytest.raises(EngineError, match="another build of these engines is"),
    ):
        build(BuildOptions(engines=engines), fake_builder_for())


def test_build_unwritable_folder_fails_first(tmp_path):
    (tmp_path / "file").write_text("")
    builder = fake_builder_for()
    with pytest.raises(EngineError, match="cannot be written: Not a directory"):
        build(BuildOptions(engines=tmp_path / "file"), builder)
    assert built(builder) == 0
