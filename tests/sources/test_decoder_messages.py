"""Catching what decoders print: by thread, nothing of anybody else's, nothing left behind."""

import ctypes
import os
import subprocess
import sys
import threading

import pytest

from tests.sources.encoded_images import encoded, ramp

cv2 = pytest.importorskip("cv2")
np = pytest.importorskip("numpy")

from nanoseg.sources.decoder_messages import catch_decoder_messages  # noqa: E402

NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
JPEG = encoded(".jpg", NOISE)
CUT = np.frombuffer(JPEG[: len(JPEG) // 2] + b"\xff\xd9", np.uint8)


def test_messages_are_caught(capfd):
    with catch_decoder_messages() as messages:
        cv2.imdecode(CUT, cv2.IMREAD_COLOR)
    assert messages.lines == ["Corrupt JPEG data: premature end of data segment"]
    with catch_decoder_messages() as messages:
        pass
    assert messages.lines == []
    assert capfd.readouterr().err == ""
    cv2.imdecode(CUT, cv2.IMREAD_COLOR)
    assert "Corrupt JPEG data" in capfd.readouterr().err  # outside, everything is as it was


def test_messages_of_others_are_passed_on(capfd):
    libc = ctypes.CDLL(None)
    with catch_decoder_messages() as messages:
        print("from Python", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'from a child\\n')"], check=True)
        libc.perror(b"from C")
        cv2.imdecode(CUT, cv2.IMREAD_COLOR)
    err = capfd.readouterr().err.splitlines()
    assert len(messages.lines) == 1
    assert err[:2] == ["from Python", "from a child"]
    assert err[2].startswith("from C: ")


def test_messages_after_an_error(capfd):
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(RuntimeError), catch_decoder_messages():
        raise RuntimeError
    assert cv2.utils.logging.getLogLevel() == level
    cv2.imdecode(CUT, cv2.IMREAD_COLOR)
    assert "Corrupt JPEG data" in capfd.readouterr().err


def test_messages_of_many_threads(capfd):
    sound = np.frombuffer(encoded(".jpg", ramp()), np.uint8)
    wrong = []

    def decode(data, expected):
        for _ in range(30):
            with catch_decoder_messages() as messages:
                cv2.imdecode(data, cv2.IMREAD_COLOR)
            if len(messages.lines) != expected:
                wrong.append(messages.lines)

    threads = [threading.Thread(target=decode, args=((CUT, 1) if i % 2 else (sound, 0))) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_messages_in_a_child_of_a_fork_during_a_decode():
    with catch_decoder_messages():
        child = os.fork()
        if child == 0:
            with catch_decoder_messages() as messages:
                cv2.imdecode(CUT, cv2.IMREAD_COLOR)
            os._exit(len(messages.lines))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
