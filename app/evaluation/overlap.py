"""What a log cannot tell about a policy: the rules by which an estimate is refused or warned of.

The rules on weights use what is expected of them wherever it is known, from all the probabilities of a decision. Rules
on the weights that happened to be drawn would refuse sound logs and pass lucky ones.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec

from app.bandit.ridge import Vector
from app.evaluation.draws import Draws
from app.evaluation.logged import Logged
from app.evaluation.sums import OCTAVES, Sums
from app.evaluation.tails import normal_tails
from app.evaluation.weighed import Weighed

__all__ = [
    "Refusal",
    "draws_match",
    "effective",
    "heavy",
    "heavy_exactly",
    "masses",
    "mean_weight_z",
    "refusals",
    "warnings",
]

_FEWEST_EFFECTIVE: Final = 100.0
_FEW_EFFECTIVE: Final = 200.0
_HEAVY_SHARE: Final = 50.0
_MOST_HEAVY: Final = 0.01
_FARTHEST_Z: Final = 4.0
_LEAST_P: Final = 0.001
_MOST_UNLOGGED: Final = 0.01
_LEAST_EXPLORING: Final = 0.5
# A variance below this part of n is rounding.
_ROUNDING: Final = 1e-12


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no estimate, what would help, and about how many more decisions would;
    None if more decisions alone would not help."""

    rule: str
    why: str
    help: str
    more: int | None = None


def effective(sums: Sums) -> float:
    """The effective sample size: the smaller of the observed (Σw)²/Σw² and the expected n / mean Σ_a e²/h.

    Kong 1992, "A note on importance sampling using standardized weights"; Owen 2013, "Monte Carlo theory, methods and
    examples", section 9.3. The expected one takes the mean of w² over all that could be drawn, Σ_a h (e/h)².
    """
    n, w, w2, chi = (sums.total(column) for column in ("n", "w", "w2", "chi"))
    return min(w * w / w2, n * n / chi) if w2 > 0.0 else 0.0


def mean_weight_z(sums: Sums) -> float:
    """Σ(w - 1) over its standard deviation √Σ(Σ_a e²/h - 1): far from 0, something is wrong with the probabilities.

    The mean of w is 1 given all that went before (Horvitz and Thompson 1952), so this is nearly normal (Brown 1971,
    "Martingale central limit theorems", theorem 2). Where h is 0, mean and variance are less by what is missing there.
    """
    n = sums.total("n")
    gap = sums.total("w") - (n - sums.total("off"))
    return gap / math.sqrt(max(sums.total("w_variance"), _ROUNDING * n)) if n else 0.0


def heavy(sums: Sums) -> float:
    """The policy's mean mass on weights over n/50; here over the next lower power of two, which is on the safe side."""
    n = sums.total("n")
    power = math.floor(math.log2(max(n / _HEAVY_SHARE, 2.0)))
    return sums.total(OCTAVES[min(power, len(OCTAVES)) - 1]) / n if n else 0.0


def masses(sums: Sums) -> list[float]:
    """The policy's mean mass on weights up to 2, over 2 up to 4, ..., and on those over 65,536."""
    over = [sums.total("n"), *(sums.total(name) for name in OCTAVES), 0.0]
    return [(more - less) / over[0] if over[0] else 0.0 for more, less in pairwise(over)]


def heavy_exactly(sums: Sums, logged: Logged, target: Vector) -> float:
    """The same over n/50 itself, from the decisions of which `sums` are."""
    n = sums.total("n")
    return float(Weighed.of(logged, target).mass_over(n / _HEAVY_SHARE).sum()) / n if n else 0.0


def draws_match(log: Sums, draws: Draws) -> Iterator[Refusal]:
    """The rules on the log itself, whatever the policy; `log` are the sums of the propensities."""
    n, unlogged = log.total("n"), log.total("unlogged")
    if draws.p < _LEAST_P:
        why = f"what was drawn does not match the propensities (p = {draws.p:.1g})"
        yield Refusal("draws", why, "find what changes, drops or repeats decisions on their way, or is logged wrongly")
    if unlogged > _MOST_UNLOGGED * (n + unlogged):
        why = f"{unlogged / (n + unlogged):.1%} of the decisions have no propensities, or impossible ones"
        yield Refusal("propensities", why, "log the probability of every candidate with each decision")


def refusals(sums: Sums, heavy_mass: float) -> Iterator[Refusal]:
    """The rules on a policy beside the log; `heavy_mass` is its mean mass on weights over n/50."""
    n, known = sums.total("n"), sums.total("known")
    if not known:
        why = "no decision counts: none is matured, was shown, was scored by this policy and has an outcome"
        yield Refusal("nothing", why, "wait until windows have closed")
        return
    if off := sums.total("off"):
        why = f"{off / n:.2g} of the policy's probability is on candidates that could not be drawn"
        yield Refusal("support", why, "give the champion a floor, so that every candidate has a chance")
    if (size := effective(sums)) < _FEWEST_EFFECTIVE:
        more = max(1, round(n * (_FEWEST_EFFECTIVE / size - 1.0))) if size else None
        why = f"{n:,.0f} decisions are worth only {size:.1f} of this policy's own; it takes {_FEWEST_EFFECTIVE:.0f}"
        yield Refusal("effective size", why, "a higher floor, a canary, or more decisions", more)
    if heavy_mass > _MOST_HEAVY:
        why = f"{heavy_mass:.1%} of the policy's probability is on choices that would decide the estimate alone"
        yield Refusal("dominance", why, "a higher floor, a canary, or more decisions", _until_light(sums))
    if abs(z := mean_weight_z(sums)) > _FARTHEST_Z:
        why = f"the weights add up to {sums.total('w'):,.0f} instead of {n:,.0f} (z = {z:.1f})"
        yield Refusal("mean weight", why, "see whether this policy's probabilities were logged at the decision")
    if known < n and (p := _missing_p(sums)) < _LEAST_P:
        why = f"whether an outcome is missing depends on the choice (p = {p:.1g}; {1.0 - known / n:.1%} are missing)"
        yield Refusal("missing outcomes", why, "say what silence counts as: `missing` of the loop")


def warnings(sums: Sums, *, has_learned: bool) -> Iterator[str]:
    """What to know about an estimate; `has_learned`: the policy has learned from the champion's decisions."""
    n, known = sums.total("n"), sums.total("known")
    if _FEWEST_EFFECTIVE <= (size := effective(sums)) < _FEW_EFFECTIVE:
        yield f"the effective size is only {size:.0f}: from {_FEW_EFFECTIVE:.0f} on, intervals are reliable"
    if known < n:
        yield f"{n - known:,.0f} decisions without an outcome were left out"
    own, champions = sums.total("explores"), sums.total("champion_explores")
    if has_learned and own < _LEAST_EXPLORING * champions:
        yield (
            f"it explores less ({own / n:.1%} of its decisions) than the champion from whose decisions it has learned "
            f"({champions / n:.1%}): alone it may do worse than here"
        )


def _missing_p(sums: Sums) -> float:
    """The chance that outcomes are missing as unevenly, if it does not depend on the choice.

    Then the draws of decisions without an outcome are draws like all others: neither the likeliest candidate nor, as
    judged by e(A) - Σ_a h e, those that the policy prefers are more often among them. Both by Bonferroni.
    """
    found = 1.0
    for name in ("h", "e"):
        gap = sums.total("lost_hits" if name == "h" else "lost_e")
        variance = sums.total(f"lost_{name}_variance")
        if variance > _ROUNDING * sums.total("n"):
            found = min(found, normal_tails(gap / math.sqrt(variance)))
    return min(1.0, 2.0 * found)


def _until_light(sums: Sums) -> int | None:
    """How many more decisions until the mass on weights over n/50 is small enough, by powers of two."""
    n = sums.total("n")
    for power, name in enumerate(OCTAVES, 1):
        if sums.total(name) <= _MOST_HEAVY * n:
            return max(1, math.ceil(_HEAVY_SHARE * 2.0**power - n))
    return None
