"""The proxy before a small RTSP server: what each fault does to the connections, and that all is well after it."""

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.fault_schedule import STREAM_KINDS, FaultSchedule
from nanoseg.sources.rtsp_proxy import RtspProxy
from nanoseg.sources.rtsp_stream import Parts, is_rtcp

WAIT_S = 20.0
SDP = b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
ENDING = ("reset", "cut", "refuse", "busy", "password")


class AServer:
    """It answers requests, and sends pictures of one packet, each tenth a keyframe, once PLAY has come."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://user:p%40ss@127.0.0.1:{self.socket.getsockname()[1]}/cam"
        self.requests, self.open = [], True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                client = self.socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        parts = Parts()
        try:
            while data := client.recv(65536):
                for part in parts.feed(data):
                    self.requests.append(part.data)
                    length = b"Content-Length: %d\r\n" % len(SDP) if part.data.startswith(b"DESCRIBE") else b""
                    client.sendall(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n" + length + b"\r\n" + (SDP if length else b""))
                    if part.data.startswith(b"PLAY"):
                        threading.Thread(target=self.play, args=(client,), daemon=True).start()
        except OSError:
            pass
        finally:
            client.close()

    def play(self, client):
        number = 0
        try:
            while self.open:
                unit = (b"\x65" if number % 10 == 0 else b"\x41") + struct.pack(">I", number) * 20
                payload = struct.pack(">BBHII", 0x80, 96, number & 0xFFFF, number * 3600, 1) + unit
                client.sendall(b"$\0" + struct.pack(">H", len(payload)) + payload)
                report = struct.pack(">BBHIIIIII", 0x80, 200, 6, 1, 4_000_000_000 + number, 0, number * 3600, 0, 0)
                client.sendall(b"$\1" + struct.pack(">H", len(report)) + report)
                number += 1
                time.sleep(0.002)
        except OSError:
            pass

    def close(self):
        self.open = False
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # else a call of accept goes on
        self.socket.close()


class AClient:
    """It plays a stream over TCP."""

    all = []  # noqa: RUF012 - closed after each test

    def __init__(self, proxy, transport=b"RTP/AVP/TCP;interleaved=0-1"):
        self.socket = socket.create_connection(("127.0.0.1", proxy.port), WAIT_S)
        self.all.append(self)
        self.parts, self.waiting = Parts(), []
        self.statuses = []
        for request in (b"OPTIONS", b"DESCRIBE", b"SETUP", b"PLAY"):
            self.socket.sendall(request + b" rtsp://a RTSP/1.0\r\nCSeq: 1\r\nTransport: " + transport + b"\r\n\r\n")
            answer = self.next(text=True).data
            self.statuses.append(int(answer.split()[1]))
            if self.statuses[-1] != 200:
                return

    def next(self, text=False):
        """Return the next text or packet; raises ConnectionError at the end."""
        while True:
            for index, part in enumerate(self.waiting):
                if (part.channel is None) == text:
                    return self.waiting.pop(index)
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError
            self.waiting += self.parts.feed(data)

    def pictures(self, count):
        """Return the next packets of RTP."""
        found = []
        while len(found) < count:
            part = self.next()
            if not is_rtcp(part):
                found.append(part.payload)
        return found

    def close(self):
        self.socket.close()


@pytest.fixture
def server():
    running = AServer()
    yield running
    running.close()
    while AClient.all:
        AClient.all.pop().close()


@pytest.fixture
def proxy(server):
    with RtspProxy(server.url) as running:
        yield running


def number_of(payload):
    return struct.unpack(">I", payload[13:17])[0]


def wait_for(condition):
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_without_faults_all_passes_in_order(server, proxy):
    client = AClient(proxy)
    numbers = [number_of(payload) for payload in client.pictures(50)]
    assert numbers == list(range(50))
    assert client.statuses == [200] * 4
    assert proxy.url == f"rtsp://user:p%40ss@127.0.0.1:{proxy.port}/cam"
    client.close()


def test_udp_is_refused_so_that_clients_take_tcp(proxy):
    assert AClient(proxy, b"RTP/AVP;unicast;client_port=5000-5001").statuses == [200, 200, 461]


@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_after_each_fault_a_new_connection_plays_three_times(kind, proxy):
    for turn in range(1, 4):
        client = AClient(proxy)
        client.pictures(3)
        proxy.inject(kind, 0.1, seed=turn)
        wait_for(lambda turn=turn: proxy.counts[kind] == turn)
        wait_for(lambda: proxy.fault() is None)
        if kind in ENDING:
            with pytest.raises(ConnectionError):
                client.pictures(10_000)
        client.close()
        again = connect(proxy)
        assert again.statuses == [200] * 4
        assert len(again.pictures(20)) == 20
        again.close()


def connect(proxy):
    """Connect once the proxy listens again."""
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            return AClient(proxy)
        except ConnectionError:
            assert time.monotonic() < end_s
            time.sleep(0.01)


def test_half_open_keeps_the_connection_and_nothing_comes_even_later(proxy):
    client = AClient(proxy)
    client.pictures(3)
    proxy.inject("half-open", 0.05)
    wait_for(lambda: proxy.counts["half-open"] == 1)
    wait_for(lambda: proxy.fault() is None)
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.pictures(10_000)


@pytest.mark.parametrize(("kind", "status"), [("busy", 453), ("password", 401)])
def test_new_connections_are_answered_with_the_status(kind, status, proxy):
    proxy.inject(kind, 60)
    wait_for(lambda: proxy.counts[kind])
    assert AClient(proxy).statuses == [status]


@pytest.mark.parametrize("kind", ["refuse", "reset"])
def test_new_connections_fail(kind, proxy):
    proxy.inject(kind, 60)
    wait_for(lambda: proxy.counts[kind])
    with pytest.raises(ConnectionError):
        AClient(proxy)


def test_delay_loses_nothing_and_gives_it_at_once(proxy):
    client = AClient(proxy)
    first = number_of(client.pictures(5)[-1])
    proxy.inject("delay", 0.3)
    wait_for(lambda: proxy.counts["delay"])
    numbers = [number_of(payload) for payload in client.pictures(200)]
    assert numbers == list(range(first + 1, first + 201))


def test_keyframes_are_lost_and_come_back(proxy):
    client = AClient(proxy)
    proxy.inject("keyframe", 0.5)
    wait_for(lambda: proxy.counts["keyframe"])
    numbers = [number_of(payload) for payload in client.pictures(600)]
    missing = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    assert missing
    assert all(number % 10 == 0 for number in missing)
    assert [number for number in numbers if number % 10 == 0][-1] > missing[-1]


def test_garbage_changes_packets_and_keeps_their_framing(proxy):
    client = AClient(proxy)
    proxy.inject("garbage", 60)
    wait_for(lambda: proxy.counts["garbage"])
    payloads = client.pictures(400)
    changed = sum(payload[17:] != payload[13:17] * 19 for payload in payloads)
    assert 0 < changed < 200


def test_jump_moves_the_clocks_together(proxy):
    client = AClient(proxy)
    proxy.inject("jump", 60, seed=3)
    wait_for(lambda: proxy.counts["jump"])
    offsets = {
        (struct.unpack(">I", payload[4:8])[0] - number_of(payload) * 3600) % (1 << 32)
        for payload in client.pictures(100)[-50:]
    }
    assert len(offsets) == 1
    assert offsets != {0}


def test_a_schedule_begins_its_faults(server):
    schedule = FaultSchedule(("hang", "cut"), 1, 0.1, 0.05)
    with RtspProxy(server.url, schedule) as proxy:
        wait_for(lambda: proxy.counts["cut"] > 2)
        assert proxy.counts["hang"] == 0  # the capture's


def test_it_leaves_no_thread_and_no_port(server):
    before = threading.active_count()
    proxy = RtspProxy(server.url)
    client = AClient(proxy)
    proxy.close()
    proxy.close()
    with pytest.raises(ConnectionError):
        client.pictures(10_000)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), WAIT_S)
    assert not [thread for thread in threading.enumerate() if thread.name == "nanoseg-rtsp-proxy"]
    assert threading.active_count() <= before + 3  # those of the server of this test


def test_a_server_that_is_away_ends_the_connection(server):
    server.socket.shutdown(socket.SHUT_RDWR)
    with RtspProxy(server.url) as proxy, pytest.raises(ConnectionError):
        AClient(proxy)


def test_no_port_is_one_line(monkeypatch):
    async def full(*_):
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("nanoseg.sources.rtsp_proxy.asyncio.start_server", full)
    with pytest.raises(SourceError, match=r"faults://: no port for the proxy"):
        RtspProxy("rtsp://127.0.0.1/cam")
