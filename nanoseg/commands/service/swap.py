"""`nanoseg service swap`: another bundle tried and swapped in while the service runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoseg.bundle.manifest import MANIFEST
from nanoseg.commands.options import on_interrupt
from nanoseg.commands.service.client import Client
from nanoseg.commands.service.health import service_url
from nanoseg.errors import BundleError, UsageError
from nanoseg.service.http.token import read_token
from nanoseg.service.swap.state import BUSY
from nanoseg.service.unit import CONFIG, TOKEN
from nanoseg.utils.terminal import print_json, print_line, print_table, progress_bar

_POLL_S = 0.25
_RUNS = {  # the verdicts with which what was wanted runs
    "watching": "swapped in; should it fail in its first minutes, the bundle before runs again",
    "swapped": "swapped in",
    "undone": "runs again",
}


@dataclass(frozen=True)
class SwapOptions:
    """What `nanoseg service swap` was asked for."""

    url: str | None = None  # None: at the address of `config`, on this machine
    config: Path = Path(CONFIG)
    token_file: Path | None = None  # None: the one beside `config`, where this user may read it
    as_json: bool = False


def swap(bundle: str | None, options: SwapOptions) -> None:
    """Let a service try a bundle, and wait for the verdict; None: let it put the bundle before back.

    Args:
        bundle: its name, or its path on the service's machine.
        options: where the service is, and how to print.

    Raises:
        BundleError: it was refused, or has failed.
        UsageError: the service does not answer, or tries another bundle already.
    """
    client = Client(options.url or service_url(options.config), _token(options))
    if bundle is None:
        number = client.ask("DELETE", "/bundle")["number"]
    else:
        number = client.ask("POST", "/bundle", {"bundle": _for_service(bundle, client)})["number"]
    with on_interrupt("interrupted; the trial goes on: nanoseg service swap --undo calls it off"):
        state = _wait(lambda: client.ask("GET", "/state")["swap"], number, visible=not options.as_json)
    name, verdict = state["bundle"], state["state"]
    called_off = bundle is None and verdict == "cancelled"
    if options.as_json:
        print_json(state)
    elif called_off:
        print_line(f"{name}: the trial was called off")
    else:
        print_table(f"{name}: {_RUNS.get(verdict, verdict)}", [("why", state["reason"]), *_rows(state)])
    if verdict not in _RUNS and not called_off:
        raise BundleError(f"{name}: {verdict}: {state['reason']}")


def _wait(read: Callable[[], dict[str, Any]], number: int, *, visible: bool) -> dict[str, Any]:
    """Return the state of a swap once it has a verdict, and show the frames of its trial until then."""
    state = _read(read, number)
    while state["state"] == "loading":
        time.sleep(_POLL_S)
        state = _read(read, number)
    with progress_bar("trial", state.get("frames_wanted"), visible=visible and state["state"] == "shadow") as advance:
        shown = 0
        while True:
            for _ in range(state.get("frames", 0) - shown):
                advance()
            shown = state.get("frames", 0)
            if state["state"] not in BUSY or state["state"] == "watching":
                return state
            time.sleep(_POLL_S)
            state = _read(read, number)


def _read(read: Callable[[], dict[str, Any]], number: int) -> dict[str, Any]:
    state = read()
    if state["number"] < number:
        raise UsageError("the service was restarted during the swap; nanoseg service status has its last log lines")
    if state["number"] > number:
        raise UsageError(f"the swap is over, and one of {state['bundle']} has begun; the service's log has the verdict")
    return state


def _token(options: SwapOptions) -> str | None:
    beside = options.config.parent / Path(TOKEN).name
    if options.token_file is None and not os.access(beside, os.R_OK):
        return None
    return read_token(str(options.token_file or beside))


def _for_service(bundle: str, client: Client) -> str:
    """Return a path as a service on this machine finds it from its own folder; a name as it is."""
    is_path = os.sep in bundle or (Path(bundle) / MANIFEST).is_file()
    return str(Path(bundle).absolute()) if is_path and client.is_local else bundle


def _rows(state: dict[str, Any]) -> list[tuple[str, str]]:
    formats = {
        "frames": "{frames} of {frames_wanted}",
        "agreement": "{agreement}",
        "lowest_agreement": "{lowest_agreement}, of {lowest_agreement_of}",
        "latency": "{latency} times the running bundle's, {latency_ms} ms",
        "memory_mb": "{memory_mb} MB",
    }
    return [(name.removesuffix("_mb"), text.format(**state)) for name, text in formats.items() if name in state]
