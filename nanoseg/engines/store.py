"""The engine store: writes each engine atomically with its record, and loads only engines valid on this device."""

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
from nanoseg.engines.record import RECORDS_FILE, EngineRecord, encode_records, read_records
from nanoseg.engines.validity import (
    NO_TENSORRT,
    RUN_WITHOUT_ENGINES,
    can_run,
    device_mismatch,
    gpu_mismatch,
    graph_mismatch,
    invalid_reason,
    read_verified,
    record_mismatch,
)
from nanoseg.errors import EngineError
from nanoseg.utils.files import remove_leftovers, write_all_atomic, write_errors
from nanoseg.utils.locks import locked
from nanoseg.utils.names import encode_json
from nanoseg.utils.toml import invalid_key
from nanoseg.utils.versions import version_tuple

_SUFFIX = ".engine"
_ADVICE = "make room, or give another folder: --engines DIR"  # where an engine cannot be written
_Check = Callable[[EngineRecord, Path, Graph | None, Device], str]  # invalid_reason or record_mismatch


class InvalidEngineError(EngineError):
    """The store has no valid engine of a graph; the message says what differs and the command that builds one."""


@dataclass(frozen=True)
class EngineState:
    """One engine file of the store, or the path where it would be, and whether it is valid on this device."""

    graph: str
    path: Path
    record: EngineRecord | None  # None: there is none, or it cannot be read
    invalid_reason: str  # empty where it is valid

    @property
    def valid(self) -> bool:
        """Whether this device's TensorRT can load it."""
        return not self.invalid_reason

    @property
    def nbytes(self) -> int | None:
        """Size of the file; None where there is none, or its size cannot be read."""
        try:
            return self.path.stat().st_size if self.path.is_file() else None
        except OSError:
            return None

    def built_for(self, device: Device) -> bool:
        """Return whether it was built for this device's GPU, by any TensorRT; without a record its folder decides."""
        if self.record is None:
            return self.path.parent.name == device.folder
        return self.built_for_gpu(device.gpu, device.compute_capability)

    def built_for_gpu(self, gpu: str, compute_capability: tuple[int, int]) -> bool:
        """Return whether its record names this GPU; False without a record."""
        return self.record is not None and (self.record.gpu, self.record.compute_capability) == (
            gpu,
            compute_capability,
        )

    def can_run_on(self, kind: Kind) -> bool:
        """Return whether some version of a TensorRT of this kind can run it; without a record, any may."""
        return self.record is None or can_run(kind, self.record.kind)


class EngineStore:
    """The engines of all bundles: `<root>/<bundle>/<device>/` with `detect.engine`, ... and `engines.json`.

    Reading writes nothing, not even a lock file. Its functions raise EngineError where the folder cannot be used.
    """

    def __init__(self, root: Path | None = None) -> None:
        """Use the folder `root`, the value of --engines; None is the default of engines_folder()."""
        self.root = engines_folder(root)
        self._root_given = root is not None

    def __repr__(self) -> str:
        return f"EngineStore({str(self.root)!r})"

    def folder(self, bundle_name: str, device: Device) -> Path:
        """Return the folder of a bundle's engines for a device; it need not exist."""
        return self.root / folder_name(bundle_name) / device.folder

    def list_states(self, bundle: Bundle, device: Device | None) -> list[EngineState]:
        """Return the state of every engine of a bundle, built for any device; this device's folder comes first."""
        return list(self._states(bundle, device))

    def best_states(self, bundle: Bundle, device: Device | None) -> dict[str, EngineState]:
        """Return an engine's state for each graph of the bundle: a valid one, else the one that is nearest to valid."""
        states = self.list_states(bundle, device)
        return {name: self._best(bundle, name, device, states) for name in bundle.graphs}

    def check(self, bundle: Bundle, name: str, device: Device | None) -> Path:
        """Return the path of an engine that is valid by its record and its size; load() also hashes the file.

        Returns:
            A path in this device's folder, or of a version-compatible engine that an earlier TensorRT built for the
            same GPU.

        Raises:
            InvalidEngineError: If there is none; the message has the command that builds it.
        """
        state = self._best(bundle, name, device, self._states(bundle, device, name, record_mismatch))
        if state.valid:
            return state.path
        raise self._invalid(state, bundle, device)

    def load(self, bundle: Bundle, name: str, device: Device | None) -> tuple[bytes, EngineRecord]:
        """Read a valid engine: the one that check() returns, or the next best if that file was altered.

        Returns:
            The serialized engine, verified by its sha256 as it was read, and its record.

        Raises:
            InvalidEngineError: where no engine of the graph is valid.
        """
        for last_try in (False, True):  # another process may replace the file after the record was read
            states = list(self._states(bundle, device, name, record_mismatch))
            while (best := self._best(bundle, name, device, states)).valid and best.record:
                plan, reason = read_verified(best.record, best.path)
                if not reason:
                    return plan, best.record
                if not last_try:
                    break
                states = [replace(state, invalid_reason=reason) if state is best else state for state in states]
        raise self._invalid(best, bundle, device)

    def put(self, bundle: Bundle, device: Device, name: str, plan: bytes, record: EngineRecord) -> Path:
        """Write an engine and its record.

        Both are written under temporary names, then renamed, the engine first: if this is interrupted between the
        two, file and record do not match, and the engine is not valid. An engines.json that cannot be read is
        replaced.

        Args:
            bundle: The bundle.
            device: The device that the engine was built for.
            name: Name of the graph.
            plan: The serialized engine.
            record: Its record.

        Returns:
            The engine's path.

        Raises:
            EngineError: for a record that does not describe `plan`, and where the disk or folder cannot be written;
                the store is as it was before.
        """
        path = self.folder(bundle.name, device) / f"{name}{_SUFFIX}"
        if mismatch := _record_mismatch(record, bundle, device, name, plan):
            raise EngineError(f"{path}: its record does not fit it: {mismatch}; build it anew")
        advice = f"the engine wants {len(plan) / 1e6:.1f} MB; {_ADVICE}"
        with write_errors(path, advice, EngineError), locked(path.parent / ".lock"):
            records, _ = read_records(path.parent)
            files = {path: plan, path.parent / RECORDS_FILE: encode_records({**records, name: record})}
            for file in files:
                remove_leftovers(file)
            write_all_atomic(files, replace_special=True)
        return path

    @contextmanager
    def build_lock(self, bundle: Bundle, device: Device) -> Iterator[Path]:
        """Hold the lock of a bundle's builds for a device; yields the folder, which exists from now on.

        put() works inside it. Raises EngineError where another process holds it.
        """
        folder = self.folder(bundle.name, device)
        with ExitStack() as held:
            with write_errors(folder, _ADVICE, EngineError):
                try:
                    held.enter_context(locked(folder / ".build.lock", wait=False))
                except BlockingIOError as error:
                    raise EngineError(f"{folder}: another build of these engines is under way; wait for it") from error
            yield folder

    def info_command(self, bundle: Bundle) -> str:
        """Return the command that lists a bundle's engines in this store."""
        return self._command("info", _bundle_argument(bundle))

    def _states(
        self, bundle: Bundle, device: Device | None, only: str | None = None, check: _Check = invalid_reason
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
            yield from _folder_states(folder, bundle, device, only, check)

    def _best(self, bundle: Bundle, name: str, device: Device | None, states: Iterable[EngineState]) -> EngineState:
        if name not in bundle.graphs:
            raise EngineError(f"{bundle.name}: has no graph {name}; its graphs are {', '.join(bundle.graphs)}")
        base = self.root / folder_name(bundle.name)
        own = base / device.folder if device else base

        def preference(state: EngineState) -> tuple[bool, bool, bool, tuple[int, ...]]:
            record = state.record
            same_gpu = bool(record and device and not gpu_mismatch(record, device))
            version = version_tuple(record.tensorrt) if record else ()
            return state.valid, state.path.parent == own, same_gpu, version

        candidates = []
        for state in states:
            if state.graph == name:
                candidates.append(state)
                if state.valid and state.path.parent == own:  # none is better: the others need not be read
                    break
        missing = EngineState(name, own / f"{name}{_SUFFIX}", None, "not built" if device else NO_TENSORRT)
        return max(candidates, key=preference, default=missing)

    def _invalid(self, state: EngineState, bundle: Bundle, device: Device | None) -> InvalidEngineError:
        return InvalidEngineError(f"{state.path}: {state.invalid_reason}; {self._advice(bundle, device)}")

    def _advice(self, bundle: Bundle, device: Device | None) -> str:
        if device is None:
            return RUN_WITHOUT_ENGINES
        target = ("--target", device.kind) if device.kind == "tensorrt-rtx" else ()
        command = self._command("build", "--bundle", _bundle_argument(bundle), *target)
        if device.kind == "tensorrt-lean":
            return f"build it where all of TensorRT is, by a recipe with version_compatible = true: {command}"
        return f"build it here: {command}"

    def _command(self, *words: str) -> str:
        return shlex.join(["nanoseg", *words, *(("--engines", str(self.root)) if self._root_given else ())])


def _bundle_argument(bundle: Bundle) -> str:
    # Absolute, so that the command can be copied into a shell in another folder.
    return bundle.path.name if bundle.path.parent == EMBEDDED_FOLDER else os.path.abspath(bundle.path)


def _folder_states(
    folder: Path, bundle: Bundle, device: Device | None, only: str | None, check: _Check
) -> Iterator[EngineState]:
    """Yield the engines of one folder in the order of the bundle's graphs: recorded ones, and files without a record.

    For a folder that cannot be read, the path of each graph's engine.
    """
    records, unreadable = read_records(folder)
    try:
        files = {path.stem for path in folder.iterdir() if path.suffix == _SUFFIX and path.is_file()}
    except OSError as error:
        unreadable = f"its folder cannot be read: {error.strerror}"
        files = set() if records else set(bundle.graphs)
    order = {name: number for number, name in enumerate(bundle.graphs)}
    for name in sorted(records.keys() | files, key=lambda name: (order.get(name, len(order)), name)):
        if only not in (None, name):
            continue
        record = records.get(name)
        path = folder / (record.file if record else f"{name}{_SUFFIX}")
        if device is None:
            reason = NO_TENSORRT
        elif record:
            reason = check(record, path, bundle.graphs.get(name), device)
        else:
            reason = unreadable or f"{RECORDS_FILE} beside it has no record of it, so its build was cut short"
        yield EngineState(name, path, record, reason)


def _record_mismatch(record: EngineRecord, bundle: Bundle, device: Device, name: str, plan: bytes) -> str:
    """Return why a record does not describe this engine, so that put() takes nothing that load() would refuse."""
    try:
        msgspec.json.decode(encode_json(record), type=EngineRecord)
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
    return device_mismatch(record, device) or graph_mismatch(record, bundle.graphs.get(name))
