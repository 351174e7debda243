"""A population prior: what the models of many users say about one who is new (empirical Bayes)."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.bandit import ridge
from app.bandit.ridge import Matrix, Vector

__all__ = ["FEWEST", "Prior", "aligned", "effective", "fit"]

# With fewer users a prior says more about these users than about the next one.
FEWEST: Final = 20
_ROUNDS: Final = 30
# Numbers in the matrices of one batch: 16 MB, of which a round holds a few at a time.
_BATCH: Final = 2**21
# The noise is at least this part of the mean square of a reward: if rewards follow from the columns without any, each
# round would divide it further, until rounding is all that is left.
_QUIETEST: Final = 1e-6
# The smallest eigenvalue of A0 is at least this part of the largest.
_CONDITION: Final = 1e-9
_Stack = NDArray[np.float64]
_Column = tuple[str, str]


class Prior(msgspec.Struct, frozen=True):
    """Where a new user starts: with `a0` (d x d) instead of I, and `b0` (d) instead of 0.

    It is the policy's `version`-th, built at `built_at` (Unix seconds) from so many `users`. `columns` are label and
    digest of the definition of each row.
    """

    version: int
    built_at: int
    users: int
    columns: tuple[_Column, ...]
    a0: Matrix
    b0: Vector

    @property
    def counts(self) -> bool:
        """Whether it comes from enough users to be used."""
        return self.users >= FEWEST


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused in the end
def fit(s: _Stack, b: Matrix, weights: Vector, squares: Vector) -> tuple[Matrix, Vector, float]:
    """A0 (d x d), b0 (d) and the variance of the noise, from the models of U users.

    `s` (U x d x d) are their A - I, `b` (U x d) their b, `weights` and `squares` (U each) the number of their rewards
    and the sum of the squares of these. All four may have been faded by the same weight.

    A user's theta is taken to be N(mu, Sigma), and a reward theta·x with noise of the variance v. EM (Dempster, Laird,
    Rubin 1977; for these models Laird and Ware 1982, "Random-effects models for longitudinal data") repeats, with
    A0 = v Sigma⁻¹ and b0 = A0 mu:

        W_u = (S_u + A0)⁻¹, m_u = W_u (b_u + b0), V_u = v W_u       posterior of each user
        mu = mean of m_u
        Sigma = [sum V_u + sum (m_u - mu)(m_u - mu)ᵀ + v/3 I] / (U + 1)
        v = sum [q_u - 2 m_uᵀ b_u + m_uᵀ S_u m_u + tr(S_u V_u)] / sum n_u

    The term v/3 I is one more user's worth of evidence for differences as small as a third of the noise. It begins as
    every model does, with A0 = I and b0 = 0. Takes memory for a few copies of 16 MB besides its arguments. Raises
    ValueError if nothing follows from the models: no rewards, none but 0, or numbers that are not finite.
    """
    count, d = b.shape
    total, energy = float(weights.sum()), float(squares.sum())
    variance = energy / total if total > 0 else math.nan
    if not 0.0 < variance < math.inf:
        raise ValueError("there are no rewards but 0" if energy == 0 else "the squares of the rewards are not finite")
    quietest = _QUIETEST * variance
    a0, b0 = ridge.prior(d)
    for _ in range(_ROUNDS):
        means, spread, misfit = np.empty((count, d)), np.zeros((d, d)), energy
        for part in _batches(count, d):
            try:
                w = np.linalg.inv(s[part] + a0)
            except np.linalg.LinAlgError as error:
                raise ValueError(f"a model cannot be solved: {error}") from None
            m = means[part] = np.einsum("uij,uj->ui", w, b[part] + b0)
            spread += w.sum(axis=0)
            fitted = np.einsum("uij,uj->ui", s[part], m)
            misfit += float(np.sum(m * (fitted - 2 * b[part]))) + variance * float(np.vdot(s[part], w))
        mu = means.mean(axis=0)
        apart = means - mu
        sigma = (variance * (spread + np.eye(d) / 3) + apart.T @ apart) / (count + 1)
        variance = max(misfit / total, quietest)
        if not (math.isfinite(misfit) and np.isfinite(sigma).all()):
            raise ValueError("the models give numbers that are not finite")
        a0 = _symmetric(variance * np.linalg.inv(_symmetric(sigma)))
        b0 = a0 @ mu
    eigenvalues = np.linalg.eigvalsh(a0)
    if not eigenvalues[0] > _CONDITION * eigenvalues[-1]:
        raise ValueError("the models differ out of all proportion")
    return a0, b0, variance


def effective(a: Matrix, b: Vector, a0: Matrix, b0: Vector) -> tuple[Matrix, Vector]:
    """A and b of a user whose own are `a` and `b`, had they begun as `a0` and `b0` instead of as I and 0."""
    # In this order a new user gets a0 to the last bit.
    return a - ridge.identity(len(b)) + a0, b + b0


def aligned(prior: Prior, columns: Sequence[_Column]) -> tuple[Matrix, Vector]:
    """A0 (d x d) and b0 (d) for these `columns`, each a label and the digest of its definition.

    A column that the prior does not have begins as in a new model: its row is that of I, and its b0 is 0. One that only
    the prior has is marginalised, not cut: with K the columns that stay and J those that go, the marginal of the normal
    distribution has the Schur complement A_KK - A_KJ A_JJ⁻¹ A_JK, and b_K - A_KJ A_JJ⁻¹ b_J (Bishop 2006, section
    2.3.2). So what remains is what a prior without that column would be. A prior of too few users gives I and 0.
    """
    a, b = ridge.prior(len(columns))
    places = {column: place for place, column in enumerate(prior.columns)}
    own = [place for place, column in enumerate(columns) if column in places]
    if not prior.counts or not own:
        return a, b
    keep = [places[columns[place]] for place in own]
    kept = set(keep)
    gone = [place for place in range(len(prior.columns)) if place not in kept]
    a_kept, b_kept = prior.a0[np.ix_(keep, keep)], prior.b0[keep]
    if gone:
        across = prior.a0[np.ix_(keep, gone)]
        shares = np.linalg.solve(prior.a0[np.ix_(gone, gone)], np.column_stack((across.T, prior.b0[gone])))
        a_kept = _symmetric(a_kept - across @ shares[:, :-1])
        b_kept = b_kept - across @ shares[:, -1]
    a[np.ix_(own, own)] = a_kept
    b[own] = b_kept
    return a, b


def _batches(count: int, d: int) -> Iterator[slice]:
    size = max(1, _BATCH // (d * d))
    return (slice(start, start + size) for start in range(0, count, size))


def _symmetric(a: NDArray[np.floating[Any]]) -> Matrix:
    return np.asarray((a + a.T) / 2, np.float64)
