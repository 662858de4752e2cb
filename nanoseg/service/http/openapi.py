"""The OpenAPI document of the service."""

from __future__ import annotations

from typing import Any

import nanoseg

_ERROR = {
    "description": "Refused: one line says why.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    },
}
_SOURCE = {
    "name": "source",
    "in": "query",
    "description": "Name of a camera; by default the first one.",
    "schema": {"type": "string"},
}
_FRAME = {
    "name": "frame",
    "in": "query",
    "description": "The embedding of an answer of /segment, whose picture is meant, without objects drawn in.",
    "schema": {"type": "string"},
}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_MASK = {
    "type": "object",
    "required": ["mask", "polygons", "mask_confidence", "xyxy", "area_px"],
    "properties": {
        "mask": {
            "type": "object",
            "description": "COCO's compressed run-length encoding.",
            "required": ["size", "counts"],
            "properties": {"size": _NUMBERS, "counts": {"type": "string"}},
        },
        "polygons": {"type": "array", "items": {"type": "array", "items": _NUMBERS}},
        "mask_confidence": {"type": "number", "description": "The decoder's predicted IoU."},
        "xyxy": {**_NUMBERS, "description": "Bounds of the mask in pixels: left, top, right, bottom."},
        "area_px": {"type": "integer"},
    },
}
_ANSWER = {
    "type": "object",
    "required": ["embedding", "size", "masks"],
    "properties": {
        "embedding": {"type": "string", "description": "Names this picture in further requests."},
        "size": {**_NUMBERS, "description": "Height and width of the picture in pixels."},
        "masks": {"type": "array", "items": _MASK},
    },
}
_FORM = {
    "type": "object",
    "description": "One of image, source and frame, and prompts; without prompts the answer has no masks.",
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "A picture, such as JPEG or PNG."},
        "source": {"type": "string", "description": "A camera, whose latest picture is meant."},
        "frame": {"type": "string", "description": "The embedding of an earlier answer, whose picture is meant."},
        "prompts": {
            "type": "string",
            "description": 'JSON in pixels: {"boxes": [[x0, y0, x1, y1]]} or {"points": [[[x, y]]], "labels": [[1]]}; '
            "labels are 1 for the object and 0 for the background.",
        },
    },
}
_SIGNED = {
    "type": "object",
    "required": ["url", "expires_in_s"],
    "properties": {"url": {"type": "string"}, "expires_in_s": {"type": "number"}},
}
_STATUS = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
_STARTED = {
    "type": "object",
    "required": ["status", "number"],
    "properties": {"status": {"type": "string"}, "number": {"type": "integer"}},  # of the swap, as in /state
}


def openapi(secured: bool) -> dict[str, Any]:
    """Return the document; `secured`: whether the bearer token is wanted."""
    paths = {
        "/": {"get": _operation("The page.", "text/html", {"type": "string"})},
        "/page/{name}": {"get": _operation("A file of the page.", "text/css", {}, 404, parameters=[_path("name")])},
        "/healthz": {"get": _operation("Whether the loop of frames is alive.", "application/json", _STATUS, 503)},
        "/readyz": {"get": _operation("Whether the engines are warm.", "application/json", _STATUS, 503)},
        "/metrics": {"get": _operation("Metrics for Prometheus.", "text/plain", {"type": "string"})},
        "/openapi.json": {"get": _operation("This document.", "application/json", {"type": "object"})},
        "/state": {"get": _operation("What the page shows.", "application/json", {"type": "object"})},
        "/stream.mjpg": {
            "get": _operation(
                "Live pictures, as motion JPEG.", "multipart/x-mixed-replace", {}, 404, 422, 503,
                parameters=[_SOURCE, _flag("overlay", "Whether the objects are drawn in; by default 1.")],
            )
        },
        "/snapshot.jpg": {
            "get": _operation(
                "The latest picture.", "image/jpeg", {}, 404, 410, 422, 503,
                parameters=[_SOURCE, _FRAME, _flag("overlay", "Whether the objects are drawn in; by default 1.")],
            )
        },
        "/events": {
            "get": _operation(
                "Server-sent events: a record for each frame, and the state every second.", "text/event-stream", {},
                404, 422, 503,
                parameters=[_SOURCE, _flag("masks", "Whether records have the masks' run lengths; by default 0.")],
            )
        },
        "/segment": {
            "post": _operation(
                "Segment what prompts name.", "application/json", _ANSWER, 400, 404, 408, 410, 413, 415, 422, 503,
                body=("multipart/form-data", _FORM),
            )
        },
        "/sign": {
            "post": _operation(
                "Sign the URL of a stream, for 60 seconds, for what cannot send the token.", "application/json",
                _SIGNED, 408, 413, 422,
                body=("application/json", _body("path", "Path and query of a stream: /stream.mjpg?source=belt")),
            )
        },
        "/bundle": {
            "post": _operation(
                "Try a bundle beside the running one, and swap it in if it is as good.", "application/json", _STARTED,
                408, 409, 413, 422,
                status=202, body=("application/json", _body("bundle", "Its name or path on this machine.")),
            ),
            "delete": _operation(
                "Put the bundle before back, or call a trial off.", "application/json", _STARTED, 409, status=202
            ),
        },
    }  # fmt: skip
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "nanoseg", "version": nanoseg.__version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
    }
    if secured:
        document["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        document["security"] = [{"token": []}]
    return document


def _operation(
    summary: str,
    media_type: str,
    schema: dict[str, Any],
    *refusals: int,
    status: int = 200,
    parameters: list[dict[str, Any]] | None = None,
    body: tuple[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"description": summary, "content": {media_type: {"schema": schema}}},
        **{str(code): _ERROR for code in (*refusals, 401, 403, 421)},
    }
    if media_type == "application/json" and schema is _STATUS and status == 200:
        responses["503"] = {"description": "Not so; the status says why.", "content": responses["200"]["content"]}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {body[0]: {"schema": body[1]}}}
    return operation


def _flag(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "integer", "enum": [0, 1]}}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _body(key: str, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [key],
        "additionalProperties": False,
        "properties": {key: {"type": "string", "description": description}},
    }
