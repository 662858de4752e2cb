"""A proxy that stands before an RTSP stream and does to its connection what networks and cameras do.

Clients reach it on this machine alone, and only over TCP: UDP is answered with 461, after which they use TCP.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

from nanoseg.errors import SourceError
from nanoseg.sources.fault_schedule import STREAM_KINDS, Fault, FaultSchedule
from nanoseg.sources.rtsp_stream import Part, Parts, begins_keyframe, is_rtcp, rtp_time, with_time_moved

_HOST = "127.0.0.1"
_CHUNK = 1 << 16
_GARBAGE = 0.1  # of the packets
_MAX_JUMP_S = 60.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
_CSEQ = re.compile(rb"(?im)^cseq:\s*(\d+)")
_ANSWERS = {
    "busy": b"453 Not Enough Bandwidth",
    "password": b'401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"',
}
_ENDING = ("reset", "cut", "refuse", "busy", "password")  # end the connections there are


class RtspProxy:
    """Forward RTSP connections, with faults: those of a schedule, or the one that `inject` begins."""

    def __init__(self, url: str, schedule: FaultSchedule | None = None, started_ns: int | None = None) -> None:
        """Start the proxy in a thread.

        Args:
            url: the stream, `rtsp://user:password@host:port/path`.
            schedule: faults; those that are not of STREAM_KINDS are not the proxy's, and do nothing here.
            started_ns: time.monotonic_ns() from which the schedule counts; None: now.

        Raises:
            SourceError: there is no port for it.
        """
        parts = urlsplit(url)
        self._upstream = parts.hostname or _HOST, parts.port or 554
        self._schedule = schedule
        self._started_ns = time.monotonic_ns() if started_ns is None else started_ns
        self._injected: Fault | None = None
        self._connections: set[_Connection] = set()
        self.counts: Counter[str] = Counter()  # faults that began, by kind; and "connections"
        self._loop = asyncio.new_event_loop()
        try:
            self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, _HOST, 0))
        except OSError as error:
            self._loop.close()
            raise SourceError(f"faults://: no port for the proxy on {_HOST}: {error.strerror}") from error
        self.port: int = self._server.sockets[0].getsockname()[1]
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        self.url = parts._replace(netloc=f"{user}{_HOST}:{self.port}").geturl()
        self._begun: Fault | None = None
        self._watcher = self._loop.create_task(self._watch())
        self._thread = threading.Thread(target=self._loop.run_forever, name="nanoseg-rtsp-proxy", daemon=True)
        self._thread.start()

    def inject(self, kind: str, seconds: float, seed: int = 1) -> None:
        """Begin a fault of STREAM_KINDS now, in place of any other."""
        assert kind in STREAM_KINDS
        now_s = self._now_s()
        self._injected = Fault(0, kind, now_s, now_s + seconds, seed)

    def close(self) -> None:
        """End all connections and the thread. May be called twice."""
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._watcher.cancel)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> RtspProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fault(self) -> Fault | None:
        """Return the fault that is under way."""
        now_s = self._now_s()
        injected = self._injected
        if injected is not None and injected.start_s <= now_s < injected.end_s:
            return injected
        fault = self._schedule.at(now_s) if self._schedule is not None else None
        return fault if fault is not None and fault.kind in STREAM_KINDS else None

    def _now_s(self) -> float:
        return (time.monotonic_ns() - self._started_ns) / 1e9

    async def _watch(self) -> None:
        """Begin and end faults; ends the proxy when it is cancelled."""
        try:
            while True:
                fault = self.fault()
                if fault != self._begun:
                    ended, self._begun = self._begun, fault
                    if ended is not None and ended.kind == "refuse":
                        await self._listen()
                    if fault is not None:
                        self._begin(fault)
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self._server.close()
            for connection in list(self._connections):
                connection.end(abort=True)
            tasks = [task for task in asyncio.all_tasks(self._loop) if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)  # in which the transports close
            self._loop.stop()

    def _begin(self, fault: Fault) -> None:
        self.counts[fault.kind] += 1
        if fault.kind == "refuse":
            self._server.close()
        for connection in list(self._connections):
            if fault.kind in _ENDING:
                connection.end(reset=fault.kind == "reset")
            elif fault.kind == "half-open":
                connection.dead = True

    async def _listen(self) -> None:
        for _ in range(500):
            with suppress(OSError):
                self._server = await asyncio.start_server(self._serve, _HOST, self.port)
                return
            await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.run(self._upstream)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            connection.end()


class _Connection:
    """One client, and the connection to the server for it."""

    def __init__(self, proxy: RtspProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._server: asyncio.StreamWriter | None = None
        self.dead = False  # nothing passes any more
        self._codec = ""
        self._lost: bytes | None = None  # the time of the keyframe that is left out
        self._held: list[bytes] = []

    def end(self, *, reset: bool = False, abort: bool = False) -> None:
        """End both connections; with `abort` what was not sent is dropped, with `reset` the client gets RST, too."""
        if reset:
            with suppress(OSError):
                self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for writer in (self._writer, self._server):
            if writer is not None:
                if abort or reset:
                    writer.transport.abort()
                else:
                    writer.close()

    async def run(self, upstream: tuple[str, int]) -> None:
        """Serve the client until either side ends."""
        fault = self._proxy.fault()
        if fault is not None and fault.kind == "reset":
            self.end(reset=True)
            return
        if fault is not None and fault.kind == "half-open":
            self.dead = True
        answers, self._server = await asyncio.open_connection(*upstream)
        ways = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._answers(answers))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self) -> None:
        assert self._server is not None
        parts = Parts()
        while data := await self._reader.read(_CHUNK):
            for part in parts.feed(data):
                if self.dead:
                    continue
                refusal = self._refusal(part)
                if refusal is None:
                    self._server.write(part.data)
                    await self._server.drain()
                else:
                    self._writer.write(refusal)

    def _refusal(self, part: Part) -> bytes | None:
        """Return the answer to a request that is not passed on."""
        if part.channel is not None or (match := _CSEQ.search(part.data)) is None:
            return None
        fault, status = self._proxy.fault(), None
        if fault is not None:
            status = _ANSWERS.get(fault.kind)
        if part.data.startswith(b"SETUP ") and b"interleaved" not in part.data:
            status = b"461 Unsupported Transport"
        return None if status is None else b"RTSP/1.0 %b\r\nCSeq: %b\r\n\r\n" % (status, match[1])

    async def _answers(self, reader: asyncio.StreamReader) -> None:
        parts = Parts()
        while data := await reader.read(_CHUNK):
            for part in parts.feed(data):
                changed = self._change(part)
                if changed is not None and not self.dead:
                    self._writer.write(changed)
            await self._release()
            await self._writer.drain()

    async def _release(self) -> None:
        """Pass on what was held back, once the delay is over."""
        while self._held and not self.dead:
            fault = self._proxy.fault()
            if fault is None or fault.kind != "delay":
                self._writer.write(b"".join(self._held))
                self._held.clear()
                return
            await asyncio.sleep(0.01)

    def _change(self, part: Part) -> bytes | None:
        """Return what is passed on of a part, None for nothing."""
        if part.channel is None:
            for codec in ("H264", "H265"):
                if codec.encode() in part.data:
                    self._codec = codec
            return part.data
        fault = self._proxy.fault()
        if fault is None:
            return part.data
        draw = random.Random(fault.seed)
        if fault.kind == "delay":
            self._held.append(part.data)
            return None
        if fault.kind == "jump":
            return with_time_moved(part, draw.uniform(1, _MAX_JUMP_S) * draw.choice((-1, 1))).data
        if fault.kind == "garbage" and not is_rtcp(part) and random.random() < _GARBAGE:
            payload = bytearray(part.payload)
            for _ in range(min(8, len(payload))):
                payload[random.randrange(len(payload))] = random.randrange(256)
            return part.with_payload(bytes(payload)).data
        if fault.kind == "keyframe" and not is_rtcp(part):
            if begins_keyframe(part, self._codec):
                self._lost = rtp_time(part)
            return None if rtp_time(part) == self._lost else part.data
        return part.data
