"""Write the layers of networks whose latency is published to published_layers.json, for fit_estimate.py.

    python benchmarks/published_networks.py                 # YOLO-NAS, NanoSAM's and MobileSAM's networks
    python benchmarks/published_networks.py --ultralytics   # YOLO11 and YOLO26; wants ultralytics (tried: 8.4.190)

A layer is one kernel as `nanoseg.onnx_graphs.cost` reads it off the float32 ONNX file: operators, multiply-adds,
whether tensor cores compute it, and the bytes that it reads, writes and has as weights. No weight's value matters, so
they are random. YOLO-NAS-Pose is YOLO-NAS's body with heads of the published state_dict's shapes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch

from nanoseg.benchmark.layer import Layer
from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.image_encoder import ResNet18Encoder
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.onnx_graphs.cost.layers import cost_of, read_graph
from nanoseg.onnx_graphs.model.simplify import simplify
from nanoseg.onnx_graphs.skeletons.fill import read_skeleton
from plain_decoder import PlainDecoder

FILE = Path(__file__).with_name("published_layers.json")
SIDE = 640
ULTRALYTICS = (*(f"yolo11{size}" for size in "nsmlx"), *(f"yolo26{size}" for size in "nsm"))
# Of each level of a YOLO-NAS-Pose: cells a side, the neck's channels, those of the boxes' and of the pose's branch, and
# how many 3x3 convolutions the latter has.
POSE_HEADS = {
    "s": ((80, 96, 64, 64, 2), (40, 192, 128, 256, 2), (20, 384, 256, 256, 3)),
    "l": ((80, 96, 128, 128, 2), (40, 192, 256, 512, 2), (20, 384, 512, 512, 3)),
}
KEYPOINTS, BINS = 17, 17


def main() -> int:
    """Count the layers of the networks and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ultralytics", action="store_true", help="count YOLO11 and YOLO26 instead of the others")
    options = parser.parse_args()
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name, layers in ultralytics_networks() if options.ultralytics else own_networks():
        print(f"{name:18} {len(layers):4} layers  {sum(layer.macs for layer in layers) / 1e9:8.3f} G multiply-adds")
        found[name] = [to_row(layer) for layer in layers]
    rows = (f" {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    return 0


def to_row(layer: Layer) -> list[Any]:
    """Return a layer as a row of the file; the name of its first node is dropped."""
    operators = layer.name.partition(": ")[2] or layer.name
    return [
        operators,
        layer.macs,
        int(layer.tensor_cores),
        layer.read_bytes,
        layer.written_bytes,
        layer.weight_bytes,
    ]


def own_networks() -> Iterator[tuple[str, list[Layer]]]:
    """Yield the networks that this repository has."""
    for size in "sml":
        model = read_skeleton(f"yolo_nas_{size}")
        heads = {node.name for node in model.graph.node if len(node.input) > 1 and node.input[1].startswith("heads.")}
        detector = cost_of(model, {}, f"yolo_nas_{size}").layers
        yield f"yolo-nas-{size}", detector
        if size in POSE_HEADS:
            body = [layer for layer in detector if layer.name.partition(":")[0] not in heads]
            yield f"yolo-nas-pose-{size}", pose(body, POSE_HEADS[size])
    yield "mobilesam-encoder", cost_of(read_skeleton("mobile_sam_tiny_vit"), {}, "mobile_sam_tiny_vit").layers
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, file = Path(folder, "encoder.pt"), Path(folder, "encoder.onnx")
        torch.save(ResNet18Encoder().state_dict(), checkpoint)
        export_image_encoder(checkpoint, file, variant="resnet18")
        yield "nanosam-encoder", read_graph(file, {}).layers
    decoder = PlainDecoder(MaskDecoder()).eval()
    inputs = (torch.zeros(1, 256, 64, 64), torch.zeros(1, 2, 2), torch.full((1, 2), 2.0))
    yield "sam-decoder", cost_of(exported(decoder, inputs), {}, "sam-decoder").layers


def pose(body: Sequence[Layer], levels: Sequence[tuple[int, int, int, int, int]]) -> list[Layer]:
    """Return the layers of a YOLO-NAS-Pose: those of a detector without its heads, and the heads of poses."""
    heads = []
    for cells, channels, boxes, joints, depth in levels:
        shapes = [(channels, boxes, 1), (channels, joints, 1), (boxes, boxes, 3), (boxes, boxes, 3)]
        shapes += [(joints, joints, 3)] * depth
        shapes += [(boxes, 4 * BINS, 1), (boxes, 1 + KEYPOINTS, 1), (joints, 2 * KEYPOINTS, 1)]
        for read, made, side in shapes:
            weights = made * read * side * side
            area = 4 * cells * cells
            heads.append(Layer("Conv", "fp32", cells**2 * weights, True, area * read, area * made, 4 * weights))
    return [*body, *heads]


def ultralytics_networks() -> Iterator[tuple[str, list[Layer]]]:
    """Yield YOLO11 and YOLO26, as their own exporter writes them."""
    from ultralytics.nn.tasks import DetectionModel

    for name in ULTRALYTICS:
        model = DetectionModel(f"{name}.yaml", verbose=False).eval().fuse(verbose=False)
        for module in model.modules():
            if hasattr(module, "export"):
                module.export, module.format, module.dynamic = True, "onnx", False
        yield name, cost_of(exported(model, (torch.zeros(1, 3, SIDE, SIDE),)), {}, name).layers


def exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    """Return a module as an ONNX model."""
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder, "network.onnx")
        torch.onnx.export(module, inputs, file, opset_version=19, dynamo=False)
        return simplify(onnx.load(file))


if __name__ == "__main__":
    sys.exit(main())
