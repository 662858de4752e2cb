"""Files of torch2trt, made to the layout of its TRTModule."""

from pathlib import Path

import torch
from torch import nn

from tests.fakes.tensorrt import DataType, TensorIOMode

PLAN = b"ftrt" + bytes(range(256)) * 40
TENSORS = {  # in another order than the module gives them
    "input_1": (TensorIOMode.INPUT, DataType.HALF, (1, 4)),
    "output_0": (TensorIOMode.OUTPUT, DataType.FLOAT, (-1, 256, 64, 64)),
    "input_0": (TensorIOMode.INPUT, DataType.FLOAT, (-1, 3, 1024, 1024)),
}
INPUTS, OUTPUTS = ("input_0", "input_1"), ("output_0",)


class TRTModule(nn.Module):
    """What torch2trt's puts into a state_dict, and takes out of one, as its trt_module.py of 2024 does."""

    def __init__(self, plan=None, flatteners=True):
        super().__init__()
        self.plan, self.flatteners = plan, flatteners
        self._register_state_dict_hook(TRTModule.on_state_dict)

    def on_state_dict(self, state, prefix, metadata):
        state[prefix + "engine"] = bytearray(self.plan)
        state[prefix + "input_names"] = list(INPUTS)
        state[prefix + "output_names"] = list(OUTPUTS)
        if self.flatteners:
            state[prefix + "input_flattener"] = {"schema": (0, [1]), "size": 2}
            state[prefix + "output_flattener"] = {"schema": 0, "size": 1}

    def _load_from_state_dict(self, state, prefix, *_):
        self.plan = bytes(state[prefix + "engine"])
        self.names = (state[prefix + "input_names"], state[prefix + "output_names"])
        for key in ("input_flattener", "output_flattener"):
            if key in state:
                assert state[key]["size"] >= 0  # None would fail there


def saved(content, folder: Path) -> Path:
    path = folder / "model.pth"
    torch.save(content, path)
    return path
