"""Steps that a signal does not interrupt, in the thread that signals arrive in."""

import os
import signal
import threading

import pytest

from nanoseg.utils.signals import handle_ending_signals, uninterrupted


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def nested(done):
    with uninterrupted():
        with uninterrupted():
            interrupt()
            done.append("inner")
        done.append("outer")
    done.append("after")


def while_another_ends(done):
    with uninterrupted():
        worker = threading.Thread(target=nested_without_signal)
        worker.start()
        worker.join()
        interrupt()
        done.append("outer")
    done.append("after")


def nested_without_signal():
    with uninterrupted(), uninterrupted():
        pass


@pytest.mark.parametrize(("run", "expected"), [(nested, ["inner", "outer"]), (while_another_ends, ["outer"])])
def test_uninterrupted_puts_a_signal_off_to_the_outermost_end(run, expected):
    done = []
    with handle_ending_signals(), pytest.raises(KeyboardInterrupt):
        run(done)
    assert done == expected


def test_uninterrupted_in_another_thread_leaves_the_main_one_alone():
    inside, end = threading.Event(), threading.Event()

    def work():
        with uninterrupted():
            inside.set()
            end.wait()

    with handle_ending_signals():
        worker = threading.Thread(target=work)
        worker.start()
        inside.wait()
        try:
            with pytest.raises(KeyboardInterrupt):
                interrupt()
        finally:
            end.set()
            worker.join()
