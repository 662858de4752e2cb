"""Figures by matplotlib as SVG for `html_page`: text stays text, and colours follow the page's, light or dark."""

from __future__ import annotations

import io
import re
from types import TracebackType
from typing import Any

from nanoseg.errors import needs

WIDTH_IN = 5.2  # 374 px: on a phone the text is about as large as the page's, on a desktop larger
# Stand-ins that matplotlib draws with, and the page's variables that they become.
INK, SOFT, LINE, CARD = "#010101", "#020202", "#030303", "#040404"
COLOURS = ("#010001", "#020002", "#030003", "#040004", "#050005", "#060006")  # distinct for colour-blind readers, too
_VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", CARD: "--card"} | {
    colour: f"--c{index}" for index, colour in enumerate(COLOURS)
}
_STYLE: dict[Any, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nanoseg",  # the same figure is the same file
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": LINE,
    "legend.frameon": False,
    "figure.facecolor": "none",
}


class SvgFigure:
    """A context in which a figure is drawn, and its SVG.

    with SvgFigure(height_in=2.5) as drawn:
        drawn.axes.plot(x, y, color=COLOURS[0])
    drawn.svg
    """

    def __init__(self, height_in: float = 2.8, extra: str = "bench") -> None:
        """Prepare a figure with one pair of axes.

        Args:
            height_in: Height in inches, of a width of 5.2.
            extra: The extra of nanoseg that installs matplotlib for this verb.

        Raises:
            DependencyError: Without matplotlib.
        """
        with needs("matplotlib", extra):
            import matplotlib
            from matplotlib.figure import Figure  # not pyplot, which looks for a display and takes longer to import
        self._context = matplotlib.rc_context(_STYLE)
        self._figure_class, self._size_in = Figure, (WIDTH_IN, height_in)
        self.svg = ""

    def __enter__(self) -> SvgFigure:
        self._context.__enter__()
        self.figure: Any = self._figure_class(figsize=self._size_in, layout="constrained")
        self.axes: Any = self.figure.subplots()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                file = io.StringIO()
                self.figure.savefig(file, format="svg", metadata={"Date": None})
                self.svg = page_colours(file.getvalue())
        finally:
            self._context.__exit__(kind, error, traceback)


def page_colours(svg: str) -> str:
    """Return an SVG whose stand-in colours are the variables of the page."""
    return re.sub("|".join(_VARIABLES), lambda found: f"var({_VARIABLES[found[0]]})", svg)
