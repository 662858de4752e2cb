"""Every verb: its help, its scripts in tools/, how it ends, and where its options come from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from nanoseg.cli import GROUPS, PARENTS, VERBS
from nanoseg.onnx_graphs.adapt import detector_spec
from tests.helpers.paths import ROOT

ALL = [[name] for name in VERBS] + [[group, name] for group, (_, verbs) in GROUPS.items() for name in verbs]
ALL += [[parent, *name] for parent, (_, verbs) in PARENTS.items() for name in ([], *([name] for name in verbs))]
TOOLS = {
    "build_engines": "build",
    "eval_coco": "eval",
    "export_image_encoder": "export image-encoder",
    "export_mask_decoder": "export mask-decoder",
    "export_torch2trt": "export torch2trt",
    "export_yolo_nas": "export yolo-nas",
    "fetch_weights": "fetch",
    "halve": "fp16",
    "import_torch2trt": "import torch2trt",
    "make_bundle": "bundle make",
    "measure_bundle": "bundle measure",
    "quantize_yolo_nas": "quantize",
    "train_segmenter": "train segmenter",
    "train_yolo_nas": "train detector",
}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_verbs_help(call, words, flag):
    code, out, err = call(*words, flag)
    assert (code, err) == (0, "")
    verb = f"nanoseg {' '.join(words)}"
    assert out.startswith(f"Usage: {verb} ")
    assert f"\n    {verb}" in out[out.index("Examples:") :]
    assert "--debug" in out


@pytest.mark.parametrize("group", GROUPS)
def test_verbs_group_lists_its_verbs(call, group):
    code, out, _ = call(group, "--help")
    assert code == 0
    assert all(f"\n  {name}  " in out for name in GROUPS[group][1])
    code, out, err = call(group)
    assert (code, out) == (2, "")
    assert err.startswith(f"nanoseg: error: nanoseg {group}: wanted a verb, one of {next(iter(GROUPS[group][1]))}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rum", "no such verb: rum; did you mean run? (nanoseg --help)"),
        ("export yolonas", "no such verb: yolonas; did you mean yolo-nas? (nanoseg export --help)"),
        (
            "bundle frobnicate",
            "no such verb: frobnicate; wanted one of get, make, measure, reference (nanoseg bundle --help)",
        ),
        ("run x.png --limt 3", "no such option: --limt; did you mean --limit or --live? (nanoseg run --help)"),
        (
            "bundle make --restor",
            "no such option: --restor; did you mean --detector or --restore? (nanoseg bundle make --help)",
        ),
    ],
)
def test_verbs_mistyped(call, words, message):
    assert call(*words.split()) == (2, "", f"nanoseg: error: {message}\n")


def test_tools_are_all_tested():
    assert {path.stem for path in (ROOT / "tools").glob("[a-z]*.py")} == set(TOOLS)


@pytest.mark.parametrize("tool", TOOLS)
def test_tools_call_their_verb_from_anywhere(tool, tmp_path):
    path = ROOT / "tools" / f"{tool}.py"
    assert len(path.read_text().splitlines()) <= 15
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, str(path), "--help"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: nanoseg {TOOLS[tool]} ")


NEEDS = {  # arguments; and the module, library and extra that the verb needs
    "export image-encoder": (["--checkpoint", "a.pt", "--out", "a.onnx"], "torch", "torch", "export"),
    "export mask-decoder": (["--checkpoint", "a.pt", "--out", "a.onnx"], "torch", "torch", "export"),
    "export yolo-nas": (["--checkpoint", "a.pt", "--out", "a.onnx"], "torch", "torch", "export"),
    "export torch2trt": (["a.engine", "--out", "a.pth"], "torch", "torch", "export"),
    "import torch2trt": (["a.pth", "--out", "a.engine"], "torch", "torch", "export"),
    "train segmenter": (["--out", "run"], "torch", "torch", "train"),
    "train detector": (["--out", "run"], "torch", "torch", "train"),
    "bundle make": (["--out", "mine"], "onnx", "onnx", "bundle"),
    "bundle measure": (["--bundle", "parts"], "cv2", "OpenCV", "opencv"),
    "eval": (["--images", ".", "--annotations", "a.json"], "cv2", "OpenCV", "opencv"),
    "estimate": (["--device", "thor"], "onnx", "onnx", "bundle"),
    "quantize": (["a.onnx", "--out", "b.onnx", "--images", "parts://"], "onnx", "onnx", "bundle"),
    "fp16": (["a.onnx", "--out", "b.onnx", "--images", "parts://"], "onnx", "onnx", "bundle"),
}


@pytest.mark.parametrize("words", NEEDS)
@pytest.mark.parametrize(
    ("loading", "code", "message"),
    [
        ("raise ModuleNotFoundError(name=__name__)", 6, 'error: {0} is not installed: pip install "nanoseg[{1}]"'),
        ("raise KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_verbs_end_while_libraries_load(words: str, loading: str, code: int, message: str, tmp_path: Path) -> None:
    arguments, module, library, extra = NEEDS[words]
    (tmp_path / f"{module}.py").write_text(loading)
    done = subprocess.run(
        [sys.executable, "-m", "nanoseg", *words.split(), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"nanoseg: {message.format(library, extra)}")
    assert done.stderr.count("\n") == 1


def test_choices_are_those_of_the_work():
    pytest.importorskip("torch", reason="needs nanoseg[export]")
    from nanoseg.commands.arguments.eval import PromptChoice, ResizeChoice
    from nanoseg.commands.arguments.export import DetectorVariant, EncoderVariant, PixelFormatName
    from nanoseg.evaluation.evaluate_coco import PromptKind
    from nanoseg.models.export.yolo_nas import PIXELS
    from nanoseg.models.image_encoder import ENCODERS
    from nanoseg.models.yolo_nas import VARIANTS
    from nanoseg.models.yolo_nas_pose import POSE_VARIANTS
    from nanoseg.processing.geometry import RESIZES

    for choices, known in (
        (DetectorVariant, {*VARIANTS, *POSE_VARIANTS}),
        (EncoderVariant, ENCODERS),
        (PixelFormatName, PIXELS),
        (ResizeChoice, RESIZES),
        (PromptChoice, get_args(PromptKind)),
    ):
        assert {choice.value for choice in choices} == set(known)


def test_defaults_are_those_of_the_options():
    """The signatures of quantize and fp16 repeat them, as their options cannot be imported without onnx."""
    pytest.importorskip("onnxslim", reason="needs nanoseg[bundle]")
    import enum
    import inspect

    from nanoseg.commands.arguments import fp16, quantize, train
    from nanoseg.models.training.options import DetectorOptions, SegmenterOptions
    from nanoseg.onnx_graphs.fp16.convert import Fp16Options
    from nanoseg.onnx_graphs.int8.options import QuantizeOptions

    names = {"size": "size_px", "rescale": "rescale_px"}
    for verb, options in (
        (train.detector, DetectorOptions),
        (train.segmenter, SegmenterOptions),
        (quantize.quantize, QuantizeOptions),
        (fp16.fp16, Fp16Options),
    ):
        defaults = {name: each.default for name, each in inspect.signature(verb).parameters.items()}
        given = {
            name if hasattr(options, name) else names.get(name, name): value.value
            if isinstance(value, enum.Enum)
            else value
            for name, value in defaults.items()
            if value is not inspect.Parameter.empty and name not in ("debug", "json", "report")
        }
        assert given == {name: getattr(options, name) for name in given}
        assert len(given) >= 6


def test_bundle_make_shows_the_detector_spec(call):
    lines = [line.strip() for line in str(detector_spec.__doc__).splitlines() if line.startswith("    ")]
    out = call("bundle", "make", "--help")[1]
    assert len(lines) > 15
    for line in lines:
        assert line.partition(" (see below)")[0] in out


@pytest.mark.parametrize("line", [["run", "a.png"], ["demo"], ["segment", "a.png", "--point", "1,1"]], ids=" ".join)
def test_empty_out_is_not_the_current_folder(call, line):
    code, out, err = call(*line, "--out", "")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "--out" in err
