"""The population prior: that it finds what users have in common, helps those who are new, and is always solvable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bandit import prior as module
from app.bandit.prior import Prior, aligned, effective, fit
from app.bandit.ridge import Matrix, Vector, observe, theta
from app.bandit.ridge import prior as plain

COLUMNS = tuple((f"c{place}", f"{place:016x}") for place in range(64))
NOISE = 0.3


class People:
    """Users whose thetas are normal with mean `mu` and covariance `spread` @ `spread`.T."""

    def __init__(self, seed: int, d: int) -> None:
        self.numbers = np.random.default_rng(seed)
        self.mu = self.numbers.normal(0, 0.4, d)
        self.spread = self.numbers.normal(0, 0.3 / np.sqrt(d), (d, d))
        self.d = d

    def one(self) -> Vector:
        return self.mu + self.spread @ self.numbers.normal(size=self.d)

    def models(self, count: int, rewards: int) -> tuple[Matrix, Matrix, Vector, Vector]:
        """The arguments of `fit` after so many rewards on average."""
        s, b = np.zeros((count, self.d, self.d)), np.zeros((count, self.d))
        n = self.numbers.integers(5, 2 * rewards - 4, count).astype(float)
        q = np.zeros(count)
        for user in range(count):
            x = self.numbers.uniform(-1, 1, (int(n[user]), self.d))
            r = x @ self.one() + NOISE * self.numbers.normal(size=len(x))
            s[user], b[user], q[user] = x.T @ x, x.T @ r, r @ r
        return s, b, n, q


def made(a0: Matrix, b0: Vector, users: int = 20) -> Prior:
    return Prior(1, 0, users, COLUMNS[: len(b0)], a0, b0)


def test_it_finds_mean_covariance_and_noise() -> None:
    """From 1,000 users with 40 rewards each; a plain average of rewards would be far off."""
    people = People(1, 4)
    a0, b0, variance = fit(*people.models(1_000, 40))
    assert variance == pytest.approx(NOISE**2, rel=0.05)
    assert theta(a0, b0) == pytest.approx(people.mu, abs=0.03)
    assert variance * np.linalg.inv(a0) == pytest.approx(people.spread @ people.spread.T, abs=0.015)


def test_one_round_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """One round, user by user as the docstring has it, gives the same numbers; so do batches of any size."""
    s, b, n, q = People(2, 3).models(30, 8)
    v = q.sum() / n.sum()
    posterior = [v * np.linalg.inv(each + np.eye(3)) for each in s]
    m = np.array([cov @ (each / v) for cov, each in zip(posterior, b, strict=True)])
    mu = m.mean(axis=0)
    sigma = (sum(posterior) + (m - mu).T @ (m - mu) + v / 3 * np.eye(3)) / 31
    rest = [q[u] - 2 * m[u] @ b[u] + m[u] @ s[u] @ m[u] + np.trace(s[u] @ posterior[u]) for u in range(30)]
    expected = sum(rest) / n.sum()
    monkeypatch.setattr(module, "_ROUNDS", 1)
    for size in (1, 9 * 7, 2**21):
        monkeypatch.setattr(module, "_BATCH", size)
        a0, b0, variance = fit(s, b, n, q)
        assert variance == pytest.approx(expected, rel=1e-12)
        assert a0 == pytest.approx(expected * np.linalg.inv(sigma), rel=1e-9)
        assert b0 == pytest.approx(a0 @ mu, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_first_decisions_of_new_users_are_better(seed: int) -> None:
    """Of 400 new users, greedy among ten candidates, over five decisions each: the prior makes up for at least a third
    of what they lose against a choice with perfect knowledge."""
    people = People(seed, 6)
    a0, b0, _ = fit(*people.models(200, 15))
    lost = {"plain": 0.0, "prior": 0.0}
    for _ in range(400):
        own = people.one()
        rounds = people.numbers.uniform(-1, 1, (5, 10, 6))
        noise = NOISE * people.numbers.normal(size=5)
        for kind in lost:
            a, b = plain(6)
            for x, error in zip(rounds, noise, strict=True):
                at = effective(a, b, a0, b0) if kind == "prior" else (a, b)
                chosen = x[(x @ theta(*at)).argmax()]
                lost[kind] += (x @ own).max() - chosen @ own
                a, b = observe(a, b, chosen, float(chosen @ own + error))
    assert lost["prior"] < 0.67 * lost["plain"]


def test_a_new_user_starts_as_the_prior_says_and_an_old_one_stays() -> None:
    """To the last bit; what a user taught is added, whatever the prior was when it was learned."""
    a0, b0, _ = fit(*People(3, 5).models(40, 10))
    assert [part.tolist() for part in effective(*plain(5), a0, b0)] == [a0.tolist(), b0.tolist()]
    x = np.linspace(-1, 1, 5)
    a, b = effective(*observe(*plain(5), x, 0.5), a0, b0)
    assert a == pytest.approx(a0 + np.outer(x, x))
    assert b == pytest.approx(b0 + 0.5 * x)
    a, b = effective(*observe(*plain(5), x, 0.5), *plain(5))
    assert a == pytest.approx(np.eye(5) + np.outer(x, x))


# Columns that differ


def test_marginalising_is_fitting_without_the_column() -> None:
    """Where a column is independent of the others, a fit that never saw it gives what the Schur complement leaves. To
    cut it out would not: the users' thetas are correlated."""
    numbers = np.random.default_rng(5)
    spread = np.array([[0.5, 0.0, 0.0], [0.3, 0.4, 0.0], [0.45, -0.2, 0.1]])
    mu = np.array([0.3, -0.5, 0.4])
    s, b, n, q = np.zeros((800, 3, 3)), np.zeros((800, 3)), np.full(800, 60.0), np.zeros(800)
    for user in range(800):
        x = numbers.choice([-1.0, 1.0], (60, 3))
        # In turn only one column is not 0, so that rewards for the last one say nothing about the others directly.
        x *= np.eye(3)[np.arange(60) % 3]
        r = x @ (mu + spread @ numbers.normal(size=3)) + NOISE * numbers.normal(size=60)
        s[user], b[user], q[user] = x.T @ x, x.T @ r, r @ r
    # Without the third column a third of the rewards is only noise; these are left out of n and q.
    kept = [0, 1]
    third = np.array([[b[user, 2] ** 2 / s[user, 2, 2], s[user, 2, 2]] for user in range(800)])
    a0, b0, variance = fit(s, b, n, q)
    narrow = fit(s[:, :2, :2], b[:, :2], n - third[:, 1], q - third[:, 0] - 19 * NOISE**2)
    a, low = aligned(made(a0, b0), COLUMNS[:2])
    assert theta(a, low) == pytest.approx(theta(*narrow[:2]), abs=0.01)
    assert variance * np.linalg.inv(a) == pytest.approx(narrow[2] * np.linalg.inv(narrow[0]), rel=0.08)
    cut = variance * np.linalg.inv(a0[np.ix_(kept, kept)])
    assert abs(cut[0, 0] / (narrow[2] * np.linalg.inv(narrow[0]))[0, 0] - 1) > 0.3


@given(st.integers(0, 2**32), st.integers(1, 8), st.data())
@settings(max_examples=60)
def test_columns_come_and_go(seed: int, d: int, data: st.DataObject) -> None:
    """In any order: what stays has mean and covariance of the marginal distribution, what is new starts plainly, and
    the whole is symmetric and positive definite."""
    numbers = np.random.default_rng(seed)
    half = numbers.normal(size=(d, d))
    a0 = half @ half.T + 0.05 * np.eye(d)
    b0 = a0 @ numbers.normal(size=d)
    stay = data.draw(st.lists(st.integers(0, d - 1), unique=True))
    new = [("new", "0" * 16), ("c0", "f" * 16)][: data.draw(st.integers(0, 2))]
    columns = data.draw(st.permutations([*(COLUMNS[place] for place in stay), *new]))
    a, b = aligned(made(a0, b0), columns)
    assert np.array_equal(a, a.T)
    assert not a.size or np.linalg.eigvalsh(a)[0] > 0
    at = [columns.index(COLUMNS[place]) for place in stay]
    covariance = np.linalg.inv(a)
    assert covariance[np.ix_(at, at)] == pytest.approx(np.linalg.inv(a0)[np.ix_(stay, stay)], rel=1e-6, abs=1e-9)
    assert (covariance @ b)[at] == pytest.approx(np.linalg.solve(a0, b0)[stay], rel=1e-6, abs=1e-9)
    for place, column in enumerate(columns):
        if column in new:
            assert a[place].tolist() == np.eye(len(columns))[place].tolist()
            assert b[place] == 0.0


def test_the_same_columns_are_taken_as_they_are() -> None:
    """To the last bit."""
    a0, b0, _ = fit(*People(6, 4).models(40, 10))
    a, b = aligned(made(a0, b0), COLUMNS[:4])
    assert (a.tobytes(), b.tobytes()) == (a0.tobytes(), b0.tobytes())


def test_too_few_users_count_as_none() -> None:
    """With 19 it is as if there were no prior."""
    a0, b0 = 2 * np.eye(2), np.ones(2)
    assert not made(a0, b0, 19).counts
    a, b = aligned(made(a0, b0, 19), COLUMNS[:2])
    assert (a.tolist(), b.tolist()) == (np.eye(2).tolist(), [0.0, 0.0])
    assert aligned(made(a0, b0, 20), COLUMNS[:2])[1].tolist() == [1.0, 1.0]


# What it is fitted to


@given(
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.integers(1, 40),
    st.sampled_from([0.0, 1e-9, 0.3, 100.0]),
    st.sampled_from([1e-3, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_it_can_always_be_solved(seed: int, d: int, count: int, noise: float, size: float) -> None:
    """Symmetric and positive definite also for columns that are always 0, rewards without noise, or all the same, or of
    any size, and faded sums; and so is every user's A with it."""
    numbers = np.random.default_rng(seed)
    s, b, n, q = np.zeros((count, d, d)), np.zeros((count, d)), np.zeros(count), np.zeros(count)
    own = numbers.normal(size=d) * numbers.integers(0, 2)
    for user in range(count):
        x = size * numbers.choice([0.0, 0.5, 1.0], (int(numbers.integers(1, 20)), d))
        x[:, 0] = 0.0
        r = x @ own + noise * numbers.normal(size=len(x)) + 1.0
        fade = 0.9 ** numbers.integers(0, 50, len(x))
        s[user], b[user] = (x.T * fade) @ x, (x.T * fade) @ r
        n[user], q[user] = fade.sum(), fade @ r**2
    a0, b0, variance = fit(s, b, n, q)
    assert np.array_equal(a0, a0.T)
    assert np.linalg.eigvalsh(a0)[0] > 0
    assert 0 < variance < np.inf
    for each in s:
        assert np.linalg.eigvalsh(effective(each + np.eye(d), b0, a0, b0)[0])[0] > 0


def test_rewards_without_noise() -> None:
    """Users who are all alike, and whose rewards follow from the columns exactly: the noise is not divided away."""
    x = np.random.default_rng(8).uniform(-1, 1, (30, 10, 2))
    r = x @ np.array([0.5, -0.25])
    s, b, q = np.einsum("uki,ukj->uij", x, x), np.einsum("uki,uk->ui", x, r), (r**2).sum(axis=1)
    a0, b0, variance = fit(s, b, np.full(30, 10.0), q)
    assert theta(a0, b0) == pytest.approx([0.5, -0.25], abs=1e-3)
    assert variance == pytest.approx(1e-6 * q.sum() / 300)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s, b, n, q: (s, 0 * b, n, 0 * q), "no rewards but 0"),
        (lambda s, b, n, q: (s, b, 0 * n, 0 * q), "no rewards but 0"),
        (lambda s, b, n, q: (s, b, n, np.inf * q), "squares of the rewards are not finite"),
        (lambda s, b, n, q: (s, b, n, np.nan * q), "squares of the rewards are not finite"),
        (lambda s, b, n, q: (s, np.nan * b, n, q), "numbers that are not finite"),
        (lambda s, b, n, q: (-np.eye(3) + 0 * s, b, n, q), "cannot be solved: Singular"),
    ],
)
def test_what_gives_no_prior(change: object, problem: str) -> None:
    """It is refused, and the reason is told."""
    with pytest.raises(ValueError, match=problem), np.errstate(invalid="ignore"):
        fit(*change(*People(9, 3).models(30, 10)))  # type: ignore[operator]


def test_what_could_not_be_solved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior whose directions differ too much, here by ten times."""
    arguments = People(9, 3).models(30, 10)
    fit(*arguments)
    monkeypatch.setattr(module, "_CONDITION", 0.1)
    with pytest.raises(ValueError, match="differ out of all proportion"):
        fit(*arguments)
