"""Fill the skeletons that the package ships with published weights: networks as the exporter writes them."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.skeletons.fuse import COUNTER, Fused, Weights, fuse_conv_norms, fuse_yolo_nas
from nanoseg.onnx_graphs.skeletons.recipe import apply_recipe, sources
from nanoseg.utils.names import first_names

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Skeleton:
    """How the weights of one network are found in a state_dict."""

    what: str  # for messages
    fuse: Callable[[Weights], Fused]
    prefixes: tuple[str, ...] = ("",)  # of its weights; others are not read
    strip: str = ""  # of these is removed
    unused: tuple[str, ...] = ()  # beginnings of names, without that, of weights that the network does not have


SKELETONS: Mapping[str, Skeleton] = {
    **{f"yolo_nas_{size}": Skeleton(f"a YOLO-NAS {size.upper()} of 80 classes", fuse_yolo_nas) for size in "sml"},
    "mobile_sam_tiny_vit": Skeleton(
        "MobileSAM's image encoder", fuse_conv_norms, ("image_encoder.",), "image_encoder.", ("norm_head.", "head.")
    ),
    "sam_mask_decoder": Skeleton(
        "SAM's mask decoder",
        lambda weights: Fused(dict(weights)),
        ("prompt_encoder.", "mask_decoder."),
        # Of mask prompts; and of keys, as softmax ignores what is constant along a row.
        unused=(
            "prompt_encoder.mask_downscaling.",
            "mask_decoder.transformer.layers.1.cross_attn_token_to_image.k_proj.bias",
            "mask_decoder.transformer.final_attn_token_to_image.k_proj.bias",
        ),
    ),
}


def skeleton_path(name: str) -> Path:
    """Return a skeleton's file: an ONNX model, compressed by xz."""
    return FOLDER / f"{name}.onnx.xz"


def read_skeleton(name: str) -> onnx.ModelProto:
    """Return a skeleton; a constant without data has a recipe as its doc_string."""
    return onnx.load_model_from_string(lzma.decompress(skeleton_path(name).read_bytes()))


def fill_skeleton(
    name: str, weights: Weights, out: Path, *, origin: str, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a network with these weights as one ONNX file, and return its path.

    Args:
        name: A key of SKELETONS.
        weights: The state_dict; what other networks need in it is not read.
        out: The file to write.
        origin: The origin of the weights for messages and for the file's metadata.
        metadata: Further metadata_props.

    Raises:
        BundleError: The weights are not those of this network, or not finite.
    """
    skeleton = SKELETONS[name]
    model = read_skeleton(name)
    fused = own_weights(name, weights, origin)
    constants = [constant for constant in model.graph.initializer if constant.doc_string]
    read = {source for constant in constants for source in sources(constant.doc_string)}
    missing = sorted(read - fused.weights.keys())
    unexpected = sorted(key for key in fused.weights.keys() - read if not key.startswith(skeleton.unused))
    faults = [f"{len(keys)} {fault} ({first_names(keys)})" for fault, keys in
              (("missing", missing), ("unexpected", unexpected)) if keys]  # fmt: skip
    if faults:
        raise BundleError(f"{origin}: not the weights of {skeleton.what}: {', '.join(faults)}")
    for constant in constants:
        shape = tuple(constant.dims)
        try:
            value = apply_recipe(constant.doc_string, fused.weights, shape)
        except (ValueError, IndexError) as error:
            names = first_names(sources(constant.doc_string))
            raise BundleError(f"{origin}: not the weights of {skeleton.what}: {names} of another shape") from error
        if not np.isfinite(value).all():
            raise BundleError(f"{origin}: {first_names(sources(constant.doc_string))} holds NaN or infinity")
        constant.raw_data = value.astype("<f4").tobytes()
        constant.ClearField("doc_string")
    for block, factor in fused.factors.items():
        _scale_shortcut(model.graph, block, factor)
    for key, text in {"architecture": name, "weights": origin, **(metadata or {})}.items():
        model.metadata_props.add(key=key, value=text)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(model.SerializeToString(deterministic=True))
    return out


def own_weights(name: str, weights: Weights, origin: str) -> Fused:
    """Return one network's weights of a state_dict, fused; raises BundleError where they are not its."""
    skeleton = SKELETONS[name]
    own = {key.removeprefix(skeleton.strip): value for key, value in weights.items()
           if key.startswith(skeleton.prefixes)}  # fmt: skip
    whole = sorted(key for key, value in own.items() if value.dtype.kind != "f" and not key.endswith(COUNTER))
    if whole:
        raise BundleError(
            f"{origin}: not the weights of {skeleton.what}: {first_names(whole)} of no floating-point type"
        )
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused
            fused = skeleton.fuse(own)
    except KeyError as error:
        raise BundleError(f"{origin}: not the weights of {skeleton.what}: without {error.args[0]}") from error
    except (ValueError, IndexError, StopIteration) as error:
        raise BundleError(f"{origin}: not the weights of {skeleton.what}: {error or 'of another shape'}") from error
    if broken := sorted(block for block, factor in fused.factors.items() if not np.isfinite(factor)):
        raise BundleError(f"{origin}: {first_names([f'{block}.alpha' for block in broken])} holds NaN or infinity")
    return fused


def _scale_shortcut(graph: onnx.GraphProto, block: str, factor: float) -> None:
    """Multiply the shortcut of a bottleneck, the second input of its addition, by a factor that was not folded."""
    second = f"{block}.cv2."
    conv = next(node for node in graph.node if node.op_type == "Conv" and node.input[1].startswith(second))
    relu = next(node for node in graph.node if conv.output[0] in node.input)
    index, add = next((i, node) for i, node in enumerate(graph.node) if relu.output[0] in node.input)
    constant, product = f"{block}.alpha", f"{block}.shortcut"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([factor], np.float32), constant))
    graph.node.insert(index, onnx.helper.make_node("Mul", [constant, add.input[1]], [product], name=product))
    graph.node[index + 1].input[1] = product
