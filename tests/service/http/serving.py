"""The real server and application on a loopback socket, with a fake service and a fake segmenter behind them."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.embedding import Embedding
from nanoseg.processing.geometry import Geometry
from nanoseg.service.config import HttpConfig
from nanoseg.service.http.app import Application, View
from nanoseg.service.http.prompts import PromptAnswers
from nanoseg.service.http.refusals import HEADERS
from nanoseg.service.http.server import Server, listen
from nanoseg.service.http.streams import Events
from nanoseg.service.http.token import TokenCheck
from nanoseg.service.pictures import Pictures
from nanoseg.types import Prompts
from tests.fakes.segmenter import detections

TOKEN = "0123456789abcdef"
SOURCES = ("belt", "packing table")
WAIT_S = 20.0  # for what has to come
STATE = {
    "version": "0", "bundle": "parts", "labels": [], "backend": "fake", "device": "fake", "uptime_s": 1.5, "fps": 0.0,
    "redacted": False, "sources": [], "regions": [], "stages_ms": {}, "age_ms": {"p50": None, "p99": None},
    "memory_mb": 1.0, "swap": {"number": 0, "state": "idle", "bundle": "", "reason": ""},
}  # fmt: skip


class PromptSegmenter:
    """Segmenter whose masks are the boxes of its prompts, or a square around their first point."""

    bundle = SimpleNamespace(path="fake", labels=("bolt",))

    def __init__(self) -> None:
        self.gate = threading.Event()  # cleared: `embed` waits
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception | None = None  # raised by `embed`
        self.embedded: list[tuple[int, ...]] = []  # shapes

    def check(self, prompts: Prompts) -> None:
        """Take all prompts."""

    def embed(self, image: np.ndarray) -> Embedding:
        """Return an embedding without content."""
        self.entered.set()
        self.gate.wait(WAIT_S)
        self.embedded.append(image.shape)
        if self.error is not None:
            raise self.error
        return Embedding.of(np.zeros((1, 256, 1, 1), np.float32), Geometry.of(image.shape[:2], 320, 320, 512))

    def segment(self, embedding, *, boxes, points, labels):
        """Return the masks of prompts."""
        prompts = Prompts.of(boxes, points, labels, padding=False)
        limits = [[*xy.min(0), *np.maximum(xy.max(0), xy.min(0) + 10)] for xy in prompts.coords]
        return detections(embedding.geometry.frame_hw, limits, [0] * len(limits)).masks


class Serving:
    """A running server. `lines` are what the log would have been told."""

    def __init__(self, token: str | None = None, *, loading: bool = False, **options) -> None:
        self.lines: list[str] = []
        self.swaps: list[str] = []
        self.swap_error = self.trouble = ""
        self.state: dict = dict(STATE)
        self.state_error: Exception | None = None
        self.low_memory = False
        self.sources = SOURCES
        self.drawn = 0
        self.segmenter = PromptSegmenter()
        self.token = TokenCheck(token)
        self.given = token
        self._executor, self._prompting = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
        self.pictures, self.events = Pictures(self._draw, self._executor), Events()
        config = HttpConfig(port=0, **options)
        self.prompts = PromptAnswers(lambda: self.segmenter, self._prompting, config.max_prompts)
        view = View(
            http=config,
            sources=lambda: self.sources,
            state=self._state,
            trouble=lambda: self.trouble,
            metrics=lambda: b"frames_total 1\n",
            token=lambda: self.token,
            hosts={"localhost", "127.0.0.1", "::1"},
            told=lambda line, _: self.lines.append(line),
            low_memory=lambda: self.low_memory,
            swaps=SimpleNamespace(start=self._swap, undo=lambda: self._swap("")),
        )
        self.application = Application(view, self.pictures, self.events, self.prompts)
        self._listener = listen(config)
        self.port = self._listener.getsockname()[1]
        self.server = Server(self._listener, config.max_streams, self.lines.append)
        self.server.start()
        if not loading:
            self.finish_loading()

    def finish_loading(self) -> None:
        """Answer by the application."""
        used = threading.Event()

        def bind(loop) -> None:
            self.pictures.bind(loop)
            self.events.bind(loop)
            loop.call_soon(used.set)

        self.server.use(self.application.asgi, on_start=bind, on_close=self.application.close)
        assert used.wait(WAIT_S)

    def put(self, result) -> None:
        """Publish a result, as the loop of frames does."""
        self.pictures.put(result)
        self.events.put(result)

    def client(self, **options) -> httpx.Client:
        """Return a client, by default with the token."""
        options.setdefault("headers", {"Authorization": f"Bearer {self.given}"} if self.given else {})
        url = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=url, trust_env=False, verify=False, timeout=WAIT_S, **options)

    def wire(self, **options) -> Wire:
        """Return a bare connection."""
        return Wire(self.port, **options)

    def close(self) -> None:
        """End it."""
        self.segmenter.gate.set()
        self.server.close()
        self._executor.shutdown()
        self._prompting.shutdown()

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _draw(self, result):
        self.drawn += 1
        return result.frame.image

    def _state(self) -> dict:
        if self.state_error is not None:
            raise self.state_error
        return self.state

    def _swap(self, bundle: str) -> int:
        if self.swap_error:
            raise UsageError(self.swap_error)
        self.swaps.append(bundle)
        return len(self.swaps)


class Answer:
    """A response as it came over the wire."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        response.begin()
        self.status, self.headers = response.status, response.msg
        self.body = response.read()

    def json(self):
        """Return its content."""
        return json.loads(self.body)


class Wire:
    """A connection to which any bytes can be written."""

    def __init__(self, port: int, receive_bytes: int | None = None, peer: str = "127.0.0.1") -> None:
        self.socket = socket.socket()
        self.socket.bind((peer, 0))
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(("127.0.0.1", port))
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Write bytes."""
        self.socket.sendall(data)

    def line(self) -> bytes:
        """Read a line."""
        return self._file.readline()

    def read(self, size: int) -> bytes:
        """Read so many bytes, fewer where the connection ends."""
        return self._file.read(size)

    def answer(self, method: str = "GET") -> Answer:
        """Read one response."""
        return Answer(http.client.HTTPResponse(self, method=method))  # type: ignore[arg-type]

    def ended(self) -> bool:
        """Read until the connection ends; returns whether nothing more came."""
        try:
            return self._file.read() == b""
        except ConnectionError:
            return True

    def makefile(self, _: str):
        """Return the same file to each response, which closes it."""
        return _KeptOpen(self._file)

    def close(self) -> None:
        """End it."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class _KeptOpen(io.BufferedIOBase):
    def __init__(self, file) -> None:
        self.read, self.readline, self.readinto = file.read, file.readline, file.readinto

    def close(self) -> None:
        """Leave it open."""

    @property
    def closed(self) -> bool:
        return False


def until(condition) -> None:
    """Wait until a condition holds."""
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s, "it has not come"
        time.sleep(0.005)


def check_headers(answer) -> None:
    """Every response has the headers that protect the page, once."""
    for name, value in HEADERS:
        assert answer.headers[name.decode()] == value.decode(), name
    assert answer.headers["cache-control"] in ("no-store", "no-cache")


def check_refusal(answer, status: int, served: Serving) -> str:
    """It is refused: its status, JSON in one line without internals; one line in the log, none of what is expected."""
    assert answer.status_code == status if isinstance(answer, httpx.Response) else answer.status == status, answer
    check_headers(answer)
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error
    assert error.isprintable()
    assert len(error) < 600
    for internal in ("/usr", "/work", "site-packages", "nanoseg/", "Error:", "Traceback", "object at 0x", "starlette"):
        assert internal not in error
    if status == 410 or "no picture yet" in error:
        assert not served.lines
        return error
    until(lambda: served.lines)
    [line] = served.lines
    assert line.isprintable()
    assert str(status) in line
    served.lines.clear()
    return error
