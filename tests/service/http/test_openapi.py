"""Requests that are made from the OpenAPI document, valid and not: what comes back is what the document says.

HTTP_CASES=10000 python -m pytest -m slow tests/service/http/test_openapi.py -s
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import aclosing
from types import SimpleNamespace

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from nanoseg.service.http import app
from tests.service.http.serving import SOURCES, TOKEN, Serving, check_headers
from tests.service.http.test_segment import BOX, JPEG, PNG
from tests.service.results import a_result
from tests.service.served import served

CASES = int(os.environ.get("HTTP_CASES", "400"))
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]


def _first(endless, count):
    """Cut what yields without end after a few parts: the requests wait for the end of each response."""

    async def parts(*arguments, **options):
        async with aclosing(endless(*arguments, **options)) as each:
            for _ in range(count):
                yield await anext(each)

    return parts


@st.composite
def _cases(draw, operation, embedding):
    """Requests of an operation; many with values that exist, or what is behind their check would hardly be reached."""
    case = draw(operation.as_strategy(generation_mode=draw(st.sampled_from(GenerationMode))))
    known = {
        "source": st.sampled_from(SOURCES),
        "frame": st.just(embedding),
        "image": st.sampled_from([PNG, JPEG, PNG[:60], JPEG[:300]]),
        "prompts": st.just(BOX),
        "path": st.sampled_from(["/events?source=belt", "/stream.mjpg", "/snapshot.jpg?&=%ff"]),
        "name": st.sampled_from(["page.css", "index.html", "icon.svg", "../app.py", "%2e%2e"]),
    }
    for values in (case.query, case.body, case.path_parameters):
        for name in [name for name in known if isinstance(values, dict) and name in values]:
            if draw(st.booleans()):
                values[name] = draw(known[name])
        if values is case.body and isinstance(values, dict) and draw(st.booleans()):
            kept = draw(st.sampled_from(["source", "frame", "image"]))
            for name in {"source", "frame", "image"} - {kept}:
                values.pop(name, None)
    return case


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, TOKEN])
def test_openapi_document_is_what_the_service_does(token, monkeypatch):
    monkeypatch.setattr(app, "motion_jpeg", _first(app.motion_jpeg, 2))
    monkeypatch.setattr(app, "event_stream", _first(app.event_stream, 2))
    statuses: Counter[tuple[str, int]] = Counter()
    with Serving(token, stream_fps=120.0) as serving, requests.Session() as session:
        session.headers.update({"Authorization": f"Bearer {token}"} if token else {})
        session.trust_env = False
        for source in SOURCES:
            serving.put(a_result(source=source))
        url = f"http://127.0.0.1:{serving.port}"
        embedding = session.post(f"{url}/segment", files={"source": (None, "belt")}).json()["embedding"]
        document = session.get(f"{url}/openapi.json").json()
        schema = schemathesis.openapi.from_dict(document)
        operations = [each.ok() for each in schema.get_all_operations()]
        assert len(operations) == sum(len(methods) for methods in document["paths"].values())

        @settings(
            max_examples=CASES // 2, deadline=None, database=None, derandomize=CASES < 1000,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.sampled_from(operations).flatmap(lambda operation: _cases(operation, embedding)))
        def request(case):
            if case.operation.path == "/segment":  # keep it from being dropped
                session.get(f"{url}/snapshot.jpg?frame={embedding}")
            answer = case.call(base_url=url, session=session)
            statuses[f"{case.method} {case.operation.path}", answer.status_code] += 1
            check_headers(SimpleNamespace(headers={name: ", ".join(lines) for name, lines in answer.headers.items()}))
            assert answer.status_code < 500 or answer.status_code == 503, serving.lines
            case.validate_response(answer, checks=CHECKS)

        request()
    for (operation, status), count in sorted(statuses.items()):
        print(f"{operation}: {status} x {count}")
    assert {200, 202, 404, 422} <= {status for _, status in statuses}


@pytest.mark.slow
def test_running_service_answers_as_the_document_says(tmp_path):
    text = (
        "[[source]]\nname = 'belt'\nurl = 'parts://?seed=1'\n"
        "[[region]]\nsource = 'belt'\nname = 'left'\npolygon = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\n"
    )
    with served(tmp_path, text) as service, requests.Session() as session:
        document = session.get(f"{service.url}/openapi.json").json()
        for query, has_masks in (("", False), ("?masks=1", True)):
            with session.get(f"{service.url}/events{query}", stream=True) as response:
                lines = response.iter_lines()
                assert any(line == b"event: record" for line in lines)
                record = json.loads(next(lines).removeprefix(b"data: "))
            jsonschema_rs.validate(document["components"]["schemas"]["Record"], record)
            assert all(("mask" in each) == has_masks for each in record["objects"])
        state = session.get(f"{service.url}/state").json()
        schema = document["paths"]["/state"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema_rs.validate(schema, state)
        assert state.keys() == schema["properties"].keys(), "the document has each key"
        for name in ("sources", "swap"):
            each, its = state[name], schema["properties"][name]
            each, its = (each[0], its["items"]) if name == "sources" else (each, its)
            assert each.keys() == its["properties"].keys()
