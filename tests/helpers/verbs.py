"""A verb of the command line as a function of its arguments."""

from collections.abc import Callable, Sequence

from nanoseg.cli import run_command


def verb(*words: str) -> Callable[[Sequence[object]], int]:
    """Return a function that runs one verb and returns its exit code."""
    return lambda arguments: run_command([*words, *map(str, arguments)])


export_image_encoder = verb("export", "image-encoder")
export_mask_decoder = verb("export", "mask-decoder")
export_yolo_nas = verb("export", "yolo-nas")
export_torch2trt = verb("export", "torch2trt")
import_torch2trt = verb("import", "torch2trt")
