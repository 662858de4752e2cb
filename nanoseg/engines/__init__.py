"""Built engines: where they lie, what they were built for, whether they are valid here."""

from nanoseg.engines.device import Device, Kind
from nanoseg.engines.paths import cache_folder, engines_folder
from nanoseg.engines.record import EngineRecord, Profile, RecipeUsed
from nanoseg.engines.store import EngineState, NotValidError, Store
from nanoseg.engines.validity import NO_TENSORRT, WITHOUT

__all__ = [
    "NO_TENSORRT",
    "WITHOUT",
    "Device",
    "EngineRecord",
    "EngineState",
    "Kind",
    "NotValidError",
    "Profile",
    "RecipeUsed",
    "Store",
    "cache_folder",
    "engines_folder",
]
