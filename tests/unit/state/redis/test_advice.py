"""Which settings of Redis are warned of, and when it is asked."""

import logging

import pytest
from redis.exceptions import NoPermissionError

from state.redis import advice
from state.redis.advice import advise, warnings
from tests.unit.state.wire import CUT, Wire

pytestmark = pytest.mark.anyio

SAFE = {"maxmemory_policy": "noeviction", "aof_enabled": "1", "connected_slaves": "0"}


@pytest.mark.parametrize(
    ("field", "value", "wait", "words"),
    [
        ("maxmemory_policy", "allkeys-lfu", 0, "DROPS users' models"),
        ("maxmemory_policy", "volatile-ttl", 0, "a repeated reward counts TWICE"),
        ("aof_enabled", "0", 0, "all since its last snapshot is LOST"),
        ("role", "slave", 0, "takes no writes: name its master"),
        ("role", "master", 0, None),
        ("connected_slaves", "2", 0, "a failover LOSES acknowledged"),
        ("connected_slaves", "2", 1, None),
    ],
)
def test_each_risk_is_one_line(field: str, value: str, wait: int, words: str | None) -> None:
    """What can lose state is said with its consequence."""
    lines = warnings(SAFE | {field: value}, wait_replicas=wait)
    assert len(lines) == (words is not None)
    assert all(words in line for line in lines if words)


def test_safe_settings_and_hidden_ones() -> None:
    """Neither a safe Redis nor one that hides its fields is warned of."""
    assert warnings(SAFE, wait_replicas=0) == []
    assert warnings({}, wait_replicas=0) == []


async def said(wire: Wire, caplog: pytest.LogCaptureFixture, wait: int | None = None) -> list[str]:
    with caplog.at_level(logging.INFO, "oo.store"):
        await advise(wire, patience=1.0, wait_replicas=wait)
    return [f"{record.levelname} {record.message}" for record in caplog.records]


async def test_asked_until_it_answers(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first failure is a warning."""
    monkeypatch.setattr(advice, "_FIRST_PAUSE", 0.001)
    wire = Wire()
    wire.on("INFO", CUT, CUT, NoPermissionError("NOPERM"))
    first, second = await said(wire, caplog)
    assert first.startswith("WARNING Redis cannot be reached")
    assert second == "INFO the settings of Redis are unknown: NoPermissionError"
    assert wire.sent == [["INFO"]] * 3


@pytest.mark.parametrize(("wait", "warned"), [(0, True), (None, False), (1, False)])
async def test_zero_where_a_replica_may_become_the_master(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, wait: int | None, warned: bool
) -> None:
    """It is warned of once, though INFO does not show a replica now."""

    async def shown(*_: object) -> list[bytes]:
        return [b"# Replication\r\nconnected_slaves:0\r\naof_enabled:0\r\n"]

    monkeypatch.setattr(advice, "exchange", shown)
    wire = Wire()
    wire.replicated = True
    lines = await said(wire, caplog, wait)
    assert len(lines) == 1 + warned
    assert "appendonly no" in lines[-1]
    assert sum("a failover LOSES" in line for line in lines) == warned
