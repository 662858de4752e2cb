"""`nanoseg fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples, on_interrupt


@examples(
    "nanoseg fetch --list",
    "nanoseg fetch nanosam-encoder mobile-sam",
    "nanoseg fetch yolo-nas-s --accept-licence",
    "nanoseg fetch nanosam-encoder --url https://a.mirror/resnet18_image_encoder.onnx",
    "nanoseg fetch nanosam-encoder --trust-file   # weights/resnet18_image_encoder.onnx is my own copy",
)
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Weights to fetch, by their names in --list.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List what can be fetched.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path("weights"),
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Address to fetch the same file from, instead of its publisher's.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms of weights that are not open source.")
    ] = False,
    forget_hash: Annotated[
        bool, typer.Option("--forget-hash", help="Discard the recorded sha256, and fetch and replace the file.")
    ] = False,
    trust_file: Annotated[
        bool, typer.Option("--trust-file", help="Accept the file that is in --out, and record its sha256.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fetch published weights, verify them and print their licence.

    An interrupted download continues where it ended. A file is put in place once its length, its kind and its checksum
    are right; where no checksum is published the sha256 of the first download is kept beside it (FILE.sha256, as
    sha256sum reads it), and later downloads must have the same.
    """
    with on_interrupt("interrupted; run again to continue"):
        from nanoseg.commands.fetch import fetch_weights, print_list

        if list_ or (json and not names):
            print_list(json)
        else:
            fetch_weights(names or [], out, url, accept_licence, forget_hash, trust_file, json)
