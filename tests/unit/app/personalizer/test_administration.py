"""What administrators change and ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.messages.personalizer import PolicyConfiguration, ServiceChange
from app.personalizer.administration import Administration
from app.personalizer.errors import Refusal
from app.personalizer.following import Followed
from app.policies.catalog import catalog
from app.policies.plan import Plans
from tests.unit.app.decisions.scene import stored

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Administration, Administration]]:
    """Two replicas."""
    plans = Plans(catalog)
    async with stored() as store:
        one, other = (
            Administration(Followed(store.shared, "app"), plans, loop="personalizer") for _ in ("one", "other")
        )
        yield one, other


async def test_the_service() -> None:
    """A change is seen by every replica that is asked, and one that cannot be changes nothing."""
    async with two() as (one, other):
        before = await other.service()
        after = await one.change_service(ServiceChange(exploration_percentage=0.5))
        assert after == await other.service() != before
        with pytest.raises(Refusal):
            await other.change_service(ServiceChange(reward_wait_time="P7D"))
        assert await one.service() == after


async def test_learning_settings() -> None:
    """Are kept and shown; without any, the policy that serves is named."""
    async with two() as (one, other):
        plain = await one.policy()
        assert (plain.name, plain.arguments) == ("personalizer-v1", "--cb_explore_adf --epsilon 0.2")
        own = PolicyConfiguration(name="mine", arguments="--cb_explore_adf --cb_type mtr")
        assert await one.change_policy(own) == await other.policy() == own
        assert await other.change_policy(None) == await one.policy() == plain
