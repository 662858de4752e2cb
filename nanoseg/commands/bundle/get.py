"""`nanoseg bundle get`: fetch published weights, make a bundle of them, run a picture, say what was not measured."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nanoseg
from nanoseg.bundle import Bundle
from nanoseg.bundle.get import CocoNetworks, find_coco, make_coco
from nanoseg.bundle.install import check_install_folder
from nanoseg.bundle.user_folder import COCO_BUNDLE, VARIABLE, user_bundles_folder
from nanoseg.commands.fetch import download_bar, select
from nanoseg.engines.paths import cache_folder
from nanoseg.errors import DependencyError, SourceError, UsageError, needs
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.terminal import plural, print_error, print_json, print_table
from nanoseg.weights.fetch import fetch
from nanoseg.weights.published import Weights

DEFAULT = CocoNetworks()
PICTURE_OBJECTS = 10  # at most, in the picture that is run


@dataclass(frozen=True)
class GetOptions:
    """Options of `nanoseg bundle get`; see its flags."""

    name: str
    size: str | None = None
    encoder: str | None = None
    accept_licence: bool = False
    out: Path | None = None
    refresh: bool = False
    json: bool = False


def get(options: GetOptions) -> None:
    """Make the bundle, unless it is there, and print what was done and what was not; raises NanosegError."""
    if options.name != COCO_BUNDLE:
        raise UsageError(f"{options.name}: no such bundle to get; wanted {COCO_BUNDLE}")
    import nanoseg.backends.onnxruntime.session  # noqa: F401  # missed before anything is fetched

    out = _install_folder(options)
    bundle = None if options.refresh else find_coco(out, options.size, options.encoder)
    found = bundle is not None
    files: dict[str, Path] = {}
    networks = CocoNetworks(options.size or DEFAULT.size, options.encoder or DEFAULT.encoder)
    weights: list[Weights] = []
    started = time.perf_counter()
    if bundle is None:
        weights = select(networks.weights, options.accept_licence)
        check_install_folder(out)
        for each in weights:
            print_error(f"{each.name}: {each.licence.name}: {each.licence.summary} ({each.licence.url})")
        files = {each.name: fetch_any(each, cache_folder() / "weights") for each in weights}
        licence = "; ".join(f"{each.name} {each.licence.name}" for each in weights)
        bundle = make_coco(networks, files, licence, out, print_error)
    picture = "" if found else run_picture(bundle)
    if options.json:
        print_json(
            {
                "bundle": str(bundle.path),
                "name": bundle.name,
                "description": bundle.description,
                "licence": bundle.licence,
                "already_there": found,
                "weights": [_described(each, files[each.name]) for each in weights],
                "picture": picture or None,
                "seconds": round(time.perf_counter() - started, 1),
                "not_measured": not_measured(bundle, weights),
                "use": f"nanoseg run photo.jpg --bundle {_bundle_argument(bundle, options)}",
            }
        )
    else:
        _print_report(bundle, options, found, weights, files, picture)


def fetch_any(weights: Weights, folder: Path) -> Path:
    """Return the verified file, from its publisher or else from the first mirror that has it.

    Raises:
        SourceError: No address has it, or a file that is there is another one.
    """
    # Further flags are those of another verb, which takes the same files.
    verb = f"nanoseg fetch {weights.name} --out {folder}"
    urls = [weights.url] if (folder / weights.file).exists() else [weights.url, *weights.mirrors]
    for number, url in enumerate(urls, 1):
        try:
            with download_bar(weights.file) as progress:
                return fetch(weights, folder, url=url, progress=progress)
        except SourceError as error:
            text = re.sub(r"--(?=url|trust-file|forget-hash)", f"{verb} --", str(error).partition("; others keep")[0])
            if number == len(urls):
                raise SourceError(text) from error
            print_error(f"{text}; trying the next address, {urls[number]}")
    raise AssertionError("not reached: the last address returns or raises")


def run_picture(bundle: Bundle) -> dict[str, Any] | str:
    """Run a synthetic picture through a bundle: its size, the number of objects, and milliseconds; or why not."""
    try:
        with needs("OpenCV", "opencv"):
            from nanoseg.sources.simulator.line import SimulatedLine
        with nanoseg.load(bundle.path, max_objects=PICTURE_OBJECTS) as segmenter:
            image = SimulatedLine(1).frame(0).image
            found = segmenter(image)
            height, width = image.shape[:2]
            return {
                "size": f"{width}x{height}",
                "objects": len(found),
                "backend": segmenter.backend,
                "first_run_ms": round(found.latency_ms.get("total", 0.0), 1),
            }
    except DependencyError as error:  # its graphs have run; only reading and resizing pictures needs OpenCV
        return f"not run: {error}"


def not_measured(bundle: Bundle, weights: list[Weights]) -> list[str]:
    """Return what nobody knows of this bundle, a sentence each."""
    unknown = [
        "accuracy: nothing was measured; with COCO's pictures: nanoseg bundle measure",
        "speed and correctness on a Jetson or any GPU: nanoseg has never run on one",
        "INT8 and FP16: the networks are float32, as published; to quantize needs pictures of yours: nanoseg quantize",
    ]
    unchecked = [each.file for each in weights if not (each.sha256 or each.md5)]
    if unchecked:
        unknown.append(f"origin of {', '.join(unchecked)}: no checksum is published; that of this download is kept")
    return unknown


def _install_folder(options: GetOptions) -> Path:
    if options.out is not None:
        return options.out.absolute()
    folder = user_bundles_folder()
    if folder is None:
        raise UsageError(f"this user has no home folder; give one: --out DIR, or set {VARIABLE}")
    return folder / options.name


def _described(weights: Weights, path: Path) -> dict[str, Any]:
    digest = sha256_of_file(path)
    licence = {"name": weights.licence.name, "summary": weights.licence.summary, "url": weights.licence.url}
    return {"name": weights.name, "path": str(path), "sha256": digest, "bytes": path.stat().st_size, "licence": licence}


def _bundle_argument(bundle: Bundle, options: GetOptions) -> str:
    return str(bundle.path) if options.out is not None else options.name


def _print_report(
    bundle: Bundle,
    options: GetOptions,
    found: bool,
    weights: list[Weights],
    files: dict[str, Path],
    picture: dict[str, Any] | str,
) -> None:
    megabytes = sum(graph.all_bytes for graph in bundle.graphs.values()) / 1e6
    if isinstance(picture, dict):
        picture = (
            f"a synthetic one of {picture['size']} ran on {picture['backend']} in {picture['first_run_ms']:.0f} ms, "
            f"{plural(picture['objects'], 'object')}: it works, which says nothing about accuracy"
        )
    print_table(
        f"{bundle.name}: {'there already; anew with --refresh' if found else 'made'}",
        [
            ("bundle", f"{bundle.path}, {megabytes:.1f} MB, {len(bundle.labels)} labels"),
            ("networks", bundle.description),
            ("licence", bundle.licence),
            *(("weights", str(files[each.name])) for each in weights),
            ("picture", picture),
            *(("not measured", line) for line in not_measured(bundle, weights)),
            ("use", f"nanoseg run photo.jpg --bundle {_bundle_argument(bundle, options)}"),
        ],
    )
