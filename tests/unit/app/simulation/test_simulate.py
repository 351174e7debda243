"""A simulation: exact where it can be computed by hand, the same for the same seed, and the context pays."""

import math

import msgspec
import numpy as np
import pytest

from app.bandit.explore import EpsilonGreedy
from app.policies.catalog import catalog
from app.simulation.outcome import Outcome
from app.simulation.owners import Owners
from app.simulation.simulate import Simulation
from tests.unit.app.simulation.worlds import Doors, of, run


def test_a_greedy_policy_by_hand() -> None:
    """Ties go to the first door. It earns at once, and then always; or it earns nothing, ever: users are apart."""
    simulation = Simulation(of("greedy"), Doors(), seeds=1)
    run(simulation)
    found = simulation.outcome()
    assert found.earned[0, 0].sum() == 15.0  # of 30: one of the two users found the right door
    assert (found.best.sum(), found.random.sum()) == (30.0, 15.0)
    assert found.ends.tolist() == [math.ceil(30 * stretch / 20) for stretch in range(1, 21)]


def test_what_is_earned_teaches() -> None:
    """A policy that explores a little finds the right door for both users."""
    [policy] = of("random")
    sometimes = msgspec.structs.replace(policy, explorer=EpsilonGreedy(0.2))
    simulation = Simulation([sometimes], Doors(decisions=400), seeds=1)
    run(simulation)
    assert simulation.outcome().share("random", "last").mean > 0.6  # 0.8 of it is expected


@pytest.mark.parametrize("decisions", [1, 7, 20, 21, 511])
def test_every_decision_is_in_one_stretch(decisions: int) -> None:
    """The stretches together have all decisions, whatever their number, and the progress adds up to them."""
    simulation = Simulation(of("greedy"), Doors(1, decisions), seeds=2)
    said = run(simulation)
    found = simulation.outcome()
    assert sum(said) == simulation.total == 2 * decisions
    assert max(said) <= 501
    assert found.decisions == decisions
    lengths = np.diff(found.ends, prepend=0)
    assert found.best.tolist() == [lengths.tolist()] * 2


def simulated(world: Owners, *names: str, seeds: int) -> Outcome:
    simulation = Simulation([catalog().policies[name] for name in names], world, seeds)
    run(simulation)
    return simulation.outcome()


def test_a_run_can_be_repeated() -> None:
    """The same seeds give the same numbers to the last bit; other policies beside it change nothing; seeds differ."""
    world = Owners(2, 30)
    one, two = (simulated(world, "tips-v3", "egreedy-v1", seeds=3) for _ in range(2))
    alone = simulated(world, "egreedy-v1", seeds=3)
    assert one.earned.tobytes() == two.earned.tobytes()
    assert one.earned[1].tobytes() == alone.earned[0].tobytes()
    assert len(np.unique(one.best[:, 0])) == 3


@pytest.mark.slow
def test_the_context_pays() -> None:
    """tips-v3 earns at least 1.25 times what egreedy-v1 earns, and more by over 6 standard errors."""
    found = simulated(Owners(2, 100), "tips-v3", "egreedy-v1", seeds=25)
    new, old = found.earned.sum(axis=2)
    assert new.mean() > 1.25 * old.mean() > 0
    assert (new - old).mean() > 6.0 * (new - old).std(ddof=1) / math.sqrt(found.seeds)
