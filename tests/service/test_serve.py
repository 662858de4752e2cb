"""`nanoseg serve` as a user runs it: real cameras, broker, signals, kills."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from nanoseg.service.http.loading import LOADING
from tests.helpers.rtsp_server import rtsp_server
from tests.helpers.verbs import verb
from tests.helpers.waiting import wait_for
from tests.service.served import WAIT_S, served

pytest.importorskip("starlette")
pytest.importorskip("onnxruntime")

LINE = '[[source]]\nname = "belt"\nurl = "parts://?seed=1&size=320x240&objects=3"\n'
serve = verb("serve")


def test_serve_checks_a_configuration(tmp_path, capsys):
    (tmp_path / "a.toml").write_text(LINE)
    assert serve(["--config", tmp_path / "a.toml", "--check"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/a.toml: 1 camera, 0 regions, bundle parts: no fault found\n"
    (tmp_path / "b.toml").write_text(LINE + "[model]\nclasses = ['person']")
    assert serve(["--config", tmp_path / "b.toml", "--check"]) == 2
    assert "model.classes: classes: no such class: person" in capsys.readouterr().err


def test_serve_prints_a_sample_that_it_takes(tmp_path, capsys):
    assert serve(["--sample-config"]) == 0
    (tmp_path / "a.toml").write_text(capsys.readouterr().out)
    assert serve(["--config", tmp_path / "a.toml", "--check"]) == 0


def test_serve_refuses_a_port_that_is_taken(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (tmp_path / "a.toml").write_text(f"{LINE}[http]\nport = {taken.getsockname()[1]}")
        assert serve(["--config", tmp_path / "a.toml"]) == 1  # it may be free later: systemd tries again
    assert "http: cannot listen on 127.0.0.1 port" in capsys.readouterr().err


def test_serve_tells_why_it_ends_as_json_where_the_log_is_json(tmp_path, capfd):
    (tmp_path / "a.toml").write_text(f"{LINE}nonsense = 1")
    assert serve(["--config", tmp_path / "a.toml", "--log-json"]) == 2
    [line] = capfd.readouterr().err.splitlines()
    assert json.loads(line)["level"] == "error"
    assert "nonsense" in json.loads(line)["message"]


@pytest.mark.slow
def test_serve_from_start_to_sigterm(tmp_path):
    """Picture, records, systemd's messages, a reload that keeps the camera, whole files at the end."""
    records = tmp_path / "records.jsonl"
    text = f"{LINE}[records]\npath = '{records}'\n[http]\nport = 0\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT_S)
        told = []

        def tells(wanted):
            while not any(wanted in message for message in told):
                told.append(manager.recv(4096).decode())

        with served(tmp_path, text, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000") as service:
            tells("READY=1")
            tells("WATCHDOG=1")
            service.wait_for(lambda: service.source("belt")["fps"] > 0)
            assert service.get("/snapshot.jpg")[:2] == b"\xff\xd8"
            captured = service.source("belt")["frames"]

            region = "\n[[region]]\nsource = 'belt'\nname = 'all'\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n"
            (tmp_path / "nanoseg.toml").write_text(text + region)
            service.process.send_signal(signal.SIGHUP)
            tells("RELOADING=1")
            service.wait_for(lambda: any(sum(r["counts"].values()) for r in service.get("/state")["regions"]))
            assert service.source("belt")["frames"] > captured  # the camera went on

            (tmp_path / "nanoseg.toml").write_text(text + "[nonsense]")
            service.process.send_signal(signal.SIGHUP)
            service.wait_for(lambda: any("reload: nothing is changed" in line for line in service.lines))
            assert service.get("/state")["regions"]
            assert service.end() == 128 + signal.SIGTERM
            tells("STOPPING=1")
    written = [json.loads(line) for line in records.read_bytes().splitlines()]
    assert written
    assert {record["source"] for record in written} == {"belt"}


@pytest.mark.slow
def test_serve_reload_opens_nothing_that_was_closed(tmp_path):
    """The token goes with the address that is listened on; pictures from before silhouettes were covered are gone."""
    (tmp_path / "token").write_text("a" * 32)
    network = f"[http]\nport = 0\nhost = '0.0.0.0'\ntoken_file = '{tmp_path}/token'\n"
    with served(tmp_path, LINE + network) as service:
        url = service.url.replace("0.0.0.0", "127.0.0.1")

        def ask(path, token=True, **form):
            headers = {"Authorization": f"Bearer {'a' * 32}"} if token else {}
            return httpx.request(
                "POST" if form else "GET", url + path, headers=headers, timeout=30, trust_env=False, **form
            )

        def reload(text, told):
            (tmp_path / "nanoseg.toml").write_text(text)
            service.process.send_signal(signal.SIGHUP)
            service.wait_for(lambda: any(told in line for line in service.lines))

        service.wait_for(lambda: ask("/snapshot.jpg").status_code == 200)
        form = {"source": (None, "belt"), "prompts": (None, '{"boxes": [[10, 10, 90, 90]]}')}
        key = ask("/segment", files=form).json()["embedding"]
        assert ask(f"/snapshot.jpg?frame={key}").status_code == 200
        reload(LINE + "[http]\nport = 0\n", "reload: nothing is changed: http.host: 0.0.0.0 can be reached")
        assert ask("/state", token=False).status_code == 401
        reload(LINE + network + "[redact]\nclasses = ['gear']\n", "reload: done")
        assert ask(f"/snapshot.jpg?frame={key}").status_code == 410
        assert ask("/state").json()["redacted"]


@pytest.mark.slow
def test_serve_is_alive_and_ends_at_once_while_engines_are_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "nanoseg.toml").write_text(f"{LINE}[http]\nport = {port}\n")
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, nanoseg\nnanoseg.load = lambda *_, **__: threading.Event().wait()\n"
    )
    command = [sys.executable, "-m", "nanoseg", "serve", "--config", str(tmp_path / "nanoseg.toml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    try:

        def answer(path):
            try:
                return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=30)
            except httpx.ConnectError:
                return None

        wait_for(lambda: answer("/healthz"), "an answer")
        assert answer("/healthz").status_code == 200
        assert answer("/readyz").json() == {"status": LOADING}
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_serve_goes_on_after_a_kill_without_repair(tmp_path):
    """Twice: records stay whole lines, the number of starts is kept, no capture process is left."""
    records = tmp_path / "records.jsonl"
    text, state = f"{LINE}[records]\npath = '{records}'\n[http]\nport = 0\n", tmp_path / "state"
    state.mkdir()
    for start in (1, 2, 3):
        with served(tmp_path, text, STATE_DIRECTORY=str(state)) as service:
            lines = records.read_bytes().count(b"\n") if records.exists() else 0
            service.wait_for(lambda lines=lines: records.read_bytes().count(b"\n") > lines + 2)
            assert f"nanoseg_starts_total {float(start)}" in service.get("/metrics").decode()
            children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
            service.end(signal.SIGKILL)
            service.process.poll()
            for child in children:
                while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text():
                    pass
    assert all(json.loads(line)["source"] == "belt" for line in records.read_bytes().splitlines()[:-1])


@pytest.mark.slow
def test_serve_with_a_source_that_is_given_up_until_a_reload(tmp_path):
    picture = tmp_path / "a.png"
    with served(tmp_path, f"{LINE}[[source]]\nname = 'door'\nurl = '{picture}'\n") as service:
        service.wait_for(lambda: any("door: given up: " in line for line in service.lines))
        cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
        service.process.send_signal(signal.SIGHUP)
        service.wait_for(lambda: service.source("door")["frames"] == 1)
        assert service.source("door")["reason"] == "it gave its last frame"
        assert len([line for line in service.lines if "door" in line]) == 1


@pytest.mark.slow
def test_serve_with_a_camera_that_is_cut_and_comes_back(tmp_path):
    with rtsp_server() as server:
        text = f"{LINE}[[source]]\nname = 'door'\nurl = '{server.url('h264')}'\n"
        with served(tmp_path, text) as service:
            service.wait_for(lambda: service.source("door")["state"] == "live" and service.source("door")["fps"] > 0)
            server.stop()
            service.wait_for(lambda: service.source("door")["state"] == "lost")
            belt = service.source("belt")["frames"]
            service.wait_for(lambda: service.source("belt")["frames"] > belt + 5)
            assert service.get("/readyz") == {"status": "ok"}
            server.start()
            service.wait_for(lambda: service.source("door")["state"] == "live" and service.source("door")["fps"] > 0)
            assert service.source("door")["reconnects"] >= 1
            assert len([line for line in service.lines if "door" in line]) <= 4


@pytest.mark.slow
def test_serve_with_a_broker_that_is_stopped_and_started_again(tmp_path, broker):
    """Frames and requests go on meanwhile; what was dropped is counted; Home Assistant gets its sensors again."""
    from tests.helpers.mosquitto import listening

    region = "[[region]]\nsource = 'belt'\nname = 'all'\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n"
    text = f"{LINE}{region}[mqtt]\nurl = 'mqtt://127.0.0.1:{broker.port}'\n[http]\nport = 0\n"
    with served(tmp_path, text) as service:
        with listening(broker.port, "nanoseg/#", "homeassistant/#") as listener:
            service.wait_for(lambda: listener.last("nanoseg/belt/record"))
            assert json.loads(listener.last("nanoseg/belt/record"))["source"] == "belt"
            service.wait_for(lambda: any(message.topic.startswith("homeassistant/") for message in listener.messages))
            service.wait_for(
                lambda: any(message.topic.startswith("nanoseg/belt/all/") for message in listener.messages)
            )
        broker.stop()
        service.wait_for(lambda: b"nanoseg_mqtt_connected 0.0" in service.get("/metrics"))
        frames = service.source("belt")["frames"]
        service.wait_for(lambda: service.source("belt")["frames"] > frames + 20)
        broker.start()
        with listening(broker.port, "nanoseg/#") as listener:
            service.wait_for(lambda: listener.last("nanoseg/belt/record"))
            service.wait_for(lambda: listener.last("nanoseg/status") == b"online")
            service.end()
            service_status = listener.last("nanoseg/status")
        assert service_status == b"offline"
    assert len([line for line in service.lines if "mqtt" in line]) <= 4
