"""A policy: the columns it sees, how it learns from rewards, and how it explores."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from app.bandit.columns import Columns
from app.bandit.context import Context
from app.bandit.explore import DRAWS, Explorer, Odds
from app.bandit.features import Encoder, Said
from app.bandit.ridge import Matrix, Singular, Vector, observe, prior, theta
from app.bandit.sample import normals, sample, uniform
from app.bandit.together import together

__all__ = ["Choice", "Classic", "ClassicPolicy", "Damaged", "Policy", "Seen", "all_odds"]

# A decision as policies see it: A and b of the model of each, the base columns of its candidates (k x n), its seed, and
# its floor if that is not the policies' own. Several are zipped, which spares each of them a step in Python.
Seen = tuple[Sequence[tuple[Matrix, Vector]], Matrix, int, float | None]
# Numbers in columns, draws and models that are computed at once: 1 MB, of which there are a few copies.
_MOST: Final = 2**17


class Choice(msgspec.Struct, frozen=True):
    """The chosen candidate, its score, the propensities of all, and whether exploration chose it."""

    index: int
    score: float
    propensities: list[float]
    explored: bool

    @property
    def propensity(self) -> float:
        """The probability with which the chosen candidate was chosen."""
        return self.propensities[self.index]


class Classic(msgspec.Struct, frozen=True):
    """The names of a policy in the API and the files of the first system.

    `route` is the end of its paths below /score, /reward and /stats, `suffix` that of its file names. With
    `tells_exploration` its statistics and history have fields about exploration. `role` is its use there.
    """

    route: str
    suffix: str
    tells_exploration: bool
    role: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the catalog; its models are the A (d x d) and b (d) of each user.

    `definitions` say for each column what it is made of: a model knows a column again by its label and definition.
    `forget` is the weight of the past after each reward, `baseline` is taken off each reward before it is learned, and
    with `population` a decision starts from what other users taught. Equal candidates share the probability of one,
    except under the rules of the first system (`classic`).
    """

    id: str
    encoder: Encoder
    columns: Columns
    definitions: tuple[str, ...]
    explorer: Explorer
    forget: float = 1.0
    population: bool = False
    baseline: float = 0.0
    classic: Classic | None = None

    @property
    def d(self) -> int:
        return len(self.columns.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the columns, which are those of the numbers of theta."""
        return self.columns.labels

    def prior(self) -> tuple[Matrix, Vector]:
        """A and b of a new user."""
        return prior(self.d)

    def see(self, context: Context, candidates: Sequence[Said]) -> Matrix:
        """The columns (k x d, all finite) of k `candidates` in `context`."""
        base, _ = self.encoder.encode(context, candidates)
        return self.columns.of(base)

    def decide(self, a: Matrix, b: Vector, x: Matrix, seed: int) -> Choice:
        """Choose one of the rows of `x` (at least one); `seed` makes all draws.

        Raises ridge.Singular for a damaged A or b.
        """
        return self.draw(self.odds(a, b, x, seed), seed)

    def draw(self, odds: Odds, seed: int) -> Choice:
        """The choice that `seed` makes by `odds`. Raises ridge.Singular."""
        index, rest = sample(odds.propensities, uniform(seed, self.id, "sample"))
        score = float(odds.scores[index])
        if not math.isfinite(score):
            raise Singular(f"a score is {score}")
        # The beginning of a candidate's part of [0, 1) belongs to exploration.
        explored = rest < odds.random[index] or (self.classic is None and score < float(odds.scores.max()))
        return Choice(index, score, odds.propensities, explored=explored)

    def odds(self, a: Matrix, b: Vector, x: Matrix, seed: int) -> Odds:
        """The scores and propensities of the rows of `x`. Raises ridge.Singular for a damaged A or b."""
        [found] = self.odds_of([(a, b)], x, [len(x)], [seed], [None])
        return found

    def odds_of(
        self,
        models: Sequence[tuple[Matrix, Vector]],
        x: Matrix,
        counts: Sequence[int],
        seeds: Sequence[int],
        floors: Sequence[float | None],
    ) -> Sequence[Odds]:
        """The same of several decisions, as `together` takes them. Raises ridge.Singular if one of them has none."""
        return together(
            self.explorer,
            models,
            x,
            counts=counts,
            seeds=seeds,
            floors=floors,
            normals=self._normals,
            distinct=self.classic is None,
        )

    def odds_alone(self, seen: Sequence[Seen]) -> "list[Sequence[Odds] | Damaged]":
        """The same of decisions that no other policy sees, by base columns of its own encoder; as `all_odds`."""
        return all_odds([self], [self.columns], seen)

    def _normals(self, seed: int, shape: tuple[int, int]) -> Matrix:
        return normals(seed, self.id, "draws", shape)

    def learn(self, a: Matrix, b: Vector, x: Vector, reward: float) -> tuple[Matrix, Vector]:
        """New A and b after the candidate with columns `x` (d) earned `reward`. Raises ridge.Singular."""
        return observe(a, b, x, reward - self.baseline, self.forget)

    def estimate(self, a: Matrix, b: Vector) -> Vector:
        """theta (d), in the order of the labels of the columns. Raises ridge.Singular."""
        return theta(a, b)


class ClassicPolicy(Policy, frozen=True, kw_only=True):
    """A policy of the first system."""

    classic: Classic


class Damaged(msgspec.Struct, frozen=True):
    """A decision has no odds, since the model of the policy at this place cannot be solved."""

    place: int
    error: Singular


def all_odds(
    policies: Sequence[Policy], columns: Sequence[Columns], seen: Sequence[Seen]
) -> list[Sequence[Odds] | Damaged]:
    """For each decision the odds of each of the `policies`, by these `columns` of theirs."""
    models, bases, seeds, floors = zip(*seen, strict=True)
    counts = list(map(len, bases))
    widest = max(len(each.labels) for each in columns)
    if len(seen) == 1 or sum(counts) * max(widest, DRAWS) + len(seen) * widest * widest <= _MOST:
        base, found = bases[0] if len(seen) == 1 else np.concatenate(bases), list[Sequence[Odds]]()
        try:
            for policy, own, mine in zip(policies, columns, zip(*models, strict=True), strict=True):
                found.append(policy.odds_of(mine, own.of(base), counts, seeds, floors))
            return list(zip(*found, strict=True))
        except Singular as error:
            if len(seen) == 1:
                return [Damaged(len(found), error)]
    half = len(seen) // 2
    return all_odds(policies, columns, seen[:half]) + all_odds(policies, columns, seen[half:])
