"""Steps that a signal does not interrupt, in the thread that signals arrive in."""

import os
import signal
import threading

import pytest

from nanoseg.utils.signals import handle_ending_signals, uninterrupted


def test_uninterrupted_puts_a_signal_off_to_the_outermost_end():
    done = []
    with handle_ending_signals(), pytest.raises(KeyboardInterrupt), uninterrupted():
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


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
                os.kill(os.getpid(), signal.SIGINT)
                end.wait(0)
        finally:
            end.set()
            worker.join()


def test_uninterrupted_in_the_main_thread_outlasts_that_of_another():
    done = []

    def work():
        with uninterrupted():
            pass

    with handle_ending_signals(), pytest.raises(KeyboardInterrupt), uninterrupted():
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        os.kill(os.getpid(), signal.SIGINT)
        done.append("whole")
    assert done == ["whole"]
