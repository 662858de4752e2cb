"""The table of verbs, and how a command line ends: an error is one line on stderr and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import nanoseg
from nanoseg.commands.arguments import (
    bench,
    build,
    bundle,
    bundle_reference,
    demo,
    doctor,
    estimate,
    eval,
    export,
    fetch,
    fp16,
    import_,
    info,
    quantize,
    run,
    segment,
    serve,
    service,
    train,
)
from nanoseg.commands.options import Debug, Verb, epilog
from nanoseg.errors import INTERRUPTED, EngineError, NanosegError, UsageError, one_line, os_reason, with_notes
from nanoseg.utils.signals import handle_ending_signals
from nanoseg.utils.streams import CLOSED_PIPE, discard_failing, stream_error
from nanoseg.utils.terminal import configure_output, print_error, print_line

VERBS: Mapping[str, Verb] = {
    "demo": demo.demo,
    "run": run.run,
    "segment": segment.segment,
    "serve": serve.serve,
    "eval": eval.eval_,
    "info": info.info,
    "build": build.build,
    "doctor": doctor.doctor,
    "estimate": estimate.estimate,
    "fetch": fetch.fetch,
    "quantize": quantize.quantize,
    "fp16": fp16.fp16,
}
GROUPS: Mapping[str, tuple[str, Mapping[str, Verb]]] = {
    "export": (
        "Export a checkpoint as a network of a bundle, or an engine for torch2trt.",
        {
            "yolo-nas": export.yolo_nas,
            "image-encoder": export.image_encoder,
            "mask-decoder": export.mask_decoder,
            "torch2trt": export.torch2trt,
        },
    ),
    "bundle": (
        "Get a bundle of published networks, make one of others, or measure one.",
        {"get": bundle.get, "make": bundle.make, "measure": bundle.measure, "reference": bundle_reference.reference},
    ),
    "train": ("Train the networks of a bundle.", {"detector": train.detector, "segmenter": train.segmenter}),
    "service": (
        "Run nanoseg serve as a systemd service.",
        {
            "install": service.install,
            "status": service.status,
            "reload": service.reload,
            "swap": service.swap,
            "uninstall": service.uninstall,
        },
    ),
    "import": ("Import engines built by other tools.", {"torch2trt": import_.torch2trt}),
}
# Verbs with verbs of their own beside them.
PARENTS: Mapping[str, tuple[Verb, Mapping[str, Verb]]] = {
    "bench": (bench.bench, {"compare": bench.compare, "verify": bench.verify}),
}
EXAMPLES = ("nanoseg demo", "nanoseg run photos/ --out annotated", "nanoseg info parts")
EXIT_CODES = (
    "Exit codes: 0; 2 usage; 3 source; 4 bundle; 5 engine or device; 6 a missing library; 130 interrupted; "
    "143 terminated; 141 stdout is read by nobody; 129 the terminal is gone."
)


class Group(TyperGroup):
    """Group of verbs that suggests the right one for a mistyped one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the arguments after the group's options; raises UsageError without a verb."""
        if not args and not self.invoke_without_command:
            verbs = ", ".join(self.list_commands(ctx))
            raise UsageError(f"{ctx.command_path}: wanted a verb, one of {verbs} ({ctx.command_path} --help)")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the verb that the first word names; raises UsageError for an unknown one."""
        if args and self.get_command(ctx, args[0]) is None:
            close = get_close_matches(args[0], self.list_commands(ctx))
            hint = _did_you_mean(close) or f"; wanted one of {', '.join(self.list_commands(ctx))}"
            raise UsageError(f"no such verb: {args[0]}{hint} ({ctx.command_path} --help)")
        return super().resolve_command(ctx, args)


def _app(**settings: Any) -> typer.Typer:
    return typer.Typer(
        cls=Group,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        **settings,
    )


def _add(group: typer.Typer, name: str, verb: Verb) -> None:
    """Add a verb to a group; an exit code other than 0 that it returns ends the process."""

    @wraps(verb)
    def call(*args: Any, **kwargs: Any) -> None:
        if code := verb(*args, **kwargs):
            raise SystemExit(code)

    group.command(name, epilog=epilog(getattr(verb, "examples", ())))(call)


app = _app(epilog=f"{epilog(EXAMPLES)}\n\n{EXIT_CODES}")
for _name, _verb in VERBS.items():
    _add(app, _name, _verb)
for _name, (_help, _verbs) in GROUPS.items():
    _group = _app(help=_help)
    for _verb_name, _verb in _verbs.items():
        _add(_group, _verb_name, _verb)
    app.add_typer(_group, name=_name)
for _name, (_verb, _verbs) in PARENTS.items():
    _group = _app(invoke_without_command=True, epilog=epilog(getattr(_verb, "examples", ())))
    _group.callback()(_verb)
    for _verb_name, _child in _verbs.items():
        _add(_group, _verb_name, _child)
    app.add_typer(_group, name=_name)


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"nanoseg {nanoseg.__version__}")
        raise typer.Exit


@app.callback()
def nanoseg_(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Detect objects with YOLO-NAS and segment them with NanoSAM, without torch at run time."""


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: The words after `nanoseg`; none print the help.

    Returns:
        The exit code; errors are printed to stderr, one line each.
    """
    debug = "--debug" in arguments
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="nanoseg", standalone_mode=False)
        if code == INTERRUPTED:  # typer's own handling of Ctrl-C, which prints nothing
            raise KeyboardInterrupt
    except SystemExit as ended:  # the verb has printed the reason
        # The parser ends so where the reader of a pipe has gone: `... | head -1`.
        code = CLOSED_PIPE if isinstance(ended.__context__, BrokenPipeError) else ended.code
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error, debug)
    return code if isinstance(code, int) else 0


def _report(error: Exception, debug: bool) -> int:
    """Print an error and return its exit code."""
    if isinstance(error, NanosegError):
        print_error(f"error: {with_notes(str(error), error)}")
        return error.exit_code
    # The parser's own errors: their base class moved from click into typer with version 0.26, this did not.
    if hasattr(error, "format_message"):
        message = error.format_message()
        if close := getattr(error, "possibilities", None):
            message = f"no such option: {getattr(error, 'option_name', '')}{_did_you_mean(close)}"
        verb = getattr(getattr(error, "ctx", None), "command_path", "nanoseg")
        print_error(f"error: {message} ({verb} --help)")
        return UsageError.exit_code
    if isinstance(error, OSError):
        # Files have guards, so one without a name is stdout or stderr.
        message = stream_error(error) if error.filename is None else f"{error.filename}: {os_reason(error)}"
        print_error(f"error: {with_notes(message, error)}")
        return UsageError.exit_code
    if isinstance(error, MemoryError):
        message = f"out of memory{': ' * bool(str(error))}{error}; free some, or give it less at once"
        print_error(f"error: {with_notes(message, error)}")
        return EngineError.exit_code
    hint = "report it" if debug else "run again with --debug for the traceback, and report it"
    message = f"{type(error).__name__}: {one_line(error)}; this is a fault of nanoseg: {hint}"
    print_error(f"error: {with_notes(message, error)}")
    return 1


def _finish_output(code: int) -> int:
    """Write what stdout and stderr still hold; returns the exit code, which is not 0 where that fails."""
    error = discard_failing(sys.stdout)
    if error is not None and not code:
        code = CLOSED_PIPE
        if not isinstance(error, BrokenPipeError):
            print_error(f"error: stdout: cannot be written: {os_reason(error)}")
            code = UsageError.exit_code
    discard_failing(sys.stderr)
    return code


def _did_you_mean(close: Sequence[str]) -> str:
    return f"; did you mean {' or '.join(sorted(close))}?" if close else ""


def main(*verb: str) -> None:
    """Run the command line of this process: the console script, and those of tools/, which name their verb."""
    configure_output()
    with handle_ending_signals() as signals:
        code = _finish_output(run_command([*verb, *sys.argv[1:]]))
        if signals.received is not None and code in (0, INTERRUPTED):
            code = 128 + signals.received
    sys.exit(code)
