"""state/inspect.lua, run by redis-cli on a real server, against what numpy says of the same bytes."""

import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import redis

from app.bandit.policy import Policy
from app.bandit.ridge import Matrix, Vector
from app.policies.catalog import policies
from state import keys
from state.values.columns import Columns
from state.values.record import META
from tests.support.redis_servers import RedisServer

SCRIPT = Path(__file__).parent.parent.parent / "state" / "inspect.lua"
KEY = "oo:{ann}:egreedy-v1"


def run(server: RedisServer, *arguments: str) -> str:
    """What redis-cli prints for the script."""
    command = ["redis-cli", "-p", str(server.port), "--eval", str(SCRIPT), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def put(server: RedisServer, key: str, **fields: bytes) -> None:
    with server.client() as client:
        client.hset(key, mapping=fields)


def model(d: int, rewards: int = 30) -> tuple[Matrix, Vector]:
    draw = np.random.default_rng(d)
    x = draw.normal(size=(rewards, d))
    return np.eye(d) + x.T @ x, x.T @ draw.choice([-1.0, -0.5, 0.0, 0.5, 1.0], rewards)


def meta(pulls: int = 0, explored: int = 0, rewards: int = 0, total: float = 0.0, updated: int = 0) -> bytes:
    return np.array((pulls, explored, rewards, total, updated, 4, 1.5, 0.25), META).tobytes()


@pytest.mark.parametrize("policy", policies(1.0, 0.1).values(), ids=lambda policy: policy.id)
def test_shows_a_model_with_names(real_redis: RedisServer, policy: Policy) -> None:
    """For each policy: d, counters, the time in UTC and theta as numpy solves it, under the service's own labels."""
    d, labels = policy.d, policy.labels
    a, b = model(d)
    key = keys.record("Zoë {3}", policy.id)
    put(real_redis, key, A=a.tobytes(), b=b.tobytes(), meta=meta(2**53, 7, 30, -2.5, 1_709_210_096))
    shown = run(real_redis, key)
    lines = shown.splitlines()
    assert lines[:7] == [
        f"key {key}",
        f"d {d}",
        "pulls 9007199254740992",
        "explore_count 7",
        "reward_count 30",
        "cumulative_reward -2.5",
        "last_updated 2024-02-29T12:34:56Z (1709210096)",
    ]
    assert lines[7:11] == ["updates 4", "weight 1.5", "squares 0.25", "theta"]
    rows = [line.split()[:2] for line in lines[11:]]
    assert [name for name, _ in rows] == list(labels)
    np.testing.assert_allclose([float(value) for _, value in rows], np.linalg.solve(a, b), atol=1e-8)


def test_shows_a_model_of_an_unknown_size(real_redis: RedisServer) -> None:
    """A policy this version does not know is shown with numbered features."""
    a, b = model(3)
    put(real_redis, KEY, A=a.tobytes(), b=b.tobytes(), meta=meta())
    shown = run(real_redis, KEY)
    assert [line[:11] for line in shown.splitlines()[-3:]] == ["  column 1 ", "  column 2 ", "  column 3 "]
    assert "last_updated never" in shown


def test_shows_the_columns_that_a_model_names(real_redis: RedisServer) -> None:
    """By the names kept beside all models; without them it says what to look up."""
    a, b = model(2)
    columns = Columns((("hour_sin*price", "0123456789abcdef"), ("1", "fedcba9876543210")))
    name = columns.fingerprint.decode()
    put(real_redis, KEY, A=a.tobytes(), b=b.tobytes(), meta=meta(), columns=columns.fingerprint)
    assert f"columns {name}: look them up with HGET oo:columns {name}" in run(real_redis, KEY)
    put(real_redis, keys.COLUMNS, **{name: columns.encode()})
    lines = run(real_redis, KEY).splitlines()
    assert lines[-4:-2] == [f"columns {name}", "theta"]
    assert [line.split()[0] for line in lines[-2:]] == ["hour_sin*price", "1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1970-01-01T00:00:01Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (4_102_444_799, "2099-12-31T23:59:59Z"),
        (1_798_761_600, "2027-01-01T00:00:00Z"),
    ],
)
def test_shows_times_in_utc(real_redis: RedisServer, seconds: int, text: str) -> None:
    """Leap days and turns of the year come out right."""
    a, b = model(5)
    put(real_redis, KEY, A=a.tobytes(), b=b.tobytes(), meta=meta(updated=seconds))
    assert f"last_updated {text} ({seconds})" in run(real_redis, KEY)


def test_reads_a_meta_that_is_shorter_or_longer(real_redis: RedisServer) -> None:
    """A record of an older version shows what it has; of a newer one, what this script knows and how much is more."""
    a, b = model(5)
    put(real_redis, KEY, A=a.tobytes(), b=b.tobytes(), meta=meta(3, 1, 2)[:24])
    shown = run(real_redis, KEY)
    assert "reward_count 2" in shown
    assert "cumulative_reward" not in shown
    put(real_redis, KEY, meta=meta(3, 1, 2, 0.5, 60) + struct.pack("<dI", 1, 2))
    shown = run(real_redis, KEY)
    assert "last_updated 1970-01-01T00:01:00Z (60)" in shown
    assert "later fields 12 bytes" in shown


def test_explains_a_key_that_is_no_model(real_redis: RedisServer) -> None:
    """A missing key, a history, another type, a hash of something else, and no key at all each get one clear line."""
    with real_redis.client() as client:
        client.rpush("oo:{ann}:history", "[]")
        client.set("text", "x")
        client.hset("oo:{ann}:sync", "ts", "1")
    for arguments, told in [
        (["oo:{bob}:egreedy-v1"], "no such key; see redis-cli --scan --pattern 'oo:{bob}:*'"),
        (["nothing"], "no such key"),
        (["oo:{ann}:history"], "holds a list, not a model; a history is shown by redis-cli LRANGE"),
        (["text"], "holds a string, not a model"),
        (["oo:{ann}:sync"], "no model: it has no field A, only ts"),
        ([], "give one key"),
    ]:
        shown = run(real_redis, *arguments)
        assert told in shown
        assert len(shown.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("field", "blob", "told"),
    [
        ("b", b"\0" * 39, "b has 39 bytes, not a multiple of 8"),
        ("b", b"", "b has 0 bytes"),
        ("b", b"\0" * 56, "A has 200 bytes, not the 392 that d = 7 takes"),
        ("A", b"\0" * 199, "A has 199 bytes, not the 200 that d = 5 takes"),
        ("A", b"\0" * 200, "A cannot be solved"),
        ("A", np.full(25, np.nan).tobytes(), "A cannot be solved"),
        ("meta", b"\0" * 39, "meta has 39 bytes"),
        ("meta", b"", "meta has 0 bytes"),
    ],
)
def test_explains_a_damaged_model(real_redis: RedisServer, field: str, blob: bytes, told: str) -> None:
    """A blob of the wrong length or a matrix that cannot be solved is named together with its key."""
    a, b = model(5)
    put(real_redis, KEY, **{"A": a.tobytes(), "b": b.tobytes(), "meta": meta(), field: blob})
    shown = run(real_redis, KEY)
    assert KEY in shown
    assert told in shown
    assert not re.search(r"stack|user_script", shown)


def test_changes_nothing(real_redis: RedisServer) -> None:
    """The script is accepted where writing is forbidden."""
    a, b = model(5)
    put(real_redis, KEY, A=a.tobytes(), b=b.tobytes(), meta=meta())
    with real_redis.client(decode_responses=True) as client:
        assert client.eval_ro(SCRIPT.read_text(), 1, KEY)[1] == "d 5"
        with pytest.raises(redis.ResponseError, match="no such key"):
            client.eval_ro(SCRIPT.read_text(), 1, "missing")
