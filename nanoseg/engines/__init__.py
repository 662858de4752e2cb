"""The engine store: built engines, their records, and whether they are valid on this device."""

from nanoseg.engines.device import Device, Kind
from nanoseg.engines.paths import cache_folder, engines_folder
from nanoseg.engines.record import EngineRecord, Profile, RecipeReference
from nanoseg.engines.store import EngineState, EngineStore, InvalidEngineError
from nanoseg.engines.validity import NO_TENSORRT, RUN_WITHOUT_ENGINES

__all__ = [
    "NO_TENSORRT",
    "RUN_WITHOUT_ENGINES",
    "Device",
    "EngineRecord",
    "EngineState",
    "EngineStore",
    "InvalidEngineError",
    "Kind",
    "Profile",
    "RecipeReference",
    "cache_folder",
    "engines_folder",
]
