"""A new policy over a log: what it would have given as a shadow from the first line on, learning from what was served.

Lines come by time, for a prior is made of all users at once. The operations are those of serving.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from app.bandit.policy import Policy
from app.bandit.prior import FEWEST, effective, fit
from app.bandit.ridge import Matrix, Singular, Vector, adjust
from app.decision_log.lines import Decision, Line, Outcome, State, milliseconds
from app.decision_log.place import PlaceError
from app.evaluation.logged import user_code
from app.judging.regressors import seen
from app.learning.steps import correction, rewarded
from app.log_reading.order import Key
from state.values.record import Meta

__all__ = ["Rerun", "by_time", "rerun"]

# Users of a prior have at least so many rewards, and there are at most so many of them, in so many numbers.
_REWARDS: Final = 5
_MOST: Final = 1_000
_ROOM: Final = 2**25
_DAY: Final = 86_400_000


class _Model(msgspec.Struct):
    """A user's model, and by decision the chosen one's row, and the count of updates when its reward was learned."""

    a: Matrix
    b: Vector
    meta: Meta
    rows: dict[int, Vector]
    learned: dict[int, int]


class Rerun:
    """A policy as a shadow; `failed` says why it can no longer be scored for a user, of the last such user."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.failed = ""
        self.priors = 0
        self._models: dict[tuple[str, str], _Model] = {}
        self._prior: tuple[Matrix, Vector] | None = None

    def score(self, made: Decision) -> list[float]:
        """The probability that it gives each candidate; nan if its model cannot be solved."""
        model = self._model(made)
        context, candidates = seen(made)
        allowed = [place for place in range(len(candidates)) if place not in set(made.excluded)]
        x = self.policy.see(context, [candidates[place] for place in allowed])
        a, b = (model.a, model.b) if self._prior is None else effective(model.a, model.b, *self._prior)
        found = np.zeros(len(candidates))
        try:
            found[allowed] = self.policy.odds(a, b, x, int(made.seed)).propensities
        except Singular as error:
            self.failed = str(error)
            found[:] = np.nan
        if made.chosen in allowed:
            model.rows[made.seq] = x[allowed.index(made.chosen)]
        return found.tolist()

    def take(self, line: Outcome | State) -> None:
        """Do what a line tells: learn what the policies of the decision learned, or forget."""
        if isinstance(line, Outcome):
            self._learn(line)
        elif line.what in ("reset", "erased"):
            self._models.pop((line.user, line.epoch), None)

    def _learn(self, line: Outcome) -> None:
        model = self._model(line)
        x = model.rows.get(line.born)
        if x is None or not line.taught:
            return
        policy, at = self.policy, milliseconds(line.ts) // 1_000
        try:
            if line.was is None and line.total is not None:
                a, b = policy.learn(model.a, model.b, x, line.total)
                meta = rewarded(model.meta, line.total, at, baseline=policy.baseline, forget=policy.forget)
                model.learned[line.born] = meta.updates
            elif line.was is not None and line.born in model.learned:
                made = correction(
                    model.meta,
                    model.learned[line.born],
                    was=line.was,
                    now=line.total,
                    baseline=policy.baseline,
                    forget=policy.forget,
                )
                a, b = adjust(model.a, model.b, x, seen=made.seen, change=made.change)
                meta = made.meta
            else:
                return
        except Singular as error:
            self.failed = str(error)
            return
        model.a, model.b, model.meta = a, b, meta

    def build_prior(self) -> None:
        """If the policy takes a prior, begin users where the models of others say, once enough have learned enough."""
        if not self.policy.population:
            return
        d, fits = self.policy.d, []
        for (user, epoch), model in self._models.items():
            if model.meta.reward_count >= _REWARDS and model.meta.weight:
                fits.append((user_code(user), epoch, model))
        # By a hash of the user: the sample stays the same when users come and go.
        taken = [model for *_, model in sorted(fits, key=lambda each: each[:2])[: min(_MOST, _ROOM // (d * d))]]
        self._prior = None
        if len(taken) < FEWEST:
            return
        s, b = np.stack([model.a for model in taken]) - np.eye(d), np.stack([model.b for model in taken])
        weights, squares = (np.array([getattr(m.meta, name) for m in taken]) for name in ("weight", "squares"))
        try:
            a0, b0, _ = fit(s, b, weights, squares)
        except ValueError:  # nothing follows from these models, such as from rewards that are all 0
            return
        self._prior = (a0, b0)
        self.priors += 1

    def _model(self, line: Line) -> _Model:
        found = self._models.get((line.user, line.epoch))
        if found is None:
            found = self._models[line.user, line.epoch] = _Model(*self.policy.prior(), Meta(), {}, {})
        return found


def by_time(line: Line) -> Key:
    """The order in which the lines of all users happened; erasures first, for what they erase is not read."""
    ts = "" if isinstance(line, State) and line.what == "erased" else line.ts
    return (f"{ts}{line.user}", line.epoch, line.seq, line.seq)


def rerun(
    lines: Iterable[Line], loop: str, policies: Sequence[Rerun], names: Sequence[tuple[int, int, int]]
) -> list[Vector]:
    """The probabilities of each policy (m) in the decisions that `names` names, in this order, of a `loop`.

    `lines` come `by_time`. A prior is rebuilt where the log tells that priors were, or daily if it does not. Raises
    PlaceError if a decision is not there.
    """
    found: list[list[float]] = [[] for _ in policies]
    place, rebuilding = 0, _Rebuilding()
    for line in lines:
        if isinstance(line, Decision):
            name = (milliseconds(line.ts), user_code(line.user), line.seq)
            if line.loop != loop or place == len(names) or name != names[place]:
                continue  # of another loop, or written since the names were read
            place += 1
            is_due = rebuilding.is_due(line)
            for shares, each in zip(found, policies, strict=True):
                if is_due:
                    each.build_prior()
                shares.extend(each.score(line))
        elif isinstance(line, State) or line.loop == loop:
            for each in policies:
                each.take(line)
    if place < len(names):
        raise PlaceError("the log has lost lines while it was read")
    return [np.array(shares) for shares in found]


class _Rebuilding:
    """When priors are rebuilt: the log's own moments, else each day."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._day = -1

    def is_due(self, made: Decision) -> bool:
        if made.prior:
            newer = any(version > self._versions.get(name, 0) for name, version in made.prior.items())
            for name, version in made.prior.items():
                self._versions[name] = max(version, self._versions.get(name, 0))
            return newer
        day = milliseconds(made.ts) // _DAY
        later, self._day = day > self._day, day
        return later
