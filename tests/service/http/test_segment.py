"""`POST /segment`: forms, pictures and prompts, well made and not, and who waits for whom."""

from __future__ import annotations

import json
import struct
import threading

import cv2
import numpy as np
import pytest

from nanoseg.errors import EngineError
from nanoseg.processing import rle
from nanoseg.service.http import prompts as module
from tests.service.http.serving import WAIT_S, PromptSegmenter, Serving, check_headers, check_refusal, until
from tests.service.results import a_result

BOX = json.dumps({"boxes": [[8, 8, 40, 24]]})
PNG = cv2.imencode(".png", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
JPEG = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
HUGE_PNG = PNG[:16] + struct.pack(">II", 60_000, 60_000) + PNG[24:]


@pytest.fixture
def camera(served):
    """A camera with a picture."""
    served.put(a_result())
    return served


def post(serving, files=None, **fields):
    """Post a form."""
    with serving.client() as client:
        parts = {name: (None, value) for name, value in fields.items()}
        return client.post("/segment", files={**parts, **(files or {})})


@pytest.mark.parametrize("picture", [PNG, JPEG])
def test_segment_of_a_picture_a_camera_and_an_earlier_answer(camera, picture):
    first = post(camera, {"image": picture}).json()
    assert first == {"embedding": first["embedding"], "size": [48, 64], "masks": []}
    with camera.client() as client:
        kept = client.get(f"/snapshot.jpg?frame={first['embedding']}")
    assert cv2.imdecode(np.frombuffer(kept.content, np.uint8), 1).shape == (48, 64, 3)
    again = post(camera, frame=first["embedding"], prompts=BOX)
    check_headers(again)
    assert again.json()["embedding"] == first["embedding"]
    for each in (again, post(camera, source="belt", prompts=BOX), post(camera, {"image": picture}, prompts=BOX)):
        answer = each.json()
        assert answer["size"] == [48, 64]
        [mask] = answer["masks"]
        inside = rle.decode(mask["mask"])
        rows, columns = np.nonzero(inside)
        assert mask["xyxy"] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.subtract(mask["xyxy"], [8, 8, 40, 24])).max() <= 1
        assert mask["area_px"] == inside.sum()
        assert mask["mask_confidence"] == 1
        assert len(mask["polygons"]) == 1


def test_segment_takes_the_prompts_of_many_objects(camera):
    text = json.dumps({"boxes": [[0, 0, 9, 9], None], "points": [None, [[20, 20], [25, 28]]], "labels": [None, [1, 0]]})
    for parts in ({"prompts": (None, text)}, {"prompts": ("prompts.json", text, "application/json")}):
        assert len(post(camera, {"source": (None, "belt"), **parts}).json()["masks"]) == 2


def test_segment_of_an_empty_mask(camera):
    [mask] = post(camera, source="belt", prompts=json.dumps({"boxes": [[900, 900, 950, 950]]})).json()["masks"]
    assert (mask["xyxy"], mask["area_px"], mask["polygons"]) == ([0, 0, 0, 0], 0, [])


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"<svg/>", PNG[:-20], PNG[:20], PNG[:8], JPEG[:-40], JPEG[: len(JPEG) // 2], JPEG[:3], HUGE_PNG,
     b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(20), b"PK\x03\x04" + bytes(40), bytes(1000),
     b"P6 60000 60000 255\n", b"BM" + bytes(60)],
)  # fmt: skip
def test_picture_that_is_malformed(served, content):
    error = check_refusal(post(served, {"image": content}, prompts=BOX), 422, served)
    assert error.startswith("image: ")


def nested(levels: int) -> str:
    """Return lists in lists."""
    return '{"boxes": ' + "[" * levels + "]" * levels + "}"


INVALID_PROMPTS = [
    "", "null", "[]", "1", "{}", "{", "\ufeff{}", "é", '{"box": []}', '{"boxes": 1}', '{"boxes": []}',
    '{"boxes": [[]]}',
    '{"boxes": [[1, 2, 3]]}', '{"boxes": [[1, 2, 3, 4, 5]]}', '{"boxes": [1, 2, 3, 4]}', '{"boxes": [null]}',
    '{"boxes": [[1, 2, 3, 4], [1]]}', '{"boxes": [[1, 2, 3, "4"]]}', '{"boxes": [[1, 2, 3, null]]}',
    '{"boxes": [[9, 9, 1, 1]]}', '{"boxes": [[0, 0, NaN, 1]]}', '{"boxes": [[0, 0, Infinity, 1]]}',
    '{"boxes": [[0, 0, 1e300, 1]]}', '{"boxes": [[0, 0, 1e999, 1]]}', '{"boxes": [[0, 0, %s, 1]]}' % ("9" * 400),
    '{"boxes": [[0, 0, 1, true]]}', '{"boxes": [[0, 0, 1, 1]], "boxes ": null}', '{"points": [[[1, 2]]]}',
    '{"labels": [[1]]}', '{"points": [], "labels": []}', '{"points": [[]], "labels": [[]]}',
    '{"points": [null], "labels": [null]}', '{"points": [[[1, 2]]], "labels": [[1, 1]]}',
    '{"points": [[[1, 2]]], "labels": [[7]]}', '{"points": [[[1, 2]]], "labels": [[0.5]]}',
    '{"points": [[[1, 2]]], "labels": [["1"]]}', '{"points": [[[1, 2, 3]]], "labels": [[1]]}',
    '{"points": [[[1, 2]], [[1, 2]]], "labels": [[1]]}', '{"points": [[1, 2]], "labels": [[1]]}',
    '{"points": [[[1, 1e300]]], "labels": [[1]]}', '{"points": [[[1, 2]]], "labels": [[%s]]}' % ("9" * 400),
    '{"boxes": [[0, 0, 1, 1]], "points": [[[1, 2]], [[1, 2]]], "labels": [[1], [1]]}', nested(3), nested(100),
    nested(10_000), nested(100_000), json.dumps({"boxes": [[0, 0, 9, 9]] * 65}), json.dumps({"a" * 5000: 1}),
    json.dumps({"points": [[[1, 2]] * 65], "labels": [[1] * 65]}), '{"points": [[[1, 2]]], "labels": [[-2]]}',
]  # fmt: skip


def test_prompts_that_are_invalid(camera):
    camera.segmenter.embedded.clear()
    with camera.client() as client:
        for text in INVALID_PROMPTS:
            answer = client.post("/segment", files={"source": (None, "belt"), "prompts": (None, text.encode())})
            assert check_refusal(answer, 422, camera), text
    assert not camera.segmenter.embedded, "they are refused before an image is embedded"


@pytest.mark.parametrize(("size", "status"), [(1 << 20, 422), ((1 << 20) + 1, 400)])
def test_prompts_that_are_too_large(camera, size, status):
    check_refusal(post(camera, source="belt", prompts=" " * size), status, camera)
    files = {"prompts": ("prompts.json", b" " * size), "source": (None, "belt")}
    check_refusal(post(camera, files), 422 if status == 422 else 413, camera)


def part(name: str, content: bytes = b"belt", more: str = "") -> bytes:
    """Return one part of a form whose boundary is b."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


FORM = "multipart/form-data; boundary=b"
END = b"--b--\r\n"
BELT = part("source")


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (None, BELT + END, 415),
        ("", BELT + END, 415),
        ("application/json", b"{}", 415),
        ("application/x-www-form-urlencoded", b"source=belt", 415),
        ("multipart/form-datax; boundary=b", BELT + END, 415),
        ("image/png", PNG, 415),
        ("multipart/mixed; boundary=b", BELT + END, 415),
        ("multipart/form-data", BELT + END, 400),
        ("multipart/form-data; boundary=", BELT + END, 400),
        ("multipart/form-data; boundary=c", BELT + END, 400),
        (f"multipart/form-data; boundary={'b' * 3000}", BELT + END, 400),
        ("multipart/form-data; boundary=\xff", BELT + END, 400),
        (FORM, b"", 422),
        (FORM, b"nonsense", 400),
        (FORM, BELT, 422),
        (FORM, BELT[:-4], 422),
        (FORM, BELT + BELT + END, 422),
        (FORM, part("prompts", b"{}") * 2 + END, 422),
        (FORM, part("image", PNG, '; filename="a"') * 2 + END, 422),
        (FORM, BELT + part("frame") + END, 422),
        (FORM, BELT + part("image", PNG, '; filename="a"') + END, 422),
        (FORM, part("prompts", b"{}") + END, 422),
        (FORM, part("picture") + END, 422),
        (FORM, part("") + END, 422),
        (FORM, part("s\u00f6urce") + END, 422),
        (FORM, BELT * 1000 + END, 400),
        (FORM, part("image", PNG, '; filename="a"') * 1000 + END, 400),
        (FORM, BELT.replace(b"name=", b"naem=") + END, 400),
        (FORM, b"--b\r\nX: 1\r\n\r\nbelt\r\n" + END, 400),
        (FORM, b"--b\r\n\xff\x00: 1\r\n\r\nbelt\r\n" + END, 400),
        # What else python-multipart refuses depends on its version.
        (FORM, END, None),
        (FORM, part("x" * 5000) + END, None),
        (FORM, b"--b\r\n" + b"X: 1\r\n" * 1000 + b"\r\nbelt\r\n" + END, None),
        (FORM, b"--b\r\nX: " + b"1" * 100_000 + b"\r\n\r\nbelt\r\n" + END, None),
        (FORM, part("frame", b"\xff\xfe\x00") + END, 410),
        (FORM, part("source", b"") + END, 404),
        (FORM, part("source", b"dock") + END, 404),
        (FORM, part("source", b"packing table") + END, 503),
        *((f"{FORM}; charset={name}", part("source", rb"\ud800\xff", "") + END, None)
          for name in ("unicode_escape", "undefined", "idna", "punycode", "utf-16", "rot13", "zlib", "utf-7", "x\xff")),
    ],
)  # fmt: skip
def test_form_that_is_malformed(camera, kind, body, status):
    headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
    with camera.client() as client:
        answer = client.post("/segment", content=body, headers=headers)
    assert status is not None or answer.status_code in (400, 404, 422)
    check_refusal(answer, status or answer.status_code, camera)


def test_form_with_an_epilogue_is_taken(camera, capfd):
    with camera.client() as client:
        answer = client.post("/segment", content=BELT + END + b"more" * 1000, headers={"Content-Type": FORM})
    assert answer.status_code == 200
    assert capfd.readouterr() == ("", "")


def test_only_the_latest_pictures_are_kept(monkeypatch):
    with Serving() as serving:
        serving.put(a_result())
        ids = [post(serving, source="belt").json()["embedding"] for _ in range(module.KEPT + 1)]
        check_refusal(post(serving, frame=ids[0], prompts=BOX), 410, serving)
        assert post(serving, frame=ids[1], prompts=BOX).status_code == 200
        post(serving, source="belt")
        assert post(serving, frame=ids[1], prompts=BOX).status_code == 200, "used last, so dropped last"
        check_refusal(post(serving, frame=ids[2], prompts=BOX), 410, serving)
        monkeypatch.setattr(module, "MAX_KEPT_PIXELS", 48 * 64 - 1)
        latest = post(serving, source="belt").json()["embedding"]
        assert post(serving, frame=latest, prompts=BOX).status_code == 200
        check_refusal(post(serving, frame=ids[1], prompts=BOX), 410, serving)
        serving.segmenter = PromptSegmenter()
        check_refusal(post(serving, frame=latest, prompts=BOX), 410, serving)
        with serving.client() as client:
            check_refusal(client.get(f"/snapshot.jpg?frame={latest}"), 410, serving)
        post(serving, source="belt")
        assert len(serving.prompts._kept) == 1, "embeddings of a bundle that runs no more take its device's memory"


def test_picture_of_another_format(served):
    """Whether the library that reads it is there or not."""
    check_refusal(post(served, {"image": b"\x00\x00\x00\x20ftypheic" + bytes(40)}), 422, served)


def test_little_memory(camera):
    camera.low_memory = True
    answer = post(camera, source="belt")
    camera.low_memory = False
    check_refusal(answer, 503, camera)
    assert answer.headers["retry-after"]
    assert post(camera, source="belt").status_code == 200


def test_engine_that_fails(served):
    served.put(a_result())
    served.segmenter.error = EngineError("/usr/engine failed")
    answer = post(served, source="belt")
    served.segmenter.error = None
    until(lambda: served.lines)
    assert served.lines[0].endswith(": /usr/engine failed"), "the log has the reason"
    check_refusal(answer, 503, served)


@pytest.fixture
def busy():
    """A server whose only turn is taken; the threads that wait with it."""
    with Serving() as serving:
        serving.put(a_result())
        serving.segmenter.gate.clear()
        threads = [threading.Thread(target=post, args=(serving,), kwargs={"source": "belt"})]
        threads[0].start()
        assert serving.segmenter.entered.wait(WAIT_S)
        yield serving, threads
        serving.segmenter.gate.set()
        for thread in threads:
            thread.join()


def test_requests_beyond_those_that_wait_are_refused_before_their_body(busy):
    serving, threads = busy
    for _ in range(module.MAX_WAITING):
        threads.append(threading.Thread(target=post, args=(serving,), kwargs={"source": "belt"}))
        threads[-1].start()
    until(lambda: serving.prompts._turns._entered == module.MAX_WAITING + 1)
    with serving.wire() as wire:
        wire.send(
            f"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM}\r\nContent-Length: 9\r\n\r\n".encode()
        )
        answer = wire.answer()
        check_refusal(answer, 503, serving)
        assert answer.headers["retry-after"]
    serving.segmenter.gate.set()
    for thread in threads:
        thread.join()
    assert len(serving.segmenter.embedded) == module.MAX_WAITING + 1


def test_request_that_waits_too_long(busy, monkeypatch):
    serving, _ = busy
    monkeypatch.setattr(module, "WAIT_S", 0.02)
    check_refusal(post(serving, source="belt"), 503, serving)
