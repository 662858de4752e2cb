"""A stand-in of `nanoseg serve` that speaks its HTTP contract with simulated cameras, for tests of its page.

    python -m tests.fakes.service_server --port 8090 --token secret

What the contract has not, `POST /fake`, makes faults: `{"state": ["dock", "lost", "no route to host"]}`,
`{"forget": true}` drops all embeddings, `{"busy": 2}` refuses as many prompts, `{"objects": false}` empties all
pictures of objects, `{"remove": "dock"}` removes a camera.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

from tests.fakes.service_pictures import FPS, Picture, pictures
from tests.fakes.service_state import Camera, Service
from tests.helpers.paths import ROOT

PAGE = ROOT / "nanoseg" / "service" / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'"
SIGNABLE = ("/stream.mjpg", "/snapshot.jpg", "/events")


class RefusedError(Exception):
    """A request that gets an error: status and one line."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer GET."""
        self._answer("get")

    def do_POST(self) -> None:
        """Answer POST."""
        self._answer("post")

    def _answer(self, verb: str) -> None:
        self.service.calls.append(self.path)
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = f"{verb}{parts.path.replace('/', '_').replace('.', '_')}"
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                if verb == "get" and (parts.path == "/" or parts.path.startswith("/page/")):
                    self._page(parts.path.removeprefix("/page/").strip("/") or "index.html")
                    return
                if parts.path not in ("/healthz", "/readyz", "/fake"):
                    self._authorize(parts.path)
                if not hasattr(self, name):
                    raise RefusedError(404, f"{parts.path}: there is no such path")
                getattr(self, name)()
        except RefusedError as error:
            self._json({"error": error.args[1]}, error.args[0])

    def _authorize(self, path: str) -> None:
        service = self.service
        if not service.token or self.headers.get("Authorization") == f"Bearer {service.token}":
            return
        expires, signature = self.query.pop("expires", ""), self.query.pop("signature", "")
        unsigned = self.path.partition("&expires=")[0].partition("?expires=")[0]
        if (
            path in SIGNABLE
            and expires
            and float(expires) > time.time()
            and signature == service.sign(unsigned, expires)
        ):
            return
        raise RefusedError(401, "a token is wanted: Authorization: Bearer TOKEN")

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", POLICY)
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _page(self, name: str) -> None:
        file = PAGE / name
        if file.parent != PAGE or not file.is_file() or file.suffix not in KINDS:
            raise RefusedError(404, f"{name}: there is no such file")
        self._send(file.read_bytes(), f"{KINDS[file.suffix]}; charset=utf-8")

    def _camera(self, name: str | None) -> Camera:
        cameras = self.service.cameras
        if name is None and cameras:
            return next(iter(cameras.values()))
        if name not in cameras:
            raise RefusedError(404, f"{name}: there is no such source")
        return cameras[name]

    def _kept(self, embedding: str) -> Picture:
        if embedding not in self.service.embeddings:
            raise RefusedError(410, f"{embedding}: this picture is no longer kept")
        return self.service.embeddings[embedding]

    def _open(self, kind: str) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()

    def get_healthz(self) -> None:
        """Say that it runs."""
        self._json({"ok": True})

    def get_state(self) -> None:
        """Answer /state."""
        self._json(self.service.state())

    def get_snapshot_jpg(self) -> None:
        """Answer the present picture of a camera, or that of an embedding."""
        if embedding := self.query.get("frame"):
            self._send(self._kept(embedding).plain, "image/jpeg")
            return
        camera = self._camera(self.query.get("source"))
        if camera.state == "connecting":
            raise RefusedError(503, f"{camera.name}: no picture yet")
        picture = camera.latest
        self._send(picture.drawn if self.query.get("overlay") != "0" else picture.plain, "image/jpeg")

    def get_stream_mjpg(self) -> None:
        """Stream a camera; one that is lost sends nothing."""
        camera = self._camera(self.query.get("source"))
        self._open("multipart/x-mixed-replace; boundary=frame")
        while not self.service.over.wait(1 / FPS):
            if camera.state != "live":
                continue
            picture = camera.latest
            jpeg = picture.drawn if self.query.get("overlay") != "0" and self.service.has_objects else picture.plain
            self.wfile.write(
                b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
            )

    def get_events(self) -> None:
        """Stream records, and the state once a second."""
        camera = self._camera(self.query.get("source")) if self.service.cameras else None
        self._open("text/event-stream")
        sent, told = camera.frames if camera else 0, 0.0
        while not self.service.over.wait(0.02):
            if time.monotonic() - told >= 1:
                told = time.monotonic()
                self._event("state", self.service.state())
            if camera and camera.frames > sent and camera.state == "live":
                sent = camera.frames
                self._event("record", self.service.record(camera, sent))

    def _event(self, name: str, value: object) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def post_segment(self) -> None:
        """Embed a picture and answer its prompts."""
        if self.service.busy:
            self.service.busy -= 1
            raise RefusedError(503, "others take all the time that prompts may have")
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        form = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts():
            form[part.get_param("name", header="content-disposition")] = part.get_content().strip()
        embedding = form.get("frame")
        picture = self._kept(embedding) if embedding else self._camera(form.get("source")).latest
        prompts = json.loads(form.get("prompts") or "{}")
        boxes, points, labels = (prompts.get(key) or [] for key in ("boxes", "points", "labels"))
        count = max(len(boxes), len(points))
        boxes, points, labels = boxes or [None] * count, points or [[]] * count, labels or [[]] * count
        masks = [picture.segment(*each) for each in zip(boxes, points, labels, strict=True)]
        self._json(
            {
                "embedding": embedding or self.service.keep(picture),
                "size": list(picture.image.shape[:2]),
                "masks": masks,
            }
        )

    def post_sign(self) -> None:
        """Sign a path."""
        path = json.loads(self.body)["path"]
        expires = str(round(time.time() + self.service.sign_s, 3))
        joint = "&" if "?" in path else "?"
        url = f"{path}{joint}expires={quote(expires)}&signature={self.service.sign(path, expires)}"
        self._json({"url": url, "expires_in_s": self.service.sign_s})

    def post_fake(self) -> None:
        """Make a fault."""
        wanted = json.loads(self.body)
        if "state" in wanted:
            name, state, reason = wanted["state"]
            self._camera(name).change(state, reason)
        if wanted.get("forget"):
            self.service.embeddings.clear()
        if "remove" in wanted:
            del self.service.cameras[wanted["remove"]]
            self.service.regions = [each for each in self.service.regions if each["source"] != wanted["remove"]]
        self.service.busy = wanted.get("busy", 0)
        self.service.has_objects = wanted.get("objects", self.service.has_objects)
        self._json({})


REGIONS = [
    {"source": "belt", "name": "outfeed", "polygon": [[0.05, 0.08], [0.36, 0.08], [0.36, 0.92], [0.05, 0.92]]},
    {"source": "belt", "name": "reject", "polygon": [[400, 300], [620, 300], [620, 460], [400, 460]]},
]


def make_cameras(names: list[str], count: int = 40) -> list[Camera]:
    """Return live cameras of different lines; the second one is wide."""
    cameras = [Camera(name, 1_000_003 + 5 * i, (960, 540) if i == 1 else (640, 480)) for i, name in enumerate(names)]
    for camera in cameras:
        camera.pictures = pictures(camera.seed, camera.size_wh, count)
    return cameras


@contextmanager
def serving(service: Service, port: int = 0) -> Iterator[str]:
    """Serve on loopback, and give the address."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a browser hangs up as it likes

    http = Quiet(("127.0.0.1", port), type("Bound", (Handler,), {"service": service}))
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/"
    finally:
        service.over.set()
        http.shutdown()
        thread.join()
        http.server_close()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A stand-in of nanoseg serve")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--token", default="")
    parser.add_argument("--sign-s", type=float, default=60)
    parser.add_argument("--cameras", nargs="*", default=["belt", "packing-table", "dock"])
    options = parser.parse_args()
    service = Service(make_cameras(options.cameras), options.token, options.sign_s, REGIONS)
    with serving(service, options.port) as url, suppress(KeyboardInterrupt):
        print(url, flush=True)
        service.over.wait()


if __name__ == "__main__":
    main()
