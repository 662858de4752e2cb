"""Built engines: where they lie, what they were built for, whether they are valid here."""

from nanoseg.store.device import Device, Kind
from nanoseg.store.places import cache_folder, engines_folder
from nanoseg.store.shelves import EngineState, NotValidError, Store
from nanoseg.store.sidecar import EngineRecord, Profile, RecipeUsed
from nanoseg.store.validity import NO_TENSORRT, WITHOUT

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
