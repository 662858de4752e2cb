"""Files to fetch, what to say of them, and how to ask for them without waiting."""

import hashlib
import io
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from nanoseg.weights.download import Retries
from nanoseg.weights.fetch import fetch
from nanoseg.weights.published import Weights


def zipped(seed: int, size: int = 300_000) -> bytes:
    """Like a file of torch.save: a zip, its directory at the end; what is in it cannot be compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", np.random.default_rng(seed).bytes(size))
    return buffer.getvalue()


def tensors(values: np.ndarray) -> bytes:
    """A safetensors file of one tensor."""
    content = values.astype(np.float32).tobytes()
    got = {"dtype": "F32", "shape": values.shape, "data_offsets": [0, len(content)]}
    header = json.dumps({"w": got, "__metadata__": {"format": "pt"}}).encode()
    return struct.pack("<Q", len(header)) + header + content


BODY, OTHER = zipped(1), zipped(2)
SHA256 = hashlib.sha256(BODY).hexdigest()
FIRST = Weights("net", "net.pth", "", "decoder")  # nothing published
CHECKED = replace(FIRST, bytes=len(BODY), sha256=SHA256)


class Waits(list):
    """Instead of sleeping."""

    @property
    def retries(self):
        return Retries(timeout_s=5, tries=3, wait=self.append)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def get(server, folder, weights=FIRST, waits=None, **more):
    waits = Waits() if waits is None else waits
    return fetch(replace(weights, url=server.url), folder, retries=more.pop("retries", waits.retries), **more)


PAGE = "<!DOCTYPE html><html><head><title>Quota\n exceeded</title></head><body>Too many users</body></html>"
FORM = """<html><head><title>Virus scan warning</title></head><body>
<form action="/other"><input name="no" value="1"></form>
<form id="download-form" action="{action}" method="get"><input type="hidden" name="id" value="a&amp;b">
<input type="hidden" name="uuid" value="1-2"><input type="submit" value="Download anyway"></form></body></html>"""
