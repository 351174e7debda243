"""The models of an application as a file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from app.bandit.context import Context
from app.decisions.asked import Asked
from app.decisions.decide import Candidate
from app.decisions.make import Maker
from app.decisions.outcome import Outcomes, Told
from app.decisions.users import Users
from app.ledger.rules import Rules
from app.personalizer.errors import Refusal
from app.personalizer.model import Keeper
from app.policies.catalog import catalog
from state import keys
from tests.unit.app.decisions.scene import Twice, stored

pytestmark = pytest.mark.anyio

CANDIDATES = [Candidate(name, {"features": [{"kind": name}]}) for name in "ab"]


@asynccontextmanager
async def keeping() -> AsyncIterator[tuple[Twice, Keeper, Rules]]:
    async with stored() as store:
        rules = Rules.of(store, catalog(), 0)
        users = Users(store, rules.models, rules.policies, rules.priors)
        yield store, Keeper(store, users, rules.plans, loop="personalizer"), rules


async def teach(rules: Rules, user: str) -> None:
    asked = Asked(user_id=user, loop="personalizer", context=Context(), candidates=CANDIDATES)
    made = await Maker(rules).make(asked)
    await Outcomes(rules).reward(made.id, Told(reward=1.0))


async def model(rules: Rules, user: str) -> Any:
    return await rules.models.read(rules.policies["personalizer-v1"], user)


async def test_a_round_trip() -> None:
    """To another user, also over a model that is there, bit by bit; then it goes on learning."""
    async with keeping() as (_, keeper, rules):
        await teach(rules, "one")
        text = await keeper.export("one")
        await teach(rules, "other")
        await teach(rules, "other")
        await keeper.restore("other", text)
        one, other = await model(rules, "one"), await model(rules, "other")
        assert np.array_equal(one.a, other.a)
        assert np.array_equal(one.b, other.b)
        assert (one.meta, await keeper.export("other")) == (other.meta, text)
        await teach(rules, "other")
        assert (await model(rules, "other")).meta.reward_count == 2


async def test_a_new_application() -> None:
    """Has no model; so it is after a reset, which ends its events too."""
    async with keeping() as (store, keeper, rules):
        empty = await keeper.export("u")
        assert (await keeper.properties("u")).last_modified_time is msgspec.UNSET
        await teach(rules, "u")
        assert await keeper.export("u") != empty
        assert str((await keeper.properties("u")).last_modified_time).endswith("Z")
        await keeper.reset("u")
        assert await keeper.export("u") == empty
        assert await store.read(keys.shared("u"), (b"epoch",)) == [None]
        await teach(rules, "u")
        await keeper.restore("u", empty)
        assert await keeper.export("u") == empty


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: b"abc", "is not a model that this service exported"),
        (lambda _: b"\xff", "is not a model that this service exported"),
        (lambda file: {**file, "version": 2}, "is not a model that this service exported"),
        (lambda file: {**file, "models": {"tips-v3": file["models"]["personalizer-v1"]}}, "has a model of 'tips-v3'"),
        (lambda file: with_model(file, b="AAAA"), "has a damaged model"),
        (lambda file: with_model(file, meta=""), "has a damaged model"),
        (lambda file: with_model(file, columns=[["1", "x"]]), "has a damaged model"),
    ],
)
async def test_what_is_no_model(change: Any, said: str) -> None:
    """Changes nothing."""
    async with keeping() as (_, keeper, rules):
        await teach(rules, "u")
        text = await keeper.export("u")
        changed = change(msgspec.json.decode(text))
        with pytest.raises(Refusal, match=said) as refused:
            await keeper.restore("u", changed if isinstance(changed, bytes) else msgspec.json.encode(changed))
        assert refused.value.code == "InvalidModelImportFormat"
        assert await keeper.export("u") == text


def with_model(file: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**file, "models": {name: {**one, **more} for name, one in file["models"].items()}}


async def test_other_loops_are_out_of_reach() -> None:
    """A reset takes all there is of a user: not by the key of an application where other loops know the user too."""
    async with keeping() as (_, keeper, rules):
        await teach(rules, "ann")
        await Maker(rules).make(Asked(user_id="ann", loop="tips", context=Context(), candidates=CANDIDATES))
        before = await keeper.export("ann")
        with pytest.raises(Refusal, match="other loops know this user") as raised:
            await keeper.reset("ann")
        assert raised.value.status == 403
        assert await keeper.export("ann") == before
