"""Files of torch.save whose pickle claims other numbers than their storages hold: both readers refuse them."""

import struct

import numpy as np
import pytest
import torch

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.load import load_checkpoint
from nanoseg.weights.read import read_weights
from tests.weights.test_read import VALUES, Tensor, archive

HUGE = 1 << 62
CLAIMS = {
    "one number more in the storage": {"numbers": 25},
    "a terabyte in the storage": {"numbers": 1 << 40},
    "fewer in the storage than in the tensor": {"numbers": 10},
    "a negative storage": {"numbers": -1},
    "a larger shape": {"shape": (9, 9), "strides": (9, 1)},
    "a terabyte by strides of 0": {"shape": (1 << 40,), "strides": (0,)},
    "all of it huge": {"numbers": HUGE, "shape": (HUGE,), "strides": (1,)},
    "strides that leave it": {"shape": (3,), "strides": (12,)},
    "strides that overflow": {"shape": (2, 3), "strides": (HUGE, HUGE)},
    "negative strides": {"strides": (-1, 1, 1)},
    "an offset of one": {"offset": 1},
    "an offset behind its end": {"offset": 24},
    "an offset that overflows": {"offset": HUGE},
    "a negative offset": {"offset": -3},
    "wider numbers": {"storage": "DoubleStorage"},
    "another dimension of strides": {"strides": (1,)},
}
READERS = {
    "with torch": lambda path: load_checkpoint(path).state_dict["w"],
    "without": lambda path: read_weights(path)["w"],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_beyond_the_storage_are_refused(claim, reader, tmp_path):
    path = archive(tmp_path / "w.pt", {"w": Tensor(**CLAIMS[claim])}, byteorder="little", version="3\n")
    with pytest.raises(BundleError, match=r"w\.pt: ") as caught:
        READERS[reader](path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("honest", [{}, {"offset": 12, "shape": (3, 4), "strides": (4, 1)}, {"strides": (1, 2, 6)}])
def test_claims_within_the_storage_are_read(honest, reader, tmp_path):
    path = archive(tmp_path / "w.pt", {"w": Tensor(**honest)}, byteorder="little", version="3\n")
    got = np.asarray(READERS[reader](path))
    offset, shape = honest.get("offset", 0), honest.get("shape", (2, 3, 4))
    steps = [4 * stride for stride in honest.get("strides", (12, 4, 1))]
    assert np.array_equal(got, np.lib.stride_tricks.as_strided(VALUES.reshape(-1)[offset:], shape, steps))


@pytest.mark.parametrize("numbers", [7, 1 << 40, 1 << 62])
def test_claims_of_files_before_torch_1_6(numbers, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"w": torch.arange(6.0)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    end = content.index(struct.pack("<q", 6))  # the storage's length before its numbers
    path.write_bytes(content[:end] + struct.pack("<q", numbers) + content[end + 8 :])
    with pytest.raises(BundleError, match=r"w\.pth: wanted a file of torch\.save, got a damaged file"):
        load_checkpoint(path)
