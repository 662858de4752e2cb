"""The OpenAPI document of the service."""

from __future__ import annotations

from typing import Any

import nanoseg
from nanoseg.service.http.schemas import ERROR, PROMPTS, RECORD, SEGMENTED, SIGNED, STARTED, STATE, STATUS, TEXT, Schema

_JSON = "application/json"
_REASONS = {
    400: "The body is not what its headers say, or it ends too early.",
    401: "The bearer token is missing or wrong.",
    403: "The request comes from a page of another site.",
    404: "There is no such source or file.",
    408: "The body did not come in time.",
    409: "There is nothing to put back, or a bundle is tried already.",
    410: "This picture is not kept any more.",
    413: "The body is too large.",
    415: "The body has another content type.",
    421: "The service is not called by the name in the Host header.",
    422: "A value is not what is wanted; the line names it.",
    500: "It failed; the log of the service has the reason.",
    503: "Too busy, or not yet: try again.",
}
_SOURCE = {"name": "source", "in": "query", "description": "Name of a camera; by default the first.", "schema": TEXT}
_FRAME = {
    "name": "frame",
    "in": "query",
    "description": "The embedding of an answer of /segment, whose picture is meant, without objects drawn in.",
    "schema": TEXT,
}
_OVERLAY = "Whether the objects are drawn in; by default 1."
_BODY = (408, 413, 415, 422)  # what a body can be refused with
_FORM = {
    "type": "object",
    "description": "One of image, source and frame, and prompts; without prompts the answer has no masks.",
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string", "format": "binary", "description": "A picture, such as JPEG or PNG."},
        "source": {"type": "string", "description": "A camera, whose latest picture is meant."},
        "frame": {"type": "string", "description": "The embedding of an earlier answer, whose picture is meant."},
        "prompts": PROMPTS,
    },
}


def openapi(secured: bool) -> dict[str, Any]:
    """Return the document; `secured`: whether the bearer token is wanted."""
    # Who is refused before a path is looked at; the page and what is asked for by probes are open.
    refused = (401,) if secured else (403, 421)
    page = () if secured else refused
    paths = {
        "/": {"get": _operation("The page.", {"text/html": TEXT}, *page, open_to_all=secured)},
        "/page/{name}": {
            "get": _operation(
                "A file of the page.",
                dict.fromkeys(("text/html", "text/css", "text/javascript", "image/svg+xml"), TEXT), 404, *page,
                parameters=[{"name": "name", "in": "path", "required": True, "schema": TEXT}], open_to_all=secured,
            )
        },
        "/healthz": {"get": _health("Whether the loop of frames is alive.", secured)},
        "/readyz": {"get": _health("Whether the engines are warm, too.", secured)},
        "/metrics": {"get": _operation("Metrics for Prometheus.", {"text/plain": TEXT}, *refused)},
        "/openapi.json": {"get": _operation("This document.", {_JSON: {"type": "object"}}, *refused)},
        "/state": {"get": _operation("What the page shows.", {_JSON: STATE}, *refused)},
        "/stream.mjpg": {
            "get": _operation(
                "Live pictures, as motion JPEG.", {"multipart/x-mixed-replace": {}}, 404, 422, *refused,
                parameters=[_SOURCE, _flag("overlay", _OVERLAY)],
            )
        },
        "/snapshot.jpg": {
            "get": _operation(
                "The latest picture.", {"image/jpeg": {}}, 404, 410, 422, *refused,
                parameters=[_SOURCE, _FRAME, _flag("overlay", _OVERLAY)],
            )
        },
        "/events": {
            "get": _operation(
                "Server-sent events: `record`, a Record for each frame, and `state`, as /state has it, every second.",
                {"text/event-stream": {}}, 404, 422, *refused,
                parameters=[_SOURCE, _flag("masks", "Whether records have the masks' run lengths; by default 0.")],
            )
        },
        "/segment": {
            "post": _operation(
                "Segment what prompts name.", {_JSON: SEGMENTED}, 400, 404, 410, *_BODY, *refused,
                body=("multipart/form-data", _FORM),
            )
        },
        "/sign": {
            "post": _operation(
                "Sign the URL of a stream, for 60 seconds, for what cannot send the token.", {_JSON: SIGNED}, 400,
                *_BODY, *refused,
                body=(_JSON, _body("path", "Path and query of a stream: /stream.mjpg?source=belt")),
            )
        },
        "/bundle": {
            "post": _operation(
                "Try a bundle beside the running one, and swap it in if it is as good.", {_JSON: STARTED}, 400, 409,
                *_BODY, *refused,
                status=202, body=(_JSON, _body("bundle", "Its name or path on this machine.")),
            ),
            "delete": _operation(
                "Put the bundle before back, or call a trial off.", {_JSON: STARTED}, 409, *refused, status=202
            ),
        },
    }  # fmt: skip
    components: dict[str, Any] = {"schemas": {"Record": RECORD}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "nanoseg", "version": nanoseg.__version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": components,
    }
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _operation(
    summary: str,
    content: dict[str, Schema],
    *refusals: int,
    status: int = 200,
    parameters: list[dict[str, Any]] | None = None,
    body: tuple[str, Schema] | None = None,
    open_to_all: bool = False,
) -> dict[str, Any]:
    responses: dict[str, Any] = {str(status): {"description": summary, "content": _content(content)}}
    for code in sorted({*refusals, 413, 500, 503}):
        responses[str(code)] = {"description": _REASONS[code], "content": _content({_JSON: ERROR})}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _content(dict([body]))}
    if open_to_all:
        operation["security"] = []
    return operation


def _health(summary: str, secured: bool) -> dict[str, Any]:
    operation = _operation(summary, {_JSON: STATUS}, open_to_all=secured)
    operation["responses"]["503"] = {
        "description": "Not so; the status says why.",
        "content": _content({_JSON: {"anyOf": [STATUS, ERROR]}}),
    }
    return operation


def _content(schemas: dict[str, Schema]) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in schemas.items()}


def _flag(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "integer", "enum": [0, 1]}}


def _body(key: str, description: str) -> Schema:
    return {
        "type": "object",
        "required": [key],
        "additionalProperties": False,
        "properties": {key: {"type": "string", "description": description, "minLength": 1}},
    }
