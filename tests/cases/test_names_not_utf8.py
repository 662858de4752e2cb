"""Files and folders whose names are not UTF-8: every verb works in them, and no result is lost at the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from nanoseg.backends.onnxruntime.session import open_session, run_session
from nanoseg.bundle import open_bundle
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.sources.open import open_source
from nanoseg.utils.names import encode_json, printable_path, utf8_path
from tests.helpers import tiny_networks
from tests.helpers.paths import ROOT
from tests.sources.encoded_images import encoded

pytest.importorskip("cv2")

ODD = ["\udcff", "a\udcffb c", "gr\udcf6\udcdfe", "ö\udc80"]


@pytest.fixture(params=ODD)
def odd(request, tmp_path):
    """Return a folder with such a name."""
    folder = tmp_path / request.param
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.png", "a.png"), ("ö.png", "ö.png"), ("\udcff.png", r"\xff.png"), ("ö\udcf6", r"ö\xf6"), ("\udcc3\udcb6", "ö")],
)
def test_printable_path(name, text):
    assert printable_path(name) == printable_path(Path(name)) == text
    assert json.loads(encode_json({name: [name, {"a": (name, 1, None)}]})) == {text: [text, {"a": [text, 1, None]}]}


class _Row(msgspec.Struct):
    name: str
    number: float


def test_encode_json_of_structs_and_of_surrogates_without_a_byte():
    assert encode_json(_Row("\udcff", 0.5)) == rb'{"name":"\\xff","number":0.5}'
    assert encode_json(_Row("\ud800", 0.5)) == rb'{"name":"\\ud800","number":0.5}'
    assert encode_json({"a": 1}, indent=True) == b'{\n  "a": 1\n}\n'


@pytest.mark.parametrize("name", ["a.bin", *ODD])
def test_utf8_path_names_the_file_and_its_neighbours(odd, monkeypatch, name):
    (odd / name).write_bytes(b"content")
    for path in (odd / name, str(odd / name)):
        with utf8_path(path) as text:
            text.encode()
            assert Path(text).read_bytes() == b"content"
    monkeypatch.chdir(odd)
    with utf8_path(name) as text:
        assert Path(text).read_bytes() == b"content"
    with pytest.raises(FileNotFoundError), utf8_path(odd / "none" / "\udcff"):
        pass


def test_pictures_are_read(odd):
    for name in ("b.png", "\udcff.png"):
        (odd / name).write_bytes(encoded(".png"))
    sources = (odd, f"{odd}/*", f"{odd}/**/*.png", f"{odd.parent}/**/*.png")
    for source in sources:
        assert [frame.name for frame in open_source(source)] == [
            printable_path(odd / "b.png"),
            printable_path(odd / "\udcff.png"),
        ]
    (frame,) = open_source(odd / "\udcff.png")
    assert frame.image.shape == (30, 40, 3)


@pytest.mark.parametrize("name", ["encoder.onnx", "\udcff.onnx"])
@pytest.mark.parametrize("external", [False, True])
def test_networks_are_loaded(odd, tmp_path, name, external):
    plain = tiny_networks.encoder(tmp_path / "encoder.onnx")
    if external and name != "encoder.onnx":
        pytest.skip("a network whose own name is odd has its weights inside")
    model = onnx.load(plain)
    onnx.save(model, tmp_path / "here.onnx", save_as_external_data=external, location="weights", size_threshold=0)
    os.replace(tmp_path / "here.onnx", odd / name)
    if external:
        os.replace(tmp_path / "weights", odd / "weights")
    assert len(read_model(odd / name).graph.node) == len(model.graph.node)
    image = np.zeros([each.dim_value or 1 for each in model.graph.input[0].type.tensor_type.shape.dim], np.float32)
    output = model.graph.output[0].name
    values = [
        run_session(open_session(path, name="encoder"), [output], {model.graph.input[0].name: image}, name="encoder")
        for path in (plain, odd / name)
    ]
    np.testing.assert_array_equal(values[0][output], values[1][output])


@pytest.mark.parametrize(
    "environment",
    [pytest.param({}, marks=pytest.mark.slow), {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_verbs_work_in_such_a_folder(tmp_path, environment):
    odd = tmp_path / "a\udcffb"
    odd.mkdir()
    (odd / "\udcff.png").write_bytes(encoded(".png"))
    os.symlink(ROOT / "nanoseg" / "bundles" / "parts", odd / "bundle\udcff")
    script = (
        "import sys; from nanoseg.cli import run_command\n"
        "for line in sys.stdin.buffer.read().split(b'\\n'):\n"
        "    import os; code = run_command([os.fsdecode(each) for each in line.split(b'\\t')])\n"
        "    print('code', code, flush=True)\n"
    )
    results, out = odd / "r\udcff.jsonl", odd / "o\udcff"
    lines = [
        ["run", odd / "\udcff.png", "--bundle", odd / "bundle\udcff", "--out", out, "--results", results, "--json"],
        ["segment", odd / "\udcff.png", "--box", "2,2,20,20", "--out", odd / "s\udcff", "--json"],
        ["info", odd / "bundle\udcff", "--json"],
        ["info", odd / "none\udcff"],
        ["run", odd / "none\udcff.png"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=b"\n".join(b"\t".join(map(os.fsencode, line)) for line in lines),
        capture_output=True,
        timeout=120,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
    )
    out_text, err = done.stdout.decode(), done.stderr.decode()
    assert [line for line in out_text.splitlines() if line.startswith("code")] == [f"code {i}" for i in (0, 0, 0, 4, 3)]
    assert "Traceback" not in err
    # One for each of the two that fail; the first run of a bundle for machine parts says that it knows nothing else.
    assert len([line for line in err.splitlines() if "error:" in line]) == 2
    record = json.loads(results.read_bytes())
    assert record["name"] == printable_path(odd / "\udcff.png")
    assert len(list(out.iterdir())) == 1
    assert len(list((odd / "s\udcff").iterdir())) == 3
    documents = out_text.split("code 0\n")
    assert json.loads(documents[0])["results"] == printable_path(results)
    json.loads(documents[1])
    json.loads(documents[2])


def test_bundle_is_opened(odd):
    os.symlink(ROOT / "nanoseg" / "bundles" / "parts", odd / "parts")
    assert open_bundle(odd / "parts").name == "parts"
