"""Pictures for streams: who shares a JPEG, and what is kept for whom."""

import asyncio
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from nanoseg.service.http.streams import motion_jpeg
from nanoseg.service.pictures import Pictures
from tests.service.results import a_result


@pytest.fixture
def made():
    """Numbers of the results that a JPEG was made of."""
    return []


@pytest.fixture
def pictures(made):
    def draw(result):
        made.append(result.number)
        return result.frame.image

    with ThreadPoolExecutor(1) as executor:
        yield Pictures(draw, executor)


def test_pictures_of_readers_of_any_phase_are_the_same(pictures, made):
    """A camera of 200 fps, streams of 10: whenever a reader came, it makes no further JPEG."""

    async def read(seen: int = 0) -> list[int]:
        numbers = []
        for _ in range(5):
            seen, _ = await pictures.next("belt", seen, overlay=True, fps=10)
            numbers.append(seen)
        return numbers

    async def run() -> list[list[int]]:
        pictures.bind(asyncio.get_running_loop())

        async def film() -> None:
            while True:
                pictures.put(a_result())
                await asyncio.sleep(0.005)

        camera, readers = asyncio.ensure_future(film()), []
        for _ in range(4):
            readers.append(asyncio.ensure_future(read()))
            await asyncio.sleep(0.03)
        found = await asyncio.gather(*readers)
        camera.cancel()
        return found

    found = asyncio.run(run())
    assert len(set(made)) == len(made) <= 10, "of 20 pictures that were read"
    assert {number for numbers in found for number in numbers} <= set(made)
    assert all(numbers == sorted(set(numbers)) for numbers in found)


def test_pictures_of_a_slow_reader_pin_no_frame(pictures):
    async def run() -> None:
        result = a_result()
        image = weakref.ref(result.frame.image)
        pictures.put(result)
        parts = motion_jpeg(pictures, "belt", overlay=True, fps=10)
        for _ in range(2):
            await anext(parts)
        del result
        assert image() is not None
        pictures.put(a_result(1))
        gc.collect()
        assert image() is None, "the reader has not asked for the next one"
        await parts.aclose()

    asyncio.run(run())
