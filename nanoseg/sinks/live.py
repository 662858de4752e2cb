"""The sinks of a run of live sources: one for the results of all, a video and a window for each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from nanoseg.errors import UsageError, add_note
from nanoseg.sinks.background import Background, LiveResult
from nanoseg.sinks.earlier_part import keep_earlier_part
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.open import Outputs
from nanoseg.sinks.rotation import Rotating, Rotation, parse_rotation
from nanoseg.sinks.sink import Sink
from nanoseg.sources.source import Source
from nanoseg.utils.files import part_path
from nanoseg.utils.folders import make_output_folder
from nanoseg.utils.names import first_names
from nanoseg.utils.signals import uninterrupted
from nanoseg.utils.terminal import print_error

Dropped = Callable[[str], int]


@dataclass
class LiveSinks:
    """The open sinks of a run."""

    all: list[Background] = field(default_factory=list)
    shared: list[Background] = field(default_factory=list)  # which take the frames of each source
    by_source: dict[str, list[Background]] = field(default_factory=dict)

    def write(self, result: LiveResult) -> None:
        """Pass one frame to the sinks that want it, without waiting; raises what one of them raised before."""
        with uninterrupted():  # a frame is given to all of them or to none
            for sink in (*self.shared, *self.by_source.get(result.frame.name, ())):
                sink.write(result)

    def check(self) -> None:
        """Raise what one of them raised, such as the wish to stop of a window."""
        for sink in self.all:
            sink.check()

    def end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Start to leave all of them at once, without waiting for one."""
        for sink in self.all:
            sink.end(kind, error, trace)

    def dropped(self) -> dict[str, int]:
        """Return the number of frames that each sink had no time for, by its name."""
        return {sink.name: sink.dropped for sink in self.all}


class LiveOutputs:
    """What a run of live sources writes, checked before anything is loaded."""

    def __init__(
        self, sources: dict[str, Source], out: Path | None, results: str | None, show: bool, rotate: str | None
    ) -> None:
        """Check the options.

        Args:
            sources: by name, with their rates and with the files that are read.
            out: a folder for a video of each source, or the video of the only one.
            results: a file, or - for stdout; of one source also a COCO file or a folder of YOLO's labels.
            show: whether each source has a window.
            rotate: how much goes into one file; None: all.

        Raises:
            UsageError: an option does not fit the sources or another option.
            DependencyError: videos cannot be written.
        """
        self._outputs = {name: Outputs(source, name, out, results, show) for name, source in sources.items()}
        self._paths = tuple(path for source in sources.values() for path in source.paths)
        self._out, self._results, self._show = out, results, show
        self.rotation: Rotation | None = None if rotate is None else parse_rotation(rotate)
        several = len(sources) > 1
        if several and out is not None and len({outputs.annotated for outputs in self._outputs.values()}) == 1:
            raise UsageError(f"--out {out}: {len(sources)} sources want a folder, for a video of each")
        self._is_dataset = results is not None and next(iter(self._outputs.values())).is_dataset
        if self._is_dataset and (several or rotate is not None):
            reason = "of several sources" if several else "with --rotate"
            raise UsageError(f"--results {results}: results {reason} are JSON lines; wanted a name like found.jsonl")
        self._check_names()
        if rotate is not None and out is None and results in (None, "-"):
            raise UsageError("--rotate: wanted a file to cut into parts; give --out or --results one")

    def _check_names(self) -> None:
        """Raise UsageError where an output is named as another one's temporary file, `door` and `door.part`."""
        parts = {} if self.rotation else {part_path(path): path for path in self._files()}
        for path in self._files():
            if path in parts:
                raise UsageError(f"{path}: is the temporary name of {parts[path]}; give another name")

    def _files(self) -> list[Path]:
        """Return the names that `out` and `results` give to files, and labels to a folder."""
        files = [] if self._results in (None, "-") else [Path(str(self._results))]
        return files + [outputs.annotated for outputs in self._outputs.values() if outputs.annotated is not None]

    def _tell_earlier(self) -> None:
        """Tell what an earlier run left, and which of its outputs this one replaces."""
        for path in self._files():
            if line := keep_earlier_part(path, self._paths):
                print_error(line)
        if there := [str(path) for path in self._files() if os.path.isfile(path)]:
            print_error(f"replaced at the end of this run: {first_names(there)}; --rotate keeps those of each run")

    def shown(self) -> tuple[str | None, str | None]:
        """Return what `out` and `results` are, with `*` for the times of parts: `found-*.jsonl`."""
        annotated = {outputs.annotated for outputs in self._outputs.values()}
        out = None if self._out is None else str(self._parts(self._out) if self._out in annotated else self._out)
        return out, self._results if self._results in (None, "-") else str(self._parts(Path(self._results)))

    def _parts(self, path: Path) -> Path:
        return path if self.rotation is None else path.with_name(f"{path.stem}-*{path.suffix}")

    @contextmanager
    def open(self, labels: Sequence[str], dropped: Dropped) -> Iterator[LiveSinks]:
        """Enter all sinks, and leave them: what waits is written within a bounded time for all of them.

        Args:
            labels: names of the classes.
            dropped: returns how many frames of a source its camera dropped, for its window.

        Raises:
            Exception: one that ends the run has a note of the temporary files that hold the frames before.
        """
        opened = LiveSinks()
        if self.rotation is None:
            self._tell_earlier()
        try:
            with ExitStack() as stack:
                sinks = self._sinks(labels, dropped)
                while True:
                    with uninterrupted():  # a signal between a sink's making and its entry would leave its file
                        made = next(sinks, None)
                        if made is None:
                            break
                        owner, background = made
                        stack.push(background)
                        opened.all.append(background)
                    background.__enter__()
                    (opened.shared if owner is None else opened.by_source.setdefault(owner, [])).append(background)
                stack.push(opened.end)
                yield opened
        except Exception as error:
            if kept := ", ".join(str(sink.kept) for sink in opened.all if sink.kept):
                add_note(error, f"the frames before it are in {kept}")
            raise

    def _sinks(self, labels: Sequence[str], dropped: Dropped) -> Iterator[tuple[str | None, Background]]:
        """Yield the sinks with the source whose frames they take; None: of all."""
        if self._results is not None:
            sink = self._result_sink(labels)
            yield None, Background(sink, self._results if self._results != "-" else "stdout")
        for name, outputs in self._outputs.items():
            if outputs.annotated is not None:
                yield name, Background(self._video(outputs.annotated), str(outputs.annotated), draws=True)
        for name in self._outputs if self._show else ():
            yield name, self._window(name, dropped)

    def _result_sink(self, labels: Sequence[str]) -> Sink:
        if self.rotation is None or self._results == "-":
            return next(iter(self._outputs.values())).results_sink(labels, None)
        path = Path(str(self._results))
        make_output_folder(path.parent)
        return Rotating(path, self.rotation, lambda part: JsonLines(part, self._paths))

    def _video(self, path: Path) -> Sink:
        from nanoseg.sinks.live_video import LiveVideo

        if self.rotation is None:
            return LiveVideo(path, self._paths)
        make_output_folder(path.parent)
        return Rotating(path, self.rotation, lambda part: LiveVideo(part, self._paths))

    def _window(self, name: str, dropped: Dropped) -> Background:
        from nanoseg.sinks.live_window import LiveWindow

        def not_shown() -> int:
            return dropped(name) + window.dropped

        alone = self._out is None and self._results is None
        sink = LiveWindow(name, not_shown, alone=alone)
        window = Background(sink, f"--show {name}", draws=True, capacity=1, idle=sink.idle)
        return window
