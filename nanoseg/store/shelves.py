"""The store: takes engines in whole or not at all, and gives out none that is not valid here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from nanoseg.bundle import EMBEDDED, Bundle, with_key
from nanoseg.errors import EngineError
from nanoseg.store.device import Device
from nanoseg.store.places import engines_folder, folder_name
from nanoseg.store.sidecar import SIDECAR, EngineRecord, read_sidecar, write_sidecar
from nanoseg.store.validity import NO_TENSORRT, version, why_not, why_not_here, why_not_this_gpu, why_not_this_graph

_SUFFIX = ".engine"


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
        """The path of a valid engine, its sha256 verified.

        It lies in this device's folder, or is a version-compatible one that an earlier TensorRT built for the same
        GPU. Raises EngineError with what differs and the command that builds it.
        """
        if name not in bundle.graphs:
            raise EngineError(f"{bundle.name}: has no graph {name}; its graphs are {', '.join(bundle.graphs)}")
        state = self._best(bundle, name, device, self._states(bundle, device, name))
        if state.valid:
            return state.path
        raise EngineError(f"{state.path}: {state.why}; {self._mend(bundle, device)}")

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
        try:
            with _locked(path.parent / ".lock"):
                records, _ = read_sidecar(path.parent)
                _replace({path: plan, path.parent / SIDECAR: write_sidecar({**records, name: record})})
        except OSError as error:
            raise _unwritable(path, error, f"; the engine wants {len(plan) / 1e6:.1f} MB") from error
        return path

    @contextmanager
    def building(self, bundle: Bundle, device: Device) -> Iterator[Path]:
        """Around a build: one at a time for a bundle and device; gives the folder, which is there from now on.

        Raises EngineError where another build is under way. Inside it, `put` works as ever.
        """
        folder = self.folder(bundle.name, device)
        with ExitStack() as held:
            try:
                held.enter_context(_locked(folder / ".build.lock", wait=False))
            except BlockingIOError as error:
                raise EngineError(f"{folder}: another build of these engines is under way; wait for it") from error
            except OSError as error:
                raise _unwritable(folder, error) from error
            yield folder

    def _states(self, bundle: Bundle, device: Device | None, only: str | None = None) -> Iterator[EngineState]:
        base = self.root / folder_name(bundle.name)
        own = base / device.folder if device else None
        try:
            folders = sorted(entry for entry in base.iterdir() if entry.is_dir())
            for folder in sorted(folders, key=lambda folder: folder != own):
                yield from _states(folder, bundle, device, only)
        except FileNotFoundError:  # nothing was built yet
            return
        except OSError as error:
            raise EngineError(f"{base}: cannot be read: {error.strerror}") from error

    def _best(self, bundle: Bundle, name: str, device: Device | None, states: Iterable[EngineState]) -> EngineState:
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

    def _mend(self, bundle: Bundle, device: Device | None) -> str:
        if device is None:
            return "backend onnxruntime runs the bundle without"
        # Absolute, so that the line can be copied into a shell that stands elsewhere.
        embedded = bundle.path.parent == EMBEDDED
        words = ["nanoseg", "build", "--bundle", bundle.path.name if embedded else os.path.abspath(bundle.path)]
        if device.kind == "tensorrt_rtx":
            words += ["--target", "tensorrt-rtx"]
        if self._given:
            words += ["--engines", str(self.root)]
        if device.kind == "tensorrt_lean":
            return f"build it where all of TensorRT is, by a recipe with version_compatible = true: {shlex.join(words)}"
        return f"build it here: {shlex.join(words)}"


def _states(folder: Path, bundle: Bundle, device: Device | None, only: str | None) -> Iterator[EngineState]:
    """The engines of one folder, in the order of the bundle's graphs: those recorded, and files without a record."""
    records, unread = read_sidecar(folder)
    files = {path.stem for path in folder.iterdir() if path.suffix == _SUFFIX and path.is_file()}
    order = {name: number for number, name in enumerate(bundle.graphs)}
    for name in sorted(records.keys() | files, key=lambda name: (order.get(name, len(order)), name)):
        if only not in (None, name):
            continue
        record = records.get(name)
        path = folder / (record.file if record else f"{name}{_SUFFIX}")
        if device is None:
            why = NO_TENSORRT
        elif record:
            why = why_not(record, path, bundle.graphs.get(name), device)
        else:
            why = unread or f"{SIDECAR} beside it has no record of it, so its build was cut short"
        yield EngineState(name, path, record, why)


def _not_of(record: EngineRecord, bundle: Bundle, device: Device, name: str, plan: bytes) -> str:
    """Why a record is not that of this engine; so nothing is taken in that would not be given out."""
    try:
        msgspec.json.decode(msgspec.json.encode(record), type=EngineRecord)
    except msgspec.ValidationError as error:
        return with_key(str(error))
    for key, wanted, got in (
        ("graph", name, record.graph),
        ("file", f"{name}{_SUFFIX}", record.file),
        ("bytes", len(plan), record.bytes),
        ("sha256", hashlib.sha256(plan).hexdigest(), record.sha256),
    ):
        if wanted != got:
            return f"{key}: wanted {wanted}, got {got}"
    return why_not_here(record, device) or why_not_this_graph(record, bundle.graphs.get(name))


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Make the folder and hold the lock of a file in it; the system drops it with the process.

    Raises BlockingIOError where another holds it and `wait` is False, OSError where there can be none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(file)


def _replace(contents: Mapping[Path, bytes]) -> None:
    """Write every file whole, under names that only the holder of the folder's lock uses, then rename them in order."""
    parts = {path.with_name(f".{path.name}.part"): path for path in contents}
    try:
        for part, path in parts.items():
            with part.open("wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the new name and none of the content
        for part, path in parts.items():
            os.replace(part, path)
    except BaseException:
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


def _unwritable(path: Path, error: OSError, wants: str = "") -> EngineError:
    why = f"{error.strerror or error}{wants}"
    return EngineError(f"{path}: cannot be written: {why}; make room, or give another folder: --engines DIR")
