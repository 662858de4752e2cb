"""The TensorRT that builds engines here, and what it is asked before it does."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from nanoseg.backends.device import look_for_device
from nanoseg.backends.probe import int8_constant_builds
from nanoseg.backends.tensorrt.plan import LIBRARIES, load_library
from nanoseg.backends.tensorrt.build.interruptible import stoppable
from nanoseg.errors import EngineError, one_line
from nanoseg.engines.device import Device, Kind, spell_tensorrt
from nanoseg.engines.validity import version

TARGETS: dict[str, Kind] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
OLDEST_TENSORRT = (10, 3)


@dataclass(frozen=True)
class Builder:
    """A TensorRT that builds."""

    api: ModuleType
    kind: Kind
    version: str

    def __str__(self) -> str:
        return spell_tensorrt(self.kind, self.version)

    def device(self) -> tuple[Device | None, str]:
        """What it builds for here; None where there is no GPU, and why."""
        return look_for_device(self.kind)

    def why_no_int8_constants(self) -> str:
        """Why weights may not be INT8 in the file, empty where they may; builds one convolution to know.

        Ctrl-C raises KeyboardInterrupt when that is done. Raises EngineError where it cannot even start.
        """
        try:
            told = stoppable(lambda _: int8_constant_builds(self.kind))
            return "" if told["builds"] else str(told["why"])
        except Exception as error:  # pybind raises what it likes where there is no GPU
            why = f"{self} does not start here: {one_line(error)}"
            raise EngineError(f"{why}; nanoseg doctor tells what is missing") from error


def find_builder(target: str | None = None) -> Builder:
    """The TensorRT of a target, one of TARGETS, else the first that is installed.

    Raises DependencyError where it is not installed, EngineError for one that is too old.
    """
    api = load_library((TARGETS[target],) if target else LIBRARIES)
    kind: Kind = "tensorrt_rtx" if api.__name__ == "tensorrt_rtx" else "tensorrt"
    found = Builder(api, kind, str(api.__version__))
    if kind == "tensorrt" and version(found.version) < OLDEST_TENSORRT:
        raise EngineError(
            f"{found} is too old: nanoseg wants 10.3 or newer; JetPack 6.1 and later bring it, 5 and 6.0 cannot be used"
        )
    return found
