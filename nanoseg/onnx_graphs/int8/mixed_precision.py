"""Which layers to keep out of INT8, so that what it costs stays within a budget: the fewest, found by measuring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One measurement: with so many of the most sensitive layers kept out, the drop was this."""

    kept: int
    drop: float  # points of mAP50-95 lost against float32; negative where some were won


@dataclass(frozen=True)
class Selection:
    """Where the search ended, and all that was measured on the way, in that order."""

    kept: tuple[str, ...]  # names of layers, most sensitive first
    drop: float
    budget: float
    trials: tuple[Trial, ...]

    @property
    def within(self) -> bool:
        """Whether the budget was reached."""
        return self.drop <= self.budget

    def reason(self) -> str:
        """Return the reason why the search stopped there, in words."""
        if not self.within:
            return f"out of reach: with all {len(self.kept)} layers kept out the drop is still {self.drop:.2f}"
        if not self.kept:
            return "all layers in INT8 are within it"
        one_less = next((trial for trial in self.trials if trial.kept == len(self.kept) - 1), None)
        less = "none" if len(self.kept) == 1 else str(len(self.kept) - 1)
        return f"with {less} kept out it would be {one_less.drop:.2f}" if one_less else ""


def select_layers(
    ranked: Callable[[], Sequence[str]], measure: Callable[[Sequence[str]], float], budget: float
) -> Selection:
    """Keep out the first of `ranked`, doubling their number until the drop is within `budget`, then as few as will do.

    `ranked` gives all layers, the most sensitive first; it is asked only where INT8 in all of them is over budget.
    `measure` gives the points of drop with these layers kept out. A drop that does not fall steadily with their number
    may hide a smaller number that would do, too: one less than the number found was measured, and was over budget.
    """
    trials: list[Trial] = []

    def drop_with(names: Sequence[str]) -> float:
        trials.append(Trial(len(names), measure(names)))
        return trials[-1].drop

    drop = drop_with(())
    if drop <= budget:
        return Selection((), drop, budget, tuple(trials))
    names = tuple(ranked())
    over, within = 0, 1  # so many were measured to be too few, so many are tried next
    while (drop := drop_with(names[:within])) > budget and within < len(names):
        over, within = within, min(2 * within, len(names))
    best = drop
    while drop <= budget and within - over > 1:
        middle = (over + within) // 2
        if (tried := drop_with(names[:middle])) <= budget:
            within, best = middle, tried
        else:
            over = middle
    return Selection(names[:within], best, budget, tuple(trials))
