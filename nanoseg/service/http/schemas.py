"""JSON schemas of what the service answers, for its OpenAPI document."""

from __future__ import annotations

from typing import Any, get_args

from nanoseg.service.swap.state import State as SwapState
from nanoseg.sources.camera_status import State as CameraState

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBERS: Schema = {"type": "array", "items": NUMBER}


def listed(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def named(values: Schema) -> Schema:
    """Return the schema of an object with any keys."""
    return {"type": "object", "additionalProperties": values}


def explained(schema: Schema, description: str) -> Schema:
    """Return a schema with its description."""
    return {**schema, "description": description}


def optional(schema: Schema) -> Schema:
    """Return a schema that null has, too."""
    return {**schema, "type": [schema["type"], "null"]}


def fixed(properties: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object with these keys and no others; all but the optional ones are always there."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


ERROR = fixed({"error": explained(TEXT, "Why, in one line.")})
STATUS = fixed({"status": TEXT})
STARTED = fixed({"status": TEXT, "number": explained(COUNT, "Of the swap, as in /state.")})
SIGNED = fixed({"url": explained(TEXT, "Path and query that want no header."), "expires_in_s": NUMBER})
MASK = explained(
    fixed({"size": explained(NUMBERS, "Height and width."), "counts": TEXT}), "COCO's compressed run-length encoding."
)
SEGMENTED = fixed(
    {
        "embedding": explained(TEXT, "Names this picture in further requests."),
        "size": explained(NUMBERS, "Height and width of the picture in pixels."),
        "masks": listed(
            fixed(
                {
                    "mask": MASK,
                    "polygons": listed(listed(NUMBERS)),
                    "mask_confidence": explained(NUMBER, "The decoder's predicted IoU."),
                    "xyxy": explained(NUMBERS, "Bounds of the mask in pixels: left, top, right, bottom."),
                    "area_px": COUNT,
                }
            )
        ),
    }
)
PROMPTS = {
    "type": "object",
    "description": "One entry an object, in pixels; null where an object has none of that kind.",
    "additionalProperties": False,
    "properties": {
        "boxes": optional(listed(optional({**NUMBERS, "minItems": 4, "maxItems": 4}))),
        "points": optional(listed(optional(listed({**NUMBERS, "minItems": 2, "maxItems": 2})))),
        "labels": explained(
            optional(listed(optional(listed({"type": "integer"})))), "1 for the object, 0 for the background."
        ),
    },
}
RECORD = fixed(
    {
        "source": TEXT,
        "frame": explained(COUNT, "Number of the frame."),
        "name": TEXT,
        "captured_ns": {"type": "integer"},
        "media_ns": {"type": "integer"},
        "age_ms": explained(NUMBER, "From the capture to the masks."),
        "latency_ms": explained(named(NUMBER), "By stage."),
        "shed": explained(listed(TEXT), "What a deadline left out."),
        "objects": listed(
            fixed(
                {
                    "class_id": COUNT,
                    "class_name": TEXT,
                    "confidence": NUMBER,
                    "xyxy": NUMBERS,
                    "mask": MASK,
                    "mask_confidence": NUMBER,
                    "keypoints": explained(listed(NUMBERS), "x, y and confidence of each, of a bundle of poses."),
                    "track_id": explained(optional(COUNT), "Identity over frames; null: not tracked (yet)."),
                },
                optional=("mask", "keypoints", "track_id"),
            )
        ),
        "regions": explained(named(named(COUNT)), "Number of objects by region and class."),
        "events": listed(
            fixed(
                {
                    "event": {"enum": ["enter", "leave", "dwell"]},
                    "region": TEXT,
                    "class_name": TEXT,
                    "count": COUNT,
                    "dwell_s": NUMBER,
                },
                optional=("dwell_s",),
            )
        ),
        "redacted": {"type": "boolean"},
    },
    optional=("name", "media_ns", "age_ms", "shed"),
)
STATE = {
    "type": "object",
    "required": ["version", "bundle", "labels", "backend", "device", "uptime_s", "fps", "redacted", "sources",
                 "regions", "stages_ms", "age_ms", "memory_mb", "swap"],
    "properties": {
        "version": TEXT,
        "bundle": TEXT,
        "labels": listed(TEXT),
        "backend": TEXT,
        "device": TEXT,
        "uptime_s": NUMBER,
        "fps": NUMBER,
        "redacted": {"type": "boolean"},
        "sources": listed(
            {
                "type": "object",
                "required": ["name", "state", "reason", "since_s", "fps", "age_ms", "reconnects", "frames", "dropped",
                             "size_wh", "description"],
                "properties": {
                    "name": TEXT,
                    "state": {"enum": list(get_args(CameraState))},
                    "reason": explained(TEXT, "Why it is not live."),
                    "since_s": explained(NUMBER, "Seconds in this state."),
                    "fps": explained(NUMBER, "Frames that are answered."),
                    "camera_fps": explained(optional(NUMBER), "Frames that the camera gives."),
                    "age_ms": optional(NUMBER),
                    "reconnects": COUNT,
                    "frames": COUNT,
                    "dropped": explained(named(COUNT), "Frames by reason."),
                    "size_wh": optional(NUMBERS),
                    "description": TEXT,
                },
            }
        ),
        "regions": listed(
            fixed({"source": TEXT, "name": TEXT, "polygon": listed(NUMBERS), "counts": named(COUNT)})
        ),
        "stages_ms": explained(named(NUMBER), "Median of the last seconds by stage."),
        "age_ms": explained(named(optional(NUMBER)), "p50 and p99 of the last seconds."),
        "temperatures_c": named(NUMBER),
        "power_w": optional(NUMBER),
        "throttled": explained(TEXT, "Why the board is slowed down; empty where it is not."),
        "memory_mb": NUMBER,
        "memory_available_mb": optional(NUMBER),
        "swap": {
            "type": "object",
            "required": ["number", "state", "bundle", "reason"],
            "properties": {
                "number": explained(COUNT, "From 1; 0: there was none."),
                "state": {"enum": list(get_args(SwapState))},
                "bundle": TEXT,
                "reason": TEXT,
            },
        },
    },
}  # fmt: skip
