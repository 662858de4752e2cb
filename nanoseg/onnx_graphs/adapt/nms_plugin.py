"""Detectors that end in TensorRT's NMS plugin: their outputs are taken before it, as nanoseg suppresses itself."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import OutputSpec
from nanoseg.onnx_graphs.model.builder import GraphBuilder

PLUGIN = "EfficientNMS_TRT"
CLASS_AGNOSTIC = "nms_class_agnostic"  # metadata: the plugin suppressed across classes


def outputs_before_plugin(path: Path, model: onnx.ModelProto, stated: OutputSpec) -> OutputSpec | None:
    """Return the outputs before an EfficientNMS_TRT with the meaning that its attributes give them.

    Args:
        path: the network's file, for messages.
        model: the network; where boxes have an axis of one before their sides it is dropped in place, and metadata
            tells whether the plugin suppresses across classes.
        stated: the keys of the detector spec, none of which names an output.

    Returns:
        None where the network has no such plugin.

    Raises:
        BundleError: the plugin does more than suppress: it decodes anchors, or its background class is in the middle.
    """
    plugins = [node for node in model.graph.node if node.op_type == PLUGIN]
    if len(plugins) != 1:
        return None
    (plugin,) = plugins
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in plugin.attribute}
    if len(plugin.input) > 2 and plugin.input[2]:
        raise BundleError(f"{path}: {PLUGIN} decodes anchors: wanted boxes; export it without NMS")
    background = int(options.get("background_class", -1))
    if background > 0:
        raise BundleError(f"{path}: {PLUGIN} has the background class {background}: wanted -1 or 0; name boxes and "
                          "scores before it, and background, in --detector-spec")  # fmt: skip
    if int(options.get("class_agnostic", 0)):
        model.metadata_props.add(key=CLASS_AGNOSTIC, value="yes")
    # Its boxes may be (1, A, 1, 4), one for all classes.
    g = GraphBuilder("nanoseg/before_nms")
    boxes = g.add("Reshape", plugin.input[0], np.array([1, -1, 4], np.int64))
    model.graph.node.extend(g.nodes)
    model.graph.initializer.extend(g.constants)
    return msgspec.structs.replace(
        stated,
        form="scores",
        boxes=boxes,
        scores=plugin.input[1],
        box_form="cxcywh" if int(options.get("box_coding", 0)) else "xyxy",
        activation="sigmoid" if int(options.get("score_activation", 0)) else "none",
        background="none" if background < 0 else "first",
    )
