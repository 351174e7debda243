"""What was sent against what Redis holds, exactly.

Rewards and features here are multiples of 1/8, so all products and sums of a run are exact in float64, in whatever
order they were added: A, b and the sums are compared bit for bit. For that the hour and the day are always 0, where
sine and cosine are exact.

A reward carries an idempotency key and must be there once, however often it was sent. A score carries none: each
attempt names a candidate of its own, which must be in the history once if it was answered, and at most once if its
answer was lost. A decision has an id, and what is told of it is repeated until it is answered, so all that it must have
taught is known.
"""

import collections
from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from state import keys
from tests.support.bodies import POLICIES
from tests.support.told import Made, Sums, sums
from tests.system.chaos.ledger import Holding, Kept, Ledger, Slot
from tests.system.chaos.log.judge import Told
from tests.system.chaos.loops import BASELINES, SIZES

__all__ = ["Verdict", "judge"]


class Verdict(msgspec.Struct):
    """How many updates were lost, applied more than once, and never acknowledged; whatever else is wrong; and what was
    counted in the log of decisions."""

    lost: int = 0
    doubled: int = 0
    unacknowledged: int = 0
    findings: list[str] = msgspec.field(default_factory=list)
    log: str = ""

    @property
    def wrong(self) -> int:
        """How many numbers and answers are not what they must be, for whatever reason."""
        return len(self.findings)

    @property
    def right(self) -> bool:
        return not (self.lost or self.doubled or self.unacknowledged or self.findings)

    def add(self, log: Told) -> None:
        """Take over what was found in the log."""
        self.findings += log.findings
        self.log = str(log)

    def __str__(self) -> str:
        counted = f"lost {self.lost}, doubled {self.doubled}, wrong {self.wrong}"
        log = f"; {self.log}" if self.log else ""
        return f"{counted}, never acknowledged {self.unacknowledged}{log}: {'RIGHT' if self.right else 'WRONG'}"


# The bytes of `meta`, in their order.
_META = np.dtype(
    [
        ("pulls", "<u8"),
        ("explored", "<u8"),
        ("rewards", "<u8"),
        ("total", "<f8"),
        ("updated", "<i8"),
        ("updates", "<u8"),
        ("weight", "<f8"),
        ("squares", "<f8"),
    ]
)


def judge(ledger: Ledger, held: Holding) -> Verdict:
    """Compare the two."""
    verdict = Verdict()
    verdict.unacknowledged = len(ledger.rewards.keys() - ledger.acknowledged) + len(ledger.unfinished)
    verdict.findings += [f"answered {what}: {count} times" for what, count in ledger.surprises.items()]
    _judge_markers(ledger, held, verdict)
    taught = {Slot(made.user, policy) for made in ledger.decisions.values() for policy in made.loop.policies}
    for slot in sorted(held.models.keys() | {reward.slot for reward in ledger.rewards.values()} | taught):
        _judge_model(slot, ledger, held, verdict)
    _judge_scores(ledger, held, verdict)
    for user in sorted(held.decisions.keys() | {made.user for made in ledger.decisions.values()}):
        _judge_decisions(user, ledger, held, verdict)
    return verdict


def _judge_markers(ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    sent = {keys.marker(*reward.slot, key): key for key, reward in ledger.rewards.items()}
    missing = [key for marker, key in sent.items() if key in ledger.acknowledged and marker not in held.markers]
    verdict.findings += [f"reward {key} was acknowledged, and its idempotency key is unknown" for key in missing]
    verdict.findings += [f"{marker} was never sent" for marker in held.markers - sent.keys()]


def _must_hold(slot: Slot, ledger: Ledger, held: Holding) -> Sums:
    """What rewards and decisions have taught. A reward that was not acknowledged may be there or not, as its marker
    says."""
    rewards = [
        reward
        for key, reward in ledger.rewards.items()
        if reward.slot == slot and (key in ledger.acknowledged or keys.marker(*slot, key) in held.markers)
    ]
    decisions = [
        made for made in ledger.decisions.values() if made.user == slot.user and slot.policy in made.loop.policies
    ]
    learned = [(reward.x, reward.value) for reward in rewards]
    learned += [(made.x[slot.policy], made.reward) for made in decisions if made.reward is not None]
    updates = len(rewards) + sum(made.updates for made in decisions)
    return sums(SIZES[slot.policy], learned, updates=updates, baseline=BASELINES.get(slot.policy, 0.0))


def _judge_model(slot: Slot, ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    """Rewards in A, b and the counters."""
    must = _must_hold(slot, ledger, held)
    a, b, meta = _model(slot, held)
    difference = int(meta["rewards"]) - must.rewards
    verdict.lost += max(0, -difference)
    verdict.doubled += max(0, difference)
    where = f"{slot.policy} of {slot.user}"
    if difference:
        verdict.findings.append(f"{where}: {meta['rewards']} rewards counted, {must.rewards} sent")
    if not np.array_equal(a, must.a):
        verdict.findings.append(f"{where}: A is not the sum of what was sent")
    if not np.array_equal(b, must.b):
        verdict.findings.append(f"{where}: b is not the sum of what was sent")
    if meta["total"] != must.total:
        verdict.findings.append(f"{where}: cumulative_reward is {meta['total']}, sent were {must.total}")
    for name in ("updates", "weight", "squares"):
        if meta[name] != getattr(must, name):
            verdict.findings.append(f"{where}: {name} is {meta[name]}, and must be {getattr(must, name)}")


def _judge_scores(ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    """Scores, and decisions of the first system's policies, in the histories and in `pulls`, which one transaction
    changes together."""
    seen = collections.Counter(
        (tip, Slot(user, policy)) for user, entries in held.histories.items() for tip, policy, _ in entries
    )
    decided = {
        made.candidate: Slot(made.user, made.loop.champion)
        for made in ledger.decisions.values()
        if made.loop.champion in POLICIES
    }
    sent = ledger.scores | decided
    lost = (ledger.answered | decided.keys()) - {tip for tip, _ in seen}
    verdict.lost += len(lost)
    verdict.findings += [f"score {tip} was answered and is in no history" for tip in sorted(lost)]
    for (tip, slot), count in seen.items():
        if sent.get(tip) != slot:
            verdict.findings.append(f"{tip} is in the history of {slot.user} under {slot.policy}, and was never sent")
        if count > 1:
            verdict.doubled += count - 1
            verdict.findings.append(f"score {tip} is {count} times in the history")
    entries = collections.Counter(dict.fromkeys((slot for slot in held.models if slot.policy in POLICIES), 0))
    entries.update(slot for _, slot in seen.elements())
    explored = collections.Counter(
        Slot(user, policy) for user, past in held.histories.items() for _, policy, by_chance in past if by_chance
    )
    for slot, count in entries.items():
        meta = _model(slot, held)[2]
        where = f"{slot.policy} of {slot.user}"
        if meta["pulls"] != count:
            verdict.findings.append(f"{where}: {meta['pulls']} pulls, {count} in the history")
        if meta["explored"] != explored[slot]:
            verdict.findings.append(f"{where}: {meta['explored']} explored, {explored[slot]} in the history")


def _judge_decisions(user: str, ledger: Ledger, held: Holding, verdict: Verdict) -> None:
    """A user's decisions: each is there, as it was left, and counted once by the policy that served it alone."""
    must = {name: made for name, made in ledger.decisions.items() if made.user == user}
    kept = held.decisions.get(user, {})
    lost, unknown = must.keys() - kept.keys(), kept.keys() - must.keys() - ledger.unfinished
    verdict.lost += len(lost)
    verdict.findings += [f"decision {name} of {user} was answered and is not there" for name in sorted(lost)]
    verdict.findings += [f"decision {name} of {user} was never answered" for name in sorted(unknown)]
    for name in sorted(must.keys() & kept.keys()):
        left = Kept(must[name].status, must[name].reward, must[name].n)
        if kept[name] != left:
            verdict.findings.append(
                f"decision {name} of {user} is {_in_words(kept[name])}, and must be {_in_words(left)}"
            )
    _judge_counts(user, must.values(), held, verdict)


def _judge_counts(user: str, decisions: Iterable[Made], held: Holding, verdict: Verdict) -> None:
    made = list(decisions)
    counted = (sum(one.status in ("open", "deferred") for one in made), len(made))
    if held.counted.get(user, (0, 0)) != counted:
        verdict.findings.append(f"{user}: (open, all) decisions are {held.counted.get(user)}, and must be {counted}")
    for policy in SIZES.keys() - POLICIES.keys():
        served = sum(one.loop.champion == policy for one in made)
        meta = _model(Slot(user, policy), held)[2]
        verdict.lost += max(0, served - int(meta["pulls"]))
        verdict.doubled += max(0, int(meta["pulls"]) - served)
        # A champion of ours explores each time.
        if not served == int(meta["pulls"]) == int(meta["explored"]):
            there = f"{meta['pulls']} pulls, {meta['explored']} explored"
            verdict.findings.append(f"{policy} of {user}: {there}, and {served} decisions were answered")


def _in_words(kept: Kept) -> str:
    return f"{kept.status} with the reward {kept.reward} after {kept.n} outcomes"


def _model(slot: Slot, held: Holding) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.void]]:
    """A, b and meta as the raw bytes say; those of an unknown user if there are none."""
    d = SIZES[slot.policy]
    nothing = np.eye(d).tobytes(), np.zeros(d).tobytes(), bytes(_META.itemsize)
    a, b, meta = held.models.get(slot, nothing)
    counters: NDArray[np.void] = np.frombuffer(meta[: _META.itemsize], _META)
    return np.frombuffer(a).reshape(d, d), np.frombuffer(b), counters[0]
