"""`nanoseg service status`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nanoseg.commands.service.health import ask_ready, service_url
from nanoseg.commands.service.systemctl import show_unit
from nanoseg.doctor.machine import run_command
from nanoseg.errors import UsageError
from nanoseg.service.unit import CONFIG, NAME
from nanoseg.utils.terminal import print_json, print_table

NOT_READY = 1  # the exit code
_LOG_LINES = 10
_LOG_S = 10.0


def status(url: str | None = None, config: Path = Path(CONFIG), as_json: bool = False) -> int:
    """Print the state of the unit, its last log lines, and whether the service answers.

    Args:
        url: where the service answers; None: at the address of `config`, on loopback.
        config: the service's configuration.
        as_json: print JSON.

    Returns:
        The exit code: 0 where the service is ready.
    """
    unit: dict[str, Any] | None
    try:
        shown, why = show_unit(), ""
        unit = {
            "installed": shown.get("LoadState") == "loaded",
            "enabled": shown.get("UnitFileState") == "enabled",
            "state": shown.get("ActiveState", ""),
            "substate": shown.get("SubState", ""),
            "since": shown.get("StateChangeTimestamp", ""),
            "restarts": int(shown.get("NRestarts") or 0),
            "result": shown.get("Result", ""),
            "exit_code": int(shown.get("ExecMainStatus") or 0),
            "pid": int(shown.get("MainPID") or 0) or None,
            "told": shown.get("StatusText", ""),
        }
    except UsageError as error:  # of a container, or a service started by hand
        unit, why = None, str(error)
    health = ask_ready(url or service_url(config))
    log = _log() if unit and unit["installed"] else []
    contents = {
        "unit": unit,
        "unit_error": why,
        "url": health.url,
        "ready": health.ready,
        "answer": health.answer,
        "log": log,
    }
    if as_json:
        print_json(contents)
    else:
        print_table(NAME, _rows(contents))
    return 0 if health.ready else NOT_READY


def _rows(contents: dict[str, Any]) -> list[tuple[str, str]]:
    unit = contents["unit"]
    rows = [("unit", contents["unit_error"])]
    if unit is not None and not unit["installed"]:
        rows = [("unit", "not installed: sudo nanoseg service install")]
    elif unit is not None:
        ended = f", {unit['result']} (exit code {unit['exit_code']})" * (unit["result"] not in ("", "success"))
        rows = [
            (
                "unit",
                f"{unit['state']} ({unit['substate']}){ended}{'' if unit['enabled'] else ', not enabled at boot'}",
            ),
            ("since", unit["since"]),
            ("restarts", str(unit["restarts"])),
            ("tells", unit["told"]),
        ]
    rows.append(("ready", f"{'yes' if contents['ready'] else 'no'}, {contents['url']}: {contents['answer']}"))
    rows += [("log" if index == 0 else "", line) for index, line in enumerate(contents["log"])]
    return rows


def _log() -> list[str]:
    """Return the last lines of the journal that this user may read."""
    words = ["journalctl", f"--unit={NAME}", f"--lines={_LOG_LINES}", "--output=short-iso", "--no-pager", "--quiet"]
    return [line for line in run_command(words, _LOG_S).stdout.splitlines() if line.strip()]
