"""Check that bundle.toml and the graphs beside it agree: sizes, names, shapes and types of inputs and outputs."""

from __future__ import annotations

from pathlib import Path

from nanoseg.backends.engine import TensorSpec
from nanoseg.bundle.manifest import MANIFEST, GraphEntry, GraphTable, Manifest, TensorrtEntry
from nanoseg.bundle.signature import read_graph_file
from nanoseg.errors import BundleError
from nanoseg.processing.geometry import CELL_PX
from nanoseg.processing.tiles import BLOCK, TILE_TOKENS

CLASSES = "classes"  # keys of detect.onnx's metadata: the number of classes,
NMS_KIND = "nms"  # and the kind of its NMS where that is not by class
CHANNELS = 256  # of an embedding
# A dimension is a number; a letter, the same wherever it stands, or dynamic; or None for any.
Dims = tuple[int | str | None, ...]


def check_sizes(path: Path, manifest: Manifest) -> None:
    """Check the values of bundle.toml against each other.

    Args:
        path: bundle.toml, for messages.
        manifest: its content.

    Raises:
        BundleError: two keys do not fit; names them.
    """
    sizes, graphs = manifest.input, manifest.graphs
    if sizes.rescale_px > sizes.detector_px:
        raise BundleError(
            f"{path}: input.rescale_px: wanted at most input.detector_px, {sizes.detector_px}, got {sizes.rescale_px}"
        )
    if manifest.keypoints is not None and (problem := manifest.keypoints.problem()):
        raise BundleError(f"{path}: keypoints.{problem}")
    if sizes.encoder_px % CELL_PX:
        raise BundleError(f"{path}: input.encoder_px: wanted a multiple of {CELL_PX}, got {sizes.encoder_px}")
    if (graphs.segment_mask is None) != (manifest.networks.mask_decoder is None):
        raise BundleError(f"{path}: wanted graphs.segment_mask and networks.mask_decoder both or neither, got one")
    names: dict[str, str] = {}
    for name in graphs.__struct_fields__:
        for key, entry in _entries(graphs, name):
            if (other := names.setdefault(entry.file, key)) != key:
                raise BundleError(f"{path}: graphs.{key}.file: wanted a file of its own, got that of graphs.{other}")


def check_graphs(folder: Path, manifest: Manifest) -> None:
    """Check the graphs' inputs, outputs and external weights against bundle.toml and against each other.

    A file that is not ONNX is left to the backend, which tells more about it.

    Raises:
        BundleError: an input or output is missing, or has another shape or type, or weights are not listed; names it.
    """
    sizes = manifest.input
    letters: dict[str, tuple[int, str]] = {  # a letter's value, and where it comes from
        "S": (sizes.detector_px, "input.detector_px"),
        "E": (sizes.encoder_px, "input.encoder_px"),
        "g": (sizes.encoder_px // CELL_PX, f"input.encoder_px / {CELL_PX}"),
        "k": (manifest.thresholds.max_detections, "thresholds.max_detections"),
    }
    names = manifest.graphs.__struct_fields__
    for name, key, entry in [(each, *of_each) for each in names for of_each in _entries(manifest.graphs, each)]:
        path = folder / entry.file
        try:
            signature, external, metadata = read_graph_file(path)
        except KeyError as error:
            raise BundleError(f"{path}: an input or output has the ONNX type {error}, which is no array's") from error
        except (OSError, ValueError):
            continue
        if unknown := external - {file.file for file in entry.external}:
            raise BundleError(
                f"{folder / MANIFEST}: graphs.{key}.external: wanted {', '.join(sorted(unknown))}, which {entry.file} "
                "refers to, got none; make the bundle anew"
            )
        classes = metadata.get(CLASSES, str(len(manifest.labels)))
        if classes != str(len(manifest.labels)):
            raise BundleError(f"{path}: has {classes} classes, but labels names {len(manifest.labels)} in {MANIFEST}")
        if name == "detect" and (has_nms := metadata.get(NMS_KIND, "by-class")) != (wants := manifest.thresholds.nms):
            raise BundleError(
                f"{folder / MANIFEST}: thresholds.nms: wanted {has_nms}, as {entry.file} has it, got {wants}; "
                f"run it with --nms {wants}, or make the bundle anew"
            )
        inputs, outputs = _contract(name)
        if name == "detect" and manifest.keypoints is not None:
            outputs["keypoints"] = ("float32", ("k", len(manifest.keypoints.names), 3))
        for kind, have, want in zip(("input", "output"), signature, (inputs, outputs), strict=True):
            for tensor, (dtypes, dims) in want.items():
                if tensor not in have:
                    raise BundleError(
                        f"{path}: wanted the {kind} '{tensor}' of {name}, got {', '.join(have) or 'none'}; "
                        f"{MANIFEST} or the file is another bundle's"
                    )
                _check_tensor(path, tensor, have[tensor], dtypes, dims, letters)


def _entries(graphs: GraphTable, name: str) -> list[tuple[str, GraphEntry | TensorrtEntry]]:
    """Return a graph's entries by their keys: none, its own, and that of its form for TensorRT."""
    entry: GraphEntry | None = getattr(graphs, name)
    if entry is None:
        return []
    form = entry.tensorrt
    return [(name, entry), *([(f"{name}.tensorrt", form)] if form is not None else [])]


def _contract(graph: str) -> tuple[dict[str, tuple[str, Dims]], dict[str, tuple[str, Dims]]]:
    """Return the inputs and outputs that a graph must have: types and dims by name."""
    floats = "float32 float16"
    if graph == "prepare":
        images: dict[str, tuple[str, Dims]] = {
            "images": (floats, (1, 3, "S", "S")),
            "image": (floats, (1, 3, "E", "E")),
        }
        return {"frame": ("uint8", (1, None, None, 3))}, {**images, "geometry": ("float32", (8,))}
    if graph == "detect":
        thresholds: dict[str, tuple[str, Dims]] = {"confidence": ("float32", ()), "iou": ("float32", ())}
        return {"images": (floats, (1, 3, "S", "S")), "geometry": ("float32", (8,)), **thresholds}, {
            "boxes": ("float32", ("k", 4)),
            "scores": ("float32", ("k",)),
            "class_ids": ("int32", ("k",)),
            "count": ("int32", ()),
            "unconverged": ("int32", ()),
        }
    embedding: dict[str, tuple[str, Dims]] = {"image_embeddings": (floats, (1, CHANNELS, "g", "g"))}
    if graph == "segment_boxes":
        boxes: dict[str, tuple[str, Dims]] = {"boxes": ("float32", (None, 4)), "geometry": ("float32", (8,))}
        tiles: dict[str, tuple[str, Dims]] = {
            "tile_prompts": ("int32", (None,)),
            "tile_tokens": ("int32", (None, TILE_TOKENS)),
        }
        logits: tuple[str, Dims] = ("float32", (None, TILE_TOKENS, BLOCK, BLOCK))
        return {**embedding, **boxes, **tiles}, {"tile_logits": logits, "iou_predictions": ("float32", (None, 1))}
    if graph == "embed":
        return {"image": (floats, (1, 3, "E", "E"))}, embedding
    points: dict[str, tuple[str, Dims]] = {
        "point_coords": ("float32", (None, None, 2)),
        "point_labels": ("float32", (None, None)),
    }
    if graph == "segment_mask":
        points |= {"mask_input": ("float32", (None, 1, None, None)), "has_mask_input": ("float32", (None,))}
    masks: dict[str, tuple[str, Dims]] = {"low_res_masks": ("float32", (None,) * 4)}
    return {**embedding, **points}, {**masks, "iou_predictions": ("float32", (None, None))}


def _check_tensor(
    path: Path, name: str, have: TensorSpec, dtypes: str, dims: Dims, letters: dict[str, tuple[int, str]]
) -> None:
    if have.dtype.name not in dtypes.split() or len(have.shape) != len(dims):
        wanted = f"{dtypes.replace(' ', ' or ')} of {len(dims)} dimensions"
        raise BundleError(f"{path}: '{name}' wants {wanted}, got {have.dtype.name} {_format(have.shape)}")
    for got, want in zip(have.shape, dims, strict=True):
        if want is None or got is None:
            continue
        value, origin = (want, "") if isinstance(want, int) else letters.setdefault(want, (got, path.name))
        if got != value:
            reason = f", as {origin} says" if origin else ""
            raise BundleError(
                f"{path}: '{name}' wants {value} where it has {got} in {_format(have.shape)}{reason}; "
                f"{MANIFEST} or the file is another bundle's"
            )


def _format(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"
