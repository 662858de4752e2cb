"""Select the fewest layers to keep out of INT8 so that the drop of mAP stays within a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """One measurement: the drop with so many of the most sensitive layers kept out."""

    kept: int
    drop: float  # points of mAP50-95 lost against float32; negative where some were won


@dataclass(frozen=True)
class Selection:
    """Result of the search, and its measurements in order."""

    kept: tuple[str, ...]  # names of layers, most sensitive first
    drop: float
    budget: float
    trials: tuple[Trial, ...]

    @property
    def within(self) -> bool:
        """Whether the drop is within the budget."""
        return self.drop <= self.budget

    def reason(self) -> str:
        """Return the reason why the search stopped there, for reports."""
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
    """Select the layers to keep out of INT8: double their number until the drop is within budget, then bisect.

    Where the drop does not fall steadily with their number, a smaller number may do, too; one less than the result was
    measured and is over budget.

    Args:
        ranked: returns all layers, the most sensitive first; called only where INT8 in all layers is over budget.
        measure: returns the drop, in points of mAP, with some layers kept out.
        budget: the largest drop.
    """
    trials: list[Trial] = []

    def drop_with(names: Sequence[str]) -> float:
        trials.append(Trial(len(names), measure(names)))
        return trials[-1].drop

    drop = drop_with(())
    if drop <= budget:
        return Selection((), drop, budget, tuple(trials))
    names = tuple(ranked())
    over, within = 0, 1  # numbers of layers: measured to be too few, tried next
    while (drop := drop_with(names[:within])) > budget and within < len(names):
        over, within = within, min(2 * within, len(names))
    best = drop
    while drop <= budget and within - over > 1:
        middle = (over + within) // 2
        if (trial_drop := drop_with(names[:middle])) <= budget:
            within, best = middle, trial_drop
        else:
            over = middle
    return Selection(names[:within], best, budget, tuple(trials))
