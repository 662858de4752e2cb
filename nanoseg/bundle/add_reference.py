"""Reference frames added to a bundle that has none, or made anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from nanoseg.bundle.bundle import open_bundle
from nanoseg.bundle.manifest import MANIFEST, ReferenceEntry, read_manifest
from nanoseg.bundle.reference import REFERENCE, Reference, make_reference
from nanoseg.errors import DependencyError, needs
from nanoseg.utils.files import write_all_atomic, write_errors


def add_reference(folder: Path, images: str | None = None) -> Reference:
    """Run a bundle on images, and write reference.json and bundle.toml with its sha256.

    Args:
        folder: The bundle's folder.
        images: A folder or pattern of images, or parts://; by default those built in.

    Returns:
        What was written.

    Raises:
        BundleError: The bundle is damaged.
        SourceError: The images cannot be read.
        DependencyError: Without OpenCV, ONNX Runtime or tomli-w.
        UsageError: The folder cannot be written.
    """
    with needs("tomli-w", "bundle"):
        import tomli_w
    from nanoseg.onnx_graphs.deploy.check_images import check_images

    data = make_reference(open_bundle(folder), check_images(images))
    manifest = read_manifest(folder)
    manifest.reference = ReferenceEntry(REFERENCE, hashlib.sha256(data).hexdigest(), len(data))
    text = tomli_w.dumps(msgspec.to_builtins(manifest)).encode()
    # The frames first: a manifest of a file that is not there is a damaged bundle, the other way round it is not.
    write_all_atomic({folder / REFERENCE: data, folder / MANIFEST: text}, guard=write_errors)
    return msgspec.json.decode(data, type=Reference)


def try_add_reference(folder: Path, images: str | None, progress: Callable[[str], None]) -> None:
    """Add reference frames, or report why there are none where a library is missing; see `add_reference`."""
    try:
        add_reference(folder, images)
    except DependencyError as missing:
        progress(f"no reference frames, against which nanoseg bench checks engines: {missing}")
