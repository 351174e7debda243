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
from tests.support.told import Made
from tests.system.chaos.__main__ import holding
from tests.system.chaos.clients import USERS
from tests.system.chaos.judge import judge
from tests.system.chaos.ledger import Holding, Kept, Ledger, Slot, draw_reward
from tests.system.chaos.loops import BASELINES, FILE, LOOPS, SIZES, columns, draw_context, draw_features, draw_user

SLOT = Slot(USERS[0], "egreedy-v2")
OTHER = Slot(USERS[1], "linucb-v1")


def blobs(slot: Slot, ledger: Ledger, pulls: int = 0) -> tuple[bytes, bytes, bytes]:
    """A, b and meta with all rewards and decisions of the ledger in them, added one by one."""
    d, baseline = SIZES[slot.policy], BASELINES.get(slot.policy, 0.0)
    learned = [(reward.x, reward.value) for reward in ledger.rewards.values() if reward.slot == slot]
    learned += [
        (made.x[slot.policy], made.reward)
        for made in ledger.decisions.values()
        if made.user == slot.user and slot.policy in made.loop.policies and made.reward is not None
    ]
    model = Record(np.eye(d), np.zeros(d), Meta(pulls=pulls, explore_count=pulls if slot.policy == "serves" else 0))
    for row, value in learned:
        x = np.array(row)
        meta = model.meta.rewarded(1_790_000_000, value, learned=value - baseline)
        model = Record(model.a + np.outer(x, x), model.b + (value - baseline) * x, meta)
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
        {SLOT.user: [(tip, SLOT.policy, False) for tip in ledger.scores]},
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


def test_explored_and_history_are_one(ledger: Ledger, held: Holding) -> None:
    """A choice by chance that was not counted as one is found."""
    held.histories[SLOT.user][3] = (*held.histories[SLOT.user][3][:2], True)
    assert judge(ledger, held).findings == [f"{SLOT.policy} of {SLOT.user}: 0 explored, 1 in the history"]


def test_surprising_answers(ledger: Ledger, held: Holding) -> None:
    """An answer that no client should ever get is a failure though nothing is lost."""
    ledger.surprises["500 internal server error"] += 1
    assert not judge(ledger, held).right


# --- decisions with ids -------------------------------------------------------------------------------------------


@pytest.fixture
def decided() -> Ledger:
    """40 decisions of one user, of which some were rewarded, corrected, taken back or never shown."""
    draw, ledger = random.Random(3), Ledger()
    for number in range(40):
        loop = LOOPS[draw.choice(["patient", "brief", "strict"])]
        context, user, features = draw_context(draw), draw_user(draw), draw_features(draw)
        x = {policy: columns(policy, context, user, features) for policy in loop.policies}
        made = Made(USERS[0], f"d{number}", loop, f"tip-{number}", x)
        for value in (0.5, -0.25, None)[: number % 4]:
            made.tell(value)
        if made.loop.default is not None:
            made.close()
        ledger.decisions[made.local] = made
    return ledger


def kept(ledger: Ledger) -> Holding:
    """A Redis in which each of them is once."""
    made = list(ledger.decisions.values())
    slots = [Slot(USERS[0], policy) for policy in ("serves", "watches", "linucb-v1")]
    return Holding(
        {slot: blobs(slot, ledger, pulls=len(made) if slot.policy == "serves" else 0) for slot in slots},
        {},
        set(),
        {USERS[0]: {one.local: Kept(one.status, one.reward, one.n) for one in made}},
        {USERS[0]: (sum(one.status == "open" for one in made), len(made))},
    )


def counted_once(ledger: Ledger) -> Ledger:
    """The ledger of a service that counts no retraction as an update: what `blobs` makes of it."""
    for made in ledger.decisions.values():
        made.updates = int(made.reward is not None)
    return ledger


def test_decisions_there_once(decided: Ledger) -> None:
    """What was told is there, in whatever order it was learned."""
    right = counted_once(decided)
    assert {made.status for made in right.decisions.values()} == {"open", "rewarded", "retracted", "defaulted"}
    right.decisions = dict(reversed(right.decisions.items()))
    assert judge(right, kept(right)).findings == []


def test_a_decision_that_is_lost_or_counted_twice(decided: Ledger) -> None:
    """By its record, and by how often the champion says it served."""
    held = kept(counted_once(decided))
    del held.decisions[USERS[0]]["d7"]
    verdict = judge(decided, held)
    assert (verdict.lost, verdict.findings) == (1, ["decision d7 of user-0 was answered and is not there"])
    held = kept(decided)
    slot = Slot(USERS[0], "serves")
    held.models[slot] = blobs(slot, decided, pulls=41)
    verdict = judge(decided, held)
    said = "serves of user-0: 41 pulls, 41 explored, and 40 decisions were answered"
    assert (verdict.doubled, verdict.findings) == (1, [said])
    slot = Slot(USERS[0], "watches")
    held = kept(decided)
    held.models[slot] = blobs(slot, decided, pulls=1)
    assert judge(decided, held).doubled == 1


@pytest.mark.parametrize("policy", ["serves", "watches"])
def test_a_correction_that_adds_the_whole_reward(decided: Ledger, policy: str) -> None:
    """b is wrong under a champion and under a shadow, and the finding says of whom."""
    right = counted_once(decided)
    held = kept(right)
    wrong = copy.deepcopy(right)
    made = next(one for one in wrong.decisions.values() if one.status == "rewarded")
    assert made.reward is not None
    made.reward += 0.5
    slot = Slot(USERS[0], policy)
    held.models[slot] = blobs(slot, wrong, pulls=40 if policy == "serves" else 0)
    verdict = judge(right, held)
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert f"{policy} of user-0: b is not the sum of what was sent" in verdict.findings
    assert not any("A is not" in finding for finding in verdict.findings)


def test_a_default_that_was_not_booked(decided: Ledger) -> None:
    """A decision that is left open is found by its record and its models, and counts as a lost reward."""
    right = counted_once(decided)
    wrong = copy.deepcopy(right)
    made = next(one for one in wrong.decisions.values() if one.status == "defaulted" and "linucb-v1" in one.x)
    made.status, made.reward, made.n = "open", None, 0
    verdict = judge(right, kept(wrong))
    assert verdict.lost == 3  # under each policy of the loop
    there, must = "open with the reward None after 0 outcomes", "defaulted with the reward -0.5 after 1 outcomes"
    assert f"decision {made.local} of user-0 is {there}, and must be {must}" in verdict.findings
    assert any(finding.startswith("user-0: (open, all) decisions are") for finding in verdict.findings)


@pytest.mark.parametrize(("field", "name"), [(40, "updates"), (48, "weight"), (56, "squares")])
def test_a_changed_counter_of_what_was_learned(decided: Ledger, field: int, name: str) -> None:
    """Each is compared to the last bit."""
    held, slot = kept(counted_once(decided)), Slot(USERS[0], "watches")
    a, b, meta = held.models[slot]
    held.models[slot] = a, b, meta[:field] + bytes([meta[field] ^ 1]) + meta[field + 1 :]
    [finding] = judge(decided, held).findings
    assert finding.startswith(f"watches of user-0: {name} is ")


def test_a_decision_that_was_never_answered(decided: Ledger) -> None:
    """It is a failure, be it there or not; one that nobody sent is named."""
    right = counted_once(decided)
    held = kept(right)
    held.decisions[USERS[0]]["d99"] = Kept("open", None, 0)
    held.counted[USERS[0]] = held.counted[USERS[0]][0], 40
    assert judge(right, held).findings == ["decision d99 of user-0 was never answered"]
    right.unfinished.add("d99")
    verdict = judge(right, held)
    assert (verdict.unacknowledged, verdict.findings) == (1, [])


# --- with the service ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(session_redis: RedisServer) -> Iterator[str]:
    env = {"REDIS_URL": session_redis.url, "STORE_TIMEOUT_SECONDS": "30", "POLICIES": str(FILE)}
    with service(env) as server:
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
