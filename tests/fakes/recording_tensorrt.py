"""Any TensorRT module behind a proxy: code does its real work through it, and every member that it touches is noted.

The lists in data/tensorrt-api say what each version has, so what was touched here can be held against versions that
cannot be installed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from tests.helpers.paths import DATA

Api = Mapping[str, frozenset[str]]  # {class: its public members}; "tensorrt" is the module
Used = set[tuple[str, str]]  # (class, member)
LISTS = DATA / "tensorrt-api"
MODULE = "tensorrt"
# Where the classes come from: the bindings' own modules, and the fake of them.
HOMES = ("tensorrt", "tests.fakes.tensorrt")


def read_api(version: str) -> Api:
    """Return the API of one version of TensorRT."""
    got = json.loads((LISTS / f"{version}.json").read_text(encoding="utf-8"))
    return {owner: frozenset(members) for owner, members in got.items()}


def absent(used: Iterable[tuple[str, str]], api: Api) -> list[str]:
    """Return the members in `used` that a version lacks, as `Class.member`."""
    return sorted(f"{owner}.{member}" for owner, member in used if member not in api.get(owner, ()))


def recording(module: ModuleType, used: Used) -> Any:
    """Return a proxy of `module` that adds every member used, also of its results, to `used`."""
    return _wrap(module, used)


class _Proxy:
    """A proxy. Python looks up special methods on the class, so those that are needed are defined here."""

    def __new__(cls, real: Any, used: Used) -> _Proxy:
        made = object.__new__(cls)
        object.__setattr__(made, "real", real)
        object.__setattr__(made, "used", used)
        return made

    def __getattribute__(self, name: str) -> Any:
        if name == "__mro_entries__":  # asked for by a `class` statement
            return object.__getattribute__(self, name)
        real, used = _inside(self)
        if name == "__name__" and isinstance(real, ModuleType):
            return MODULE  # what is done for TensorRT for RTX alone is not what is held against the lists
        _note(used, real, name)
        return _wrap(getattr(real, name), used)

    def __setattr__(self, name: str, value: Any) -> None:
        real, used = _inside(self)
        _note(used, real, name)
        setattr(real, name, _plain(value))

    def __call__(self, *args: Any, **named: Any) -> Any:
        real, used = _inside(self)
        return _wrap(real(*map(_plain, args), **{name: _plain(value) for name, value in named.items()}), used)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type]:
        return (_open_base(*_inside(self)),)

    def __instancecheck__(self, value: Any) -> bool:
        return isinstance(_plain(value), _inside(self)[0])

    def __eq__(self, other: object) -> bool:
        return bool(_inside(self)[0] == _plain(other))

    def __hash__(self) -> int:
        return hash(_inside(self)[0])

    def __bool__(self) -> bool:
        return bool(_inside(self)[0])

    def __len__(self) -> int:
        return len(_inside(self)[0])

    def __iter__(self) -> Any:
        real, used = _inside(self)
        return (_wrap(value, used) for value in real)

    def __getitem__(self, at: Any) -> Any:
        real, used = _inside(self)
        return _wrap(real[at], used)

    def __bytes__(self) -> bytes:
        return bytes(_inside(self)[0])


def _inside(proxy: _Proxy) -> tuple[Any, Used]:
    return object.__getattribute__(proxy, "real"), object.__getattribute__(proxy, "used")


def _plain(value: Any) -> Any:
    return _inside(value)[0] if type(value) is _Proxy else value


def _wrap(value: Any, used: Used) -> Any:
    """Wrap a value in a proxy, except numbers, strings and enum members."""
    if isinstance(value, list | tuple):
        return type(value)(_wrap(each, used) for each in value)
    if isinstance(value, ModuleType) or callable(value) or _is_watched(type(value)):
        return _Proxy(value, used)
    return value


def _is_watched(kind: type) -> bool:
    return kind.__module__.startswith(HOMES) and not hasattr(kind, "__members__")


def _note(used: Used, real: Any, name: str) -> None:
    if name.startswith("_"):
        return
    kind = real if isinstance(real, type) else type(real)
    # An enum within a class, ILogger.Severity, is listed with the class.
    owner = MODULE if isinstance(real, ModuleType) else kind.__qualname__.rpartition("<locals>.")[2].partition(".")[0]
    used.add((owner, name))


def _open_base(real: type, used: Used) -> type:
    """Return a base class that records what a subclass overrides, inherits and uses."""

    class Base(real):
        def __init_subclass__(cls) -> None:
            for name in vars(cls):
                if hasattr(real, name):
                    _note(used, real, name)

        def __getattribute__(self, name: str) -> Any:
            if hasattr(real, name):
                _note(used, real, name)
            return super().__getattribute__(name)

    return Base
