"""`nanoseg service status`: what systemd knows, and what the service itself answers."""

import http.server
import json
import os
import threading

import pytest

RUNNING = {
    "LoadState": "loaded",
    "UnitFileState": "enabled",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "StatusText": "2 cameras, parts",
    "NRestarts": "3",
    "StateChangeTimestamp": "Sun 2026-11-29 13:48:55 UTC",
    "MainPID": "135",
    "ExecMainStatus": "0",
}
FAILED = {**RUNNING, "ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "MainPID": "0"}
FAILED |= {"ExecMainStatus": "2", "UnitFileState": "disabled", "StatusText": ""}


@pytest.fixture
def service():
    """A service that answers what `.answer` says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            code, body = server.answer if self.path == "/readyz" else (404, b"")
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.answer = 200, b'{"ready": true}'
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_status_of_a_service_that_runs(call, machine, service):
    machine.systemctl.shows(**RUNNING)
    machine.systemctl.logs("2026-11-29T13:48:55+00:00 board nanoseg[135]: first\n2026-11-29T13:49:01+00:00 second\n")
    code, out, err = call("service", "status", "--url", service.url)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "nanoseg.service",
        "  unit      active (running)",
        "  since     Sun 2026-11-29 13:48:55 UTC",
        "  restarts  3",
        "  tells     2 cameras, parts",
        f'  ready     yes, {service.url}/readyz: {{"ready": true}}',
        "  log       2026-11-29T13:48:55+00:00 board nanoseg[135]: first",
        "            2026-11-29T13:49:01+00:00 second",
    ]


def test_status_as_json(call, machine, service):
    machine.systemctl.shows(**FAILED)
    service.answer = 503, b'{"ready": false,\n "reason": "belt: lost"}'
    code, out, _ = call("service", "status", "--json", "--url", service.url)
    contents = json.loads(out)
    assert code == 1
    assert (contents["ready"], contents["answer"]) == (False, '503: {"ready": false, "reason": "belt: lost"}')
    assert contents["unit"] == {
        "installed": True,
        "enabled": False,
        "state": "failed",
        "substate": "failed",
        "since": "Sun 2026-11-29 13:48:55 UTC",
        "restarts": 3,
        "result": "exit-code",
        "exit_code": 2,
        "pid": None,
        "told": "",
    }
    assert "failed (failed), exit-code (exit code 2), not enabled at boot" in call("service", "status")[1]


def test_status_reads_the_address_of_the_configuration(call, machine, service):
    machine.config.parent.mkdir()
    listens = f'host = "0.0.0.0"\nport = {service.server_port}'
    machine.config.write_text(f'[http]\n{listens}\n[[source]]\nname = "belt"\nurl = "parts://"\n')
    code, out, _ = call("service", "status", "--config", machine.config)
    assert code == 0
    assert f"{service.url}/readyz" in out
    assert "unit   not installed: sudo nanoseg service install" in out


def test_status_without_permission_to_read_the_configuration(call, machine, service, monkeypatch):
    machine.config.parent.mkdir()
    machine.config.write_text("")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    code, out, err = call("service", "status", "--config", machine.config, "--url", service.url)
    assert (code, err) == (0, "")
    assert "ready  yes" in out


def test_status_in_a_container(call, machine, service, monkeypatch):
    machine.systemctl.fails("show", "System has not been booted with systemd as init system (PID 1). Can't operate.")
    code, out, err = call("service", "status", "--url", service.url)
    assert (code, err) == (0, "")
    assert "unit   systemctl show: ended with 1: System has not been booted with systemd" in out
    monkeypatch.setenv("PATH", "/nowhere")
    code, out, _ = call("service", "status", "--json", "--url", service.url)
    assert (code, json.loads(out)["unit_error"]) == (0, "systemctl show: No such file or directory")


def test_status_where_nothing_answers(call, machine, service):
    service.answer = 503, b""
    code, out, _ = call("service", "status", "--url", f"{service.url}/")
    assert code == 1
    assert f"ready  no, {service.url}/readyz: 503: Service Unavailable" in out
    code, out, _ = call("service", "status", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert "ready  no, http://127.0.0.1:1/readyz: Connection refused" in out


def test_status_wants_an_address(call, machine):
    code, _, err = call("service", "status", "--url", "127.0.0.1:8080")
    assert (code, err) == (2, "nanoseg: error: --url: wanted http://HOST:PORT, got 127.0.0.1:8080\n")
