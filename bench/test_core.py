"""The numeric core beside plain numpy in the same process: no kernel may become slower by more than half.

Wall time alone says nothing on another machine, so each kernel is timed in units of a reference that does the same
arithmetic without any of our code. USUAL is what that ratio was when it was last measured.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from app.policies.catalog import policies
from bench.decide import context, decide, learned, tasks, time_of

USUAL: Final = {
    "decide linucb-v1 10": 2.75,
    "decide linucb-v1 200": 1.58,
    "decide egreedy-v1 10": 1.94,
    "decide egreedy-v1 200": 1.18,
    "decide egreedy-v2 10": 1.80,
    "decide egreedy-v2 200": 0.79,
    "learn linucb-v1": 3.84,
    "learn egreedy-v1": 3.88,
    "learn egreedy-v2": 4.0,
}
SLOWER: Final = 1.5
POLICIES: Final = policies(alpha=1.0, epsilon=0.1)


def _reference(d: int, count: int) -> Callable[[], object]:
    """Fill count x d features, solve for theta and all widths, take the best: numpy and nothing else."""
    generator = np.random.default_rng(1)
    rows = generator.random((count, d))
    numbers = rows.tolist()
    a, b = np.eye(d) + rows.T @ rows, generator.random(d)

    def work() -> int:
        x = np.array(numbers)
        solved = np.linalg.solve(a, np.concatenate((b[:, None], x.T), axis=1))
        return int((x @ solved[:, 0] + np.sqrt(np.einsum("kd,dk->k", x, solved[:, 1:]))).argmax())

    return work


def _guard(benchmark: BenchmarkFixture, name: str, work: Callable[[], object], reference: Callable[[], object]) -> None:
    """Time both, by turns so that a noisy neighbour meets both, and compare their best."""
    ours, plain = [], []
    for _ in range(10):
        plain += time_of(reference, repeats=3, seconds=0.01)
        ours += time_of(work, repeats=3, seconds=0.01)
    benchmark(work)
    ratio = min(ours) / min(plain)
    benchmark.extra_info["ratio"] = ratio
    print(f"{name}: {ratio:.2f} of numpy's, usually {USUAL[name]:.2f}")
    assert ratio <= SLOWER * USUAL[name], f"{name} takes {ratio:.2f} times numpy's time, usually {USUAL[name]:.2f}"


@pytest.mark.parametrize("count", [10, 200])
@pytest.mark.parametrize("policy_id", POLICIES)
def test_decide_is_not_slower(benchmark: BenchmarkFixture, policy_id: str, count: int) -> None:
    """A decision, features included, keeps its cost in units of plain numpy on the same sizes."""
    policy = POLICIES[policy_id]
    a, b = learned(policy)
    moment, some = context(9), tasks(count)
    _guard(
        benchmark,
        f"decide {policy_id} {count}",
        lambda: decide(policy, a, b, moment, some),
        _reference(policy.d, count),
    )


@pytest.mark.parametrize("policy_id", POLICIES)
def test_learn_is_not_slower(benchmark: BenchmarkFixture, policy_id: str) -> None:
    """A reward, features included, keeps its cost in units of plain numpy on the same sizes."""
    policy = POLICIES[policy_id]
    a, b = learned(policy)
    moment, task = context(9), tasks(1)[0]
    [x] = policy.see(moment, [task])
    _guard(
        benchmark,
        f"learn {policy_id}",
        lambda: policy.learn(a, b, policy.see(moment, [task])[0], 0.5),
        lambda: (a + np.outer(x, x), b + 0.5 * x),
    )
