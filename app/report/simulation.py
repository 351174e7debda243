"""The result of a simulation, as a table for a terminal and as a page with plots."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from app.bandit.policy import Policy
from app.report.page import Figure, Grid, Page
from app.report.plots import Line, Lines
from app.simulation.outcome import FIRST, LAST, Estimate, Outcome

__all__ = ["page", "table"]

_HEADER: Final = (
    "policy",
    "columns",
    "reward",
    "regret",
    "share",
    "first tenth",
    "last tenth",
    "behind the first",
)
_NOTES: Final = (
    "reward: of a decision, on average; regret: the reward that a user missed in all decisions; share: of what is "
    "possible, 0 is a random choice and 1 the best one, also in the first and the last tenth of the decisions; behind "
    "the first: in share, seed by seed."
)
_ERRORS: Final = " ± is one standard error over {seeds} seeds."
_ONE_SEED: Final = " There was one seed, so no error is known."
_SHARE_NOTES: Final = "0 is a random choice, 1 the best one. Each point is a mean over a stretch of decisions."
_REGRET_NOTES: Final = (
    "The reward that a user missed so far. A flat line is a policy that has learned; lower is better."
)
_NONE: Final = "–"  # noqa: RUF001  # a dash
_BANDS: Final = " The bands are two standard errors wide to each side."


def table(outcome: Outcome, policies: Sequence[Policy]) -> Grid:
    """A row for each policy, the best first; then what a random choice and the best one would earn."""
    columns = {policy.id: policy.d for policy in policies}
    ranking = outcome.ranking()
    rows = []
    for place, name in enumerate(ranking):
        shares = (outcome.share(name), outcome.share(name, FIRST), outcome.share(name, LAST))
        behind = _cell(outcome.behind(name, ranking[0]), 3) if place else _NONE
        reward, regret = _cell(outcome.reward(name), 3), _cell(outcome.regret(name), 1)
        rows.append([name, str(columns[name]), reward, regret, *(_cell(each, 3) for each in shares), behind])
    random, best = outcome.bounds()
    rows += [_bound("a random choice", random, 0), _bound("the best choice", best, 1)]
    errors = _ERRORS.format(seeds=outcome.seeds) if outcome.seeds > 1 else _ONE_SEED
    return Grid(_HEADER, rows, _NOTES + errors, frozenset({len(ranking), len(ranking) + 1}))


def page(outcome: Outcome, policies: Sequence[Policy], about: str, command: str) -> Page:
    """The table, the share by decision number, the regret by decision number, and what each policy sees."""
    bands = _BANDS if outcome.seeds > 1 else ""
    share = Lines(
        "Share of the possible",
        "decision",
        "share of the possible",
        outcome.ends.tolist(),
        [Line(name, *outcome.shares(name)) for name in outcome.ranking()],
        ceiling=1.0,
    )
    regret = Lines(
        "Cumulated regret",
        "decision",
        "cumulated regret",
        outcome.ends.tolist(),
        [Line(name, *outcome.regrets(name)) for name in outcome.ranking()],
    )
    return Page(
        "Policies beside each other",
        f"{about[0].upper()}{about[1:]}. All policies met the same decisions.",
        [table(outcome, policies), Figure(share, _SHARE_NOTES + bands), Figure(regret, _REGRET_NOTES + bands)],
        [(f"What {policy.id} sees: {policy.d} columns", "\n".join(_wrapped(policy.labels))) for policy in policies],
        f"Made by: {command}",
    )


def _cell(found: Estimate, digits: int) -> str:
    error = "" if math.isnan(found.error) else f" ± {found.error:.{digits}f}"
    return f"{found.mean:.{digits}f}{error}"


def _bound(name: str, found: Estimate, share: int) -> list[str]:
    return [name, "", _cell(found, 3), "", str(share), str(share), str(share), _NONE]


def _wrapped(labels: Iterable[str]) -> Iterable[str]:
    line = ""
    for label in labels:
        if line and len(line) + len(label) > 76:
            yield line
            line = ""
        line = f"{line}, {label}" if line else label
    yield line
