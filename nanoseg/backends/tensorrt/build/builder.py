"""The TensorRT library that builds engines on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from nanoseg.backends.find_device import find_device
from nanoseg.backends.probe import builds_int8_weights
from nanoseg.backends.tensorrt.build.interruptible import run_interruptible
from nanoseg.backends.tensorrt.plan import load_library
from nanoseg.engines.device import BUILDERS, Device, Kind, format_library, kind_of
from nanoseg.errors import EngineError, one_line
from nanoseg.utils.versions import version_tuple

MIN_TENSORRT = (10, 3)


@dataclass(frozen=True)
class Builder:
    """A TensorRT library with a builder."""

    api: ModuleType
    kind: Kind
    version: str

    def __str__(self) -> str:
        return format_library(self.kind, self.version)

    def device(self) -> tuple[Device | None, str]:
        """Return the device that it builds for on this machine, or None and the reason without a GPU."""
        return find_device(self.kind)

    def int8_weights_refusal(self) -> str:
        """Return why it does not build weights stored in INT8, empty where it does; builds one convolution to find out.

        Ctrl-C raises KeyboardInterrupt when that is done. Raises EngineError where the library does not even start.
        """
        try:
            result = run_interruptible(lambda _: builds_int8_weights(self.api.__name__))
            return "" if result["builds"] else str(result["why"])
        except Exception as error:  # pybind raises what it likes where there is no GPU
            problem = f"{self} does not start here: {one_line(error)}"
            raise EngineError(f"{problem}; run nanoseg doctor to see what is missing") from error


def find_builder(target: Kind | None = None) -> Builder:
    """Return the library of a target, one of BUILDERS, or the first that is installed.

    Raises DependencyError where it is not installed, EngineError for a version that is too old.
    """
    api = load_library((target,) if target else BUILDERS)
    builder = Builder(api, kind_of(api.__name__), str(api.__version__))
    if builder.kind == "tensorrt" and version_tuple(builder.version) < MIN_TENSORRT:
        raise EngineError(
            f"{builder} is too old: nanoseg wants 10.3 or newer; JetPack 6.1 and later bring it, 5 and 6.0 cannot be "
            "used"
        )
    return builder
