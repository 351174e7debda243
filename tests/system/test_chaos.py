"""The judge of `./dev chaos` can fail: whatever is lost, doubled or made up, it says so. And what it reads is what is
there."""

import copy
import random
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from state import keys
from state.values import record
from state.values.record import Meta, Record
from tests.support.bodies import POLICIES
from tests.support.redis_servers import RedisServer
from tests.support.service import service
from tests.system.chaos.__main__ import holding
from tests.system.chaos.clients import USERS
from tests.system.chaos.judge import SIZES, Holding, Ledger, Slot, draw_reward, judge

SLOT = Slot(USERS[0], "egreedy-v2")
OTHER = Slot(USERS[1], "linucb-v1")


def blobs(slot: Slot, ledger: Ledger, pulls: int = 0) -> tuple[bytes, bytes, bytes]:
    """A, b and meta with all rewards of the ledger in them, added one by one."""
    d = SIZES[slot.policy]
    model = Record(np.eye(d), np.zeros(d), Meta(pulls=pulls))
    for reward in ledger.rewards.values():
        if reward.slot == slot:
            x = np.array(reward.x)
            model = Record(
                model.a + np.outer(x, x), model.b + reward.value * x, model.meta.rewarded(1_790_000_000, reward.value)
            )
    fields = record.encode(model)
    return fields[b"A"], fields[b"b"], fields[b"meta"]


@pytest.fixture
def ledger() -> Ledger:
    """60 rewards and 10 scores, all acknowledged."""
    draw, ledger = random.Random(1), Ledger()
    for number in range(60):
        reward = draw_reward(draw, draw.choice([SLOT, OTHER]), f"r{number}")
        ledger.rewards[reward.key] = reward
    ledger.acknowledged |= ledger.rewards.keys()
    ledger.scores = {f"s{number}": SLOT for number in range(10)}
    ledger.answered = set(ledger.scores)
    return ledger


@pytest.fixture
def held(ledger: Ledger) -> Holding:
    """A Redis in which each of them is once."""
    return Holding(
        {SLOT: blobs(SLOT, ledger, pulls=10), OTHER: blobs(OTHER, ledger)},
        {SLOT.user: [(tip, SLOT.policy) for tip in ledger.scores]},
        {keys.marker(*reward.slot, reward.key) for reward in ledger.rewards.values()},
    )


def test_all_there_once(ledger: Ledger, held: Holding) -> None:
    """What is there once is right, whatever the order in which it was added."""
    ledger.rewards = dict(reversed(ledger.rewards.items()))
    assert judge(ledger, held).right


@pytest.mark.parametrize("key", ["r0", "r59"])
def test_a_lost_reward(ledger: Ledger, held: Holding, key: str) -> None:
    """An acknowledged reward that is in no model is lost, though its idempotency key be known."""
    slot, less = ledger.rewards[key].slot, copy.deepcopy(ledger)
    del less.rewards[key]
    held.models[slot] = blobs(slot, less, pulls=10 * (slot == SLOT))
    verdict = judge(ledger, held)
    assert (verdict.lost, verdict.doubled, verdict.right) == (1, 0, False)


def test_a_doubled_reward(ledger: Ledger, held: Holding) -> None:
    """A reward that was added twice is doubled."""
    more = copy.deepcopy(ledger)
    more.rewards["again"] = next(reward for reward in ledger.rewards.values() if reward.slot == OTHER)
    held.models[OTHER] = blobs(OTHER, more)
    verdict = judge(ledger, held)
    assert (verdict.lost, verdict.doubled, verdict.right) == (0, 1, False)


def test_one_lost_and_another_doubled(ledger: Ledger, held: Holding) -> None:
    """Counts that agree do not hide it: A is not the sum of what was sent."""
    wrong = copy.deepcopy(ledger)
    first, second = [reward for reward in ledger.rewards.values() if reward.slot == SLOT][:2]
    del wrong.rewards[first.key]
    wrong.rewards["again"] = second
    held.models[SLOT] = blobs(SLOT, wrong, pulls=10)
    verdict = judge(ledger, held)
    assert not verdict.right
    assert f"{SLOT.policy} of {SLOT.user}: A is not the sum of what was sent" in verdict.findings


@pytest.mark.parametrize("field", [0, 1, 2])
def test_a_changed_bit(ledger: Ledger, held: Holding, field: int) -> None:
    """A last bit of A, of b or of the sum that differs is found."""
    changed = [bytearray(blob) for blob in held.models[OTHER]]
    changed[field][24 if field == 2 else 0] ^= 1
    held.models[OTHER] = (bytes(changed[0]), bytes(changed[1]), bytes(changed[2]))
    assert not judge(ledger, held).right


def test_all_of_a_user_lost(ledger: Ledger, held: Holding) -> None:
    """A model that is not there has lost all its rewards."""
    sent = sum(reward.slot == OTHER for reward in ledger.rewards.values())
    del held.models[OTHER]
    assert judge(ledger, held).lost == sent > 0


def test_never_acknowledged(ledger: Ledger, held: Holding) -> None:
    """A reward that was never acknowledged is a failure, but neither lost nor doubled, be it there or not."""
    ledger.acknowledged.remove("r3")
    verdict = judge(ledger, held)
    assert (verdict.unacknowledged, verdict.lost, verdict.doubled, verdict.right) == (1, 0, 0, False)
    reward, less = ledger.rewards["r3"], copy.deepcopy(ledger)
    del less.rewards["r3"]
    held.models[reward.slot] = blobs(reward.slot, less, pulls=10 * (reward.slot == SLOT))
    held.markers.remove(keys.marker(*reward.slot, "r3"))
    verdict = judge(ledger, held)
    assert (verdict.unacknowledged, verdict.lost, verdict.doubled, verdict.findings) == (1, 0, 0, [])


def test_idempotency_keys(ledger: Ledger, held: Holding) -> None:
    """A key of an acknowledged reward that is not remembered is found, and so is one that was never sent."""
    forgotten = keys.marker(*ledger.rewards["r3"].slot, "r3")
    held.markers.remove(forgotten)
    held.markers.add(forgotten + "x")
    assert len(judge(ledger, held).findings) == 2


def test_scores(ledger: Ledger, held: Holding) -> None:
    """A score is lost if it was answered and is in no history, doubled if it is there twice; one whose answer was lost
    may be there or not."""
    ledger.scores["unanswered"] = SLOT
    assert judge(ledger, held).right
    history = held.histories[SLOT.user]
    history.pop()
    assert judge(ledger, held).lost == 1
    history.append(history[0])
    verdict = judge(ledger, held)
    assert (verdict.lost, verdict.doubled) == (1, 1)


def test_pulls_and_history_are_one(ledger: Ledger, held: Holding) -> None:
    """Decisions counted and decisions remembered differ: half a transaction was written."""
    held.models[SLOT] = blobs(SLOT, ledger, pulls=11)
    assert judge(ledger, held).findings == [f"{SLOT.policy} of {SLOT.user}: 11 pulls, 10 in the history"]


def test_surprising_answers(ledger: Ledger, held: Holding) -> None:
    """An answer that no client should ever get is a failure though nothing is lost."""
    ledger.surprises["500 internal server error"] += 1
    assert not judge(ledger, held).right


@pytest.fixture(scope="module")
def served(session_redis: RedisServer) -> Iterator[str]:
    with service({"REDIS_URL": session_redis.url, "STORE_TIMEOUT_SECONDS": "30"}) as server:
        yield server.url


@pytest.mark.parametrize("policy", POLICIES)
def test_what_the_service_makes_of_it(real_redis: RedisServer, served: str, policy: str) -> None:
    """The service adds up rewards drawn here to the very bits that the judge expects, and the judge reads them."""
    draw, ledger, slot = random.Random(2), Ledger(), Slot(USERS[2], policy)
    with httpx.Client(base_url=served, timeout=60) as client:
        for number in range(30):
            reward = draw_reward(draw, slot, f"r{number}")
            ledger.rewards[reward.key] = reward
            headers = {"Idempotency-Key": reward.key}
            for _ in range(2):
                assert client.post(f"/reward{POLICIES[policy]}", json=reward.body, headers=headers).status_code == 200
            ledger.acknowledged.add(reward.key)
    with real_redis.client() as reader:
        assert judge(ledger, holding(reader)).right
        ledger.acknowledged.discard("r0")
        del ledger.rewards["r0"]
        assert not judge(ledger, holding(reader)).right
