"""What a request costs, counted without a clock, stays what it was."""

import pytest

from bench.calls import MORE_CALLS, MORE_OPCODES, Cost, measured, usual
from bench.requests import KINDS

pytestmark = pytest.mark.slow

# Bytes. The last requests, which connections still hold, are not always of one size.
KEPT = 128


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    """What each kind of request costs here."""
    return measured()


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_costs_no_more_than_it_did(costs: dict[str, Cost], kind: str) -> None:
    """Calls rise by at most 1 % and opcodes by 2 %; a change that may cost more, or saves some, keeps its numbers."""
    cost, before = costs[kind], usual().get(kind, costs[kind])
    advice = "python -m bench.calls --keep makes it the usual"
    assert cost.calls <= before.calls * (1 + MORE_CALLS), advice
    assert cost.opcodes <= before.opcodes * (1 + MORE_OPCODES), advice


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_takes_two_exchanges_and_leaves_nothing(costs: dict[str, Cost], kind: str) -> None:
    """However many requests come together, Redis is written to twice, and the process does not grow with them."""
    assert costs[kind].exchanges == 2
    assert costs[kind].kept < KEPT
