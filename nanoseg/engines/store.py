"""The store: takes engines in whole or not at all, and gives out none that is not valid here."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from nanoseg.bundle import EMBEDDED_FOLDER, Bundle, Graph
from nanoseg.engines.device import Device, Kind
from nanoseg.engines.paths import engines_folder, folder_name
from nanoseg.engines.record import RECORDS_FILE, EngineRecord, read_records, write_records
from nanoseg.engines.validity import (
    NO_TENSORRT,
    WITHOUT,
    invalid_reason,
    may_run,
    read_whole,
    version,
    why_not_here,
    why_not_this_gpu,
    why_not_this_graph,
    why_not_unread,
)
from nanoseg.errors import EngineError
from nanoseg.utils.files import locked, remove_leftovers, write_all_atomic, write_errors
from nanoseg.utils.toml import invalid_key

_SUFFIX = ".engine"
_ADVICE = "make room, or give another folder: --engines DIR"  # where an engine cannot be written
_Judge = Callable[[EngineRecord, Path, Graph | None, Device], str]  # invalid_reason or why_not_unread


class NotValidError(EngineError):
    """The store has no engine of a graph that is valid here; says what differs and the command that builds it."""


@dataclass(frozen=True)
class EngineState:
    """One engine file, or the place where it would lie."""

    graph: str
    path: Path
    record: EngineRecord | None  # None: there is none, or it cannot be read
    why: str  # it is not valid here; empty where it is

    @property
    def valid(self) -> bool:
        """Whether it can be given to this device's TensorRT."""
        return not self.why

    @property
    def nbytes(self) -> int | None:
        """The size of the file; None where there is none, or none that can be asked."""
        try:
            return self.path.stat().st_size if self.path.is_file() else None
        except OSError:
            return None

    def is_for(self, device: Device) -> bool:
        """Whether it was built for this GPU, by whatever TensorRT; without a record, its folder's name tells."""
        if self.record is None:
            return self.path.parent.name == device.folder
        return self.names(device.gpu, device.compute_capability)

    def names(self, gpu: str, compute_capability: tuple[int, int]) -> bool:
        """Whether its record names this GPU; is_for(), where no TensorRT is known."""
        made = self.record
        return made is not None and (made.gpu, made.compute_capability) == (gpu, compute_capability)

    def may_run_on(self, kind: Kind) -> bool:
        """Whether a TensorRT of this kind may run it, in the right version; what has no record, any may."""
        return self.record is None or may_run(kind, self.record.kind)


class Store:
    """The engines of all bundles: `<root>/<bundle>/<device>/` with `detect.engine`, ... and `engines.json`.

    Reading writes nothing, not even a lock. Raises EngineError where the folder cannot be used.
    """

    def __init__(self, root: Path | None = None) -> None:
        """`root` is what --engines gave; without it, see engines_folder."""
        self.root = engines_folder(root)
        self._given = root is not None

    def folder(self, bundle_name: str, device: Device) -> Path:
        """Where this bundle's engines for this device lie; it need not exist."""
        return self.root / folder_name(bundle_name) / device.folder

    def all(self, bundle: Bundle, device: Device | None) -> list[EngineState]:
        """Every engine of a bundle for whatever device, this device's first; each says whether it is valid here."""
        return list(self._states(bundle, device))

    def read(self, bundle: Bundle, device: Device | None) -> dict[str, EngineState]:
        """Each graph of the bundle, and the engine for it: a valid one where there is any, else the nearest to it."""
        states = self.all(bundle, device)
        return {name: self._best(bundle, name, device, states) for name in bundle.graphs}

    def check(self, bundle: Bundle, name: str, device: Device | None) -> Path:
        """The path of an engine that is valid by its record and its size; load() looks at its content.

        It lies in this device's folder, or is a version-compatible one that an earlier TensorRT built for the same
        GPU. Raises NotValidError.
        """
        state = self._best(bundle, name, device, self._states(bundle, device, name, why_not_unread))
        if state.valid:
            return state.path
        raise self._not_valid(state, bundle, device)

    def load(self, bundle: Bundle, name: str, device: Device | None) -> tuple[bytes, EngineRecord]:
        """The content of a valid engine, and its record: of the one that check() names, or where that was altered, of
        the next best.

        What is given is what was verified: both are of one reading. Raises NotValidError.
        """
        for last in (False, True):  # another process may put one between the record's reading and the file's
            states = list(self._states(bundle, device, name, why_not_unread))
            while (best := self._best(bundle, name, device, states)).valid and best.record:
                plan, why = read_whole(best.record, best.path)
                if not why:
                    return plan, best.record
                if not last:
                    break
                states = [replace(state, why=why) if state is best else state for state in states]
        raise self._not_valid(best, bundle, device)

    def put(self, bundle: Bundle, device: Device, name: str, plan: bytes, record: EngineRecord) -> Path:
        """Take in an engine and its record; returns its path.

        Both are written beside their places, then renamed, the engine first: should this be cut short between the
        two, file and record do not fit each other, and the engine is refused. An engines.json that cannot be read is
        replaced. Raises EngineError, with what was there as it was before, for the record of another engine, and for
        a folder or disk that will not do.
        """
        path = self.folder(bundle.name, device) / f"{name}{_SUFFIX}"
        if wrong := _not_of(record, bundle, device, name, plan):
            raise EngineError(f"{path}: its record does not fit it: {wrong}; build it anew")
        advice = f"the engine wants {len(plan) / 1e6:.1f} MB; {_ADVICE}"
        with write_errors(path, advice, EngineError), locked(path.parent / ".lock"):
            records, _ = read_records(path.parent)
            files = {path: plan, path.parent / RECORDS_FILE: write_records({**records, name: record})}
            for file in files:
                remove_leftovers(file)
            write_all_atomic(files)
        return path

    @contextmanager
    def building(self, bundle: Bundle, device: Device) -> Iterator[Path]:
        """Around a build: one at a time for a bundle and device; gives the folder, which is there from now on.

        Raises EngineError where another build is under way. Inside it, `put` works as ever.
        """
        folder = self.folder(bundle.name, device)
        with ExitStack() as held:
            with write_errors(folder, _ADVICE, EngineError):
                try:
                    held.enter_context(locked(folder / ".build.lock", wait=False))
                except BlockingIOError as error:
                    raise EngineError(f"{folder}: another build of these engines is under way; wait for it") from error
            yield folder

    def _states(
        self, bundle: Bundle, device: Device | None, only: str | None = None, judge: _Judge = invalid_reason
    ) -> Iterator[EngineState]:
        base = self.root / folder_name(bundle.name)
        own = base / device.folder if device else None
        try:
            folders = sorted(entry for entry in base.iterdir() if entry.is_dir())
        except FileNotFoundError:  # nothing was built yet
            return
        except OSError as error:
            raise EngineError(f"{base}: cannot be read: {error.strerror}") from error
        for folder in sorted(folders, key=lambda folder: folder != own):
            yield from _states(folder, bundle, device, only, judge)

    def _best(self, bundle: Bundle, name: str, device: Device | None, states: Iterable[EngineState]) -> EngineState:
        if name not in bundle.graphs:
            raise EngineError(f"{bundle.name}: has no graph {name}; its graphs are {', '.join(bundle.graphs)}")
        base = self.root / folder_name(bundle.name)
        own = base / device.folder if device else base

        def nearness(state: EngineState) -> tuple[bool, bool, bool, tuple[int, ...]]:
            made = state.record
            same_gpu = bool(made and device and not why_not_this_gpu(made, device))
            return state.valid, state.path.parent == own, same_gpu, version(made.tensorrt) if made else ()

        found = []
        for state in states:
            if state.graph == name:
                found.append(state)
                if state.valid and state.path.parent == own:  # none is nearer: the others need not be read
                    break
        missing = EngineState(name, own / f"{name}{_SUFFIX}", None, "not built" if device else NO_TENSORRT)
        return max(found, key=nearness, default=missing)

    def _not_valid(self, state: EngineState, bundle: Bundle, device: Device | None) -> NotValidError:
        return NotValidError(f"{state.path}: {state.why}; {self._mend(bundle, device)}")

    def _mend(self, bundle: Bundle, device: Device | None) -> str:
        if device is None:
            return WITHOUT
        target = ("--target", "tensorrt-rtx") if device.kind == "tensorrt_rtx" else ()
        line = self._line("build", "--bundle", _spelled(bundle), *target)
        if device.kind == "tensorrt_lean":
            return f"build it where all of TensorRT is, by a recipe with version_compatible = true: {line}"
        return f"build it here: {line}"

    def info_line(self, bundle: Bundle) -> str:
        """The command that tells of a bundle's engines here."""
        return self._line("info", _spelled(bundle))

    def _line(self, *words: str) -> str:
        return shlex.join(["nanoseg", *words, *(("--engines", str(self.root)) if self._given else ())])


def _spelled(bundle: Bundle) -> str:
    # Absolute, so that the line can be copied into a shell that stands elsewhere.
    return bundle.path.name if bundle.path.parent == EMBEDDED_FOLDER else os.path.abspath(bundle.path)


def _states(
    folder: Path, bundle: Bundle, device: Device | None, only: str | None, judge: _Judge
) -> Iterator[EngineState]:
    """The engines of one folder, in the order of the bundle's graphs: those recorded, and files without a record.

    Of a folder that cannot be read, every place where one would lie.
    """
    records, unread = read_records(folder)
    try:
        files = {path.stem for path in folder.iterdir() if path.suffix == _SUFFIX and path.is_file()}
    except OSError as error:
        unread = f"its folder cannot be read: {error.strerror}"
        files = set() if records else set(bundle.graphs)
    order = {name: number for number, name in enumerate(bundle.graphs)}
    for name in sorted(records.keys() | files, key=lambda name: (order.get(name, len(order)), name)):
        if only not in (None, name):
            continue
        record = records.get(name)
        path = folder / (record.file if record else f"{name}{_SUFFIX}")
        if device is None:
            why = NO_TENSORRT
        elif record:
            why = judge(record, path, bundle.graphs.get(name), device)
        else:
            why = unread or f"{RECORDS_FILE} beside it has no record of it, so its build was cut short"
        yield EngineState(name, path, record, why)


def _not_of(record: EngineRecord, bundle: Bundle, device: Device, name: str, plan: bytes) -> str:
    """Why a record is not that of this engine; so nothing is taken in that would not be given out."""
    try:
        msgspec.json.decode(msgspec.json.encode(record), type=EngineRecord)
    except msgspec.ValidationError as error:
        return invalid_key(error)
    for key, wanted, got in (
        ("graph", name, record.graph),
        ("file", f"{name}{_SUFFIX}", record.file),
        ("bytes", len(plan), record.bytes),
        ("sha256", hashlib.sha256(plan).hexdigest(), record.sha256),
    ):
        if wanted != got:
            return f"{key}: wanted {wanted}, got {got}"
    return why_not_here(record, device) or why_not_this_graph(record, bundle.graphs.get(name))
