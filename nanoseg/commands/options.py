"""Options that several verbs share, as typer reads them off a signature, and the decorator that adds examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from nanoseg.errors import INTERRUPTED
from nanoseg.utils.terminal import print_error

NOTHING_WRITTEN = "interrupted; nothing was written"  # for verbs that write their files last


class NmsChoice(str, Enum):
    """Kinds of NMS."""

    by_class = "by-class"
    across_classes = "across-classes"


class TrackerChoice(str, Enum):
    """Trackers."""

    bytetrack = "bytetrack"
    oc_sort = "oc-sort"
    mcbyte = "mcbyte"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
BundleName = Annotated[str, typer.Option(metavar="BUNDLE", help="Folder of a bundle, or its name: parts, or coco.")]
Confidence = Annotated[
    float | None, typer.Option(min=0, max=1, help="Minimum confidence of a box; by default the bundle's.")
]
Iou = Annotated[
    float | None, typer.Option(min=0, max=1, help="Overlap above which non-maximum suppression drops a box.")
]
Nms = Annotated[
    NmsChoice | None,
    typer.Option(
        help="Whether a box is dropped by better ones of its own class, or of any, so that an object has one name; by "
        "default the bundle's."
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="NAME,...", help="Classes to find and segment, by name or id; by default all of the bundle."),
]
MaxPixels = Annotated[
    int, typer.Option(metavar="N", min=1, help="Maximum pixels of an image; larger ones are refused before decoding.")
]
Engines = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of built engines; by default $NANOSEG_ENGINES, a checkout's, or the user's cache."
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Library that runs the networks: auto, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, or tensorrt, "
        "which needs the engines of nanoseg build. auto is tensorrt where all of them are built, else ONNX Runtime.",
    ),
]
Checkpoint = Annotated[Path, typer.Option(metavar="FILE", help="Weights: .pt, .pth, .ckpt or .safetensors.")]
OutOnnx = Annotated[Path, typer.Option(metavar="FILE.onnx", help="ONNX file to write.")]
Images = Annotated[str, typer.Option(metavar="SOURCE", help="Folder or 'glob' of representative images, or parts://.")]
Annotations = Annotated[
    Path | None, typer.Option(metavar="COCO.json", help="COCO instances of the images, to measure accuracy.")
]
DetectorSpec = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.toml",
        help="Inputs and outputs of a detector exported by other software; see nanoseg bundle make --help.",
    ),
]
Keypoints = Annotated[
    str | None,
    typer.Option(
        help="Of a checkpoint of YOLO-NAS-Pose: coco, crowdpose, animalpose, or a TOML file with names, sigmas and "
        "skeleton; by default the first of these with as many keypoints."
    ),
]
DetectorSize = Annotated[
    int | None,
    typer.Option("--size", metavar="PX", help="Side of the detector's input, where its file leaves it open."),
]
DetectorRescale = Annotated[
    int | None,
    typer.Option("--rescale", metavar="PX", help="Longer side of the frame within the detector's input."),
]
Report = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report's files.")]


def output_path(text: str | Path) -> Path:
    """Return the path that --out names; an empty one, as of an unset variable, would be the current folder."""
    if not str(text):
        raise typer.BadParameter("wanted a path, got an empty one")
    return Path(text)


# A verb's parameters are its options, its docstring is its help, its result an exit code.
Verb = Callable[..., "int | None"]
Function = TypeVar("Function", bound=Verb)


def examples(*lines: str) -> Callable[[Function], Function]:
    """Attach example command lines, which `--help` shows last."""

    def attach(function: Function) -> Function:
        function.__dict__["examples"] = lines
        return function

    return attach


def epilog(lines: tuple[str, ...]) -> str:
    """Return example command lines as the end of a help text; \\b keeps click from joining them."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


@contextmanager
def on_interrupt(message: str) -> Iterator[None]:
    """Turn Ctrl-C into `message` on stderr and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        print_error(message)
        raise SystemExit(INTERRUPTED) from None
