"""The process of the command line: `nanoseg`, or `python -m nanoseg`."""

import atexit
import os
import signal
import sys

from nanoseg.utils.signals import ENDING, handle_ending_signals, uninterrupted


def main() -> None:
    """Run the command line of this process; a signal ends it without a traceback from its first to its last moment."""
    code = 1
    with handle_ending_signals() as signals:
        # Registered first, so run last. Python ends a module that was run by -m with SIGINT, whatever its exit code,
        # where a KeyboardInterrupt went through exec() or eval(), which dataclasses and named tuples call.
        atexit.register(lambda: None if signals.received is None else os._exit(code))
        try:
            with uninterrupted():
                from nanoseg import cli
            cli.main()
        except KeyboardInterrupt:
            os.write(2, b"nanoseg: interrupted\n")
            code = 128 + (signals.received or signal.SIGINT)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: os._exit(code or 128 + number))
    sys.exit(code)


if __name__ == "__main__":
    main()
