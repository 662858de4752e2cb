"""Where engines lie, and the command that builds them there."""

import os
import shlex
from pathlib import Path

import pytest

from nanoseg.bundle import EMBEDDED_FOLDER
from nanoseg.engines import EngineStore, engines_folder, paths
from nanoseg.errors import EngineError
from tests.helpers.engine_records import ORIN, PLAN, RTX, changed, make_bundle, record

# --- the command that mends it ---


def mending(store, bundle, device):
    with pytest.raises(EngineError) as error:
        store.check(bundle, "detect", device)
    return str(error.value).rpartition("; ")[2]


def test_store_advice_names_target_and_bundle(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert mending(EngineStore(), bundle, ORIN) == "build it here: nanoseg build --bundle /bundles/nuts"
    line = "build it here: nanoseg build --bundle /bundles/nuts --target tensorrt-rtx"
    assert mending(EngineStore(), bundle, RTX) == line
    embedded = make_bundle(EMBEDDED_FOLDER / "parts", "parts")
    assert mending(EngineStore(), embedded, ORIN) == "build it here: nanoseg build --bundle parts"
    lean = mending(EngineStore(), embedded, changed(ORIN, kind="tensorrt-lean"))
    assert lean == (
        "build it where all of TensorRT is, by a recipe with version_compatible = true: nanoseg build --bundle parts"
    )
    assert mending(EngineStore(), bundle, None) == "--backend onnxruntime runs the bundle without"


@pytest.mark.parametrize("name", ["my engines", "it's", "$HOME & co", "-x", "größe"])
def test_store_advice_is_quoted_for_the_shell(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = mending(EngineStore(Path(name)), make_bundle(Path(name)), ORIN).removeprefix("build it here: ")
    there = str(tmp_path / name)
    assert shlex.split(line) == ["nanoseg", "build", "--bundle", there, "--engines", there]


# --- names and places ---

NAMES = [
    "nuts",
    "Nuts",
    "a b",
    "größe",
    "..",
    ".",
    ".x",
    "%2E.",
    "a/b",
    "a%2Fb",
    "../../up",
    "x\ny",
    "x" * 300,
    "x" * 301,
]


def test_folder_name_is_unique_and_below_the_root(store):
    folders = {name: store.folder(name, ORIN).parent for name in NAMES}
    assert len(set(folders.values())) == len(NAMES)
    for name, folder in folders.items():
        assert folder.parent == store.root
        assert folder.resolve() == folder
        bundle = make_bundle(name=name)
        assert store.put(bundle, ORIN, "detect", PLAN, record()).parent.parent == folder
        assert store.check(bundle, "detect", ORIN).read_bytes() == PLAN
    assert (folders["nuts"].name, folders["a b"].name) == ("nuts", "a b")


def test_store_root_with_odd_characters(bundle, tmp_path):
    store = EngineStore(tmp_path / "it's [a] *? größe %20\n$HOME")
    path = store.put(bundle, ORIN, "detect", PLAN, record())
    assert store.check(bundle, "detect", ORIN) == path
    assert [state.path for state in store.list_states(bundle, ORIN)] == [path]


def test_engines_folder_order_of_defaults(tmp_path, monkeypatch):
    home, checkout = tmp_path / "home", tmp_path / "checkout"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(paths, "CHECKOUT", checkout)
    monkeypatch.chdir(tmp_path)
    assert engines_folder() == home / ".cache" / "nanoseg" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    assert engines_folder() == home / ".cache" / "nanoseg" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert engines_folder() == tmp_path / "xdg" / "nanoseg" / "engines"
    (checkout / "engines").mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    assert engines_folder() == tmp_path / "xdg" / "nanoseg" / "engines"
    (checkout / "engines" / "README.md").touch()
    assert engines_folder() == checkout / "engines"
    monkeypatch.setenv("NANOSEG_ENGINES", "")
    assert engines_folder() == checkout / "engines"
    monkeypatch.setenv("NANOSEG_ENGINES", "~/mine")
    assert engines_folder() == home / "mine"
    assert engines_folder(Path("given")) == tmp_path / "given"
    assert EngineStore().root == home / "mine"


def test_engines_folder_without_a_home(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a bare number of a user
    with pytest.raises(EngineError, match="this user has no home folder; give one: --engines DIR, or set NANOSEG_ENGI"):
        EngineStore()
