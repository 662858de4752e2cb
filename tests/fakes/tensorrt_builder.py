"""A fake of TensorRT's builder, whose result a Script decides."""

from __future__ import annotations

import enum
import types
from dataclasses import dataclass, field

from tests.fakes.tensorrt import ILogger, Severity


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class BuilderFlag(enum.Enum):
    TF32 = 0
    VERSION_COMPATIBLE = 1


# TensorRT for RTX has one more that matters here.
RtxBuilderFlag = enum.Enum("BuilderFlag", [*BuilderFlag.__members__, "REQUIRE_USER_ALLOCATION"])


class IProgressMonitor:
    pass


@dataclass
class Tensor:
    """A network input; a dimension that is a string is dynamic."""

    name: str
    dims: tuple[int | str, ...]

    @property
    def shape(self):
        return tuple(-1 if isinstance(dim, str) else dim for dim in self.dims)

    def get_dimension_name(self, axis):
        return self.dims[axis] if isinstance(self.dims[axis], str) else None


@dataclass
class ParserError:
    text: str
    name: str = ""
    operator: str = ""

    def desc(self):
        return self.text

    def node(self):
        return 7

    def node_name(self):
        return self.name

    def node_operator(self):
        return self.operator


class TimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return bytearray(self.content + b"+")


class Config:
    def __init__(self, logger, flags=BuilderFlag):
        self._logger = logger
        self.pools, self.flags, self.profiles, self.cache = {}, {flags.TF32}, [], None
        self.builder_optimization_level, self.progress_monitor = 3, None
        self.max_aux_streams = -1  # as many as it likes

    def set_memory_pool_limit(self, pool, limit):
        self.pools[pool] = limit

    def set_flag(self, flag):
        self.flags.add(flag)

    def clear_flag(self, flag):
        self.flags.discard(flag)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, content):
        if content.startswith(b"damaged"):
            self._logger.log(Severity.ERROR, "the timing cache is damaged")
            raise RuntimeError("magic tag does not match")
        return TimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        if ignore_mismatch or cache.content.startswith(b"another device"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class OptimizationProfile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, *shapes):
        self.shapes[name] = shapes


@dataclass
class Script:
    """The course of a fake build, and a record of its calls."""

    inputs: tuple[Tensor, ...] = ()
    steps: int = 3  # of the one phase
    at_step: object = None  # called with the number of each
    plan: bytes | None = b"plan"
    says: tuple[str, ...] = ()  # TensorRT's errors, before it ends
    raises: Exception | None = None
    parser_errors: tuple[ParserError, ...] = ()
    loads: bool = True
    at_load: object = None  # called before an engine is loaded
    memory: int = 4096
    network_flags: list = field(default_factory=list)
    graphs: list = field(default_factory=list)
    configs: list = field(default_factory=list)
    runtimes: list = field(default_factory=list)


def fake_builder(script=None, version="10.3.0", name="tensorrt"):
    """Return a module that builds by a script, its attribute `script`."""
    script = script or Script()
    flags = RtxBuilderFlag if name == "tensorrt_rtx" else BuilderFlag

    class Builder:
        def __init__(self, logger):
            self._logger = logger

        def create_network(self, flags):
            script.network_flags.append(flags)
            inputs = script.inputs
            return types.SimpleNamespace(num_inputs=len(inputs), get_input=inputs.__getitem__)

        def create_builder_config(self):
            script.configs.append(Config(self._logger, flags))
            return script.configs[-1]

        def create_optimization_profile(self):
            return OptimizationProfile()

        def build_serialized_network(self, network, config):
            monitor = config.progress_monitor
            monitor.phase_start("Building engine", None, script.steps)
            for step in range(script.steps):
                if script.at_step:
                    script.at_step(step)
                if not monitor.step_complete("Building engine", step):
                    return None
            monitor.phase_finish("Building engine")
            for line in script.says:
                self._logger.log(Severity.ERROR, line)
            if script.raises:
                raise script.raises
            return None if script.plan is None else memoryview(script.plan)

    class OnnxParser:
        def __init__(self, network, logger):
            self._errors = script.parser_errors

        def parse(self, content, path=None):
            script.graphs.append(content)
            return not self._errors

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

    class Runtime:
        def __init__(self, logger):
            self._logger, self.engine_host_code_allowed = logger, False
            script.runtimes.append(self)

        def deserialize_cuda_engine(self, plan):
            assert plan == script.plan
            if script.at_load:
                script.at_load()
            if script.loads:
                return types.SimpleNamespace(device_memory_size_v2=script.memory)
            self._logger.log(Severity.ERROR, "magic tag is wrong")
            return None

    module = types.ModuleType(name)
    module.__version__, module.script = version, script
    enums = (NetworkDefinitionCreationFlag, MemoryPoolType, flags)
    for kind in (*enums, ILogger, IProgressMonitor, Builder, OnnxParser, Runtime):
        setattr(module, kind.__name__, kind)
    return module
