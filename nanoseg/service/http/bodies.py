"""Bodies of requests: a form, or JSON."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TypeVar

import msgspec

from nanoseg.errors import needs

with needs("starlette", "serve"):
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException, MultiPartParser
    from starlette.requests import Request

T = TypeVar("T")

MAX_JSON_BYTES = 1 << 14  # of a body
MAX_TEXT_BYTES = 1 << 20  # of each part of a form but a picture
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


async def read_form(request: Request) -> dict[str, bytes]:
    """Return the parts of a form by their names; raises HTTPException for another body."""
    _check_type(request, "multipart/form-data", "multipart/form-data with image, source or frame, and prompts")
    try:
        async with aclosing(request.stream()) as stream:
            parser = MultiPartParser(request.headers, stream, max_files=2, max_fields=2, max_part_size=MAX_TEXT_BYTES)
            parser.spool_max_size = sys.maxsize  # in memory: the size of a body is limited already
            form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"form: {error.message}") from error
    except (ValueError, LookupError) as error:  # of its boundary, or of a charset
        raise HTTPException(400, "form: it cannot be read") from error
    try:
        parts = {name: await _content(value) for name, value in form.multi_items()}
        if len(parts) != len(form.multi_items()):
            raise HTTPException(422, "form: wanted each part once")
    finally:
        await form.close()
    if any(len(content) > MAX_TEXT_BYTES for name, content in parts.items() if name != "image"):
        raise HTTPException(413, f"form: a part but image is larger than {MAX_TEXT_BYTES} bytes")
    return parts


async def read_json(request: Request, schema: type[T]) -> T:
    """Return a body as a struct; raises HTTPException for another one."""
    _check_type(request, "application/json", "application/json")
    data = bytearray()
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            data += chunk
            if len(data) > MAX_JSON_BYTES:
                raise HTTPException(413, f"the body is larger than {MAX_JSON_BYTES} bytes")
    return decode_json(bytes(data), schema, "body")


def decode_json(data: bytes, schema: type[T], name: str) -> T:
    """Return JSON as a struct; raises HTTPException 422 for another one, which names it."""
    try:
        return msgspec.json.decode(data, type=schema)
    except _UNDECODABLE as error:
        raise HTTPException(422, f"{name}: {error}") from error


def _check_type(request: Request, media_type: str, wanted: str) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise HTTPException(415, f"wanted {wanted}")


async def _content(value: UploadFile | str) -> bytes:
    return await value.read() if isinstance(value, UploadFile) else value.encode(errors="surrogatepass")
