"""Masks in .npz files: what is written is read back, and any other file is refused in one line."""

import os

import numpy as np
import pytest

from nanoseg.commands.segment.prompt_flags import PromptFlags
from nanoseg.errors import UsageError
from nanoseg.sinks import saved_masks as saved_masks_module
from nanoseg.sinks.saved_masks import SavedMasks
from nanoseg.types import Prompts
from tests.fakes.engines import fake_engines, rows, segmenter_of
from tests.helpers.saved_masks import IMAGE, SIDE, saved_masks
from tests.helpers.zip_bombs import bomb, claim


def test_saved_masks_round_trip_of_unequal_prompts(tmp_path):
    pipeline = segmenter_of(fake_engines(rows(), takes_masks=True))
    prompts = Prompts.of([None, [1, 2, 3, 4], None], [[[5, 6]], [[7, 8], [9, 9]], None], [[1], [1, 0], None],
                         [None, None, np.ones((SIDE, SIDE))])  # fmt: skip
    masks = pipeline.segment(pipeline.embed(IMAGE), prompts=prompts)
    (tmp_path / "a.npz").write_bytes(SavedMasks.from_masks(masks, prompts, IMAGE, pipeline.bundle).to_npz())
    again = PromptFlags((), (), (), tmp_path / "a.npz").prompts(IMAGE)
    np.testing.assert_array_equal(again.coords, prompts.coords)
    np.testing.assert_array_equal(again.labels, prompts.labels)
    np.testing.assert_array_equal(again.mask_input[:, 0], masks.logits)
    assert again.has_mask.tolist() == [1, 1, 1]


def test_saved_masks_damaged_file(tmp_path):
    good = saved_masks(2).to_npz()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.npz"
    refused = 0
    for trial in range(150):
        bad = bytearray(good)
        if trial % 3 == 0:
            bad = bad[: rng.integers(0, len(bad))]
        else:
            # The arrays' own headers, and the list of them at the end.
            at = rng.integers(0, 400) if trial % 3 == 1 else len(bad) - rng.integers(1, 500)
            bad[at] = rng.integers(0, 256)
        path.write_bytes(bad)
        message = refusal(path)
        refused += message is not None
        assert message is None or (message.startswith(str(path)) and "\n" not in message)
    assert refused > 75


def refusal(path):
    try:
        SavedMasks.read(path)
    except UsageError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": None}, "wanted an .npz file that nanoseg segment wrote: .*logits"),
        ({"logits": np.array([print], object)}, "wanted an .npz file that nanoseg segment wrote, got something else"),
        ({"logits": np.ones((1, SIDE), np.float32)}, "'logits' wants 3 dimensions of dtype kind f, got float32"),
        ({"prompt": np.ones(1, np.float32)}, "'prompt' wants 1 dimensions of dtype kind i, got float32"),
        ({"prompt": np.array([1])}, "its arrays do not fit together"),
        ({"prompts": np.ones((1, 2, 2), np.float32)}, "its arrays do not fit together"),
        ({"prompts": np.ones((0, 2, 3), np.float32)}, "its arrays do not fit together"),
        ({"confidence": np.ones(2, np.float32)}, "its arrays do not fit together"),
        ({"size_hw": np.array([1, 2, 3])}, "its arrays do not fit together"),
        ({"logits": np.ones((1, 16, 5), np.float32)}, "its arrays do not fit together"),
        ({"logits": np.full((1, SIDE, SIDE), np.nan, np.float32)}, "'logits' wants finite numbers"),
        ({"confidence": np.float32([np.inf])}, "'confidence' wants finite numbers"),
        ({"prompts": np.float32([[[1, 2, 7]]])}, "'prompts' wants labels from -2 to 3"),
        ({"prompts": np.float32([[[65, 2, 1]]])}, "'prompts' lie outside its picture, which is 64 x 48 pixels"),
        ({"prompts": np.float32([[[1, -1, 1]]])}, "'prompts' lie outside its picture"),
        ({"decoder": None}, "wanted an .npz file that nanoseg segment wrote: .*decoder"),
    ],
)
def test_saved_masks_wrong_content(tmp_path, change, message):
    path = tmp_path / "a.npz"
    arrays = {**vars(saved_masks()), **change}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(UsageError, match=f"{path}: {message}"):
        SavedMasks.read(path)


def test_saved_masks_single_array(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(UsageError, match=r"a.npy: wanted an .npz file .*, got something else"):
        SavedMasks.read(tmp_path / "a.npy")


def compressed(path):
    bomb(path, [f"{name}.npy" for name in vars(saved_masks())], 4 << 20)


def lying(path):
    path.write_bytes(saved_masks().to_npz())
    claim(path, 4_000_000_000)


def huge_header(path):
    """An array whose header says 8 TB."""
    np.savez(path, **vars(saved_masks()))
    raw = path.read_bytes()
    old = f"({1}, {SIDE}, {SIDE})".encode()
    assert old in raw
    path.write_bytes(raw.replace(old, b"(9" + b"9" * (len(old) - 4) + b",)"))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (compressed, "unpacks to 37.7 MB; wanted at most 10 MB of saved masks"),
        (lying, "unpacks to 36 GB; wanted at most 10 MB of saved masks"),
        (huge_header, "wanted an .npz file that nanoseg segment wrote, got something else"),
        (os.mkfifo, "cannot be read: it is a FIFO, wanted a file"),
        (lambda path: path.symlink_to("/dev/zero"), "cannot be read: it is a device, wanted a file"),
    ],
)
def test_saved_masks_that_are_bombs(tmp_path, monkeypatch, write, message):
    monkeypatch.setattr(saved_masks_module, "MAX_BYTES", 10_000_000)
    path = tmp_path / "a.npz"
    write(path)
    with pytest.raises(UsageError) as raised:
        SavedMasks.read(path)
    assert str(raised.value) == f"{path}: {message}"
