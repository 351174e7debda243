"""The evidence of a whole log."""

import math

import msgspec
import numpy as np
import pytest

from app.evaluation.evidence import Evidence, Scale, evidence, evidence_of_sums
from app.evaluation.logged import Logged
from app.evaluation.sums import reduced
from tests.unit.app.evaluation.logs import logged, made, many


def of_sums(log: Logged) -> Evidence:
    sums = {n: reduced(log, e, log.eras.get(n), by="bucket") for n, e in log.by_policy.items()}
    served = reduced(log, log.propensities, by="bucket")
    return evidence_of_sums("tips", log.champion, served, sums, Scale(log.low, log.high))


def test_a_sound_log() -> None:
    """The truth is within the intervals, and the gate knows who is better."""
    log = made(10_000, seed=7)
    found = evidence(log, "tips")
    assert (found.loop, found.decisions, found.matured, found.rewarded) == ("tips", 10_000, 10_000, 10_000)
    assert (found.clustered_by, found.clusters, found.draws_since) == ("users", 100, None)
    z = log.features.reshape(-1, 4, 2)
    mean = 0.5 + 0.2 * np.tanh(z[..., 0]) + 0.1 * np.tanh(z[..., 1])
    for name, policy in (found.policies | found.baselines).items():
        assert policy.refused == [], name
        e = {"uniform": np.full((10_000, 4), 0.25), "first": np.tile([1.0, 0, 0, 0], (10_000, 1))}.get(name)
        truth = float(((log.by_policy[name].reshape(-1, 4) if e is None else e) * mean).sum(axis=1).mean())
        for estimate in (policy.snips, policy.ips, policy.dr):
            assert estimate is not None
            assert estimate.low is not None
            assert estimate.high is not None
            # Six standard errors.
            assert abs(estimate.estimate - truth) < 6 / 1.96 * (estimate.high - estimate.estimate)
    assert found.logging is not None
    served, champion = found.logging, found.policies["champion"]
    assert champion.snips is not None
    assert (champion.ess, champion.mean_weight_z) == (10_000.0, 0.0)
    assert served.mean == pytest.approx(champion.snips.estimate)
    assert champion.gate is None
    gate = found.policies["challenger"].gate
    assert gate is not None
    assert gate.high < 0.0
    assert found.policies["challenger"].max_weight_share == pytest.approx(7.0 / 10_000, rel=0.2)
    assert not found.is_empty


def test_json_has_the_documented_keys() -> None:
    """What other programs read."""
    data = msgspec.json.decode(msgspec.json.encode(evidence(many(), "push")))
    assert {"loop", "decisions", "matured", "rewarded", "logging", "policies"} < set(data)
    assert set(data["logging"]) == {"mean", "low", "high"}
    keys = {"ips", "snips", "dr", "ess", "max_weight_share", "mean_weight_z", "draws_p", "gate", "refused", "warnings"}
    assert keys < set(data["policies"]["e"])
    assert {"low", "high", "log_e_value", "n"} < set(data["policies"]["e"]["gate"])


def test_units_of_reward() -> None:
    """The same outcomes in other units: estimates and gate are in them."""
    one = made()
    wide = msgspec.structs.replace(
        one, low=-1.0, high=3.0, reward=one.reward * 4 - 1, reward_in_time=one.reward * 4 - 1
    )
    found, other = (evidence(log, "tips").policies["challenger"] for log in (one, wide))
    for name in ("snips", "ips", "dr"):
        assert getattr(other, name).low == pytest.approx(4.0 * getattr(found, name).low - 1.0)
    assert found.gate is not None
    assert other.gate is not None
    assert other.gate.high == pytest.approx(4.0 * found.gate.high)
    assert other.gate.log_e_value == pytest.approx(found.gate.log_e_value)


def test_sums_say_what_decisions_say() -> None:
    """But for the doubly robust estimate, and intervals by groups of users."""
    log = made()
    found, summed = evidence(log, "tips"), of_sums(log)
    assert (summed.clustered_by, summed.clusters) == ("groups of users", 64)
    assert summed.baselines == {}
    for name in log.by_policy:
        one, other = found.policies[name], summed.policies[name]
        assert other.dr is None
        for key in ("n", "ess", "max_weight_share", "mean_weight_z", "refused", "warnings"):
            assert getattr(other, key) == pytest.approx(getattr(one, key)) or getattr(other, key) == getattr(one, key)
        assert one.snips is not None
        assert other.snips is not None
        assert other.snips.estimate == pytest.approx(one.snips.estimate, rel=1e-12)
    assert summed.logging is not None
    assert found.logging is not None
    assert summed.logging.mean == pytest.approx(found.logging.mean)


def test_a_log_that_is_wrong_is_refused_for_all() -> None:
    """Draws that do not match since an hour refuse every policy, and the numbers that show it are still there."""
    log = made()
    c = log.by_policy["champion"].reshape(-1, 4)
    wrong = np.where(np.arange(4_000)[:, None] >= 2_400, 0.25, c)
    found = evidence(made(drawn_from=wrong), "tips")
    assert found.is_empty
    assert found.draws_since is not None
    assert 28 <= found.draws_since <= 31
    for policy in (found.policies | found.baselines).values():
        assert policy.refused[0].rule == "draws"
        assert policy.snips is policy.ips is policy.dr is None
        assert policy.draws_p < 1e-6
        assert policy.ess > 0.0
    for each in (found, of_sums(made(drawn_from=wrong))):
        assert each.is_empty
        gate = each.policies["challenger"].gate
        assert gate is not None
        assert (gate.low, gate.high, gate.needed, gate.n) == (-1.0, 1.0, None, 4_000)
        assert gate.refused == each.policies["challenger"].refused[0].why
        assert each.policies["challenger"].gates is None


def test_what_intervals_are_made_of_is_said() -> None:
    """Few users: blocks of hours; few of both: a warning; one of both: no interval."""
    few = np.arange(4_000, dtype=np.uint64) % np.uint64(10)
    found = evidence(made(user=few), "tips")
    assert (found.clustered_by, found.clusters) == ("blocks of hours", 25)
    assert found.policies["challenger"].warnings == [
        "the intervals are from 25 blocks of hours, since there are few users"
    ]
    found = evidence(made(hour=np.zeros(4_000, np.int64), user=few), "tips")
    assert "from 10 users, so they are likely too narrow" in found.policies["challenger"].warnings[0]
    found = evidence(made(hour=np.zeros(4_000, np.int64), user=np.zeros(4_000, np.uint64)), "tips")
    assert "there is no interval" in found.policies["challenger"].warnings[0]
    snips = found.policies["challenger"].snips
    assert snips is not None
    assert (snips.low, snips.high) == (None, None)
    assert msgspec.json.decode(msgspec.json.encode(found))["logging"]["low"] is None


def test_a_shadow_that_came_later_is_judged_by_what_it_has_seen() -> None:
    """Decisions before it was scored are not missing propensities."""
    log = made()
    e = np.where(np.arange(16_000) < 4_000, np.nan, log.by_policy["challenger"])
    found = evidence(made(by_policy={"champion": log.by_policy["champion"], "challenger": e}), "tips")
    assert found.policies["challenger"].refused == []
    assert found.policies["challenger"].n == 3_000
    assert found.policies["challenger"].gate is not None
    assert found.policies["challenger"].gate.n == 3_000
    assert found.policies["champion"].n == 4_000


def test_challengers_share_the_gate() -> None:
    """With a third policy the bounds are wider."""
    log = made()
    more = dict(log.by_policy) | {"other": log.by_policy["challenger"]}
    one, two = evidence(log, "tips"), evidence(made(by_policy=more), "tips")
    first, second = one.policies["challenger"].gate, two.policies["challenger"].gate
    assert first is not None
    assert second is not None
    assert second.low < first.low < first.high < second.high
    assert second == two.policies["other"].gate
    summed = of_sums(made(by_policy=more)).policies["other"].gate
    assert summed is not None
    assert summed.low == pytest.approx(second.low, rel=1e-9)
    # A baseline that explores less than the champion has learned nothing from it, so nothing is said.
    assert one.baselines["first"].warnings == []


def test_an_empty_log() -> None:
    """Says that nothing counts, and nothing is not a number."""
    none = np.zeros((0, 3))
    log = logged(none, {"c": none, "e": none}, np.zeros(0, int), np.zeros(0), [])
    for found in (evidence(log, "tips"), of_sums(log)):
        assert found.is_empty
        assert found.logging is None
        assert [refusal.rule for refusal in found.policies["e"].refused] == ["nothing"]
        numbers = (found.policies["e"].ess, found.policies["e"].max_weight_share, found.policies["e"].mean_weight_z)
        assert not any(map(math.isnan, numbers))
