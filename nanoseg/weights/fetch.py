"""Fetch weights that others publish, whole and checked, and show what their licence allows.

examples:
  python tools/fetch_weights.py --list
  python tools/fetch_weights.py nanosam-encoder mobile-sam
  python tools/fetch_weights.py yolo-nas-s --accept-licence
  python tools/fetch_weights.py nanosam-encoder --url https://a.mirror/resnet18_image_encoder.onnx
  python tools/fetch_weights.py nanosam-encoder --trust-file       # weights/resnet18_image_encoder.onnx is my own copy

A fetch that broke off goes on where it ended. A file is put in its place once its length, its kind and its checksum
are right; where none is published the sha256 of the first download is kept beside it (FILE.sha256, as sha256sum
reads it), and later downloads must have the same.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from nanoseg.commands.run_tool import run_tool
from nanoseg.errors import SourceError, UsageError
from nanoseg.utils.terminal import print_json, print_line
from nanoseg.weights.check import check_weights
from nanoseg.weights.download import PATIENT, Line, Progress, Wanted, download, no_progress
from nanoseg.weights.partial_file import open_part
from nanoseg.weights.published import PUBLISHED, Weights


class UnseenError(SourceError):
    """A whole file of the right kind, which is not the one that was seen before."""


def fetch(
    weights: Weights,
    folder: Path,
    url: str | None = None,
    forget: bool = False,
    progress: Progress = no_progress,
    line: Line = PATIENT,
) -> Path:
    """The file of `weights` in `folder`, fetched from `url` or its own address unless it is there already.

    With `forget` what was kept of the first download counts no more, and the file is fetched anew and replaced. Raises
    SourceError for the network and for a file that is not the one wanted, UsageError for a disk that will not do.
    """
    place = folder / weights.file
    if forget:
        _refuse_published(weights, "--forget-hash")
    seen = None if forget else _kept(place) or weights.seen_sha256
    if not forget and _is_there(place):
        try:
            digest = _check(place, weights, seen)
        except SourceError as error:
            trust = "where you trust it: --trust-file, else " if isinstance(error, UnseenError) else ""
            raise SourceError(f"{error}; it lies at {place}: {trust}move it away and run again") from error
        _keep(place, weights, digest)
        return place
    try:
        with open_part(place) as part:
            hashed = bool(weights.sha256 or weights.md5 or seen)
            download(Wanted(url or weights.url, weights.bytes, hashed), part, progress, line)
            try:
                digest = _check(part.path, weights, seen)
            except UnseenError as error:
                part.empty()
                raise SourceError(f"{error}; where you trust the new one: --forget-hash") from error
            except SourceError:
                part.empty()
                raise
            _keep(place, weights, digest, anew=forget)
            part.put_in_place()
    except SourceError as error:
        copies = "".join(f"; others keep a copy: --url {mirror}" for mirror in weights.mirrors if mirror != url)
        raise SourceError(f"{error}{copies}") from error
    return place


def trust(weights: Weights, folder: Path) -> Path:
    """Take the file that lies in `folder` for the right one from now on, whatever was seen before; returns its path.

    Raises UsageError where there is none or where its checksum is published, SourceError for one of another kind.
    """
    place = folder / weights.file
    _refuse_published(weights, "--trust-file")
    if not _is_there(place):
        raise UsageError(f"--trust-file: {place}: no such file; put yours there, or fetch it without the flag")
    _keep(place, weights, _check(place, weights, None), anew=True)
    return place


def _refuse_published(weights: Weights, flag: str) -> None:
    if weights.sha256 or weights.md5:
        raise UsageError(f"{flag}: the checksum of {weights.name} is published, not kept from a first download")


def _is_there(place: Path) -> bool:
    try:
        found = place.exists()
        if found and not place.is_file():
            raise UsageError(f"{place}: wanted a file or nothing there, got a folder; give another --out")
    except OSError as error:
        raise UsageError(f"{place}: cannot be read: {error.strerror}; give another --out") from error
    return found


def _check(path: Path, weights: Weights, seen: str | None) -> str:
    """The file's sha256, if it is what was published, or what came the first time."""
    size = path.stat().st_size
    if weights.bytes not in (None, size):
        raise SourceError(f"{weights.file}: wanted {weights.bytes:,} bytes, got {size:,}")
    check_weights(path, weights.file)
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
            md5.update(block)
    for kind, wanted, got in (("sha256", weights.sha256, sha256.hexdigest()), ("md5", weights.md5, md5.hexdigest())):
        if wanted not in (None, got):
            raise SourceError(f"{weights.file}: wanted {kind} {wanted}, as published, got {got}")
    got = sha256.hexdigest()
    if seen not in (None, got):
        raise UnseenError(f"{weights.file}: wanted sha256 {seen}, as it was seen before, got {got}")
    return got


def _kept(place: Path) -> str | None:
    """The sha256 of the first download, None where there was none."""
    path = _hash_file(place)
    try:
        text = path.read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    if not re.match(r"[0-9a-f]{64}\b", text):
        raise UsageError(f"{path}: wanted a sha256, got something else; remove it and run again")
    return text[:64]


def _keep(place: Path, weights: Weights, digest: str, anew: bool = False) -> None:
    path = _hash_file(place)
    if weights.sha256 or weights.md5 or (path.exists() and not anew):
        return
    try:
        path.write_text(f"{digest}  {place.name}\n", encoding="ascii")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; give another --out") from error


def _hash_file(place: Path) -> Path:
    return place.with_name(f"{place.name}.sha256")


def chosen(names: Sequence[str], accepted: bool) -> list[Weights]:
    """The weights of these names; raises UsageError for an unknown one, and for terms that were not accepted."""
    known = {weights.name: weights for weights in PUBLISHED}
    for name in names:
        if name not in known:
            raise UsageError(f"{name}: no such weights; wanted one of {', '.join(known)}")
        licence = known[name].licence
        if licence.must_accept and not accepted:
            told = f"{licence.name}, {licence.told} ({licence.url})"
            raise UsageError(f"{name}: read its terms: {told}; if you accept them: --accept-licence")
    return [known[name] for name in names]


def table() -> str:
    """What can be fetched, for people: one line each, columns aligned."""
    rows = [("name", "MB", "licence", "for make_bundle", "file")]
    for weights in PUBLISHED:
        size = "?" if weights.bytes is None else f"{weights.bytes / 1e6:.0f}"
        rows.append((weights.name, size, weights.licence.name, weights.use, weights.file))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows)


@contextmanager
def bar(what: str) -> Iterator[Progress]:
    """Bytes, speed and time left, on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=None)
        yield lambda have, whole: shown.update(task, completed=have, total=whole)


def run(options: argparse.Namespace) -> None:
    """List or fetch; raises NanosegError."""
    if options.list or (options.json and not options.names):
        if options.json:
            print_json([asdict(weights) for weights in PUBLISHED])
        else:
            print_line(table())
        return
    if not options.names:
        raise UsageError("wanted the name of weights, got none; --list shows them")
    if options.url and len(options.names) > 1:
        raise UsageError("--url: wanted one name with it, got more")
    if options.trust_file and (options.url or options.forget_hash):
        raise UsageError("--trust-file: wanted without --url and --forget-hash, as nothing is fetched")
    fetched = []
    for weights in chosen(options.names, options.accept_licence):
        licence = weights.licence
        print(f"{weights.name}: {licence.name}: {licence.told} ({licence.url})", file=sys.stderr)
        if options.trust_file:
            path = trust(weights, options.out)
        else:
            with bar(weights.file) as progress:
                path = fetch(weights, options.out, options.url, options.forget_hash, progress)
        fetched.append({"name": weights.name, "path": str(path), "bytes": path.stat().st_size})
        if not options.json:
            print_line(str(path))
    if options.json:
        print_json(fetched)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to fetch, of --list")
    parser.add_argument("--list", action="store_true", help="show what can be fetched")
    parser.add_argument("--json", action="store_true", help="the list, or what was fetched, as JSON")
    parser.add_argument("--out", type=Path, default=Path("weights"), metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--url", help="fetch it from here, not from its publisher; the same file is wanted")
    parser.add_argument("--accept-licence", action="store_true", help="I accept the terms that are not open source")
    parser.add_argument("--forget-hash", action="store_true", help="drop the kept sha256, fetch and replace the file")
    parser.add_argument("--trust-file", action="store_true", help="keep the sha256 of the file that lies there")
    options = parser.parse_args(argv)
    return run_tool("fetch_weights", lambda: run(options), "interrupted; run again to go on")
