"""How it went in the course of a log."""

import numpy as np
import pytest

from app.evaluation.course import gates, rewards, stretches
from app.evaluation.estimators import clusters, snips
from app.evaluation.gate import bounds
from app.evaluation.sums import reduced
from tests.unit.app.evaluation.logs import made


def test_stretches() -> None:
    """At most 30, the last of which ends with the log; few hours are one each."""
    log = made()
    ends = stretches(reduced(log, log.propensities))
    assert len(ends) == 30
    assert ends[-1] == 49
    assert set(np.diff(ends)) == {1, 2}
    log = made(hour=np.arange(4_000) * 3 // 4_000 + 7)
    assert stretches(reduced(log, log.propensities)).tolist() == [7, 8, 9]


def test_rewards() -> None:
    """Those of a stretch are those of a log that has nothing else; nothing is known where it was not scored."""
    log = made(hour=np.arange(4_000) * 4 // 4_000)
    scored = np.where(np.arange(16_000) < 4_000, np.nan, log.by_policy["challenger"])
    log = made(hour=log.hour, by_policy={"champion": log.by_policy["champion"], "challenger": scored})
    sums = reduced(log, scored)
    found = rewards(sums, np.array([0, 1, 3]), -1.0, 1.0)
    assert found.estimate[0] is found.low[0] is found.high[0] is None
    part = sums.within(sums.hour > 1)
    expected = snips(part, clusters(part)).scaled(-1.0, 1.0)
    assert (found.estimate[2], found.low[2], found.high[2]) == (expected.estimate, expected.low, expected.high)
    assert [each is None for each in found.high] == [True, False, False]


def test_gates() -> None:
    """The last bounds are those of the gate, the ones before them those of shorter logs."""
    eras = {"challenger": np.repeat([0, 1], 2_000)}
    log = made(eras=eras)
    sums = reduced(log, log.by_policy["challenger"], eras["challenger"])
    found, now = gates(sums, 1, 2.0), bounds(sums)
    assert found.decisions == [80 * number for number in range(1, 26)]
    assert (found.low[-1], found.high[-1]) == (2.0 * now.low, 2.0 * now.high)
    earlier = reduced(
        made(eras=eras, matured=np.arange(4_000) < 2_800), log.by_policy["challenger"], eras["challenger"]
    )
    assert found.low[9] == pytest.approx(2.0 * bounds(earlier).low)
    assert gates(reduced(made(reward=np.full(4_000, np.nan)), log.by_policy["challenger"]), 1, 2.0).decisions == []
